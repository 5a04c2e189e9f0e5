"""Makes reels for those who clone less than everything, where the keeper's key is.

Two shapes: the tip reel of the default branch, of branches that the owner names, and of those that
clones ask for most (`gittorrent.reel.ref_demand`); and a chain of history reels, which is continued
and spliced as the chain of whole reels is. When, says `gittorrent.reel.shape_timing`. They are
copies of what the repository has, in a store of their own (`gittorrent.repository.shapestore`).

Rules: whoever makes them holds ``making.lock`` and ``building.lock``, and not the repository's
lock, so that no push waits; a shaped reel ends at a checkpoint that counts.
Source: docs/protocol/reels.md, "Reels of other shapes".
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from gittorrent.durable import locked
from gittorrent.git import scratch
from gittorrent.git.history import describe
from gittorrent.ids import RefName
from gittorrent.reel.build import build_reel
from gittorrent.reel.path import ReelOffer
from gittorrent.reel.shape_timing import (
    NONE_MADE,
    is_history_due,
    is_tip_due,
    tips_among,
)
from gittorrent.reel.splicing import (
    GRACE_SECONDS,
    lasting_chain,
    place,
    splice_from,
    superseded,
)
from gittorrent.repository.index_maker import sign_lacking_indexes
from gittorrent.repository.reel_tips import ReelStart, changed_between
from gittorrent.repository.shape_settings import read_wanted
from gittorrent.repository.stale_files import clear_building
from gittorrent.shapes import HISTORY, Shape, tip_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.ids import Oid, PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.reel.shape_timing import Made
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.signing.keys import Signer

MOST_BRANCHES = 8
"""Branches with a tip reel, whoever wants them: each holds all files of its tree. None is made
for clones alone once such reels have as many bytes together as the whole ones."""


class ShapeMaker:
    """Makes the shaped reels of one repository.

    Args:
        carried: the repository.
        log: its log.
        signer: with the keeper's key.
        now: seconds since 1970.
        progress: told how far building a reel is.
    """

    def __init__(
        self,
        carried: Carried,
        log: VerifiedLog,
        signer: Signer,
        now: float,
        progress: Callable[[str, int, int], None],
    ) -> None:
        self._carried = carried
        self._log = log
        self._signer = signer
        self._now = now
        self._progress = progress
        self._wanted, self._branches = read_wanted(carried.git)

    def make_due(self) -> list[StoredReel]:
        """Make what is due, sign indexes that are not, and drop what was replaced long ago.

        Raises:
            MissingObjectError: the repository is incomplete.
            GitTorrentError: this machine could not do it; what was made before stays.
        """
        sign_lacking_indexes(self._carried, self._signer)
        self._carried.shapes.sweep()
        made: list[StoredReel] = []
        whole = lasting_chain(self._carried.reels.offers(self._log.repository), self._log.ids)
        whole_bytes = sum(offer.pack_size for offer in whole)
        if self._wanted.are_made(whole_bytes):
            made += self._tips(whole_bytes)
            made += self._history()
        self._drop_replaced()
        return made

    def _made(self) -> list[Made]:
        store = self._carried.shapes
        reels = [r for r in store.all() if r.manifest.repository == self._log.repository]
        return [(reel.manifest, store.since(reel)) for reel in reels]

    # -- tips

    def _tips(self, most_bytes: int) -> list[StoredReel]:
        """Make the tip reels that are due.

        Args:
            most_bytes: that those of branches may have which nobody but clones asks for.
        """
        made, log = [], self._log
        assert log.head is not None
        refs = log.refs_at(log.head)
        chosen = set(self._chosen_branches())
        for branch in self._branches_with_tips():
            if branch not in chosen and self._asked_bytes(chosen) >= most_bytes:
                break
            value = refs.get(branch)
            commit = None if value is None else self._commit(value)
            tips = self._tips_of(branch)
            if commit is not None and is_tip_due(tips, commit, self._now, self._wanted.patience):
                reel = self._make(None, log.head, (), refs.values(), None, tip_of(commit))
                made += [] if reel is None else [reel]
        return made

    def _chosen_branches(self) -> list[RefName]:
        """Return the default branch and those that the owner names."""
        default = self._log.default_branch
        branches = [*(() if default is None else (RefName(default),)), *self._branches]
        return list(dict.fromkeys(branches))[:MOST_BRANCHES]

    def _branches_with_tips(self) -> list[RefName]:
        """Return these, and then those that clones ask for most."""
        asked = self._carried.shapes.demand().most_asked(self._now)
        return list(dict.fromkeys([*self._chosen_branches(), *asked]))[:MOST_BRANCHES]

    def _asked_bytes(self, chosen: Iterable[RefName]) -> int:
        """Return how many bytes the tip reels of other branches than the chosen ones have."""
        own = {manifest.id for branch in chosen for manifest, _ in self._tips_of(branch)}
        tips = [m for m, _ in self._made() if m.shape.commit is not None and m.id not in own]
        return sum(manifest.pack_size for manifest in tips)

    def _tips_of(self, branch: RefName) -> list[Made]:
        made, known = self._made(), set(self._log.ids)
        ends = {manifest.end for manifest, _ in made if manifest.end in known}
        return tips_among(made, {end: self._log.refs_at(end).get(branch) for end in ends})

    def _commit(self, value: Oid) -> Oid | None:
        """Return what a branch points at if it is a commit, as it should be."""
        (info,) = describe(self._carried.git, [value])
        return value if info is not None and info.kind == "commit" else None

    # -- history

    def _history(self) -> list[StoredReel]:
        """Continue the chain, and splice it until it is good."""
        log, made = self._log, []
        assert log.head is not None
        covered = self._last_covered()
        places = {checkpoint: number for number, checkpoint in enumerate(log.ids)}
        uncovered = places[log.head] - (-1 if covered is None else places[covered])
        if is_history_due(self._made(), uncovered, self._now, self._wanted.patience):
            reel = self._make_history(covered, log.head)
            made += [] if reel is None else [reel]
        chain = self._chain()
        while made and (first := splice_from([offer.pack_size for offer in chain])) is not None:
            start, end = chain[first].start, chain[-1].end
            if any((offer.start, offer.end) == (start, end) for offer in self._offers()):
                break  # there is a chain that is better for bytes alone
            reel = self._make_history(start if self._can_begin(start, end) else None, end)
            if reel is None:
                break
            made.append(reel)
            chain = self._chain()
        return made

    def _make_history(self, start: PushId | None, end: PushId) -> StoredReel | None:
        begin = ReelStart.at(self._carried, self._log, start, end)
        return self._make(start, end, begin.before(), begin.new(), begin.tips, HISTORY)

    def _offers(self) -> list[ReelOffer]:
        return [
            ReelOffer(manifest.id, manifest.start, manifest.end, manifest.pack_size, HISTORY)
            for manifest, _ in self._made()
            if manifest.shape == HISTORY
        ]

    def _chain(self) -> list[ReelOffer]:
        return lasting_chain(self._offers(), self._log.ids)

    def _last_covered(self) -> PushId | None:
        """Return the newest checkpoint that a history reel ends at and another can begin after."""
        ends = {offer.end for offer in self._offers()}
        head = self._log.head
        assert head is not None
        found = (at for at in reversed(self._log.ids) if at in ends and self._can_begin(at, head))
        return next(found, None)

    def _can_begin(self, start: PushId | None, end: PushId) -> bool:
        """Tell whether what refs pointed at where a reel would begin is here still."""
        if start is None or start == end:
            return True
        changed = changed_between(self._log, start, end)
        gone = self._log.refs_at(start).values() if changed is None else changed.gone
        return None not in describe(self._carried.git, sorted(set(gone)))

    # -- both

    def _make(
        self,
        start: PushId | None,
        end: PushId,
        before: Iterable[Oid],
        after: Iterable[Oid],
        tips: frozenset[Oid] | None,
        shape: Shape,
    ) -> StoredReel | None:
        """Build and sign one reel, and put it into the store."""
        carried = self._carried
        with scratch.receiving(carried.layout.building, carried.object_format) as staging:
            work = staging.directory / "reel"
            work.mkdir()
            pack = build_reel(
                carried.layout.objects,
                carried.object_format,
                before,
                after,
                work,
                tips=tips,
                shape=shape,
                progress=self._progress,
            )
            if pack is None:
                return None
            manifest = pack.manifest(self._log.repository, carried.object_format, start, end)
            return carried.shapes.store(manifest, self._signer.sign(manifest.text()), pack.path)

    def _drop_replaced(self) -> None:
        """Drop what others have replaced for long enough, and all that is not wanted any more."""
        made, store = self._made(), self._carried.shapes
        gone = {
            manifest.id
            for manifest, since in made
            if manifest.shape.commit is not None and self._now - since >= GRACE_SECONDS
        }
        for branch in self._branches_with_tips():
            tips = self._tips_of(branch)
            gone -= {manifest.id for manifest, _ in tips}
            for (manifest, _), (_, later) in pairwise(tips):
                if self._now - later >= GRACE_SECONDS:
                    gone.add(manifest.id)
        places = {checkpoint: number for number, checkpoint in enumerate(self._log.ids)}
        found = {
            manifest.id: (at, since)
            for manifest, since in made
            if manifest.shape == HISTORY
            and (at := place(manifest.start, manifest.end, places)) is not None
        }
        ranges = {reel: at for reel, (at, _) in found.items()}
        replaced = superseded(ranges, {reel: since for reel, (_, since) in found.items()})
        needed = {offer.manifest for offer in self._chain()}
        gone |= {
            reel
            for reel, since in replaced.items()
            if reel not in needed and self._now - since >= GRACE_SECONDS
        }
        for manifest, _ in made:
            is_lost = manifest.end not in places
            if manifest.id in gone or is_lost or self._wanted in NONE_MADE:
                reel = store.get(manifest.id)
                if reel is not None:
                    store.drop(reel)


def make_shapes(maker: ShapeMaker, carried: Carried) -> list[StoredReel]:
    """Make what is due; the caller holds ``making.lock`` only.

    Raises:
        GitTorrentError: the reasons `ShapeMaker.make_due` has; what was made before stays.
    """
    with locked(carried.layout.building_lock):
        clear_building(carried.layout)
        return maker.make_due()
