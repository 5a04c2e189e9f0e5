"""A process with all that it started, so that none of them outlives the work.

Whoever runs the user's own commands runs a shell, and git starts helpers: a signal to the one that
was started reaches neither. Process groups would take the terminal away from who asks there for a
password. Needs Linux (proc(5), pidfd_open(2)).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def members(pid: int) -> list[int]:
    """Return a process and all it started, as far as they are still there."""
    found = [pid]
    for member in found:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{member}/task/{member}/children").read_bytes()
            found += [int(child) for child in children.split()]
    return found


def descriptor(pid: int, stack: contextlib.ExitStack) -> int | None:
    """Return a descriptor of a process, None if it is gone.

    A descriptor goes on meaning the same process; a number may be given to another.

    Args:
        pid: of the process.
        stack: closes the descriptor.
    """
    try:
        opened = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    stack.callback(os.close, opened)
    return opened


def kill(pid: int) -> None:
    """Kill a process, which nobody has waited for yet, and all it started."""
    with contextlib.ExitStack() as stack:
        kill_opened([descriptor(member, stack) for member in members(pid)])


async def start(
    words: Sequence[str],
    stdin: int,
    stdout: int,
    environ: Mapping[str, str],
    stderr: int | None = None,
) -> asyncio.subprocess.Process:
    """Start a process; cancelled while it begins, it is ended with all that it started.

    Args:
        words: the program and its arguments.
        stdin: descriptor of what it reads.
        stdout: descriptor of what it writes to.
        environ: its environment.
        stderr: descriptor of what it complains to; None for this process's own.

    Raises:
        OSError: it cannot be started.
    """
    # Cancelled by itself, this would end the one process and none that it started.
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *words, stdin=stdin, stdout=stdout, stderr=stderr, env=environ
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        while not starting.done():
            with contextlib.suppress(asyncio.CancelledError):  # once is enough
                await asyncio.wait([starting])
        if starting.exception() is None:
            kill(starting.result().pid)
            await starting.result().wait()
        raise


def kill_opened(family: list[int | None]) -> None:
    """Kill those of a family that are still there.

    Args:
        family: what `descriptor` gave for each.
    """
    for member in family:
        if member is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(member, signal.SIGKILL)
