"""Updates a repository to the newest push of its log; used by clones, mirrors and the cache.

A clone, a mirror and what a node keeps for clones are updated alike: reels as far as they reach, an
ordinary fetch for what they leave, everything proved before it is moved in, and last what of the
log had to wait for the objects. What differs between them is in the request (`Update`),
and in what they do with the result.

A repository whose own objects turn out to be incomplete, however that came about, gets them again
from the mirrors. No mirror is blamed for that.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from gittorrent.errors import UnreachableError
from gittorrent.git import history
from gittorrent.git import refs as git_refs
from gittorrent.git.fetching import FetchFailedError, FetchOptions
from gittorrent.git.fsckrules import RulesBrokenError
from gittorrent.git.runner import Git
from gittorrent.repository.quarantine import Extent, IncompleteSourceError, extent_of
from gittorrent.repository.receive import LyingReelError, receiving
from gittorrent.repository.reelstore import ReelStore
from gittorrent.store.partial import kept_of
from gittorrent.transfer.ordinary import OrdinaryFetch, Wanted
from gittorrent.transfer.pack_download import WithheldError
from gittorrent.transfer.shaped import ShapedReels
from gittorrent.transfer.working import stoppable, unbroken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gittorrent.ids import Oid, PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.reel.path import ReelOffer
    from gittorrent.repository.layout import Layout
    from gittorrent.repository.logstore import LogStore
    from gittorrent.repository.prepared import Prepared
    from gittorrent.repository.receive import Receiver, SignedManifest
    from gittorrent.transfer.acquire import Acquisition
    from gittorrent.transfer.context import Context

    _Plan = tuple[Sequence[tuple[ReelOffer, SignedManifest]], SignedManifest | None]


WITHHELD_HINT = (
    "before that a reel was offered and not given: try again, since files of a mirror may just have"
    " been replaced, or another mirror; verified parts are kept"
)


class Update(Struct, frozen=True):
    """What to bring, and what for.

    Args:
        wants: what has to be here in the end; None for what reels bring, however far they reach.
        have: pushes whose objects are all here.
        reels: whether reels may be taken; otherwise all comes by an ordinary fetch.
        options: how an ordinary fetch is done.
        keep: whether packs of reels are to survive repacking, as on mirrors.
        doubtful: whether objects of the repository are missing: nothing it has counts then.
        signed_index: whether the first pack of an empty repository may come with its index as it
            was signed, and be checked afterwards.
        admit: told how many bytes the packs of reels have; may refuse them by an error.
        extent: how much of its history the repository holds; None for whoever does not know yet.
    """

    wants: Sequence[Wanted] | None
    have: Sequence[PushId] = ()
    reels: bool = True
    options: FetchOptions = field(default_factory=FetchOptions)
    keep: bool = False
    doubtful: bool = False
    signed_index: bool = False
    admit: Callable[[int], None] = lambda _size: None
    extent: Extent | None = None


class UpdateResult(Struct, frozen=True):
    """What an update brought.

    Args:
        push: the newest push that reels led to; None if none was taken.
        pack: the pack in the repository that was proved to refer to nothing outside itself.
        is_proved: whether all that was wanted is proved to be here with all it reaches.
        has_all: whether all that came is in that pack.
    """

    push: PushId | None = None
    pack: Path | None = None
    is_proved: bool = True
    has_all: bool = False


class Updater:
    """Updates one repository, whose lock the caller holds.

    Args:
        acquisition: open, its log fetched.
        layout: of the repository.
        log: the verified log.
        store: holds its push objects.
        context: of the world around it.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        layout: Layout,
        log: VerifiedLog,
        store: LogStore,
        context: Context,
    ) -> None:
        self._acquisition = acquisition
        self._layout = layout
        self._log = log
        self._store = store
        self._context = context
        self._reporter = context.reporter
        self._taken = 0
        self._shaped = ShapedReels(acquisition, layout, log, context)

    async def bring(self, update: Update) -> UpdateResult:
        """Bring what is wanted, prove it, and judge what the log left open.

        Raises:
            NoSourceError: the mirrors ran out of a reel; verified parts are kept.
            NoRoomError: there is no room for what would come.
            FetchFailedError, IncompleteSourceError: no mirror gave the rest.
            LyingReelError: a signed manifest led to the wrong objects, and nothing else would do.
            RulesBrokenError: objects break fsck's rules, whoever sends them.
            EntryError: a checkpoint does not follow from the one before.
        """
        extent = update.extent or extent_of(self._layout.git_dir)
        try:
            brought = await self._bring(update, extent)
        except (LyingReelError, IncompleteSourceError, FetchFailedError) as error:
            is_elsewhere = isinstance(error, FetchFailedError) and not error.is_about_objects
            is_beyond_us = update.doubtful or not extent.is_whole or is_elsewhere
            if is_beyond_us or await self._is_sound(update):
                if isinstance(error, LyingReelError):
                    self._acquisition.distrust(self._log, error)
                raise
            self._reporter.note(
                f"objects are missing in {self._layout.git_dir}; getting them again"
            )
            brought = await self._bring(_without_trust(update), extent)
        if brought.is_proved:
            await stoppable(self._store.judge_again, self._log)
        return brought

    async def _bring(self, update: Update, extent: Extent) -> UpdateResult:
        is_limited = not extent.is_whole or update.options.limits_history
        brought = None
        if update.reels and not is_limited and not update.options.has("refetch"):
            brought = await self._bring_reels(update)
        wants = await stoppable(self._left, update, brought)
        if not wants:
            return brought or UpdateResult()
        if not is_limited or update.doubtful or not await self._bring_shaped(update, wants, extent):
            await self._fetch(update, wants, extent)
        # Until now, settings could have been changed and the reels be of use after all.
        self._acquisition.discard_partial()
        push = None if brought is None else brought.push
        return UpdateResult(push, is_proved=not is_limited)

    async def _bring_shaped(self, update: Update, wants: Sequence[Wanted], extent: Extent) -> bool:
        """Bring less than everything by reels of that shape, and by a fetch what they leave.

        Returns:
            Whether all that is wanted is here; if not, nothing is.
        """
        with self._shaped.receiver() as receiver:
            prepared = await self._shaped.bring(wants, update.options, extent, receiver)
            if prepared is None:
                return False
            if await unbroken(self._take_whole, prepared, wants, update.options):
                return True
            try:
                await self._fetch(update, wants, extent, prepared)
            except (IncompleteSourceError, FetchFailedError) as error:
                if isinstance(error, FetchFailedError) and not error.is_about_objects:
                    raise
                # Whose fault it is the fetch without them tells.
                self._shaped.give_up(str(error))
                return False
        return True

    def _take_whole(
        self, prepared: Prepared, wants: Sequence[Wanted], options: FetchOptions
    ) -> bool:
        oids = list(dict.fromkeys(want.oid for want in wants))
        tags = self._tags()
        return prepared.take_whole(self._layout, oids, tags, follows=options.has("followtags"))

    async def _fetch(
        self,
        update: Update,
        wants: Sequence[Wanted],
        extent: Extent,
        prepared: Prepared | None = None,
    ) -> None:
        """Bring what no reel has, on top of what shaped ones brought."""
        self._acquisition.gather(self._log)
        self._reporter.close()
        fetch = OrdinaryFetch(
            self._layout,
            self._log.object_format,
            extent,
            max(0, self._context.max_bytes - self._taken),
            self._context.client_timeouts,
            self._reporter,
            self._context.space,
        )
        welcome = self._tags() if update.options.has("followtags") else ()
        if prepared is not None:
            take = partial(fetch.take_prepared, prepared, wants, update.options, welcome)
            if await stoppable(take):
                return
        try:
            source = await fetch.fetch(
                self._acquisition.sources(self._log),
                wants,
                update.options,
                welcome=welcome,
                borrows=not update.doubtful and not update.options.has("refetch"),
                prepared=prepared,
            )
        except FetchFailedError as error:
            if not self._acquisition.was_withheld:
                raise
            # That was what should have served, and files of a mirror come and go.
            hint = WITHHELD_HINT
            raise FetchFailedError(str(error), hint=hint, broken=error.broken) from error
        self._acquisition.served(self._log, source)

    def _tags(self) -> list[Oid]:
        """Return what the tags point to; git follows those whose annotated objects came along."""
        refs = self._log.refs.items()
        return list(dict.fromkeys(oid for ref, oid in refs if ref.startswith(b"refs/tags/")))

    async def _bring_reels(self, update: Update) -> UpdateResult | None:
        """Bring what reels have; a manifest for the wrong objects leaves all to the fetch.

        So do objects that break fsck's rules, but what was downloaded is kept.
        """
        try:
            return await self._take_chain(update)
        except LyingReelError as error:
            if update.wants is None or (update.have and not await self._is_sound(update)):
                raise
            self._acquisition.distrust(self._log, error)
            return None
        except RulesBrokenError as error:
            if update.wants is None:
                raise
            # What breaks them may be of a branch that is gone, which a fetch does not bring.
            self._reporter.note(f"{error}; fetching instead")
            return None

    async def _take_chain(self, update: Update) -> UpdateResult | None:
        """Download, prove and install the reels that lead from what is here to the log's head.

        What is offered and not given is left, and another way is looked for from there on.
        """
        layout = self._layout
        chain, index = await self._plan(update, ())
        if not chain:
            return None
        taken: list[ReelOffer] = []
        failure = None
        with (
            ExitStack() as claims,
            receiving(layout, self._log.object_format, ReelStore(layout)) as receiver,
        ):
            while chain:
                claims.enter_context(self._room_for(update, chain, index))
                try:
                    for offer, signed in chain:
                        await self._take(offer, signed, index, receiver)
                        taken.append(offer)
                    break
                except WithheldError as error:
                    failure = error
                self._reporter.detail(f"{failure}; looking for another way")
                taken = self._up_to_known(taken)
                chain, index = await self._plan(update, taken)
            if not taken:
                if failure is not None and update.wants is None:
                    raise failure
                return None
            end = taken[-1].end
            self._reporter.phase("checking connectivity")
            await stoppable(self._prove, receiver, update.have, end)
            await unbroken(receiver.install, keep=update.keep)
            proved = receiver.self_contained_pack
        self._acquisition.discard_partial()
        return UpdateResult(end, proved, has_all=proved is not None and receiver.count == 1)

    async def _plan(self, update: Update, taken: Sequence[ReelOffer]) -> _Plan:
        """Return the reels to take next, and the manifest of the first one's pack's index.

        Args:
            update: what to bring.
            taken: reels that are here already, apart.
        """
        log, is_first = self._log, not taken
        try:
            if is_first and self._takes_signed_index(update):
                return await self._acquisition.plan_with_index(log)
            have = [*update.have, *(offer.end for offer in taken)]
            return await self._acquisition.plan(log, have), None
        except UnreachableError as error:
            if is_first and (update.wants is None or len(self._acquisition.sources(log)) < 2):
                raise
            # Nobody says which reels there are; somebody may have a git that answers.
            self._reporter.detail(str(error))
            return (), None

    def _room_for(
        self,
        update: Update,
        chain: Sequence[tuple[ReelOffer, SignedManifest]],
        index: SignedManifest | None,
    ) -> AbstractContextManager[None]:
        """Make sure that what is planned may come, and claim the room for it."""
        coming = [signed for _, signed in chain] + ([] if index is None else [index])
        size = sum(signed.manifest.pack_size for signed in coming)
        update.admit(size)
        self._taken += size
        partial = self._context.home.partial
        here = kept_of(partial, [signed.manifest.id for signed in coming]).size
        return self._context.space.claim(size - here, partial, self._layout.git_dir)

    async def _take(
        self,
        offer: ReelOffer,
        signed: SignedManifest,
        index: SignedManifest | None,
        receiver: Receiver,
    ) -> None:
        """Download a reel, unless it is among what the receiver has."""
        if receiver.has(signed.manifest.id):
            return
        tips = self._values_at([offer.end])
        if index is not None and offer.start is None:
            with_index = self._acquisition.download_with_index
            await with_index(offer, signed, index, receiver, tips)
        else:
            await self._acquisition.download(offer, signed, receiver, tips)

    def _up_to_known(self, taken: Sequence[ReelOffer]) -> list[ReelOffer]:
        """Return reels without those at the end that lead to checkpoints older than the log."""
        known = set(self._log.ids)
        places = [place for place, offer in enumerate(taken, 1) if offer.end in known]
        return list(taken[: places[-1]] if places else ())

    def _takes_signed_index(self, update: Update) -> bool:
        """Tell whether a signed index will do: only of what nothing here has to go with."""
        is_empty = not (update.have or update.doubtful or self._layout.has_objects())
        return update.signed_index and is_empty

    def _prove(self, receiver: Receiver, have: Sequence[PushId], end: PushId) -> None:
        receiver.check(self._values_at([end]), self._values_at(have))

    def _values_at(self, checkpoints: Sequence[PushId]) -> list[Oid]:
        """Return what refs point to at checkpoints; nothing for those older than a clone's log."""
        known = set(self._log.ids)
        found = [self._log.refs_at(at).values() for at in checkpoints if at in known]
        return [oid for values in found for oid in values]

    def _left(self, update: Update, brought: UpdateResult | None) -> list[Wanted]:
        """Return what is wanted and neither came by reels nor is proved to be here."""
        if update.wants is None:
            return []
        if brought is not None and brought.push is not None:
            known = set(self._values_at([brought.push]))
        else:
            known = set(self._values_at(update.have))
        left = [want for want in update.wants if want.oid not in known]
        if update.doubtful or not update.reels or not left:
            return left
        git = Git(self._layout.git_dir)
        oids = [want.oid for want in left]
        if None in history.describe(git, oids) or not history.is_connected_to_refs(git, oids):
            return left
        return []

    async def _is_sound(self, update: Update) -> bool:
        """Tell whether everything is here that was taken for granted."""
        return await stoppable(self._has_all_of, update.have)

    def _has_all_of(self, have: Sequence[PushId]) -> bool:
        git = Git(self._layout.git_dir)
        if not self._layout.has_objects():
            return True
        tips = self._values_at(have) or [*git_refs.read_refs(git).values()]
        return history.is_connected(git, tips)


def _without_trust(update: Update) -> Update:
    """Return an update for a repository in which objects are missing."""
    return replace(update, have=(), doubtful=True)
