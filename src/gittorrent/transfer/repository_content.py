"""What a carried repository can give, read from disk as it is at the moment of asking.

Tracks the log's records and the reels found last time, with the state of the file and the
directory they came from. Another process may publish or mirror while this one serves, so every
question looks whether they changed. Damage on disk is logged and answered as "not here".

Must not know who asks, or over which transport. One thread uses it at a time: it is asked by the
executor of its repository (`Served.reading`).
"""

from __future__ import annotations

import errno
import hashlib
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

from gittorrent.durable import file_state
from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.git import history
from gittorrent.ids import Oid
from gittorrent.push.facts import NoObjects
from gittorrent.push.log_range import entries_after, policies_beyond
from gittorrent.push.log_state import EntryError
from gittorrent.push.object import PushKind
from gittorrent.reel.bundle import bundles_of
from gittorrent.reel.path import ReelOffer, best_path
from gittorrent.repository.carried import CLONE, MIRROR, ORIGIN
from gittorrent.repository.completeness import without_objects
from gittorrent.repository.damaged_reels import AROUND, damaged_reels, note_damaged
from gittorrent.repository.push_packs import PushPacks
from gittorrent.transfer.content_source import ServedPack
from gittorrent.transfer.deflated_logs import KeptLogs, deflated
from gittorrent.transfer.static_files import index_of_pushes
from gittorrent.wire.limits import MAX_TAG_BYTES, MAX_TAG_DEPTH, MAX_TAGS_BYTES
from gittorrent.wire.messages import ALL, FetchLog, HaveBundle, HaveCheckpoint
from gittorrent.wire.mirrorlist import NONE_UNTAKEN, Untaken
from gittorrent.wire.reelname import ReelName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from gittorrent.durable import FileState
    from gittorrent.ids import ManifestId, PushId, RefName
    from gittorrent.push.records import Record
    from gittorrent.reel.bundle import Bundle
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.reelstore import StoredReel

MAX_OFFERS = 1000
"""Reels named in one answer: years of daily pushes, and one line each."""

CATCHING_UP_SECONDS = 300.0
"""Time that a mirror has to take a checkpoint before it counts as stale: most look each minute."""

RECENT = 8
"""Checkpoints whose pushes are given with their objects: who is behind more asks otherwise."""

DEMAND_SECONDS = 60.0
"""Seconds between two times that it is written down which commits clones asked for."""

MAX_NOTED = 256
"""Commits noted in between; further ones are not counted."""

SETTLED_SECONDS = 2.0
"""Age below which a file's time cannot tell two changes apart, so that it is read again."""

_log = EventLog(__name__)

T = TypeVar("T")


class RepositoryContent:
    """The content of one carried repository.

    Args:
        carried: the repository.
        clock: seconds since 1970.
        kept_logs: where answers are kept that may be asked for again.
    """

    def __init__(
        self,
        carried: Carried,
        clock: Callable[[], float] = time.time,
        kept_logs: KeptLogs | None = None,
    ) -> None:
        self.carried = carried
        self._kept_logs = KeptLogs(0) if kept_logs is None else kept_logs
        self._repository = carried.info.repository_id
        self._clock = clock
        self._log: _Remembered[_KnownLog] = _Remembered(clock)
        self._unshown: frozenset[PushId] = frozenset()
        self._judged: object = None
        self._reels: _Remembered[list[StoredReel]] = _Remembered(clock)
        self._indexes: _Remembered[list[StoredReel]] = _Remembered(clock)
        self._shapes: _Remembered[list[StoredReel]] = _Remembered(clock)
        self.push_packs = PushPacks(carried.git, carried.object_format)
        self._bundles: tuple[object, object, object, list[Bundle]] | None = None
        self._damaged: _Remembered[dict[ManifestId, FileState]] = _Remembered(clock)
        self._not_noted: dict[ManifestId, FileState] = {}  # damaged, too, but not written down
        self._tags: dict[Oid, bytes] = {}
        self._tagged_at: object = None
        self._tips_asked: Counter[Oid] = Counter()
        self._tips_noted = -math.inf

    def latest(self) -> PushId | None:
        """Return the newest checkpoint that the log has adopted."""
        head = self._known().head
        return None if head is None else head.id

    def is_current(self, latest: PushId, now: float) -> bool:
        """Tell whether somebody is up to date who has adopted ``latest``, or was so just now.

        Args:
            latest: a checkpoint.
            now: seconds since 1970.
        """
        known = self._known()
        place = known.places.get(latest)
        if place is None:
            return False
        following = known.adopted[place + 1 :][:1]
        return not following or now - following[0].time < CATCHING_UP_SECONDS

    def records(self) -> Sequence[Record]:
        """Return what is listed of the log's entries, each after those that it names."""
        return self._known().records

    def has_push(self, push: PushId) -> bool:
        """Tell whether an entry is in the log."""
        return push in self._known().entries

    def state(self) -> object:
        """Return what differs when something else is shown."""
        return self._known().state, self._log.seen

    def untaken(self) -> Untaken:
        """Return what is shown beyond the checkpoint adopted: pushes, and policies."""
        known = self._known()
        if not known.untaken and not known.policies:
            return NONE_UNTAKEN
        unshown = self._not_shown()
        return Untaken.of([*known.policies, *(p for p in known.untaken if p not in unshown)])

    def _known(self) -> _KnownLog:
        store = self.carried.log_store
        return self._log.get(store.path, lambda: _KnownLog(_guarded(store.records, [])))

    def _not_shown(self) -> frozenset[PushId]:
        """Return the pushes whose objects are not here; the log is opened only for these."""
        known, state = self._known(), self.state()
        if state != self._judged:
            self._unshown = _guarded(self._read_unshown, frozenset(known.untaken))
            self._judged = state
        return self._unshown

    def _read_unshown(self) -> frozenset[PushId]:
        if not self._known().untaken:
            return frozenset()
        carried = self.carried
        return frozenset(push.id for push in without_objects(carried.git, carried.log()))

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

    def bundles(self) -> list[Bundle]:
        """Return the best chain of reels from the beginning as git's bundles; found once for each.

        Of a log that begins late there are none.
        """
        known, reels = self._known(), self.reels()
        damaged, kept = self._known_damaged(), self._bundles
        if kept is None or kept[0] is not known or kept[1] is not reels or kept[2] != damaged:
            kept = self._bundles = (known, reels, damaged, self._read_bundles(known, reels))
        return kept[3]

    def _read_bundles(self, known: _KnownLog, reels: Sequence[StoredReel]) -> list[Bundle]:
        numbers = {record.id: record.number for record in known.adopted}
        chain = [reel.manifest for reel in self._chain(known, reels)]
        return bundles_of((manifest.id, numbers[manifest.end], manifest) for manifest in chain)

    def chain(self) -> list[StoredReel]:
        """Return the reels by which newcomers get furthest; none of a log that begins late."""
        return self._chain(self._known(), self.reels())

    def _chain(self, known: _KnownLog, reels: Sequence[StoredReel]) -> list[StoredReel]:
        if known.begins_late:
            return []
        whole = {reel.id: reel for reel in reels if self._is_given(reel)}
        offers = [
            ReelOffer(i, r.manifest.start, r.manifest.end, r.manifest.pack_size)
            for i, r in whole.items()
        ]
        log = [record.id for record in known.adopted]
        return [whole[offer.manifest] for offer in best_path(offers, (), log)]

    def shapes(self) -> list[StoredReel]:
        """Return the reels of other shapes than the whole."""
        return self._shapes.get(self.carried.layout.shapes, self._read_shapes)

    def _read_shapes(self) -> list[StoredReel]:
        found = self.carried.shapes.all()
        return [reel for reel in found if reel.manifest.repository == self._repository]

    def indexes(self) -> list[StoredReel]:
        """Return the indexes of reels' packs that have a signed manifest."""
        return self._indexes.get(self.carried.layout.indexes, self._read_indexes)

    def _read_indexes(self) -> list[StoredReel]:
        found = self.carried.indexes.all()
        return [index for index in found if index.manifest.repository == self._repository]

    def reel(self, manifest: ManifestId) -> StoredReel | None:
        """Return one reel, or the index of one, that can be served."""
        reel = _guarded(lambda: self._find(manifest), None)
        # A clone may hold reels of other repositories too; whoever calls for this one has no claim.
        if reel is None or reel.manifest.repository != self._repository:
            return None
        # Of a publication that a crash cut short nothing is given, whoever knows its ids. A clone
        # does not know the ids of checkpoints from before its log begins.
        known = self._known()
        if reel.manifest.end not in known.places and not known.begins_late:
            return None
        return reel if self._is_given(reel) else None

    def _find(self, manifest: ManifestId) -> StoredReel | None:
        carried = self.carried
        return (
            carried.reels.get(manifest)
            or carried.shapes.get(manifest)
            or carried.indexes.get(manifest)
        )

    def _is_given(self, reel: StoredReel) -> bool:
        """Tell whether a reel's pack is here, and not known to be damaged as it is now."""
        damaged = self._known_damaged().get(reel.id)
        return reel.is_available and (damaged is None or file_state(reel.pack) != damaged)

    def _known_damaged(self) -> dict[ManifestId, FileState]:
        """Return the reels that were found damaged, by this or another program, as they were.

        Those are given all the same of which the parts are right.
        """
        layout = self.carried.layout

        def read() -> dict[ManifestId, FileState]:
            found = damaged_reels(layout)
            return {reel.manifest: reel.state for reel in found if reel.part != AROUND}

        noted = self._damaged.get(layout.damaged_reels, read)
        return noted | self._not_noted if self._not_noted else noted

    def stored(self, manifest: ManifestId) -> StoredReel | None:
        """Return one reel, or the index of one, whether or not it is given to anybody."""
        return _guarded(lambda: self._find(manifest), None)

    def is_damaged(self) -> bool:
        """Tell whether reels were found damaged that are as they were."""
        return bool(damaged_reels(self.carried.layout))

    def doubt(self, manifest: ManifestId, part: int) -> bool:
        """Look at a part of a reel that somebody says came wrong; tells whether it is damaged.

        A reel of which a part is damaged is given to nobody until its file is another one.
        """
        reel = self.reel(manifest)
        if reel is None or part >= len(reel.manifest.parts):
            return False
        state = file_state(reel.pack)
        if state is None:
            return False
        try:
            if reel.is_sound_part(part):
                return False
        except OSError as error:
            if error.errno != errno.EIO:
                # It may be gone by now, or too many files may be open: that is no damage.
                _log.warning("damaged", "cannot look at a reel: {reason}", reason=error)
                return False
        try:
            note_damaged(self.carried.layout, manifest, part, reel.pack, int(self._clock()))
        except OSError as error:
            self._not_noted[manifest] = state
            _log.warning("damaged", "cannot note that a reel is damaged: {reason}", reason=error)
        return True

    def head(self) -> HaveCheckpoint | None:
        """Return the newest checkpoint that the log has adopted."""
        head = self._known().head
        return None if head is None else HaveCheckpoint(head.id, head.number)

    def push(self, push: PushId) -> bytes | None:
        """Return a push object that the log lists, or a tag that a ref shown leads to."""
        if not self.has_push(push):
            return self.tags().get(Oid(push))
        return _guarded(lambda: self.carried.log_store.push_file(push), None)

    def push_pack(self, push: PushId) -> bytes | None:
        """Return the pack that comes with a push that is not final, or not for long."""
        kept = self.push_packs.known(push)
        if kept is not None or push not in self._known().recent:
            return kept
        return _guarded(lambda: self._made_pack(push), None)

    def _made_pack(self, push: PushId) -> bytes | None:
        found = self.carried.log_store.push(push)
        return self.push_packs.made(push, found, lambda: self._values_below(push))

    def _values_below(self, push: PushId) -> list[Oid]:
        """Return what whoever wants a push has: what refs were at a checkpoint without it."""
        log = self.carried.log_store.open(NoObjects())
        refs = log.final_refs
        if push not in self._known().untaken:
            try:
                refs = log.refs_at(log.push(push).certificate.nonce.checkpoint)
            except EntryError:
                refs = {}  # it is about what is not kept of the log
        return sorted(set(refs.values()))

    def tags(self) -> dict[Oid, bytes]:
        """Return the annotated tags that are published; read once for each state of the log."""
        state = self.state()
        if state != self._tagged_at:
            self._tags = _guarded(self._read_tags, {})
            self._tagged_at = state
        return self._tags

    def _read_tags(self) -> dict[Oid, bytes]:
        git, found, size = self.carried.git, dict[Oid, bytes](), 0
        wanted = sorted(set(self.carried.log().refs.values()))
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

    def log_entries(self, question: FetchLog) -> Sequence[PushId] | None:
        """Return the ids of the entries asked for, each after those it names; None if not here."""
        found = self._entries(question)
        return None if found is None else [record.id for record in found]

    def deflated_log(self, question: FetchLog) -> Iterable[bytes] | None:
        """Return these entries as a stream, which others may have asked for before."""
        ids = self.log_entries(question)
        if ids is None:
            return None
        digest = hashlib.sha256("".join(ids).encode("ascii")).digest()
        # Another copy of a push, with further certificates, is a new file.
        layout = self.carried.layout
        files = file_state(layout.pushes), file_state(layout.push_packs)
        key = (self._repository, self._log.seen, files, digest)
        return self._kept_logs.given(key, lambda: deflated(ids, self.push))

    def _entries(self, question: FetchLog) -> Sequence[Record] | None:
        known = self._known()
        is_all_here = self.carried.info.role in (MIRROR, ORIGIN)
        if question.head not in known.entries or not (question.short or is_all_here):
            return None
        unshown = self._not_shown()
        return entries_after(known.records, question.base, short=question.short, unshown=unshown)

    def log_index(self, *, short: bool) -> bytes:
        """Return the lines of ``pushes/index`` or ``pushes/short``."""
        latest = self.latest()
        question = None if latest is None else FetchLog(latest, short=short)
        found = None if question is None else self._entries(question)
        return index_of_pushes(found or ())

    def offers(self, reel: ReelName) -> Sequence[HaveBundle]:
        """Return the reels between the two ends asked for, and their indexes, newest end first."""
        return self._between(reel, [*self.reels(), *self.indexes()])

    def shaped_offers(self, reel: ReelName) -> Sequence[HaveBundle]:
        """Return the same of other shapes than the whole, and take note that they are asked for."""
        if self.carried.info.role in (MIRROR, CLONE):
            _guarded(lambda: self.carried.shapes.note_asked(self._clock()), None)
        return self._between(reel, self.shapes())

    def note_tip(self, commit: Oid) -> None:
        """Take note that a clone of one commit asked for it.

        It is written down now and then, as of the branches that lead there: who makes reels goes by
        it. No git is started for that.
        """
        if commit in self._tips_asked or len(self._tips_asked) < MAX_NOTED:
            self._tips_asked[commit] += 1
        now = self._clock()
        if now - self._tips_noted >= DEMAND_SECONDS:
            self._tips_noted = now
            _guarded(lambda: self._write_demand(now), None)

    def _write_demand(self, now: float) -> None:
        noted, self._tips_asked = self._tips_asked, Counter()
        if self.carried.info.role not in (MIRROR, ORIGIN):
            return
        refs = self.carried.log_store.open(NoObjects()).final_refs
        asked: Counter[RefName] = Counter()
        for ref, oid in sorted(refs.items()):
            if ref.startswith(b"refs/heads/") and oid in noted:
                # Further branches that lead there are served by the same reel.
                asked[ref] += noted.pop(oid)
        if asked:
            self.carried.shapes.note_demand(asked, now)

    def _between(self, reel: ReelName, reels: Sequence[StoredReel]) -> Sequence[HaveBundle]:
        known = self._known()
        places, older = known.places, -1 if known.begins_late else None
        end = places.get(reel.end)
        start = -1 if reel.start is None else places.get(reel.start)
        if end is None or start is None:
            return ()
        found = []
        for stored in reels:
            manifest = stored.manifest
            at_end = places.get(manifest.end, older)
            at_start = -1 if manifest.start is None else places.get(manifest.start, older)
            if at_end is None or at_start is None or not start <= at_start <= at_end <= end:
                continue
            if self._is_given(stored):
                name = ReelName(manifest.start, manifest.end)
                offer = HaveBundle(name, stored.id, manifest.pack_size, ALL, manifest.shape)
                found.append((at_end, -at_start, offer))
        found.sort(key=lambda item: item[:2], reverse=True)
        return [offer for _, _, offer in found[:MAX_OFFERS]]

    def all_offers(self) -> Sequence[HaveBundle]:
        """Return every reel that can be served, newest end first."""
        latest = self.latest()
        if latest is None:
            return ()
        return self._between(
            ReelName(None, latest), [*self.reels(), *self.indexes(), *self.shapes()]
        )

    def manifest(self, manifest: ManifestId) -> bytes | None:
        """Return a manifest with its signature, if its pack is here too."""
        reel = self.reel(manifest)
        if reel is None:
            return None
        if reel.manifest.shape.commit is not None:
            self.note_tip(reel.manifest.shape.commit)
        return reel.manifest_file

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


class _KnownLog:
    """The log as it was found.

    Args:
        records: of its entries.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        adopted = [record for record in records if record.is_in_chain]
        taken = {push for record in adopted for push in record.pushes}
        pushes = (record for record in records if record.kind is PushKind.CERTIFICATE)
        self.records = records
        self.adopted = adopted
        self.head = adopted[-1] if adopted else None
        self.entries = {record.id for record in records}
        self.places = {record.id: place for place, record in enumerate(adopted)}
        self.begins_late = bool(adopted) and adopted[0].number > 1
        self.untaken = [record.id for record in pushes if record.id not in taken]
        self.recent = {*self.untaken, *(push for at in adopted[-RECENT:] for push in at.pushes)}
        """Pushes whose packs may still be of use to somebody."""
        self.policies = policies_beyond(records)
        self.state = (*(record.id for record in adopted[-1:]), *self.untaken, *self.policies)
        """What decides what is shown: the head, and pushes and policies on top of it."""


class _Remembered(Generic[T]):
    """A value read from a path, good until the path changes; ``seen`` tells one state of it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seen: tuple[int, int, int] | None = None
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
        if seen != self.seen or not self._settled or self._value is None:
            self._value = read()
            self.seen, self._settled = seen, age > SETTLED_SECONDS
        return self._value


def _guarded(read: Callable[[], T], instead: T) -> T:
    """Return what ``read`` gives; damage on disk is logged and gives ``instead``."""
    try:
        return read()
    except (GitTorrentError, OSError) as error:
        _log.warning("damaged", "cannot serve a damaged file: {reason}", reason=error)
        return instead
