"""Makes new reels and signs their manifests, where the keeper's key is.

Two kinds: the reel from the last checkpoint that has one to the log's head, and reels that are
*spliced*, which replace several of a chain (`gittorrent.reel.splicing`). Publishing makes them, and
the node that signs checkpoints does (`gittorrent.repository.making`).

Rules: whoever makes reels holds ``making.lock``, so that no two do; nothing is spliced before the
log counts, and a splice that fails changes nothing. Source: docs/protocol/reels.md, "Splicing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import locked
from gittorrent.git import scratch
from gittorrent.git.history import MissingObjectError, describe
from gittorrent.reel.build import build_reel
from gittorrent.reel.index_manifest import may_have_index
from gittorrent.reel.selftest import find_encoder
from gittorrent.reel.splicing import lasting_chain, splice_from
from gittorrent.repository.index_maker import sign_new_index
from gittorrent.repository.rebuild import install_built, store_built
from gittorrent.repository.reel_tips import ReelStart, changed_between, read_tips
from gittorrent.repository.stale_files import clear_building

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.reel.build import ReelPack
    from gittorrent.reel.path import ReelOffer
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.signing.keys import Signer


class ReelMaker:
    """Makes the reels of one repository; the caller holds its ``making.lock``.

    Args:
        carried: the repository.
        log: its log.
        signer: with the keeper's key.
        progress: told how far building a reel is.
        note: told what else the owner should know.
    """

    def __init__(
        self,
        carried: Carried,
        log: VerifiedLog,
        signer: Signer,
        progress: Callable[[str, int, int], None],
        note: Callable[[str], None],
    ) -> None:
        self._carried = carried
        self._log = log
        self._signer = signer
        self._progress = progress
        self._note = note

    def extend(self, *, is_locked: bool) -> StoredReel | None:
        """Make the reel from the last checkpoint that has one to the log's head.

        Args:
            is_locked: whether the caller holds the repository's lock, which is not needed while
                the reel is encoded.

        Returns:
            The reel; None where there is one, or nothing is between the two.

        Raises:
            MissingObjectError: the repository is incomplete.
        """
        carried, log = self._carried, self._log
        assert log.head is not None
        if log.head in carried.reel_ends():
            return None
        begin = ReelStart.at(carried, log, self._last_covered(), log.head)
        parent = carried.layout.incoming if is_locked else carried.layout.building
        found = self._make(begin, parent, is_locked=is_locked)
        if found is None:
            return None
        reel, pack = found
        starts = [offer.start for offer in self._chain() if offer.start is not None]
        begin.keep_next(pack.newest, starts)
        return reel

    def splice(self) -> StoredReel | None:
        """Make one reel of the last ones of the chain, where its sizes ask for that.

        The caller does not hold the repository's lock, but ``building.lock``.

        Returns:
            The reel; None where the chain is good as it is.

        Raises:
            MissingObjectError: what refs pointed at where the chain ends is gone since.
        """
        chain = self._chain()
        first = splice_from([offer.pack_size for offer in chain])
        end = chain[-1].end if chain else None
        while first is not None and end is not None:
            start = chain[first].start
            if self._is_made(start, end):
                return None  # and there is a chain that is better for bytes alone
            try:
                if self._has_tips(start) or self._can_begin(start, end):
                    begin = ReelStart.at(self._carried, self._log, start, end)
                    found = self._make(begin, self._carried.layout.building, is_locked=False)
                    return None if found is None else found[0]
            except MissingObjectError:
                if not first:
                    raise
            first = first - 1 if first else None
        return None

    def _has_tips(self, start: PushId | None) -> bool:
        """Tell whether all commits are here that refs reach at a checkpoint, by what was kept."""
        return start is not None and read_tips(self._carried, self._log, start) is not None

    def _chain(self) -> list[ReelOffer]:
        """Return what a newcomer takes of the reels that are here and stay."""
        return lasting_chain(self._carried.reels.offers(self._log.repository), self._log.ids)

    def _is_made(self, start: PushId | None, end: PushId) -> bool:
        offers = self._carried.reels.offers(self._log.repository)
        return any((offer.start, offer.end) == (start, end) for offer in offers)

    def _last_covered(self) -> PushId | None:
        """Return the newest checkpoint to begin a reel after."""
        ends = self._carried.reel_ends()
        head = self._log.head
        assert head is not None
        for checkpoint in reversed(self._log.ids):
            if checkpoint in ends and self._can_begin(checkpoint, head):
                return checkpoint
        return None

    def _can_begin(self, start: PushId | None, end: PushId) -> bool:
        """Tell whether a reel can begin after a checkpoint.

        One whose objects are gone (rewound and pruned since) is no start any more.
        """
        if start is None:
            return True
        changed = changed_between(self._log, start, end)
        gone = self._log.refs_at(start).values() if changed is None else changed.gone
        return None not in describe(self._carried.git, sorted(set(gone)))

    def _make(
        self, begin: ReelStart, parent: Path, *, is_locked: bool
    ) -> tuple[StoredReel, ReelPack] | None:
        """Build and sign one reel, and put it into the store."""
        carried = self._carried
        with scratch.receiving(parent, carried.object_format) as staging:
            work = staging.directory / "reel"
            work.mkdir()
            pack = build_reel(
                carried.layout.objects,
                carried.object_format,
                begin.before(),
                begin.new(),
                work,
                tips=begin.tips,
                progress=self._progress,
            )
            if pack is None:
                return None
            self._warn_of_other_bytes()
            manifest = pack.manifest(
                self._log.repository, carried.object_format, begin.checkpoint, begin.end
            )
            signature = self._signer.sign(manifest.text())
            store = store_built if is_locked else install_built
            store(carried, pack, manifest, signature, self._progress)
        reel = carried.reels.get(manifest.id)
        assert reel is not None
        if may_have_index(manifest):
            sign_new_index(carried, reel, self._signer)
        return reel, pack

    def _warn_of_other_bytes(self) -> None:
        """Say so if the reel will not be what its definition says; it works for downloads."""
        encoder = find_encoder()
        if encoder.trouble:
            self._note(
                f"warning: {encoder.trouble}; the reel can be downloaded, but no clone can rebuild"
                f" it to become a seed\nhint: {encoder.remedy}, before you publish"
            )


def splice_all(maker: ReelMaker, carried: Carried) -> list[StoredReel]:
    """Splice until the chain is good; the caller holds ``making.lock`` only.

    Raises:
        GitTorrentError: the reasons `ReelMaker.splice` has; what was made before stays.
    """
    made = []
    with locked(carried.layout.building_lock):
        clear_building(carried.layout)
        while (reel := maker.splice()) is not None:
            made.append(reel)
    return made
