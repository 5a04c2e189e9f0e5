"""Publishing: signs the owner's refs as a push, and packs its new objects as a reel.

Everything is made and checked before anything counts: the references tag is signed and admitted to
a copy of the log, the reel is built, its manifest signed and its pack put in place; the log's new
list of entries comes last. A crash before that leaves the repository as it was.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import UsageError
from gittorrent.git import scratch
from gittorrent.git.history import describe
from gittorrent.git.refs import head_target
from gittorrent.git.repository import committer, require_complete
from gittorrent.ids import RefName
from gittorrent.push.default_branch import next_default
from gittorrent.push.log import VerifiedLog, changes_between
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.reftag import ReferencesTag
from gittorrent.reel.build import build_reel
from gittorrent.reel.selftest import find_encoder
from gittorrent.repository.carried import ORIGIN, PUBLISHED, RepositoryInfo
from gittorrent.repository.logstore import identify
from gittorrent.repository.publishable import describe_left_out, select_refs
from gittorrent.repository.publishing_keys import require_publishing_key
from gittorrent.repository.rebuild import store_built
from gittorrent.repository.ref_changes import classify_changes
from gittorrent.trust.policy import Policy
from gittorrent.trust.refpattern import is_ref_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.ids import Oid, PushId, Refs, RepositoryId
    from gittorrent.reel.build import ReelPack
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.publishable import Unpublishable
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.repository.ref_changes import RefChange
    from gittorrent.signing.keys import Signer


class Published(Struct, frozen=True):
    """What publishing came to.

    Args:
        repository_id: the repository.
        name: it is served at ``/<name>.git``.
        push_id: the log's head.
        changes: what this push did to refs, by name; nothing when there was nothing new.
        reels: reels that were made.
        is_new: whether the repository was published for the first time.
        left_out: refs that cannot be published and were not.
        renamed_from: the name that it had until now; None if it has that still.
    """

    repository_id: RepositoryId
    name: str
    push_id: PushId
    changes: tuple[RefChange, ...]
    reels: tuple[StoredReel, ...]
    is_new: bool
    left_out: tuple[Unpublishable, ...]
    renamed_from: str | None = None

    @property
    def changed(self) -> int:
        """How many refs this push changed."""
        return len(self.changes)


class Author(Struct, frozen=True):
    """Whose name goes into references tags, and the clock to date them by."""

    person: bytes
    clock: Callable[[], float] = time.time


def author_in(git_dir: Path) -> Author:
    """Return the person git takes the user for, or a neutral one where git knows none."""
    person = committer(git_dir)
    return Author(b"gittorrent <gittorrent@localhost>" if person is None else person)


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


class Publisher:
    """Publishes one repository.

    Args:
        carried: the bare repository, whose refs are its owner's.
        signer: the key to sign with.
        author: goes into the references tag, which everybody can read.
        progress: told how far building a reel is.
        note: told what else the owner should know.
    """

    def __init__(
        self,
        carried: Carried,
        signer: Signer,
        author: Author,
        progress: Callable[[str, int, int], None] = lambda _phase, _done, _total: None,
        note: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._carried = carried
        self._signer = signer
        self._author = author
        self._progress = progress
        self._note = note

    def publish(self, name: str | None, patterns: tuple[str, ...] = ()) -> Published:
        """Publish the refs as they are now.

        Args:
            name: of the repository; if it has another one already, it is renamed.
            patterns: of further refs to publish from now on, such as ``refs/notes/*``.

        Raises:
            UnsuitableRepositoryError: shallow, partial or grafted.
            NothingPublishableError: ``patterns`` say nothing that can be published.
            BrokenRefError: a ref cannot be read.
            WrongKeyError: it is published with another key.
            TrustError: the policy does not let the key do this.
        """
        carried = self._carried
        require_complete(carried.git)
        with carried.writing():
            log = carried.log()
            is_new = log.head is None
            before = None if is_new else log.policy.policy.name
            pending: list[tuple[PushId, PushObject]] = []
            if not is_new:
                where = str(carried.layout.git_dir)
                require_publishing_key(log, self._signer.key, where, carried.signing_key)
            if is_new:
                pending.append(self._first_policy(log, name or self._former_name()))
            elif name is not None and name != log.policy.policy.name:
                pending.append(self._renaming(log, name))
            info = self._info(log, patterns)
            refs, left_out = select_refs(carried, info.patterns)
            self._warn_of_left_out(left_out)
            changed = changes_between(log.refs, refs)
            if changed or is_new:
                pending.append(self._references(log, refs))
            reels = self._finish(log, info, pending)
            carried.remember_key(self._signer.spec)
            self._warn_of_other_head(log)
            changes = tuple(classify_changes(carried.git, changed))
        assert log.head is not None
        called = log.policy.policy.name
        renamed_from = None if before == called else before
        return Published(
            log.repository, called, log.head, changes, reels, is_new, left_out, renamed_from
        )

    def _warn_of_left_out(self, left_out: tuple[Unpublishable, ...]) -> None:
        if left_out:
            self._note(describe_left_out(self._carried.layout.git_dir, left_out))

    def _warn_of_other_head(self, log: VerifiedLog) -> None:
        """Say so if clones begin on another branch than HEAD names here.

        The policy names the default branch, and it was made at the first publication.
        """
        own = head_target(self._carried.git)
        shown = self._carried.log_store.default_branch(log)
        if own is None or shown is None or own == shown:
            return
        where, shown_as, own_as = (
            self._carried.layout.git_dir,
            shown.decode(errors="backslashreplace"),
            own.decode(errors="backslashreplace"),
        )
        left = {name: oid for name, oid in log.refs.items() if name != shown}
        if own not in log.refs:
            hint = f"run 'git --git-dir={where} symbolic-ref HEAD {shown_as}' if that is right"
        elif next_default(log.policy.policy.head, shown, log.refs, left) == own:
            hint = f"clones take {own_as} once {shown_as} is deleted and that is published"
        else:
            hint = "this version cannot publish another default branch while that one exists"
        self._note(
            f"warning: HEAD of {where} names {own_as}, and clones begin on {shown_as}: the default"
            f" branch is the one of the first publication, or what replaced it\nhint: {hint}"
        )

    def _first_policy(self, log: VerifiedLog, name: str) -> tuple[PushId, PushObject]:
        certificate = self._signer.certificate
        pinned = () if certificate is None else (certificate,)
        own = head_target(self._carried.git)
        head = own if own is not None and is_ref_name(own) else RefName(b"refs/heads/main")
        policy = Policy.first(
            name,
            secrets.token_bytes(16),
            self._signer.key,
            head,
            certificates=pinned,
        )
        text = policy.text()
        push = PushObject(PushKind.POLICY, text, (self._signer.sign(text),), pinned=pinned)
        return self._admit(log, push)

    def _renaming(self, log: VerifiedLog, name: str) -> tuple[PushId, PushObject]:
        """Draw up the version of the policy that gives the repository another name.

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
        text, pinned = policy.text(), log.policy.signed.certificates
        push = PushObject(PushKind.POLICY, text, (self._signer.sign(text),), pinned=pinned)
        return self._admit(log, push)

    def _references(self, log: VerifiedLog, refs: Refs) -> tuple[PushId, PushObject]:
        assert log.head is not None
        tag = ReferencesTag(
            object_format=self._carried.object_format,
            repository=log.repository,
            parent=log.head,
            refs=refs,
            tagger=self._author.person,
            time=int(self._author.clock()),
        )
        text = tag.text()
        signature = self._signer.sign(text)
        push = PushObject(PushKind.REFERENCES, text, (signature,), signer=self._signer.key)
        return self._admit(log, push)

    def _admit(self, log: VerifiedLog, push: PushObject) -> tuple[PushId, PushObject]:
        carried = self._carried
        (push_id,) = identify(carried.git, [push], carried.object_format, write=True)
        log.admit(push, push_id)
        return push_id, push

    def _former_name(self) -> str:
        """Return the name of a first publication that a crash cut short, or a plain one."""
        return self._carried.info.name if self._carried.is_carried else "repository"

    def _info(self, log: VerifiedLog, patterns: tuple[str, ...]) -> RepositoryInfo:
        """Return what the repository will be to the node once this push counts."""
        carried = self._carried
        former: tuple[str, ...] = ()
        names = log.former_names
        if carried.is_carried:
            require_own(carried)
            former = carried.info.patterns
            names = (*carried.info.former_names, *names)
        merged = tuple(dict.fromkeys([*PUBLISHED, *former, *patterns]))
        name = log.policy.policy.name
        info = RepositoryInfo(log.repository, name, ORIGIN, merged)
        return info.renamed(name, *names)

    def _finish(
        self, log: VerifiedLog, info: RepositoryInfo, pending: list[tuple[PushId, PushObject]]
    ) -> tuple[StoredReel, ...]:
        """Build what reels are missing, then let the log count."""
        carried = self._carried
        for push_id, push in pending:
            carried.log_store.store_push(push_id, push)
        self._drop_stale_files(log)
        reels = self._missing_reels(log)
        if not carried.is_carried or carried.info != info:
            carried.set_info(info)
        if pending:
            carried.prepare_settings()
            carried.commit(log)
        return reels

    def _drop_stale_files(self, log: VerifiedLog) -> None:
        """Forget reels of pushes that a crash kept from counting."""
        for reel in self._carried.reels.all():
            if reel.manifest.end not in log:
                self._carried.reels.drop(reel)

    def _start(self, log: VerifiedLog) -> tuple[PushId | None, list[Oid]]:
        """Return the newest push to begin a reel after, and what its refs pointed to.

        A push whose objects are gone (rewound and pruned since) is no start any more.
        """
        carried = self._carried
        ends = carried.reel_ends()
        for push in reversed(log.ids):
            if push in ends:
                values = sorted(set(carried.log_store.refs_at(push).values()))
                if None not in describe(carried.git, values):
                    return push, values
        return None, []

    def _missing_reels(self, log: VerifiedLog) -> tuple[StoredReel, ...]:
        carried = self._carried
        assert log.head is not None
        if log.head in carried.reel_ends():
            return ()
        self._warn_of_other_bytes()
        start, before = self._start(log)
        with scratch.receiving(carried.layout.incoming, carried.object_format) as staging:
            work = staging.directory / "reel"
            work.mkdir()
            pack = build_reel(
                carried.layout.objects,
                carried.object_format,
                before,
                log.refs.values(),
                work,
                progress=self._progress,
            )
            if pack is None:
                return ()
            return (self._adopt(log, pack, start, log.head),)

    def _warn_of_other_bytes(self) -> None:
        """Say so if the reel will not be what its definition says; it works for downloads."""
        encoder = find_encoder()
        if encoder.trouble:
            self._note(
                f"warning: {encoder.trouble}; the reel can be downloaded, but no clone can rebuild"
                f" it to become a seed\nhint: {encoder.remedy}, before you publish"
            )

    def _adopt(
        self, log: VerifiedLog, pack: ReelPack, start: PushId | None, end: PushId
    ) -> StoredReel:
        """Sign the manifest of a built pack and put both into the store."""
        carried = self._carried
        manifest = pack.manifest(log.repository, carried.object_format, start, end)
        signature = self._signer.sign(manifest.text())
        store_built(carried, pack, manifest, signature, self._progress)
        reel = carried.reels.get(manifest.id)
        assert reel is not None
        return reel
