"""Keeps what a log suddenly took away from a mirror, until somebody says that it was meant.

A mirror's refs follow the log, whatever it says: a mirror that shows other refs is none. If many
refs are deleted, or set to values that do not contain the old ones, a key may be stolen; then the
old values are kept as ``refs/gittorrent/kept/<seconds>/...``, which no view has and nobody is
shown, so that git keeps their objects (which are no secret: they were published, and are in reels).

Tracked in ``gittorrent/kept.json``: what is kept since when, and how many refs went and came
lately. Rules:
the file is written before the refs, and both before anything is deleted, so that whoever is killed
meanwhile keeps it the next time. The caller holds the repository's lock. Must not know the
database.
Source: docs/protocol/collections.md, Refs of mirrors.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from gittorrent.durable import write_atomically
from gittorrent.event_log import EventLog
from gittorrent.git import refs as git_refs
from gittorrent.git.descent import descends
from gittorrent.git.history import describe
from gittorrent.ids import Oid, RefName
from gittorrent.push.purge_guard import REFS, WINDOW_SECONDS, is_sudden

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat, Refs
    from gittorrent.push.purge_guard import Threshold
    from gittorrent.repository.layout import Layout

    Change = tuple[RefName, Oid | None, Oid | None]
    """Name, old value, new value of a ref; None for no such ref."""

KEEP_SECONDS = 90 * 86400
"""How long old values are kept if nobody says anything: who is away for a season finds them."""

_TOGETHER_SECONDS = 3600
"""Time in which what goes or comes is counted together: a busy mirror would have a long list."""

PREFIX = "refs/gittorrent/kept/"

_OWN = (b"refs/gittorrent/", b"refs/conflicts/")
"""Refs that come and go by themselves."""

_log = EventLog(__name__)


class KeptSet(Struct, frozen=True):
    """Refs that went together.

    Args:
        since: when, in seconds since 1970; also names where their values are kept.
        until: when they go though nobody says anything; 0 for never.
        total: how many refs there were.
        refs: their names, as text with surrogates for what is none, and values.
    """

    since: int
    until: int
    total: int
    refs: dict[str, str]

    @property
    def folder(self) -> str:
        """What the names of the refs begin with that hold the values."""
        return f"{PREFIX}{self.since}/"


class _File(Struct):
    """What the file holds: what went and what came (moment, count), and what is kept."""

    departed: list[tuple[int, int]] = field(default_factory=list)
    arrived: list[tuple[int, int]] = field(default_factory=list)
    sets: list[KeptSet] = field(default_factory=list)


class KeptRefs:
    """What is kept of one mirror.

    Args:
        git: of it.
        layout: of it.
        object_format: of it.
        clock: tells the time in seconds since 1970.
        threshold: from where on a disappearance is sudden.
    """

    def __init__(
        self,
        git: Git,
        layout: Layout,
        object_format: ObjectFormat,
        clock: Callable[[], float],
        threshold: Threshold = REFS,
    ) -> None:
        self._git = git
        self._layout = layout
        self._object_format = object_format
        self._clock = clock
        self._threshold = threshold

    def sets(self) -> list[KeptSet]:
        """Return what is kept, the oldest first; also without the lock."""
        return self._read().sets

    def before(self, changes: Sequence[Change], total: Callable[[], int]) -> None:
        """Keep what changes of refs are about to take away, if that is sudden.

        Args:
            changes: that the log makes.
            total: counts the refs that there were; asked where it matters only.
        """
        others = [each for each in changes if not each[0].startswith(_OWN)]
        lost = self._lost(others)
        came = sum(old is None for _, old, _ in others)
        if not (lost or (came and total())):
            return
        now = int(self._clock())
        file = self._read()
        departed = [each for each in file.departed if each[0] > now - WINDOW_SECONDS]
        arrived = [each for each in file.arrived if each[0] > now - WINDOW_SECONDS]
        # Whoever was killed while refs were deleted deletes the rest of them now.
        again = {n: o for n, o in lost.items() if any(s.refs.get(n) == o for s in file.sets)}
        new = {name: value for name, value in lost.items() if name not in again}
        keeps = bool(new) and is_sudden(
            len(new),
            total(),
            self._threshold,
            recent=sum(count for _, count in departed),
            arrived=sum(count for _, count in arrived),
        )
        file.departed = _counted(departed, now, len(new))
        file.arrived = _counted(arrived, now, came)
        if keeps:
            taken = {each.since for each in file.sets}
            since = next(
                moment for moment in range(now, now + len(taken) + 1) if moment not in taken
            )
            file.sets.append(KeptSet(since, now + KEEP_SECONDS, total(), new))
        self._write(file)
        for each in file.sets:
            if each.refs.keys() & lost.keys():
                self._make(each)
        if keeps:
            _log.warning(
                "kept",
                "{repository}: {gone} of {total} refs were deleted or rewritten at once; their"
                " objects are kept until 'gittorrent confirm', see 'gittorrent status'",
                repository=str(self._layout.git_dir),
                gone=len(new),
                total=total(),
            )

    def _lost(self, changes: Sequence[Change]) -> dict[str, str]:
        """Return the values that refs lose: those deleted, and of many moves those rewritten."""
        lost = {name: old for name, old, new in changes if new is None and old is not None}
        moved = [
            (name, old, new) for name, old, new in changes if new is not None and old is not None
        ]
        if len(lost) + len(moved) > self._threshold.count:
            kept = descends(self._git, [(old, new) for _, old, new in moved])
            lost.update(
                (name, old) for (name, old, _), has in zip(moved, kept, strict=True) if not has
            )
        return {_text(name): str(old) for name, old in lost.items()}

    def _make(self, kept: KeptSet) -> None:
        """Write the refs that hold a set's values, as far as they are not there and objects are."""
        present = git_refs.read_refs(self._git, kept.folder)
        wanted = {_place(kept, name): Oid(value) for name, value in kept.refs.items()}
        missing = [(name, oid) for name, oid in wanted.items() if name not in present]
        here = describe(self._git, [oid for _, oid in missing])
        made: list[Change] = [
            (name, None, oid) for (name, oid), found in zip(missing, here, strict=True) if found
        ]
        git_refs.apply_changes(self._git, made, self._object_format)
        if len(made) > 1:
            self._git.run("pack-refs", "--all")

    def make_again(self) -> None:
        """Write the refs of all that is kept, where a crash took them."""
        for each in self.sets():
            self._make(each)

    def settle(self, refs: Refs) -> None:
        """Let go of what is there again with the same value, and of what has been kept for long.

        Args:
            refs: that the log shows.
        """
        file = self._read()
        if not file.sets:
            return
        now, shown = self._clock(), {_text(name): str(oid) for name, oid in refs.items()}
        for each in file.sets:
            left = {n: o for n, o in each.refs.items() if shown.get(n) != o}
            if not left or 0 < each.until <= now:
                self.release(each.since)
            elif len(left) < len(each.refs):
                self._drop(each, each.refs.keys() - left.keys())
                self._replace(replace(each, refs=left))

    def release(self, since: int) -> None:
        """Let go of a set: its objects go with git's next garbage collection."""
        for each in self.sets():
            if each.since == since:
                self._drop(each, each.refs.keys())
        file = self._read()
        file.sets = [each for each in file.sets if each.since != since]
        self._write(file)

    def keep_for_good(self, since: int) -> None:
        """Keep a set until somebody lets it go."""
        for each in self.sets():
            if each.since == since:
                self._replace(replace(each, until=0))

    def _drop(self, kept: KeptSet, names: Collection[str]) -> None:
        present = git_refs.read_refs(self._git, kept.folder)
        wanted = {_place(kept, name) for name in kept.refs if name in names}
        gone: list[Change] = [(name, oid, None) for name, oid in present.items() if name in wanted]
        git_refs.apply_changes(self._git, gone, self._object_format)

    def _replace(self, kept: KeptSet) -> None:
        file = self._read()
        file.sets = [kept if each.since == kept.since else each for each in file.sets]
        self._write(file)

    def _read(self) -> _File:
        try:
            return msgspec.convert(json.loads(self._layout.kept.read_bytes()), _File)
        except (FileNotFoundError, NotADirectoryError):
            return _File()
        except (ValueError, msgspec.ValidationError):
            # The refs themselves are what keeps the objects, and stay.
            _log.error(
                "damaged",
                "{path} is damaged; what was kept before stays below " + PREFIX,
                path=str(self._layout.kept),
            )
            return _File()

    def _write(self, file: _File) -> None:
        data = json.dumps(msgspec.to_builtins(file)).encode("ascii")
        write_atomically(self._layout.kept, data)


def _counted(moments: Sequence[tuple[int, int]], now: int, count: int) -> list[tuple[int, int]]:
    """Count what went or came just now; of one hour there is one entry."""
    if not count:
        return [*moments]
    *earlier, (last, before) = moments or [(now, 0)]
    if last > now - _TOGETHER_SECONDS:
        return [*earlier, (last, before + count)]
    return [*moments, (now, count)]


def _text(name: RefName) -> str:
    return name.decode("utf-8", "surrogateescape")


def _place(kept: KeptSet, name: str) -> RefName:
    """Return the ref that keeps the value of another one."""
    raw = name.encode("utf-8", "surrogateescape").removeprefix(b"refs/")
    return RefName(kept.folder.encode("ascii") + raw)
