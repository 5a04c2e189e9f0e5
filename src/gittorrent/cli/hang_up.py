"""SIGHUP, by which whoever runs a node has it read its configuration again.

The system sends it as well when a terminal goes; then the program that was started there ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


@contextlib.contextmanager
def on_hang_up(react: Callable[[], object]) -> Iterator[None]:
    """Call something at each SIGHUP, in the event loop that runs, while the block does.

    Args:
        react: what to call.
    """
    loop = asyncio.get_running_loop()
    has_terminal = sys.stderr.isatty()

    def note(_number: int, _frame: FrameType | None) -> None:
        if has_terminal and not sys.stderr.isatty():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            loop.call_soon_threadsafe(react)

    former = signal.signal(signal.SIGHUP, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, former)
