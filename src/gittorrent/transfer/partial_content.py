"""What a downloader can give while it downloads: the log, manifests, and every verified part.

So every clone helps the next from its first part on. Must not give anything unverified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.log_range import entries_after
from gittorrent.reel.pack import view_of
from gittorrent.transfer.content_source import EmptyContentSource, ServedPack
from gittorrent.transfer.deflated_logs import deflated
from gittorrent.wire.messages import ALL, HaveBundle, HaveCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.ids import ManifestId, PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.logstore import LogStore
    from gittorrent.repository.receive import SignedManifest
    from gittorrent.store.partial import PartialPack
    from gittorrent.swarm.bitmap import PartSet
    from gittorrent.transfer.mirror import WantedPack
    from gittorrent.wire.messages import FetchLog
    from gittorrent.wire.reelname import ReelName


class _Growing(Struct, frozen=True):
    """A pack on its way."""

    wanted: WantedPack
    signed: SignedManifest
    partial: PartialPack
    have: PartSet

    def offer(self) -> HaveBundle:
        """Return what is announced of it."""
        whole = len(self.have) == self.wanted.total
        return HaveBundle(
            self.wanted.reel,
            self.wanted.manifest,
            self.wanted.shape.pack_size,
            ALL if whole else self.have.to_bytes(),
            self.signed.manifest.shape,
        )


class PartialContent(EmptyContentSource):
    """Gives what a download has so far.

    Before `know` it is empty.
    """

    def __init__(self) -> None:
        self._log: VerifiedLog | None = None
        self._store: LogStore | None = None
        self._packs: dict[ManifestId, _Growing] = {}

    def know(self, log: VerifiedLog, store: LogStore) -> None:
        """Give the verified log too."""
        self._log, self._store = log, store

    def begin(
        self, wanted: WantedPack, signed: SignedManifest, partial: PartialPack, have: PartSet
    ) -> None:
        """Give parts of a pack as they are verified; ``have`` grows with them."""
        self._packs[wanted.manifest] = _Growing(wanted, signed, partial, have)

    def end(self) -> None:
        """Give no parts any more: the downloads are about to be moved away."""
        self._packs.clear()

    def announcement(self, manifest: ManifestId) -> HaveBundle | None:
        """Return what to tell others of a pack; None while there is nothing of it."""
        pack = self._packs.get(manifest)
        return pack.offer() if pack is not None and len(pack.have) else None

    def head(self) -> HaveCheckpoint | None:
        """Announce the checkpoint adopted."""
        if self._log is None or self._log.head is None:
            return None
        return HaveCheckpoint(self._log.head, self._log.number)

    def push(self, push: PushId) -> bytes | None:
        """Return a verified push object."""
        if self._log is None or self._store is None or push not in self._log:
            return None
        return self._store.push_file(push)

    def log_entries(self, question: FetchLog) -> Sequence[PushId] | None:
        """Return verified entries, to clones only: of what was taken there may be nothing here."""
        log = self._log
        if log is None or not question.short or question.head not in log:
            return None
        unshown = {push.id for push in log.unjudged}
        found = entries_after(log.records, question.base, short=True, unshown=unshown)
        return [record.id for record in found]

    def deflated_log(self, question: FetchLog) -> Iterable[bytes] | None:
        """Return the same as a stream."""
        ids = self.log_entries(question)
        return None if ids is None else deflated(ids, self.push)

    def offers(self, reel: ReelName) -> Sequence[HaveBundle]:
        """Return what there is of every pack and index on its way, were it nothing yet."""
        del reel
        return [offer for offer in self._growing() if not offer.shape.is_asked_for]

    def shaped_offers(self, reel: ReelName) -> Sequence[HaveBundle]:
        """Return the same of packs of other shapes than the whole."""
        del reel
        return [offer for offer in self._growing() if offer.shape.is_asked_for]

    def _growing(self) -> list[HaveBundle]:
        return [pack.offer() for pack in self._packs.values()]

    def manifest(self, manifest: ManifestId) -> bytes | None:
        """Return the manifest of a pack on its way."""
        pack = self._packs.get(manifest)
        return None if pack is None else pack.signed.file

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        """Return a pack on its way, of which only verified parts are given."""
        pack = self._packs.get(manifest)
        if pack is None:
            return None
        found = pack.signed.manifest
        return ServedPack(
            pack.wanted.reel,
            pack.partial.pack,
            view_of(found),
            found.part_size,
            pack.wanted.total,
            pack.have.__contains__,
        )
