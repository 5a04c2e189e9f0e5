"""What makers of answers for CI jobs are told: for whom, and what upstreams list; why one fails.

Must not know how answers or copies are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from gittorrent.errors import UnreachableError
from gittorrent.event_log import EventLog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any

USUAL = (b"refs/heads/", b"refs/tags/")
"""Refs that a whole copy has, and that clones of everything ask for."""

T = TypeVar("T")

_log = EventLog(__name__)


class RefusedError(UnreachableError):
    """A job does not get what it asks for; the text says why."""


class LackingError(RefusedError):
    """A copy lacks something after the upstream was asked for it."""


class TagsGoneError(RefusedError):
    """The upstream does not give tags that it listed: some may be gone since."""


class Working(Protocol):
    """Runs blocking work in a thread, and stops it when nobody waits for it any more."""

    def __call__(self, work: Callable[[], T]) -> Coroutine[Any, Any, T]:
        """Return what it comes to."""
        ...


class Asker(Protocol):
    """For whom an answer is made, and what is known of the upstream's refs."""

    @property
    def url(self) -> str:
        """Of the upstream."""
        ...

    @property
    def header(self) -> str:
        """What the upstream is told of the caller."""
        ...

    @property
    def place(self) -> str:
        """Name of what is kept for such callers."""
        ...

    @property
    def tips(self) -> frozenset[bytes]:
        """Ids of the refs that an upstream listed to a caller whom it wants to know."""
        ...

    @property
    def tags(self) -> Mapping[bytes, bytes]:
        """What annotated tags are on that it listed to such a caller, by their ids."""
        ...


class KnownRefs(Protocol):
    """What is known of the refs of upstreams."""

    def refs_of(self, asker: Asker) -> Mapping[bytes, bytes]:
        """Return the refs that an upstream listed last, by name; nothing if that is not known."""
        ...

    def tags_of(self, asker: Asker) -> Mapping[bytes, bytes]:
        """Return what annotated tags are on that an upstream listed last, by their ids."""
        ...

    async def look_again(self, url: str) -> None:
        """Have the usual refs of a public upstream known as they are now."""
        ...


def note_asked(url: str, size: int) -> None:
    """Log how much an upstream sent."""
    _log.info("ci-asked", "{url}: the upstream sent {size} bytes", url=url, size=size)
