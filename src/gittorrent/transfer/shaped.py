"""Reels for those who clone less than everything, and what an ordinary fetch adds to them.

``--depth 1`` takes the tip reel of the commit that is wanted, and ``--filter=blob:none`` the chain
of history reels; files that a partial clone needs for its checkout come by the tip reel of the
commit that has them. Where the newest reel is not new enough, what it holds is the base of an
ordinary fetch, which brings the difference. Whatever no reel covers, and whatever else may be
wanted, is left to that fetch alone.

Rules: nothing of a manifest is believed but what its parts are; the objects are proved as those of
an ordinary fetch are (`gittorrent.repository.quarantine`), and what was not wanted does not stay.
Objects that are to keep to fsck's rules come by ordinary fetches, since git holds a pack to them
that lacks nothing. Source: docs/protocol/mirrorsync.md, "Shapes".
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import TrustError, UnreachableError
from gittorrent.git import history, scratch
from gittorrent.git.runner import GitError
from gittorrent.repository.prepared import Prepared
from gittorrent.repository.receive import LyingReelError, receiving
from gittorrent.repository.reelstore import ReelStore
from gittorrent.shapes import HISTORY
from gittorrent.store.partial import kept_of
from gittorrent.transfer.pack_download import WithheldError
from gittorrent.transfer.working import stoppable
from gittorrent.wire.limits import MAX_TAG_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from gittorrent.git.fetching import FetchOptions
    from gittorrent.git.runner import Git
    from gittorrent.ids import Oid
    from gittorrent.push.log import VerifiedLog
    from gittorrent.reel.path import ReelOffer
    from gittorrent.repository.layout import Layout
    from gittorrent.repository.quarantine import Extent
    from gittorrent.repository.receive import Receiver, SignedManifest
    from gittorrent.transfer.acquire import Acquisition
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.ordinary import Wanted

LEAST_BLOBS = 64
"""Files wanted at once from which on it is asked for a tip reel: a checkout wants all of a tree,
``git log -p`` and the like a few."""

LEAST_SHARE = 0.5
"""Share of a tip reel's files that have to be wanted; with fewer, its other bytes cost more than an
upload-pack that is asked for those alone."""

MAX_WEIGHED = 64
"""Tip reels whose trees are looked through for files that are wanted."""

_LIMITS = frozenset({"depth", "deepen-since", "deepen-not", "filter"})


class _Chosen(Struct, frozen=True):
    """Reels to take.

    Args:
        reels: in order, each with its verified manifest.
        base: commits that an ordinary fetch is told of; everything of the reels' shape that they
            reach is in them.
        leaves: kind of the objects that they leave out though others refer to them.
        is_cut_off: whether the history before ``base`` is not there.
        is_exact: whether they hold what is wanted and nothing else.
    """

    reels: Sequence[tuple[ReelOffer, SignedManifest]]
    base: Sequence[Oid]
    leaves: str
    is_cut_off: bool = False
    is_exact: bool = False


class ShapedReels:
    """Brings shaped reels for one update of a repository, whose lock the caller holds.

    Args:
        acquisition: open, its log fetched.
        layout: of the repository.
        log: the verified log.
        context: of the world around it.
    """

    def __init__(
        self, acquisition: Acquisition, layout: Layout, log: VerifiedLog, context: Context
    ) -> None:
        self._acquisition = acquisition
        self._layout = layout
        self._log = log
        self._context = context

    @contextmanager
    def receiver(self) -> Iterator[Receiver]:
        """Yield what takes the reels; its packs are gone afterwards."""
        with receiving(self._layout, self._log.object_format, ReelStore(self._layout)) as receiver:
            yield receiver

    async def bring(
        self, wants: Sequence[Wanted], options: FetchOptions, extent: Extent, receiver: Receiver
    ) -> Prepared | None:
        """Bring the reels that help with what is wanted.

        Args:
            wants: ids, with the names of refs that point at them.
            options: how they are wanted.
            extent: of the repository.
            receiver: takes the reels.

        Returns:
            What came; None where no reel helps, or none could be had.

        Raises:
            LocalError: this machine could not take them.
        """
        try:
            # Git holds a pack to the rules that lacks nothing.
            is_for_git = receiver.checks_rules or options.has("refetch")
            chosen = None if is_for_git else await self._choose(wants, options, extent)
            while chosen is not None and not await self._have_it_given(chosen, receiver):
                chosen = await self._choose(wants, options, extent)
            if chosen is None:
                return None
        except LyingReelError as error:
            self._acquisition.distrust(self._log, error)
            return None
        except (UnreachableError, TrustError) as error:
            self._context.reporter.detail(f"no reel of that shape: {error}; fetching instead")
            return None
        promised = options.has("from-promisor") or "filter" in options.settings
        return Prepared(
            receiver.staging,
            receiver.packs,
            chosen.base,
            is_cut_off=chosen.is_cut_off,
            promised=promised,
            is_exact=chosen.is_exact,
            leaves=chosen.leaves,
            lacks=receiver.lacks,
        )

    async def _have_it_given(self, chosen: _Chosen, receiver: Receiver) -> bool:
        """Download reels; False if those who offered them do not give them, and others may.

        Raises:
            NoSourceError: they are not given, and there may be no other way.
        """
        self._acquisition.gather(self._log)
        try:
            await self._download(chosen, receiver)
        except WithheldError as error:
            if receiver.count:
                raise
            self._context.reporter.detail(f"{error}; looking for another reel")
            return False
        return True

    async def _download(self, chosen: _Chosen, receiver: Receiver) -> None:
        partial, manifests = self._context.home.partial, [s.manifest for _, s in chosen.reels]
        here = kept_of(partial, [manifest.id for manifest in manifests]).size
        size = sum(manifest.pack_size for manifest in manifests) - here
        with self._context.space.claim(size, partial, self._layout.git_dir):
            for offer, signed in chosen.reels:
                await self._acquisition.download(offer, signed, receiver, ())

    def give_up(self, reason: str) -> None:
        """Drop what reels brought, which may not hold what their shape says."""
        self._context.reporter.note(f"reels of that shape are no help: {reason}; fetching anew")
        self._acquisition.discard_partial()

    async def _choose(
        self, wants: Sequence[Wanted], options: FetchOptions, extent: Extent
    ) -> _Chosen | None:
        limits = {name: options.settings[name] for name in options.settings.keys() & _LIMITS}
        if not self._layout.has_objects():
            if limits == {"depth": ["1"]}:
                return await self._tip(wants)
            if limits == {"filter": ["blob:none"]}:
                return await self._history({want.oid for want in wants})
        elif (
            extent.partial
            and not options.moves_boundary
            and (len(wants) >= LEAST_BLOBS or self._acquisition.first_makes_no_packs)
        ):
            return await self._files([want.oid for want in wants])
        return None

    # -- one commit

    async def _tip(self, wants: Sequence[Wanted]) -> _Chosen | None:
        """Return the tip reel of the commit that is wanted, or of an earlier one of its branch."""
        if len({want.oid for want in wants}) != 1:
            return None
        want = wants[0]
        commit = want.oid
        if want.name.startswith(b"refs/tags/"):
            commit = await self._peeled(commit)

        async def choose(offers: Sequence[ReelOffer]) -> ReelOffer | None:
            exact = [offer for offer in offers if offer.shape.commit == commit]
            return next(iter(exact or self._earlier(offers, want)), None)

        found = await self._acquisition.find_tip(self._log, choose)
        if found is None:
            return None
        base = found[0].shape.commit
        assert base is not None
        return _Chosen([found], [base], "commit", is_cut_off=True, is_exact=base == commit)

    async def _peeled(self, tag: Oid) -> Oid:
        """Return what a tag leads to, as far as mirrors prove it; itself if that is no tag."""
        for _ in range(MAX_TAG_DEPTH):
            named = await self._acquisition.read_tag(self._log, tag)
            if named is None:
                break
            tag, kind = named
            if kind != "tag":
                break
        return tag

    def _earlier(self, offers: Sequence[ReelOffer], want: Wanted) -> list[ReelOffer]:
        """Return the tips of commits that a branch led to at checkpoints before."""
        known = set(self._log.ids)
        return [
            offer
            for offer in offers
            if offer.end in known
            and self._log.refs_at(offer.end).get(want.name) == offer.shape.commit
        ]

    # -- commits and trees

    async def _history(self, wants: AbstractSet[Oid]) -> _Chosen | None:
        self._acquisition.gather(self._log)
        reels = await self._acquisition.plan(self._log, (), HISTORY)
        end = reels[-1][0].end if reels else None
        if end is None or end not in set(self._log.ids):
            return None
        base = list(dict.fromkeys(self._log.refs_at(end).values()))
        return _Chosen(reels, base, "blob", is_exact=wants == set(base))

    # -- the files of a commit

    async def _files(self, wants: Sequence[Oid]) -> _Chosen | None:
        """Return the tip reel that has most of the files that are wanted."""
        least = 0.0 if self._acquisition.first_makes_no_packs else LEAST_SHARE
        shares: dict[ReelOffer, float] = {}

        async def choose(offers: Sequence[ReelOffer]) -> ReelOffer | None:
            weighed = offers[:MAX_WEIGHED]
            chosen, share = await stoppable(self._with_files, weighed, frozenset(wants), least)
            if chosen is not None:
                shares[chosen] = share
            return chosen

        found = await self._acquisition.find_tip(self._log, choose)
        if found is None:
            return None
        return _Chosen([found], (), "commit", is_exact=shares[found[0]] == 1)

    def _with_files(
        self, offers: Sequence[ReelOffer], wanted: frozenset[Oid], least: float
    ) -> tuple[ReelOffer | None, float]:
        """Find out by the trees that are here, which tell what files a commit has; blocks.

        Args:
            offers: of tip reels.
            wanted: files.
            least: share of a reel's files that have to be wanted.

        Returns:
            The best of the offers, if one is good enough, and which share of its files is wanted.
        """
        commits = [offer.shape.commit for offer in offers if offer.shape.commit is not None]
        best, share = None, least
        # In a repository that knows no remote, where git cannot go and fetch what is missing.
        with scratch.borrowing(self._layout.objects, self._log.object_format) as git:
            present = history.describe(git, commits)
            for offer, info in zip(offers, present, strict=True):
                if info is None or info.kind != "commit":
                    continue
                files = _files_of(git, info.oid)
                if files & wanted and len(files & wanted) / len(files) >= share:
                    best, share = offer, len(files & wanted) / len(files)
        return best, share


def _files_of(git: Git, commit: Oid) -> set[Oid]:
    """Return the files of a commit; none where trees of it are missing, as they may be."""
    try:
        return history.files_of(git, commit)
    except GitError as error:
        if error.is_own_trouble:
            raise
        return set()
