"""What a repository of this node has of the log and cannot show yet: objects are missing.

Tracks entries whose objects did not come, whom they were asked of, and since when. What is said of
them is for people; whom to ask when is decided elsewhere (`gittorrent.push.spreading`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.store.processes import LackedRef, LackingFigures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gittorrent.ids import Oid, PushId, RefName
    from gittorrent.node.catalogue import Served

    Values = Sequence[tuple[RefName, Oid]]
    """Refs that a push sets, and to what."""

MAX_ENTRIES = 64
"""Entries that are remembered of a repository; the oldest go first."""

MAX_ASKED = 16
"""Mirrors that are remembered which were asked."""

MAX_SHOWN = 16
"""Refs that are named of a repository."""


class Lacking:
    """What one repository lacks.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[PushId, Values] = {}
        self._asked: dict[str, None] = {}
        self._since = 0.0
        self._tried = 0.0
        self._reason = ""

    @property
    def entries(self) -> frozenset[PushId]:
        """What is known to lack objects, or to wait for what does."""
        return frozenset(self._entries)

    def note(self, entries: Mapping[PushId, Values], asked: Iterable[str], reason: str) -> None:
        """Take note of entries whose objects did not come.

        Args:
            entries: with what of theirs is not here; nothing for one that waits for another.
            asked: whom they were asked of.
            reason: why they did not come.
        """
        self._tried = self._clock()
        if not self._entries:
            self._since = self._tried
        for entry, values in entries.items():
            self._entries[entry] = values or self._entries.get(entry, ())
        while len(self._entries) > MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        for each in asked:
            self.note_asked(each)
        self._reason = reason

    def note_asked(self, name: str) -> None:
        """Take note of somebody who was asked."""
        self._asked.pop(name, None)
        self._asked[name] = None
        while len(self._asked) > MAX_ASKED:
            del self._asked[next(iter(self._asked))]

    def settle(self, in_log: Mapping[PushId, Values], is_awaited: Callable[[PushId], bool]) -> None:
        """Forget what is not missing any more.

        Args:
            in_log: pushes of the log whose objects are not here.
            is_awaited: tells whether another entry may come yet.
        """
        if not self._entries and in_log:
            self._since = self._clock()
        self._entries = {
            **{entry: v for entry, v in self._entries.items() if is_awaited(entry)},
            **{entry: self._entries.get(entry) or values for entry, values in in_log.items()},
        }
        if not self._entries:
            self._asked.clear()
            self._tried, self._reason = 0.0, ""

    def figures(
        self, served: Served, until: Callable[[PushId], float | None]
    ) -> LackingFigures | None:
        """Return what there is to say of it, None while nothing is missing.

        Args:
            served: the repository.
            until: in how many seconds an entry is asked for again, None where that is not known.
        """
        if not self._entries:
            return None
        refs = [
            LackedRef(ref.decode(errors="backslashreplace"), oid, entry)
            for entry, values in self._entries.items()
            for ref, oid in values
        ]
        times = [t for entry in self._entries if (t := until(entry)) is not None]
        return LackingFigures(
            repository_id=served.info.repository_id,
            name=served.info.name,
            entries=list(self._entries),
            refs=refs[:MAX_SHOWN],
            more=len(refs[MAX_SHOWN:]),
            asked=list(self._asked),
            since=self._since,
            tried=self._tried,
            again=self._clock() + min(times) if times else None,
            reason=self._reason,
        )
