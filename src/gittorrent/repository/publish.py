"""Publishing: signs what changed in an owner's refs, and packs the new objects as a reel.

An origin's refs are compared with its log, ref by ref (`gittorrent.push.origin_refs`): what others
changed is taken over, what changed here becomes pushes. Whoever has the keeper's key then signs a
checkpoint, which makes it final, and a reel up to there; another key's pushes wait for the keeper.

Everything is made and checked before anything counts: entries are signed and admitted to a copy of
the log, the reel is built, its manifest signed and its pack put in place; the log's list of entries
comes last. A crash before that leaves the log as it was. Small reels are spliced after that, which
only makes it cheaper to follow.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import locked
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.git.refs import head_target, parse_refs, set_head
from gittorrent.git.repository import require_complete
from gittorrent.permissions import explain_local_error
from gittorrent.push.chain import CheckpointError
from gittorrent.push.head_branch import first_head
from gittorrent.push.history import awaited
from gittorrent.push.origin_refs import Trouble
from gittorrent.push.signed import has_a_say
from gittorrent.repository import housekeeping
from gittorrent.repository.carried import ORIGIN, PUBLISHED, RepositoryInfo
from gittorrent.repository.damaged import naming_lacking
from gittorrent.repository.leaving_reels import drop_superseded
from gittorrent.repository.origin_refs import follow_in_origin, note_compared, take_over
from gittorrent.repository.own_pushes import push_changes
from gittorrent.repository.publishable import describe_left_out, list_selected, publishable
from gittorrent.repository.publishing_keys import require_publishing_key
from gittorrent.repository.readers_file import hide
from gittorrent.repository.reel_maker import ReelMaker, splice_all
from gittorrent.repository.ref_changes import classify_changes, unclassified
from gittorrent.repository.shape_maker import ShapeMaker, make_shapes
from gittorrent.repository.signed_entries import EntrySigner
from gittorrent.trust.policy import Policy
from gittorrent.trust.policy_words import warnings
from gittorrent.trust.refpattern import is_ref_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.ids import Oid, PushId, RefName, RepositoryId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.origin_refs import Parted
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.evidence import GitEvidence
    from gittorrent.repository.origin_refs import OriginState
    from gittorrent.repository.publishable import Unpublishable
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.repository.ref_changes import RefChange
    from gittorrent.repository.signed_entries import Author
    from gittorrent.signing.keys import Signer


class Published(Struct, frozen=True):
    """What publishing came to.

    Args:
        repository_id: the repository.
        name: it is served at ``/<name>.git``.
        push_id: the newest checkpoint.
        number: its number.
        changes: what these pushes did to refs, by name; nothing when there was nothing new.
        taken: what others did to refs, which these here follow now.
        parted: refs that are not the same here and in the log.
        reels: reels that were made.
        is_new: whether the repository was published for the first time.
        left_out: refs that cannot be published and were not.
        renamed_from: the name that it had until now; None if it has that still.
        head: the branch that HEAD names everywhere since this publication; None if it did before.
        awaited: the key whose checkpoint makes final what is shown; empty if all of it is.
        not_final: pushes that it waits for, this one and those of others.
        warnings: weak places of the policy, if this publication made or changed it.
    """

    repository_id: RepositoryId
    name: str
    push_id: PushId
    number: int
    changes: tuple[RefChange, ...]
    taken: tuple[RefChange, ...]
    parted: tuple[Parted, ...]
    reels: tuple[StoredReel, ...]
    is_new: bool
    left_out: tuple[Unpublishable, ...]
    renamed_from: str | None = None
    head: RefName | None = None
    awaited: str = ""
    not_final: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> int:
        """How many refs were published."""
        return len(self.changes)

    @property
    def is_news(self) -> bool:
        """Whether anything was signed here, so that others see something new."""
        return bool(self.changes) or self.is_new or bool(self.renamed_from) or bool(self.head)


def require_own(carried: Carried) -> None:
    """Make sure that a repository's refs are its owner's to change.

    Raises:
        UsageError: they follow the log.
    """
    if carried.is_carried and carried.info.role != ORIGIN:
        raise UsageError(
            f"{carried.layout.git_dir} is a mirror of {carried.info.source}: its refs follow the"
            " log",
            hint="publish the repository you work in; if that is lost, 'gittorrent adopt' takes the"
            " mirror over with the key",
        )


def _require_access(log: VerifiedLog, *, private: bool) -> None:
    """Make sure that what is to be private is that already.

    Raises:
        UsageError: it is public.
    """
    if private and not log.policy.policy.private:
        raise UsageError(
            f"{log.policy.policy.name} is public, and its mirrors and clones have it",
            hint="'gittorrent policy add --private' lets mirrors give it to strangers no more; to"
            " publish it apart, under another id: gittorrent publish --new-repository --private"
            " --name NAME",
        )


class Publisher:
    """Publishes one repository.

    Args:
        carried: the bare repository, whose refs are its owner's.
        signer: the key to sign with.
        author: goes into what is signed, which everybody can read.
        progress: told how far building a reel is.
        note: told what else the owner should know.
        makes_reels: whether reels are made, too; otherwise a keeper's node makes them when it pays.
    """

    def __init__(
        self,
        carried: Carried,
        signer: Signer,
        author: Author,
        progress: Callable[[str, int, int], None] = lambda _phase, _done, _total: None,
        note: Callable[[str], None] = lambda _text: None,
        *,
        makes_reels: bool = True,
    ) -> None:
        self._carried = carried
        self._signer = signer
        self._author = author
        self._progress = progress
        self._note = note
        self._makes_reels = makes_reels

    def publish(
        self, name: str | None, patterns: tuple[str, ...] = (), *, private: bool = False
    ) -> Published:
        """Publish the refs as they are now.

        Args:
            name: of the repository; if it has another one already, it is renamed.
            patterns: of further refs to publish from now on, such as ``refs/notes/*``.
            private: whether only those are to read whom the policy names; the first time only.

        Raises:
            UnsuitableRepositoryError: shallow, partial or grafted.
            NothingPublishableError: ``patterns`` say nothing that can be published.
            BrokenRefError: a ref cannot be read.
            WrongKeyError: the policy gives the key no say.
            NotAllowedError: the policy does not let the key do this.
            DamagedRepositoryError: an object is missing that a ref needs.
        """
        carried = self._carried
        require_complete(carried.git)
        with naming_lacking(carried.git), carried.writing():
            log, evidence = carried.take_log()
            entries = EntrySigner(carried, log, self._signer, self._author, evidence)
            is_new = log.head is None
            before = None if is_new else log.policy.policy.name
            selected = self._patterns(patterns)
            if is_new:
                self._begin(entries, name or self._former_name(), selected, private=private)
            else:
                _require_access(log, private=private)
                self._require_key(log)
                if name is not None and name != before:
                    self._rename(log, entries, name)
            state = self._taken_over(log, selected)
            pushed = push_changes(log, entries, state, self._signer.key, self._note)
            self._keep(log, entries)
            reels = self._finish(log, entries, self._info(log, selected))
            own_head = state.own_head
            if pushed.head is not None and own_head is not None and state.value(own_head) is None:
                set_head(carried.git, pushed.head)
            note_compared(carried, log, state, pushed.parted)
            moved, parted = list(state.taken), pushed.parted
            if entries.is_keeper and any(e.trouble is Trouble.NOT_FINAL for e in parted):
                # By the checkpoint it is final now, so that refs can follow further.
                moved += follow_in_origin(carried, log).taken
                followed = {ref for ref, _, _ in moved}
                parted = tuple(each for each in parted if each.ref not in followed)
            changes = self._classified(pushed.changes, evidence)
            taken = tuple(classify_changes(carried.git, moved))
        if entries.is_keeper and self._makes_reels:
            self._splice(log)
        called, head, waiting = log.policy.policy.name, log.head, awaited(log)
        assert head is not None
        return Published(
            repository_id=log.repository,
            name=called,
            push_id=head,
            number=log.number,
            changes=changes,
            taken=taken,
            parted=parted,
            reels=reels,
            is_new=is_new,
            left_out=state.left_out,
            renamed_from=None if before == called else before,
            head=pushed.head,
            awaited=str(log.policy.policy.keeper) if waiting else "",
            not_final=len(waiting),
            warnings=() if before == called else tuple(warnings(log.policy.policy)),
        )

    def _require_key(self, log: VerifiedLog) -> None:
        """Make sure that the policy gives the key a say.

        Raises:
            WrongKeyError: it does not.
        """
        key, where = self._signer.key, str(self._carried.layout.git_dir)
        policy = log.policy.policy
        # A keeper that may push nothing can still make final what others pushed.
        if not has_a_say(policy, key) and key != policy.keeper:
            require_publishing_key(log, key, where, self._carried.signing_key)

    # -- entries

    def _begin(
        self, entries: EntrySigner, name: str, patterns: tuple[str, ...], *, private: bool
    ) -> None:
        """Make the first policy, and the checkpoint that everything begins at."""
        listed = parse_refs(list_selected(self._carried, patterns))
        refs, _ = publishable(listed, self._carried.git)
        certificate = self._signer.certificate
        pinned = () if certificate is None else (certificate,)
        own = head_target(self._carried.git)
        head = first_head(own if own is not None and is_ref_name(own) else None, refs)
        key, genesis = self._signer.key, secrets.token_bytes(16)
        first = Policy.first(name, genesis, key, head, certificates=pinned, private=private)
        entries.policy(first, pinned)
        entries.first_checkpoint()

    def _rename(self, log: VerifiedLog, entries: EntrySigner, name: str) -> None:
        """Make the version of the policy that gives the repository another name.

        Raises:
            UsageError: other keys would have to sign that.
        """
        assert log.head is not None
        former = log.policy.policy
        if self._signer.key not in former.roots or former.threshold > 1:
            roots = " and ".join(map(str, former.roots))
            raise UsageError(
                f"{former.name} cannot be renamed with {self._signer.key} alone: the policy takes"
                f" {former.threshold} of its root keys, which are {roots}",
                hint="leave --name away",
            )
        policy = former.next_version(log.head, name=name)
        entries.policy(policy, log.policy.signed.certificates)

    def _taken_over(self, log: VerifiedLog, patterns: tuple[str, ...]) -> OriginState:
        """Compare the refs with the log, and let them follow what others changed.

        Raises:
            GitError: others push all the time.
        """
        state = take_over(self._carried, log, patterns)
        if state.left_out:
            self._note(describe_left_out(self._carried.layout.git_dir, state.left_out))
        return state

    def _keep(self, log: VerifiedLog, entries: EntrySigner) -> None:
        """Make everything that is shown final, if this is the keeper's key."""
        ledger = log.ledger
        is_news = ledger.view().judged or ledger.policy.digest != ledger.adopted.policy.digest
        if not entries.is_keeper or not is_news:
            return
        try:
            entries.checkpoint()
        except CheckpointError as error:
            self._note(f"warning: this is not final: {error}")

    def _classified(
        self, changes: Iterable[tuple[RefName, Oid | None, Oid | None]], evidence: GitEvidence
    ) -> tuple[RefChange, ...]:
        """Tell what each change was; of most of them that was found out to judge them."""
        known, asked = [], []
        for change in changes:
            name, old, new = change
            is_forward = None if old is None or new is None else evidence.known(new, old)
            if is_forward or old is None or new is None:
                known.append(unclassified(name, old, new))
            else:
                asked.append(change)
        found = [*known, *classify_changes(self._carried.git, asked)]
        return tuple(sorted(found, key=lambda each: each.name))

    # -- what the repository is to the node

    def _former_name(self) -> str:
        """Return the name of a first publication that a crash cut short, or a plain one."""
        return self._carried.info.name if self._carried.is_carried else "repository"

    def _patterns(self, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """Return the patterns of all refs that are published from now on."""
        carried = self._carried
        require_own(carried)
        former = carried.info.patterns if carried.is_carried else ()
        return tuple(dict.fromkeys([*PUBLISHED, *former, *patterns]))

    def _info(self, log: VerifiedLog, patterns: tuple[str, ...]) -> RepositoryInfo:
        """Return what the repository will be to the node once this counts."""
        carried = self._carried
        names = log.former_names
        if carried.is_carried:
            names = (*carried.info.former_names, *names)
        name = log.policy.policy.name
        return RepositoryInfo(log.repository, name, ORIGIN, patterns).renamed(name, *names)

    # -- reels, and the log

    def _finish(
        self, log: VerifiedLog, entries: EntrySigner, info: RepositoryInfo
    ) -> tuple[StoredReel, ...]:
        """Build what reels are missing, then let the log count."""
        carried = self._carried
        self._drop_stale_files(log)
        reels = self._missing_reel(log) if entries.is_keeper and self._makes_reels else ()
        hide(carried.layout, log)  # first: a node may serve it from the moment that it is carried
        if not carried.is_carried or carried.info != info:
            carried.set_info(info)
        if entries.made:
            carried.prepare_settings(self._signer.spec)
            carried.commit(log, ())  # its own refs are what is published
        else:
            carried.remember_key(self._signer.spec)
        return reels

    def _drop_stale_files(self, log: VerifiedLog) -> None:
        """Forget reels of checkpoints that a crash kept from counting."""
        for reel in self._carried.reels.all():
            if reel.manifest.end not in log:
                self._carried.reels.drop(reel)

    def _missing_reel(self, log: VerifiedLog) -> tuple[StoredReel, ...]:
        """Make the reel up to the log's head, unless the node of this machine makes reels now."""
        try:
            with locked(self._carried.layout.making_lock, wait=False):
                reel = self._maker(log).extend(is_locked=True)
        except BlockingIOError:
            self._note("the node that runs here makes reels just now; it will make this one, too")
            return ()
        return () if reel is None else (reel,)

    def _splice(self, log: VerifiedLog) -> None:
        """Replace small reels by larger ones, make shaped ones, drop what was replaced long ago.

        What was published counts by now, so what goes wrong here is no reason to fail.
        """
        carried = self._carried
        try:
            with locked(carried.layout.making_lock, wait=False):
                splice_all(self._maker(log), carried)
                make_shapes(self._shape_maker(log), carried)
                with locked(carried.layout.lock):
                    has_packs = drop_superseded(carried, log, time.time())
        except BlockingIOError:
            return  # the node that runs here does it
        except GitTorrentError as error:
            self._note(f"warning: not all reels were made that are due: {error}")
        except OSError as error:
            trouble = explain_local_error(error)
            if trouble is None:
                raise
            self._note(f"warning: not all reels were made that are due: {trouble}")
        else:
            if has_packs:
                housekeeping.start_in_background(carried)

    def _maker(self, log: VerifiedLog) -> ReelMaker:
        return ReelMaker(self._carried, log, self._signer, self._progress, self._note)

    def _shape_maker(self, log: VerifiedLog) -> ShapeMaker:
        return ShapeMaker(self._carried, log, self._signer, time.time(), self._progress)
