"""What a carried repository can give, read from disk as it is at the moment of asking.

Tracks the log's ids and the reels found last time, with the state of the file and the directory
they came from. Another process may publish or mirror while this one serves, so every question
looks whether they changed. Damage on disk is logged and answered as "not here".

Must not know who asks, or over which transport. One thread uses it at a time: it is asked by the
executor of its repository (`Served.reading`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.git import history
from gittorrent.ids import Oid
from gittorrent.push.object import parse_push_object
from gittorrent.transfer.content_source import ServedPack
from gittorrent.wire.limits import MAX_TAG_BYTES, MAX_TAG_DEPTH, MAX_TAGS_BYTES
from gittorrent.wire.messages import ALL, HaveBundle, HavePush
from gittorrent.wire.reelname import ReelName

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gittorrent.ids import ManifestId, PushId
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.reelstore import StoredReel

MAX_OFFERS = 1000
"""Reels named in one answer: years of daily pushes, and one line each."""

SETTLED_SECONDS = 2.0
"""Age below which a file's time cannot tell two changes apart, so that it is read again."""

_log = EventLog(__name__)

T = TypeVar("T")


class RepositoryContent:
    """The content of one carried repository.

    Args:
        carried: the repository.
        clock: seconds since 1970.
    """

    def __init__(self, carried: Carried, clock: Callable[[], float] = time.time) -> None:
        self.carried = carried
        self._repository = carried.info.repository_id
        self._ids: _Remembered[list[PushId]] = _Remembered(clock)
        self._places: _Remembered[dict[PushId, int]] = _Remembered(clock)
        self._reels: _Remembered[list[StoredReel]] = _Remembered(clock)
        self._tags: dict[Oid, bytes] = {}
        self._tagged_at: PushId | None = None

    def ids(self) -> list[PushId]:
        """Return the ids of the log, oldest first; do not change the list."""
        store = self.carried.log_store
        return self._ids.get(store.path, lambda: _guarded(store.ids, []))

    def latest(self) -> PushId | None:
        """Return the log's head."""
        ids = self.ids()
        return ids[-1] if ids else None

    def has_push(self, push: PushId) -> bool:
        """Tell whether a push is in the log."""
        return push in self._index()

    def reels(self) -> list[StoredReel]:
        """Return every reel of the store; whether it can be served is asked of each."""
        return self._reels.get(self.carried.layout.reels, self._read_reels)

    def _read_reels(self) -> list[StoredReel]:
        # One damaged manifest must not hide the others, so each is opened by itself.
        store = self.carried.reels
        found = []
        for path in sorted(self.carried.layout.reels.glob("*.manifest")):
            name = path.name.removesuffix(".manifest")
            reel = _guarded(lambda name=name: store.get(name), None)  # type: ignore[misc]
            if reel is not None and reel.manifest.repository == self._repository:
                found.append(reel)
        return found

    def reel(self, manifest: ManifestId) -> StoredReel | None:
        """Return one reel that can be served."""
        reel = _guarded(lambda: self.carried.reels.get(manifest), None)
        # A clone may hold reels of other repositories too; whoever calls for this one has no claim.
        if reel is None or reel.manifest.repository != self._repository:
            return None
        # Of a publication that a crash cut short nothing is given, whoever knows its ids.
        if not self.has_push(reel.manifest.end):
            return None
        return reel if reel.is_available else None

    def heads(self) -> Sequence[HavePush]:
        """Return the log's head, with the key that signed it."""
        latest = self.latest()
        data = None if latest is None else self.push(latest)
        if latest is None or data is None:
            return ()
        try:
            signer = parse_push_object(data).signer
        except GitTorrentError as error:
            _log.warning("damaged", "push {push} is damaged: {reason}", push=latest, reason=error)
            return ()
        return (HavePush(latest, None if signer is None else str(signer)),)

    def push(self, push: PushId) -> bytes | None:
        """Return a push object that the log lists, or a tag that a ref of its head leads to."""
        if not self.has_push(push):
            return self._tags_of_head().get(Oid(push))
        return _guarded(lambda: self.carried.log_store.push_file(push), None)

    def _tags_of_head(self) -> dict[Oid, bytes]:
        """Return the annotated tags that are published; read once for each head of the log."""
        latest = self.latest()
        if latest is None:
            return {}
        if latest != self._tagged_at:
            self._tags = _guarded(lambda: self._read_tags(latest), {})
            self._tagged_at = latest
        return self._tags

    def _read_tags(self, head: PushId) -> dict[Oid, bytes]:
        git, found, size = self.carried.git, dict[Oid, bytes](), 0
        wanted = sorted(set(self.carried.log_store.refs_at(head).values()))
        for _ in range(MAX_TAG_DEPTH):
            infos = [info for info in history.describe(git, wanted) if info is not None]
            tags = [i for i in infos if i.kind == "tag" and i.size <= MAX_TAG_BYTES]
            size += sum(info.size for info in tags)
            if size > MAX_TAGS_BYTES:
                break
            oids = [info.oid for info in tags]
            new = dict(zip(oids, history.read_objects(git, oids), strict=True))
            found |= new
            named = filter(None, map(history.read_tag, new.values()))
            wanted = sorted({oid for oid, kind in named if kind == "tag"} - found.keys())
            if not wanted:
                break
        return found

    def log_between(self, head: PushId, base: PushId | None) -> Sequence[PushId] | None:
        """Return the ids after ``base`` up to ``head``, oldest first; all if base is unknown."""
        places = self._index()
        if head not in places:
            return None
        first = 0 if base is None else places.get(base, -1) + 1
        return self.ids()[first : places[head] + 1]

    def offers(self, reel: ReelName) -> Sequence[HaveBundle]:
        """Return the reels that lie between the two ends asked for, newest end first."""
        places = self._index()
        end = places.get(reel.end)
        start = -1 if reel.start is None else places.get(reel.start)
        if end is None or start is None:
            return ()
        found = []
        for stored in self.reels():
            manifest = stored.manifest
            at_end = places.get(manifest.end)
            at_start = -1 if manifest.start is None else places.get(manifest.start)
            if at_end is None or at_start is None or not start <= at_start < at_end <= end:
                continue
            if stored.is_available:
                name = ReelName(manifest.start, manifest.end)
                offer = HaveBundle(name, stored.id, manifest.pack_size, ALL)
                found.append((at_end, -at_start, offer))
        found.sort(key=lambda item: item[:2], reverse=True)
        return [offer for _, _, offer in found[:MAX_OFFERS]]

    def all_offers(self) -> Sequence[HaveBundle]:
        """Return every reel that can be served, newest end first."""
        latest = self.latest()
        return () if latest is None else self.offers(ReelName(None, latest))

    def manifest(self, manifest: ManifestId) -> bytes | None:
        """Return a manifest with its signature, if its pack is here too."""
        reel = self.reel(manifest)
        return None if reel is None else reel.manifest_file

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        """Return the pack of a reel."""
        reel = self.reel(manifest)
        if reel is None:
            return None
        found = reel.manifest
        return ServedPack(
            ReelName(found.start, found.end),
            reel.pack,
            reel.view,
            found.part_size,
            len(found.parts),
        )

    def _index(self) -> dict[PushId, int]:
        def build() -> dict[PushId, int]:
            return {push: at for at, push in enumerate(self.ids())}

        return self._places.get(self.carried.log_store.path, build)


class _Remembered(Generic[T]):
    """A value read from a path, good until the path changes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._settled = False
        self._value: T | None = None

    def get(self, path: Path, read: Callable[[], T]) -> T:
        """Return the value, read again if the path changed or changed only just now."""
        try:
            stat = path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            age = self._clock() - stat.st_mtime
        except OSError:
            seen, age = (0, 0, 0), 0.0
        if seen != self._seen or not self._settled or self._value is None:
            self._value = read()
            self._seen, self._settled = seen, age > SETTLED_SECONDS
        return self._value


def _guarded(read: Callable[[], T], instead: T) -> T:
    """Return what ``read`` gives; damage on disk is logged and gives ``instead``."""
    try:
        return read()
    except (GitTorrentError, OSError) as error:
        _log.warning("damaged", "cannot serve a damaged file: {reason}", reason=error)
        return instead
