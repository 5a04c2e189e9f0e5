"""Keeps push logs on disk, one for each repository that a git directory has to do with.

Push objects are files, named by their ids, of all logs together. A file ``log`` lists the ids of
one, oldest first; an entry is part of the log when it is listed there, and a push object that no
log lists is a stale file that a crash left. In carried repositories each entry is also a commit,
and ``refs/gittorrent/log`` follows the last one.

What was verified when it was recorded is not verified again at every open: the newest policy
chain and the newest references are, the ids between are taken as recorded. ``verify`` replays all.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import make_directory, sync_directory, write_atomically
from gittorrent.errors import GitTorrentError, TrustError
from gittorrent.git import scratch
from gittorrent.git.hashing import hash_objects, tree_content
from gittorrent.ids import Oid, PushId, RefName, RepositoryId
from gittorrent.push.commit import entry_commit, entry_files
from gittorrent.push.default_branch import default_after
from gittorrent.push.log import FastForwardCheck, VerifiedLog
from gittorrent.push.object import PushKind, PushObject, parse_push_object
from gittorrent.push.parent import parent_of
from gittorrent.push.reftag import parse_references_tag
from gittorrent.trust.policy import repository_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat, Refs
    from gittorrent.repository.layout import Layout


class LogStoreError(GitTorrentError):
    """The log kept on disk is damaged."""


def identify(
    git: Git, pushes: Sequence[PushObject], object_format: ObjectFormat, *, write: bool
) -> list[PushId]:
    """Return the push ids of push objects, hashed by git in three processes for all.

    Args:
        git: where to store the commits.
        pushes: the push objects; their parents are what their texts say.
        object_format: of the repository.
        write: whether to store them. If not, ``git`` is left alone: it may be a repository that
            does not know its object format yet, as in the middle of a clone.
    """
    if write:
        return _identify(git, pushes, object_format, write=True)
    with scratch.blank(object_format) as staging:
        return _identify(staging, pushes, object_format, write=False)


def _identify(
    git: Git, pushes: Sequence[PushObject], object_format: ObjectFormat, *, write: bool
) -> list[PushId]:
    files = [entry_files(push).listed() for push in pushes]
    contents = [content for listed in files for _, content in listed]
    blobs = iter(hash_objects(git, "blob", contents, write=write))
    tree_contents = [tree_content([(n, next(blobs)) for n, _ in listed]) for listed in files]
    trees = hash_objects(git, "tree", tree_contents, write=write)
    commits = [
        entry_commit(push, tree, parent_of(push, object_format))
        for push, tree in zip(pushes, trees, strict=True)
    ]
    return [PushId(oid) for oid in hash_objects(git, "commit", commits, write=write)]


class _KnownDefault(Struct, frozen=True):
    """The default branch after a push of the log; None where there was no branch."""

    push: PushId
    branch: RefName | None


class LogStore:
    """The log of one repository on disk.

    Args:
        layout: where it is.
        object_format: of the repository.
        repository: whose log it is; None where there is none yet, as before the first publication.
    """

    def __init__(
        self, layout: Layout, object_format: ObjectFormat, repository: RepositoryId | None
    ) -> None:
        self._layout = layout
        self._format = object_format
        self._repository = repository

    @property
    def path(self) -> Path:
        """The file that lists the entries: it changes whenever the log does."""
        return self._layout.logs if self._repository is None else self._list

    def ids(self) -> list[PushId]:
        """Return the ids of the entries, oldest first.

        Raises:
            LogStoreError: the list is damaged.
        """
        return list(self._kinds())

    def push_file(self, push: PushId) -> bytes | None:
        """Return a push object's file form, None when it is not in the store."""
        try:
            return self._layout.push(push).read_bytes()
        except FileNotFoundError:
            return None

    def push(self, push: PushId) -> PushObject:
        """Return a push object that the log lists.

        Raises:
            LogStoreError: its file is missing.
        """
        data = self.push_file(push)
        if data is None:
            raise LogStoreError(
                f"{self._layout.push(push)} is missing though the log lists it",
                hint="get it from another mirror: run 'gittorrent mirror' again",
            )
        return parse_push_object(data)

    def refs_at(self, push: PushId) -> Refs:
        """Return the refs after entry ``push`` of the recorded log.

        Raises:
            LogStoreError: it is not in the log.
        """
        return self._refs_after(self.ids(), push)

    def refs_at_in(self, log: VerifiedLog, push: PushId) -> Refs:
        """Return the refs after entry ``push`` of a log whose push objects are all stored."""
        if push == log.head:
            return log.refs
        return self._refs_after(log.ids, push)

    def _refs_after(self, ids: Sequence[PushId], push: PushId) -> Refs:
        if push not in ids:
            raise LogStoreError(f"push {push} is not in the log of {self._layout.git_dir}")
        for candidate in reversed(ids[: ids.index(push) + 1]):
            found = self.push(candidate)
            if found.kind is PushKind.REFERENCES:
                return self._listed_in(found)
        return {}

    def _listed_in(self, push: PushObject) -> Refs:
        """Return the refs that a references tag lists, of an entry that was verified before."""
        return parse_references_tag(push.text, self._format).refs

    def default_branch(self, log: VerifiedLog) -> RefName | None:
        """Return the branch that HEAD names, of a log whose push objects are all stored.

        It is never one that is gone; None where there is no branch. Cheap while the policy's
        branch exists. Otherwise the pushes since it went are read, one at a time, as far as they
        came after the one that the answer is known of.
        """
        policy = log.policy.policy.head
        if policy in log.refs:
            return policy
        known = self._known_default(policy)
        if known is not None and known.push == log.head:
            return known.branch
        ids, listing, since = log.ids, b"\t" + policy + b"\n", 0
        current: RefName | None = None
        before: Refs = {}
        for number in range(len(ids) - 1, -1, -1):
            if known is not None and known.push == ids[number]:
                since, current = number + 1, known.branch
                before = self.refs_at_in(log, known.push)
                break
            push = self.push(ids[number])
            if push.kind is PushKind.REFERENCES and listing in push.text:
                since = number
                break
        # Each is read again rather than kept: a listing may be 32 MiB, and there may be many.
        pushes = map(self.push, ids[since:])
        states = (self._listed_in(push) for push in pushes if push.kind is PushKind.REFERENCES)
        return default_after(policy, states, current, before)

    def _known_default(self, policy: RefName) -> _KnownDefault | None:
        """Return what was found out before, if the policy named the same branch then."""
        if self._repository is None:
            return None
        try:
            lines = self._layout.default_branch(self._repository).read_bytes().split(b"\n")
        except FileNotFoundError:
            return None
        # It can be found out anew, so whatever else is there counts as nothing.
        if len(lines) != 4 or lines[0] != policy:
            return None
        push = lines[1].decode("ascii", "replace")
        return _KnownDefault(PushId(push), RefName(lines[2]) if lines[2] else None)

    def _keep_default(self, log: VerifiedLog) -> None:
        """Keep which branch is the default one, where finding that out takes reading pushes."""
        assert self._repository is not None
        policy, head = log.policy.policy.head, log.head
        if policy in log.refs or head is None:
            return
        lines = (policy, head.encode("ascii"), self.default_branch(log) or b"", b"")
        write_atomically(self._layout.default_branch(self._repository), b"\n".join(lines))

    def open(self) -> VerifiedLog:
        """Return the log as recorded: policies and the newest references verified again.

        Raises:
            LogStoreError: it is damaged, or another repository's.
        """
        kinds = self._kinds()
        ids = list(kinds)
        policies = [i for i in ids if kinds[i] is PushKind.POLICY]
        references = next((i for i in reversed(ids) if kinds[i] is PushKind.REFERENCES), None)
        log = VerifiedLog.recall(
            self._format,
            ids,
            {i: self.push(i) for i in [*policies, *([references] if references else [])]},
        )
        if ids and log.repository != self._repository:
            raise self._damaged(f"it is the log of repository {log.repository}")
        log.fast_forward_checks = self._open_questions()
        return log

    def replay(self, git: Git) -> VerifiedLog:
        """Verify the whole log from its first entry, ids included, and return it.

        Raises:
            TrustError: an entry does not hold.
        """
        ids = self.ids()
        pushes = [self.push(i) for i in ids]
        log = VerifiedLog(self._format)
        found = identify(git, pushes, self._format, write=False)
        for push_id, push, computed in zip(ids, pushes, found, strict=True):
            if push_id != computed:
                raise TrustError(f"push {push_id} is recorded wrongly: its id is {computed}")
            log.admit(push, push_id)
        return log

    def store_push(self, push_id: PushId, push: PushObject) -> None:
        """Keep a push object; it joins the log with `commit`."""
        write_atomically(self._layout.push(push_id), push.encode())

    def commit(self, log: VerifiedLog) -> None:
        """Make ``log`` the log: the one step that decides whether a change happened.

        Raises:
            LogStoreError: it is another repository's.
        """
        if log.repository != self._repository:
            raise LogStoreError(
                f"the log of {log.repository} cannot become that of {self._repository}"
            )
        kinds = self._kinds()
        lines = []
        for push_id in log.ids:
            kind = kinds.get(push_id) or self.push(push_id).kind
            lines.append(f"{push_id} {kind.value}\n")
        self._keep_open_questions(log.fast_forward_checks)
        write_atomically(self._list, "".join(lines).encode("ascii"))
        # Afterwards: until then what is kept there is of a push of the log, and goes on counting.
        self._keep_default(log)

    def _open_questions(self) -> list[FastForwardCheck]:
        """Return what could not be checked when the log was recorded, for want of objects."""
        if self._repository is None:
            return []
        try:
            lines = self._layout.descents(self._repository).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            old, new, name = line.split(b" ", 2)
            found.append(FastForwardCheck(RefName(name), Oid(old.decode()), Oid(new.decode())))
        return found

    def _keep_open_questions(self, fast_forward_checks: Sequence[FastForwardCheck]) -> None:
        assert self._repository is not None
        path = self._layout.descents(self._repository)
        if fast_forward_checks or path.exists():
            lines = [
                f"{d.old} {d.new} ".encode("ascii") + d.ref + b"\n" for d in fast_forward_checks
            ]
            write_atomically(path, b"".join(lines))

    def _kinds(self) -> dict[PushId, PushKind]:
        """Read the list of entries, oldest first, and what kind each is."""
        if self._repository is None:
            return {}
        lines = self._lines()
        if lines is None:
            # Whether or not it was us who moved it: several may find it in its old place at once.
            _move_only_log(self._layout)
            lines = self._lines()
        kinds: dict[PushId, PushKind] = {}
        for line in lines or ():
            push, _, kind = line.partition(" ")
            if not self._format.is_oid(push):
                raise self._damaged(f"{line[:60]!r} begins with no push id")
            try:
                kinds[PushId(push)] = PushKind(kind)
            except ValueError as error:
                raise self._damaged(str(error)) from error
        return kinds

    @property
    def _list(self) -> Path:
        assert self._repository is not None
        return self._layout.log(self._repository)

    def _lines(self) -> list[str] | None:
        try:
            return self._list.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> LogStoreError:
        return LogStoreError(
            f"{self._list} is damaged: {why}",
            hint="remove the repository's gittorrent directory and mirror it again",
        )


def listed_pushes(layout: Layout) -> set[str]:
    """Return the ids of all entries of all logs that are kept: their push objects are needed."""
    found: set[str] = set()
    # The old place first, and the others only then: the log there may be moved meanwhile.
    for path in itertools.chain((layout.only_log,), layout.logs.glob("*/log")):
        with contextlib.suppress(FileNotFoundError):
            lines = path.read_text(encoding="ascii", errors="replace").splitlines()
            found.update(line.partition(" ")[0] for line in lines)
    return found


def _move_only_log(layout: Layout) -> None:
    """Move the log of a time when there could be one only to its place, if there is one.

    Several processes may do this at once: whoever comes late finds nothing to move.
    """
    try:
        with layout.only_log.open(encoding="ascii", errors="replace") as file:
            first = file.readline().partition(" ")[0].strip()
    except FileNotFoundError:
        return
    try:
        push = parse_push_object(layout.push(PushId(first)).read_bytes())
    except FileNotFoundError:
        raise LogStoreError(
            f"{layout.only_log} begins with push {first}, which is missing",
            hint="remove the repository's gittorrent directory and mirror it again",
        ) from None
    repository = repository_id(push.text)
    into = layout.log(repository).parent
    make_directory(into)
    # The list comes last: until it is there, the old place counts.
    for old, new in (
        (layout.only_descents, layout.descents(repository)),
        (layout.only_log, layout.log(repository)),
    ):
        with contextlib.suppress(FileNotFoundError):
            old.rename(new)
    sync_directory(into)
