"""Starts this program again as a process of its own.

`start` makes one that outlives its starter, as git's own maintenance does: detached from the
terminal and the caller's session, away from its directory, without the variables git sets for what
it runs. `worker` makes one that dies with its starter, and with it everything it has started: for
work that no thread could be made to leave at once, such as encoding with git or reading a disk.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Mapping, Sequence

MAX_LINE = 1 << 20
"""Bytes of one line that a worker may say."""


def start(words: Sequence[str], output: IO[bytes] | None = None) -> None:
    """Start ``gittorrent`` with ``words`` in the background.

    Args:
        words: subcommand and arguments.
        output: where it writes what it says; nowhere by default.
    """
    target = subprocess.DEVNULL if output is None else output
    process = subprocess.Popen(
        [sys.executable, "-m", "gittorrent", *words],
        stdin=subprocess.DEVNULL,
        stdout=target,
        stderr=target,
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        cwd="/",
        start_new_session=True,
    )
    # Who goes on running would keep a zombie of each.
    threading.Thread(target=process.wait, name="background", daemon=True).start()


@contextlib.asynccontextmanager
async def worker(
    module: str, variables: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module of this program in a process that ends with the block, however that ends.

    It leads a process group of its own, so that Ctrl-C does not reach it and everything it started
    can be ended with it. The module calls `end_with_starter` when it has read what it is to do.

    Args:
        module: such as ``gittorrent.repository.rebuilding``.
        variables: for its environment, besides ours.

    Yields:
        The process, with pipes for its standard input, which is to be left open, and output.
    """
    from asyncio import create_subprocess_exec  # slow to import, and most who start need it not

    process = await create_subprocess_exec(
        sys.executable,
        "-P",  # or it would import what lies in the current directory, somebody's clone
        "-m",
        module,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **variables},
        limit=MAX_LINE,
        process_group=0,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def end_with_starter() -> None:
    """Let this process, and all of its group, be killed when the other end of its input goes.

    For what `worker` started, which leads the group.
    """
    threading.Thread(target=_outlast_input, name="starter", daemon=True).start()


def _outlast_input() -> None:
    while os.read(0, 4096):
        pass  # nothing more is said
    os.killpg(0, signal.SIGKILL)
