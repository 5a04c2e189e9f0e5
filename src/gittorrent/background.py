"""Starts this program again as a process of its own that outlives its starter.

As git's own maintenance does: detached from the terminal and the caller's session, away from its
directory, without the variables git sets for what it runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def start(words: Sequence[str], output: IO[bytes] | None = None) -> None:
    """Start ``gittorrent`` with ``words`` in the background.

    Args:
        words: subcommand and arguments.
        output: where it writes what it says; nowhere by default.
    """
    target = subprocess.DEVNULL if output is None else output
    subprocess.Popen(
        [sys.executable, "-m", "gittorrent", *words],
        stdin=subprocess.DEVNULL,
        stdout=target,
        stderr=target,
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        cwd="/",
        start_new_session=True,
    )
