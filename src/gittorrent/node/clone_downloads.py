"""The downloads that a node does for clones of its machine, each for all who want the same.

Tracks the downloads under way, by repository, with the clones that wait for each.

Rules: one download for each repository; one that no clone waits for any more is stopped, and its
verified parts are kept for the next one, which begins once it has ended. Must not know the cache.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.ids import ManifestId
from gittorrent.wire.control import MirrorLine, Note, Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from gittorrent.ids import RepositoryId
    from gittorrent.store.processes import DownloadFigures
    from gittorrent.wire.control import Answer, Fetch

MAX_DOWNLOADS = 8
"""Downloads for clones at once; a clone beyond them downloads by itself."""

_log = EventLog(__name__)


class NotKeptError(GitTorrentError):
    """The node does not do what a clone asks for; the text is the answer."""


def progress_lines(name: str, figures: DownloadFigures) -> list[Answer]:
    """Return what is said of a download, to programs of this machine.

    Args:
        name: id of its manifest.
        figures: how far it is.
    """
    lines: list[Answer] = [
        MirrorLine(int(m.rate), m.parts, m.bytes, m.url, m.fault, m.called_us)
        for m in figures.mirrors
        if m.called_us or "://" in m.url
    ]
    numbers = (figures.parts, figures.total, figures.size, figures.received)
    return [*lines, Progress(ManifestId(name), *numbers)]


class CloneDownload(Struct):
    """A download for clones of this machine; the reporter of its acquisition."""

    repository: RepositoryId
    task: asyncio.Task[None] | None = None
    out: set[str] = field(default_factory=set)
    waiting: set[Callable[[Answer], None]] = field(default_factory=set)
    is_stopping: bool = False

    def note(self, text: str) -> None:
        """Pass on something worth a line."""
        self._tell(Note(text))

    def detail(self, text: str) -> None:
        """Keep to the log what nobody who waits has to know."""
        _log.debug(
            "cache-detail",
            "downloading {repository} for clones: {reason}",
            repository=self.repository,
            reason=text,
        )

    def git_says(self, said: bytes) -> None:
        """Keep to reels, which git does not fetch."""
        del said

    def close(self) -> None:
        """Hold nothing that is being shown."""

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        """Pass on how far it is."""
        for mirror in figures.mirrors:
            if mirror.fault and mirror.name not in self.out:
                self.out.add(mirror.name)
                _log.warning(
                    "mirror-out",
                    "{url} is out of the download of {repository}: {reason}",
                    repository=self.repository,
                    url=mirror.name,
                    reason=mirror.fault,
                )
        for line in progress_lines(name, figures):
            self._tell(line)

    def phase(self, text: str) -> None:
        """Pass on what is done now."""
        self._tell(Phase(text))

    def _tell(self, answer: Answer) -> None:
        for tell in self.waiting:
            tell(answer)

    async def wait(self, tell: Callable[[Answer], None]) -> None:
        """Wait for the end; when the last waiter is cancelled, so is the download."""
        assert self.task is not None
        self.waiting.add(tell)
        try:
            await asyncio.shield(self.task)
        finally:
            self.waiting.discard(tell)
            if not self.waiting and not self.task.done():
                self.is_stopping = True
                self.task.cancel()
                await asyncio.gather(self.task, return_exceptions=True)


class RelayedReports:
    """Reports to a download from another thread."""

    def __init__(self, download: CloneDownload, loop: asyncio.AbstractEventLoop) -> None:
        self._download = download
        self._loop = loop

    def note(self, text: str) -> None:
        """Pass on something worth a line."""
        self._loop.call_soon_threadsafe(self._download.note, text)

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        """Pass on how far it is."""
        self._loop.call_soon_threadsafe(self._download.downloading, name, figures)

    def phase(self, text: str) -> None:
        """Pass on what is done now."""
        self._loop.call_soon_threadsafe(self._download.phase, text)

    def detail(self, text: str) -> None:
        """Keep to the log what nobody who waits has to know."""
        self._loop.call_soon_threadsafe(self._download.detail, text)

    def git_says(self, said: bytes) -> None:
        """Keep to reels, which git does not fetch."""
        del said

    def close(self) -> None:
        """Hold nothing that is being shown."""


class CloneDownloads:
    """The downloads under way, one for each repository.

    Args:
        bring: downloads what a request asks for, and reports to a `CloneDownload`.
    """

    def __init__(self, bring: Callable[[Fetch, CloneDownload], Coroutine[Any, Any, None]]) -> None:
        self._bring = bring
        self._running: dict[RepositoryId, CloneDownload] = {}

    def __contains__(self, repository: object) -> bool:
        return repository in self._running

    @property
    def repositories(self) -> frozenset[RepositoryId]:
        """The repositories that are being downloaded."""
        return frozenset(self._running)

    async def join(self, request: Fetch, tell: Callable[[Answer], None]) -> None:
        """Wait for the download of a repository, which is begun if there is none.

        Args:
            request: of a clone.
            tell: called with the progress.

        Raises:
            NotKeptError: too many are under way.
            GitTorrentError: the download failed.
        """
        found = self._running.get(request.repository)
        while found is not None and found.is_stopping:
            assert found.task is not None
            await asyncio.wait([found.task])
            found = self._running.get(request.repository)
        await (found or self._begin(request)).wait(tell)

    def _begin(self, request: Fetch) -> CloneDownload:
        if len(self._running) >= MAX_DOWNLOADS:
            raise NotKeptError("too many downloads at once")
        made = CloneDownload(request.repository)
        self._running[request.repository] = made
        made.task = asyncio.get_running_loop().create_task(self._bring(request, made))
        made.task.add_done_callback(lambda task: self._ended(request.repository, task))
        return made

    def _ended(self, repository: RepositoryId, task: asyncio.Task[None]) -> None:
        self._running.pop(repository, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning(
                "cache-failed",
                "downloading {repository} for clones failed: {reason}",
                repository=repository,
                reason=error,
            )

    async def stop(self) -> None:
        """Cancel all downloads and wait for their end."""
        tasks = [each.task for each in self._running.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
