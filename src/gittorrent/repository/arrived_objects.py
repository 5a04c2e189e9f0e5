"""Puts objects of entries that arrived where nothing looks yet, as far as they are whole.

What comes with an entry, or is here already, has to be all that its new values reach; what is not
here is never made up for by what the repository has and does not show. Packs are unpacked; large
ones are kept as they are. Blocks; use it in threads, one at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.git.fsckrules import RulesBrokenError
from gittorrent.git.guarded import Bounds
from gittorrent.git.small_pack import SmallPackError, pack_objects_in
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.push.object import PushKind
from gittorrent.repository.index_settings import push_rules
from gittorrent.repository.small_intake import MAX_UNPACKED, SECONDS, UnpackError, unpack
from gittorrent.repository.uploads import SMALL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.ids import Oid, PushId
    from gittorrent.repository.kept_log import KeptLog
    from gittorrent.repository.small_intake import Identified
    from gittorrent.repository.uploads import Upload

RULES_SECONDS = 60.0
"""Time for which the configuration of fsck's rules is not read again."""


class Arrived(Struct, frozen=True):
    """An entry as it was sent.

    Args:
        id: what it was asked for by.
        data: the push object in its file form.
        pack: the objects that came with it; None if they are here, or come otherwise.
    """

    id: PushId
    data: bytes
    pack: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes that came."""
        return len(self.data) + len(self.pack or b"")


class HeldEntry(Struct, frozen=True):
    """An entry that arrived, read."""

    arrived: Arrived
    entry: Identified

    @property
    def id(self) -> PushId:
        return self.entry.id

    @property
    def size(self) -> int:
        return self.arrived.size


class ArrivedObjects:
    """Unpacks what came for one repository.

    Args:
        kept: its log.
        steady: seconds that never run backwards.
    """

    def __init__(self, kept: KeptLog, steady: Callable[[], float]) -> None:
        self._kept = kept
        self._steady = steady
        self._known_rules: tuple[float, FsckRules] | None = None

    def unpacked(self, upload: Upload, items: Sequence[HeldEntry]) -> list[HeldEntry]:
        """Unpack what came; return those entries of which everything is there.

        Args:
            upload: where to.
            items: the entries, in the order in which they build on each other.
        """
        if any(len(item.arrived.pack or b"") > SMALL_BYTES for item in items):
            return [item for item in items if self._is_there(upload, item)]
        if self._unpacked_together(upload, items):
            return list(items)
        if len(items) > 1:  # then one by one, each on top of those before
            return [each for item in items for each in self.unpacked(upload, [item])]
        pack = items[0].arrived.pack
        whole = pack is not None and self._is_whole(upload, items[0], pack)
        return list(items) if whole else []

    def _is_there(self, upload: Upload, item: HeldEntry) -> bool:
        """Unpack one, on top of those before; a large pack is kept as it is."""
        pack = item.arrived.pack
        if pack is not None and len(pack) > SMALL_BYTES:
            return self._is_whole(upload, item, pack)
        return bool(self.unpacked(upload, [item]))

    def _unpacked_together(self, upload: Upload, items: Sequence[HeldEntry]) -> bool:
        """Unpack what came with some entries; tell whether everything is there."""
        git, object_format = upload.staging, self._kept.carried.object_format
        packs = [item.arrived.pack for item in items if item.arrived.pack is not None]
        entries = [item.entry for item in items]
        try:
            if self._has_parents(entries):
                unpack(git, packs, entries, object_format, self._rules())
            else:  # git's rules say that links lead somewhere
                unpack(git, packs, [], object_format, self._rules())
                unpack(git, [], entries, object_format, None)
            self._check(upload, items)
        except (UnpackError, SmallPackError, PushRefusedError):
            return False
        return True

    def _is_whole(self, upload: Upload, item: HeldEntry, pack: bytes) -> bool:
        """Tell whether nothing is missing if all that was sent counts, though it is here already.

        Git does not unpack what the repository has, shown or not.
        """
        object_format = self._kept.carried.object_format
        try:
            objects = pack_objects_in(pack, object_format)
            upload.note_pack(pack, objects, Bounds(MAX_UNPACKED, SECONDS), self._rules())
            unpack(upload.staging, [], [item.entry], object_format, None)
            self._check(upload, [item])
        except (UnpackError, SmallPackError, PushRefusedError, RulesBrokenError):
            return False
        return True

    def _rules(self) -> FsckRules:
        """Return what objects must keep to, by the configuration as it was lately."""
        now = self._steady()
        if self._known_rules is None or now - self._known_rules[0] >= RULES_SECONDS:
            self._known_rules = now, push_rules(self._kept.carried.layout.git_dir)
        return self._known_rules[1]

    def _has_parents(self, entries: Sequence[Identified]) -> bool:
        """Tell whether everything that some entries are on is here, or among them."""
        own = {entry.id for entry in entries}
        with self._kept.reading() as log:
            return all(p in log or p in own for entry in entries for p in entry.parents)

    def _check(self, upload: Upload, items: Sequence[HeldEntry]) -> None:
        """Prove that everything is there that the new values reach.

        Raises:
            PushRefusedError: something is missing.
        """
        with self._kept.reading() as log:
            certificates = [
                log.read_push(item.entry.push, item.id).certificate
                for item in items
                if item.entry.push.kind is PushKind.CERTIFICATE
            ]
            if not certificates:
                return
            listing = log.ledger.view().listing
        lines = [line for certificate in certificates for line in certificate.lines]
        tips: list[Oid] = [line.new for line in lines if line.new is not None]
        if tips:
            names = [listing.head, *(line.ref for line in lines)]
            likely = [oid for ref in names if (oid := listing.value(ref)) is not None]
            upload.note_loose()
            upload.check(tips, likely, lambda: listing.shown_refs().values())
