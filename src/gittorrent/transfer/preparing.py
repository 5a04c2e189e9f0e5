"""Finds and builds the reels that a clone can seed, again after each new push.

Everything a seed gives is built from the clone's own objects and compared with manifests that were
verified; nothing is downloaded but the log and the manifests. Reels of other shapes than the whole
are built once somebody asks for such. What cannot be built is looked at
again when the clone has fetched; a clone that is behind goes on giving what it has.

Rules: the repository's lock is held only to write the log; a reel that came out otherwise than it
was signed is not tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.durable import locked_patiently
from gittorrent.errors import GitTorrentError, UnreachableError, UsageError
from gittorrent.permissions import explain_local_error
from gittorrent.repository.carried import CLONE, Carried, RepositoryInfo
from gittorrent.repository.logstore import listed_pushes
from gittorrent.repository.rebuild import present
from gittorrent.repository.rebuilding import RebuildOutcome, jobs_of, rebuild_reels
from gittorrent.repository.shapestore import ShapesDue
from gittorrent.repository.stale_files import remove_stale_files
from gittorrent.transfer.acquire import Acquisition
from gittorrent.transfer.catching_up import fetch_command
from gittorrent.transfer.index_manifests import IndexManifests
from gittorrent.transfer.log_extent import LogExtent
from gittorrent.transfer.offered_reels import OfferedReels
from gittorrent.transfer.opening import ask_list
from gittorrent.transfer.seedable import SeedableReels, UnbuildableReel, why_not
from gittorrent.transfer.working import stoppable, unbroken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from gittorrent.ids import ManifestId, Oid, PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.reel.path import ReelOffer
    from gittorrent.repository.rebuilding import Result
    from gittorrent.repository.receive import SignedManifest
    from gittorrent.transfer.context import Context, Reporter
    from gittorrent.transfer.location import Location
    from gittorrent.transfer.reaching import Source

LOOK_SECONDS = 1.0
"""How often it is looked whether the clone has fetched something."""

FOLLOW_SECONDS = 30.0
"""How often the mirror is asked for new pushes."""

OFFERS_SECONDS = 60.0
"""Time for the manifests of reels that newcomers do not take; the next look goes on with them."""

AT_ONCE = 4
"""Manifests asked for at once: each may be long."""

MAX_SAID = 200
"""Lines remembered that a seed has said of its mirrors; after so many it says no more."""

_TOUCHED = ("FETCH_HEAD", "HEAD", "logs/HEAD", "packed-refs", "refs/heads", "refs/tags", "reftable")
"""What git writes when refs change, in a git directory."""


class NothingToSeedError(GitTorrentError):
    """The clone holds no whole reel, and none can be built from its objects."""


class NotASeedError(UsageError):
    """The repository is something else already and cannot be a seed of this one."""


class CloneGoneError(GitTorrentError):
    """What was a clone when seeding began is none any more, or another one."""

    def __init__(self, git_dir: Path) -> None:
        super().__init__(
            f"{git_dir} is gone, or another repository is there now",
            hint="a clone that was moved: run 'gittorrent seed' with its new place",
        )


class _SaidOnce:
    """Tells the user what happens, as another reporter does, and nothing twice.

    Whoever looks again every half minute meets the same mirror that is gone each time.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._said: set[str] = set()
        self.downloading = reporter.downloading
        self.phase = reporter.phase
        self.git_says = reporter.git_says
        self.close = reporter.close

    def note(self, text: str) -> None:
        """Tell the user something that matters, the first time."""
        if text not in self._said and len(self._said) < MAX_SAID:
            self._said.add(text)
            self._reporter.note(text)

    def detail(self, text: str) -> None:
        """Say something that explains what goes on, every time."""
        self._reporter.detail(text)


class Preparer:
    """Prepares one clone.

    Args:
        carried: the clone.
        location: a mirror of its repository.
        context: of the world around it.
        progress: told how far building is.
        every: seconds between questions to the mirror, once it follows.
    """

    def __init__(
        self,
        carried: Carried,
        location: Location,
        context: Context,
        progress: Callable[[str, int, int], None],
        every: float = FOLLOW_SECONDS,
    ) -> None:
        self._carried = carried
        self._location = location
        self._context = replace(context, reporter=_SaidOnce(context.reporter))
        self._progress = progress
        self._every = every
        self._missing: dict[ManifestId, UnbuildableReel] = {}
        self._different: dict[ManifestId, None] = {}
        self._failed: dict[ManifestId, str] = {}
        self._latest: PushId | None = None
        self._mirror: Source | None = None
        self._seen: list[int] = []
        self._place = _place(carried.layout.git_dir)
        self._shown: object = None

    @property
    def carried(self) -> Carried:
        """The clone, with the log of the repository that is seeded once that is known."""
        return self._carried

    @property
    def mirror(self) -> Source | None:
        """The mirror that answered last; None before any did."""
        return self._mirror

    async def prepare(self) -> SeedableReels:
        """Make sure that the clone has the log and every reel it can give.

        Raises:
            NothingToSeedError: there is nothing to give.
            NotASeedError: it is published or mirrored there, and another repository than this.
            GitTorrentError: the reasons acquiring has.
        """
        found = await self._look(yielding=False)
        if not found.held and not found.built:
            raise NothingToSeedError(
                f"{self._carried.layout.git_dir} holds no reel of {found.name}",
                hint="\n".join(why_not(found, self._carried.layout.git_dir, self._location.url))
                or f"{self._location.url} offers none",
            )
        self._shown = _gist(found)
        return found

    async def follow(self, show: Callable[[SeedableReels], None]) -> None:
        """Look for new pushes, and for what the clone fetches, until cancelled; `prepare` first.

        Args:
            show: given what can be given, when that has changed.

        Raises:
            NotASeedError: it has become private.
            CloneGoneError: the clone was deleted, moved or replaced.
        """
        loop = asyncio.get_running_loop()
        ask_at = loop.time() + self._every
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._every))
            git_dir = self._carried.layout.git_dir
            # What is written there from now on would make it anew, or go into another repository.
            if _place(git_dir) != self._place:
                raise CloneGoneError(git_dir)
            is_touched = self._touched() != self._seen
            if not is_touched and loop.time() < ask_at:
                continue
            ask_at = loop.time() + self._every
            try:
                if not (is_touched or await self._is_worth_it()):
                    continue
                found = await self._look(yielding=True)
            except NotASeedError:
                raise  # it has become private
            except GitTorrentError as error:
                self._note_trouble(error)
            except OSError as error:
                trouble = explain_local_error(error)
                if trouble is None:
                    raise
                self._note_trouble(trouble)
            else:
                if found.built or _gist(found) != self._shown:
                    self._shown = _gist(found)
                    show(found)

    def _note_trouble(self, error: GitTorrentError) -> None:
        """Say what keeps us from following: what is here is given all the same."""
        self._context.reporter.note(f"cannot follow {self._location.url} just now: {error}")

    async def _is_worth_it(self) -> bool:
        """Tell whether the mirror has a new push, or something that was missing is here now."""
        source = self._mirror
        assert source is not None
        assert source.endpoint is not None
        if await self._is_asked_for_shapes():
            return True
        try:
            mirror_list, _ = await ask_list(
                source.endpoint, source.trusted, self._context.client_timeouts
            )
        except UnreachableError:
            return True  # there may be another
        if mirror_list.latest != self._latest:
            return True
        wanted = {lack.oid for lack in self._missing.values() if lack.oid is not None}
        return bool(await self._present(wanted))

    async def _is_asked_for_shapes(self) -> bool:
        """Tell whether something is to be done about reels of other shapes."""
        shapes, now = self._carried.shapes, self._context.clock()
        return await stoppable(shapes.due, now, is_changed=False) is not ShapesDue.NONE

    def _touched(self) -> list[int]:
        """Return when git last changed what it changes when it has fetched."""
        return [_changed_at(self._carried.layout.git_dir / name) for name in _TOUCHED]

    async def _look(self, *, yielding: bool) -> SeedableReels:
        """Bring the log up to date and build what can be built."""
        self._seen = self._touched()
        carried = self._carried
        async with Acquisition(self._location, self._context) as acquisition:
            claimed = await acquisition.open()
            object_format = acquisition.object_format
            if self._latest is None:
                carried = Carried(carried.layout.git_dir, object_format, claimed)
                self._carried = carried
            # What a reel is made of is known by the refs at its ends, however long ago.
            log = await acquisition.fetch_log(carried.log_store, object_format, LogExtent.WHOLE)
            if log.policy.policy.private:
                raise NotASeedError(
                    f"{log.policy.policy.name} is private: a clone gives nothing of it to others",
                    hint="'gittorrent mirror' it where readers are let in; docs/guide-private.md",
                )
            self._mirror = acquisition.first
            info = self._info(log, acquisition.source_url())
            held, left = await self._sort(acquisition, log)
            # Whoever looks does so because something has changed, or since somebody asked.
            builder = OfferedReels(acquisition, carried, log, self._context)
            shaped = await builder.follow_shapes(is_changed=True)
            indexes = IndexManifests(acquisition, carried, log, self._context)
            await indexes.follow(is_changed=True)
        results = []
        if left:
            jobs = await stoppable(jobs_of, log, left)
            results = await rebuild_reels(carried, jobs, self._progress, yielding=yielding)
        built = self._take(results, {each.manifest.id: each.manifest.end for each in left})
        held += [each.manifest for each in results if each.outcome is RebuildOutcome.HELD]
        if held or built:
            async with locked_patiently(carried.layout.lock):
                await unbroken(self._commit, log, info)
        assert log.head is not None
        self._latest = log.head
        behind = await self._behind(log)
        remedy = ""
        if behind is not None:
            git_dir = carried.layout.git_dir
            remedy = await stoppable(fetch_command, git_dir, self._location, log.repository)
        return SeedableReels(
            info.name,
            log.repository,
            log.head,
            tuple(dict.fromkeys(held)),
            (*built, *shaped),
            tuple(self._missing.values()),
            tuple(self._different),
            dict(self._failed),
            behind,
            remedy,
        )

    async def _sort(
        self, acquisition: Acquisition, log: VerifiedLog
    ) -> tuple[list[ManifestId], list[SignedManifest]]:
        """Part the reels that are here from those that it may be worth to build.

        First those that newcomers take, then whatever else the mirror offers.
        """
        chain, offered = await self._named_reels(acquisition, log)
        planned = dict.fromkeys(signed.manifest.id for _, signed in chain)
        others = [offer for offer in offered if offer.manifest not in planned]
        lacking = {lack.oid for lack in self._missing.values() if lack.oid is not None}
        here = await self._present(lacking)
        left = [signed for _, signed in chain if self._is_worth_building(signed.manifest.id, here)]
        wanted = [offer for offer in others if self._is_worth_building(offer.manifest, here)]
        left += await self._manifests(acquisition, log, wanted)
        left = self._with_known_ends(left, log)
        everything = {**planned, **{offer.manifest: None for offer in others}}
        held = [manifest for manifest in everything if self._is_held(manifest)]
        lacking_yet = everything.keys() - set(held)
        self._missing = {m: lack for m, lack in self._missing.items() if m in lacking_yet}
        self._failed = {m: reason for m, reason in self._failed.items() if m in lacking_yet}
        return held, left

    def _with_known_ends(
        self, reels: Iterable[SignedManifest], log: VerifiedLog
    ) -> list[SignedManifest]:
        """Leave out reels of which nobody can tell here what they are made of."""
        known = {None, *log.ids}
        found = []
        for signed in reels:
            manifest = signed.manifest
            if manifest.start in known and manifest.end in known:
                found.append(signed)
            else:
                self._failed[manifest.id] = "the log that its mirrors have begins later"
        return found

    async def _named_reels(
        self, acquisition: Acquisition, log: VerifiedLog
    ) -> tuple[Sequence[tuple[ReelOffer, SignedManifest]], Sequence[ReelOffer]]:
        """Return the reels that newcomers take, and all that the first mirror offers.

        Where that one names none, or does not answer, others are asked what newcomers take.
        """
        chain: Sequence[tuple[ReelOffer, SignedManifest]] = ()
        offered: Sequence[ReelOffer] = ()
        has_others = len(acquisition.sources(log)) > 1
        try:
            chain = await acquisition.plan(log, ())
            offered = await acquisition.offers(log)
        except GitTorrentError as error:
            if not chain and not has_others:
                raise
            # The chain may have come from others, and is what most take.
            self._context.reporter.detail(f"{self._location.url} names no more reels: {error}")
        if not chain and has_others:
            acquisition.gather(log)
            chain = await acquisition.plan(log, ())
        return chain, offered

    def _is_held(self, manifest: ManifestId) -> bool:
        stored = self._carried.reels.get(manifest)
        return stored is not None and stored.is_available

    def _is_worth_building(self, manifest: ManifestId, here: Collection[Oid]) -> bool:
        """Tell whether a reel that is not here might come out now, given what is here by now."""
        lack = self._missing.get(manifest)
        is_hopeless = lack is not None and lack.oid is not None and lack.oid not in here
        return not (is_hopeless or manifest in self._different or self._is_held(manifest))

    async def _manifests(
        self, acquisition: Acquisition, log: VerifiedLog, offers: Sequence[ReelOffer]
    ) -> list[SignedManifest]:
        """Return the manifests of offers that hold, as far as they come in reasonable time."""
        found: list[SignedManifest] = []

        async def take(offer: ReelOffer) -> None:
            try:
                found.append(await acquisition.manifest(log, offer))
            except GitTorrentError as error:
                self._context.reporter.detail(f"reel {offer.manifest} is left out: {error}")

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OFFERS_SECONDS):
                for first in range(0, len(offers), AT_ONCE):
                    await asyncio.gather(*map(take, offers[first : first + AT_ONCE]))
        return found

    def _take(self, results: Iterable[Result], ends: dict[ManifestId, PushId]) -> list[ManifestId]:
        """Remember what came of the reels; returns those that were built."""
        built = []
        for result in results:
            manifest = result.manifest
            self._missing.pop(manifest, None)
            self._failed.pop(manifest, None)
            if result.outcome is RebuildOutcome.BUILT:
                built.append(manifest)
            elif result.outcome is RebuildOutcome.MISSING:
                self._missing[manifest] = UnbuildableReel(manifest, ends[manifest], result.lacking)
            elif result.outcome is RebuildOutcome.DIFFERENT:
                self._different[manifest] = None
            elif result.outcome is RebuildOutcome.FAILED:
                self._failed[manifest] = result.reason
        return built

    def _info(self, log: VerifiedLog, source: str) -> RepositoryInfo:
        """Return what the clone is to be: a seed, unless it is published or mirrored there."""
        name = log.policy.policy.name
        if self._carried.is_carried and (info := self._carried.info).role != CLONE:
            if info.repository_id != log.repository:
                raise NotASeedError(
                    f"{self._carried.layout.git_dir} is the {info.role} of {info.name}, which is"
                    f" another repository than the one at {self._location.url}",
                    hint="'gittorrent serve' gives it to others",
                )
            return info
        return RepositoryInfo(log.repository, name, CLONE, source=source)

    def _commit(self, log: VerifiedLog, info: RepositoryInfo) -> None:
        """Make the log count, so that reels are found by its pushes; the caller holds the lock."""
        carried = self._carried
        remove_stale_files(carried.layout, listed_pushes(carried.layout) | set(log.entries))
        if carried.log_store.head() in (None, *log.ids):  # a fetch may have been faster
            carried.log_store.commit(log)
        if not carried.is_carried or carried.info != info:
            carried.set_info(info)

    async def _behind(self, log: VerifiedLog) -> str | None:
        refs = log.final_refs
        here = await self._present(refs.values())
        for name, oid in sorted(refs.items()):
            if oid not in here:
                return name.decode("utf-8", "backslashreplace")
        return None

    async def _present(self, oids: Iterable[Oid]) -> set[Oid]:
        asked = sorted(set(oids))
        return set(await stoppable(present, self._carried.git, asked))


def _gist(found: SeedableReels) -> tuple[object, ...]:
    """Return what is worth telling the user again when it has changed."""
    return (found.missing, found.different, tuple(found.failed), found.behind)


def _place(git_dir: Path) -> tuple[int, int] | None:
    """Return which directory a repository is; None if it is not there."""
    try:
        found = git_dir.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
