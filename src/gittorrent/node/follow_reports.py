"""What a node says of what it follows: to its log, and to whoever waits for a repository.

Reports come from the thread in which an update runs, and are passed on in the event loop. Must not
know updates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.event_log import EventLog
from gittorrent.node.clone_downloads import progress_lines
from gittorrent.wire.control import Note, Phase

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from gittorrent.store.processes import DownloadFigures
    from gittorrent.wire.control import Answer

_log = EventLog(__name__)


class FollowReports:
    """A `gittorrent.transfer.context.Reporter` of one update.

    Args:
        name: of the repository, for the log.
        tell: passes on what those who wait for it are shown; called in the event loop.
        loop: the event loop.
    """

    def __init__(
        self, name: str, tell: Callable[[Answer], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._name = name
        self._tell = tell
        self._loop = loop
        self._out: set[str] = set()
        self._complete: set[str] = set()

    def note(self, text: str) -> None:
        """Log and pass on something worth a line."""
        _log.info("note", "{repository}: {reason}", repository=self._name, reason=text)
        self._pass_on([Note(text)])

    def detail(self, text: str) -> None:
        """Keep to the log what nobody who waits has to know."""
        _log.debug("detail", "{repository}: {reason}", repository=self._name, reason=text)

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        """Pass on how far a download is, and log who is out of it and when it is complete."""
        for mirror in figures.mirrors:
            if mirror.fault and mirror.name not in self._out:
                self._out.add(mirror.name)
                _log.warning(
                    "mirror-out",
                    "{url} is out of the download of {repository}: {reason}",
                    repository=self._name,
                    url=mirror.name,
                    reason=mirror.fault,
                )
        if figures.parts == figures.total and name not in self._complete:
            self._complete.add(name)
            _log.info(
                "downloaded",
                "{repository}: reel {reel} is here: {received} of {bytes} bytes were downloaded",
                repository=self._name,
                reel=name,
                bytes=figures.size,
                received=figures.received,
            )
        self._pass_on(progress_lines(name, figures))

    def phase(self, text: str) -> None:
        """Pass on what is done now."""
        self._pass_on([Phase(text)])

    def git_says(self, said: bytes) -> None:
        """Leave out what git shows of its progress."""

    def close(self) -> None:
        """Hold nothing that is being shown."""

    def _pass_on(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            self._loop.call_soon_threadsafe(self._tell, answer)
