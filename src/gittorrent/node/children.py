"""Git processes that serve callers: started, waited for, and ended with the node.

Tracks every process that is running. Waiting takes no thread where the system has pidfds.
Must not know sockets or protocols.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gittorrent.git.runner import Git

GRACE_SECONDS = 3.0
"""Time processes get to end when asked, before they are killed."""


class Children:
    """The processes a node has started."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, git: Git, *arguments: str, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
        """Start git with the descriptors given; what it says on standard error is dropped."""
        # Whoever waited for these was cancelled; nobody else would collect them.
        self._running = {child for child in self._running if child.poll() is None}
        process = git.start(*arguments, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL)
        self._running.add(process)
        return process

    async def wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a process's end and return its exit status; ends it if cancelled."""
        try:
            await _ended(process)
        except asyncio.CancelledError:
            self.terminate(process)
            raise
        self._running.discard(process)
        return process.returncode

    def terminate(self, process: subprocess.Popen[bytes]) -> None:
        """Ask a process to end."""
        if process.poll() is None:
            process.terminate()
        else:
            self._running.discard(process)

    async def stop(self) -> None:
        """End all processes, by force where asking does not help."""
        for process in list(self._running):
            self.terminate(process)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                for process in list(self._running):
                    await _ended(process)
        for process in list(self._running):
            if process.poll() is None:
                process.kill()
            process.wait()
        self._running.clear()


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Return when a process has ended; its status has been collected then."""
    if process.poll() is not None:
        return
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        await loop.run_in_executor(None, process.wait)
        return
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    process.wait()
