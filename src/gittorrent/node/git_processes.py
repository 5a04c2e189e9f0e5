"""Git processes that serve callers: started with limits, waited for, and ended with the node.

Tracks every process that is running, whose turn it is to have one, and the views that they serve
from. Each is a group of its own, so that what it started ends with it. Waiting takes no thread
where the system has pidfds. Must not know sockets or protocols.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.event_log import EventLog
from gittorrent.git.stale_locks import remove_stale_locks
from gittorrent.node import upload_pack
from gittorrent.node.caller_watch import PATIENCE, Watch
from gittorrent.node.git_answers import MAX_BYTES, GitAnswers
from gittorrent.node.git_limits import BASE_MEMORY, count_packed, limits_for
from gittorrent.node.git_questions import GitQuestions
from gittorrent.node.git_turns import PROCESSES, WAIT_SECONDS, GitTurns
from gittorrent.node.views import Views
from gittorrent.reel import bundle
from gittorrent.repository.niceness import start_yielding

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.disk_space import Space
    from gittorrent.git.runner import Git
    from gittorrent.node.caller_watch import Look, Patience
    from gittorrent.node.catalogue import Served
    from gittorrent.node.git_limits import GitLimits
    from gittorrent.repository.published_view import PublishedView

GRACE_SECONDS = 3.0
"""Time processes get to end when asked, before they are killed."""

_log = EventLog(__name__)


class ProcessSpec(Struct, frozen=True):
    """How a process of git's is started: where, with which words, and within which limits."""

    git: Git
    words: tuple[str, ...]
    limits: GitLimits | None


class GitProcesses:
    """The processes a node has started.

    Args:
        total: callers that git works for at once.
        base_memory: bytes that each process may ask for, before what objects need.
        views: directory for the views that are served; None for a temporary one.
        wait_seconds: time after which callers are told that git works for others.
        final_only: whether git shows only what the newest checkpoint has taken.
        answers: bytes of answers that are kept to be given again; 0 for none.
        space: tells whether the disk has room for them.
        patience: how long callers that git works for are waited for.
    """

    def __init__(
        self,
        total: int = PROCESSES,
        base_memory: int = BASE_MEMORY,
        views: Path | None = None,
        wait_seconds: float = WAIT_SECONDS,
        *,
        final_only: bool = False,
        answers: int = MAX_BYTES,
        space: Space | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        self.patience = patience
        self._base_memory = base_memory
        self._running: set[subprocess.Popen[bytes]] = set()
        self.turns = GitTurns(total, wait_seconds=wait_seconds)
        self.views = Views(views, self._pack, final_only=final_only)
        folder = Path(tempfile.gettempdir()) if views is None else views
        self.answers = GitAnswers(self.turns, folder, answers, space, patience=patience)
        self.questions = GitQuestions(self, self.answers)

    def change(
        self, total: int, base_memory: int, answers: int = MAX_BYTES, *, final_only: bool = False
    ) -> None:
        """Go by other limits, and show other refs, from now on; see the class."""
        self._base_memory = base_memory
        self.views.change(final_only=final_only)
        self.answers.change(answers)
        self.turns.change(total)

    def __len__(self) -> int:
        return len(self._running)

    def judge(self, address: str, look: Callable[[], Look | None]) -> Callable[[], str | None]:
        """Return what tells why git should not go on for a caller; it begins now.

        Args:
            address: where the caller comes from.
            look: returns what the kernel tells of its connection.
        """
        loop = asyncio.get_running_loop()
        watch = Watch(loop.time(), patience=self.patience)

        def why_end() -> str | None:
            return watch.judge(loop.time(), look(), others_wait=self.turns.others_wait(address))

        return why_end

    async def prepare(
        self,
        served: Served,
        protocol: str | None,
        *options: str,
        bundles_at: str | None = None,
        settings: tuple[str, ...] = (),
    ) -> ProcessSpec:
        """Return how upload-pack is started for a repository as it is now.

        Args:
            served: the repository.
            protocol: as ``upload_pack.protocol_of`` returned it.
            options: of upload-pack.
            bundles_at: what URIs of bundles begin with for this caller, who is told of those that
                there are; None for one who is told of none.
            settings: further ones of git's, as ``key=value``.

        Raises:
            GitTorrentError: it cannot be served.
        """
        view = await self.views.view_of(served)
        folder, object_format = view.object_folder / "pack", served.carried.object_format
        objects = await served.reading(lambda: count_packed(folder, object_format))
        git = upload_pack.git_for(view, protocol).with_config(*settings)
        if bundles_at is not None and protocol == "version=2" and not served.is_private:
            bundles = await served.reading(served.content.bundles)
            git = git.with_config(*bundle.settings(bundles, bundles_at))
        return ProcessSpec(
            git,
            upload_pack.arguments(view, *options),
            limits_for(objects, self._base_memory),
        )

    def start(self, prepared: ProcessSpec, *, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
        """Start git with the descriptors given; what it says on standard error is dropped."""
        # Whoever waited for these was cancelled; nobody else would collect them.
        self._running = {child for child in self._running if not _collect_if_ended(child)}
        process = prepared.git.start(
            *prepared.words,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            before=() if prepared.limits is None else prepared.limits.words,
            own_group=True,
        )
        self._running.add(process)
        return process

    def start_on_pair(self, prepared: ProcessSpec) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        """Start git on one end of a pair of sockets; returns the other one, not blocking."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                ours.setblocking(False)
                process = self.start(prepared, stdin=theirs.fileno(), stdout=theirs.fileno())
            except BaseException:
                ours.close()
                raise
        return ours, process

    async def _pack(self, view: PublishedView) -> None:
        """Pack a view, at a low priority: clones are served without, only dearer."""
        prepared = ProcessSpec(view.git.with_config("pack.threads=1"), view.packing, None)
        nowhere = subprocess.DEVNULL
        process = start_yielding(lambda: self.start(prepared, stdin=nowhere, stdout=nowhere))
        reason = await self.wait(process)
        if reason is None and process.returncode:
            await asyncio.to_thread(remove_stale_locks, view.directory)  # for the next time
            _log.warning(
                "not-packed",
                "packing {directory} ended with {status}: clones cost more processor time",
                directory=view.directory,
                status=process.returncode,
            )

    async def wait(
        self, process: subprocess.Popen[bytes], why_end: Callable[[], str | None] = lambda: None
    ) -> str | None:
        """Wait for a process's end; end it if its caller is gone, or if this is cancelled.

        Args:
            process: that `start` returned.
            why_end: asked now and then; tells why the process should end, or None.

        Returns:
            Why it was made to end; None if it ended by itself.
        """
        ended = asyncio.get_running_loop().create_task(_ended(process))
        reason = None
        try:
            while reason is None and not ended.done():
                await asyncio.wait([ended], timeout=self.patience.look)
                reason = None if ended.done() else why_end()
            if reason is not None:
                await self.end(process)
            await ended
        except asyncio.CancelledError:
            ended.cancel()
            self.terminate(process)
            raise
        self._running.discard(process)
        return reason

    def terminate(self, process: subprocess.Popen[bytes]) -> None:
        """Ask a process to end."""
        if _collect_if_ended(process):
            self._running.discard(process)
        else:
            _signal(process, signal.SIGTERM)

    async def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, by force where asking does not help, and collect it."""
        self.terminate(process)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await _ended(process)
        if not _collect_if_ended(process):
            _signal(process, signal.SIGKILL)
            await _ended(process)
        self._running.discard(process)

    async def stop(self) -> None:
        """End all processes, by force where asking does not help."""
        await self.answers.stop()
        await self.views.stop()
        await asyncio.gather(*map(self.end, list(self._running)))


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Return when a process has ended; its status has been collected then."""
    if _collect_if_ended(process):
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
    _collect_if_ended(process)


def _collect_if_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process has ended; then its status is collected.

    What it started and did not wait for, as when it was killed, ends too. That is done before it
    is collected: until then its number belongs to nobody else.
    """
    if process.returncode is None:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return False
        _signal(process, signal.SIGKILL)
        process.wait()
    return True


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a process that was not collected yet, and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
