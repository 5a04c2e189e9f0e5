"""Keeps the push log of one repository on disk.

Push objects are files, named by their ids. The file ``log`` lists the ids, oldest first; an
entry is part of the log when it is listed there, and a push object that is not is litter of a
crash. In carried repositories each entry is also a commit, and ``refs/gittorrent/log`` follows
the last one.

What was verified when it was recorded is not verified again at every open: the newest policy
chain and the newest references are, the ids between are taken as recorded. ``verify`` replays all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.errors import GitTorrentError, TrustError
from gittorrent.git import scratch
from gittorrent.git.hashing import hash_objects, tree_content
from gittorrent.ids import Oid, PushId, RefName
from gittorrent.push.commit import entry_commit, entry_files
from gittorrent.push.log import Descent, VerifiedLog
from gittorrent.push.object import PushKind, PushObject, parse_push_object
from gittorrent.push.parent import parent_of
from gittorrent.push.reftag import parse_references_tag

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    with scratch.blank(object_format) as room:
        return _identify(room, pushes, object_format, write=False)


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


class LogStore:
    """The log of one repository on disk.

    Args:
        layout: where it is.
        object_format: of the repository.
    """

    def __init__(self, layout: Layout, object_format: ObjectFormat) -> None:
        self._layout = layout
        self._format = object_format

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
                return parse_references_tag(found.text, self._format).refs
        return {}

    def open(self) -> VerifiedLog:
        """Return the log as recorded: policies and the newest references verified again."""
        ids = self.ids()
        kinds = self._kinds()
        policies = [i for i in ids if kinds.get(i) is PushKind.POLICY]
        references = next((i for i in reversed(ids) if kinds.get(i) is PushKind.REFERENCES), None)
        log = VerifiedLog.recall(
            self._format,
            ids,
            {i: self.push(i) for i in [*policies, *([references] if references else [])]},
        )
        log.descents = self._open_questions()
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
        """Make ``log`` the log: the one step that decides whether a change happened."""
        kinds = self._kinds()
        lines = []
        for push_id in log.ids:
            kind = kinds.get(push_id) or self.push(push_id).kind
            lines.append(f"{push_id} {kind.value}\n")
        self._keep_open_questions(log.descents)
        write_atomically(self._layout.log, "".join(lines).encode("ascii"))

    def _open_questions(self) -> list[Descent]:
        """Return what could not be checked when the log was recorded, for want of objects."""
        try:
            lines = self._layout.descents.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            old, new, name = line.split(b" ", 2)
            found.append(Descent(RefName(name), Oid(old.decode()), Oid(new.decode())))
        return found

    def _keep_open_questions(self, descents: Sequence[Descent]) -> None:
        if descents or self._layout.descents.exists():
            lines = [f"{d.old} {d.new} ".encode("ascii") + d.ref + b"\n" for d in descents]
            write_atomically(self._layout.descents, b"".join(lines))

    def _kinds(self) -> dict[PushId, PushKind]:
        """Read the list of entries, oldest first, and what kind each is."""
        try:
            lines = self._layout.log.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError as error:
            raise self._damaged(str(error)) from error
        kinds = {}
        for line in lines:
            push, _, kind = line.partition(" ")
            if not self._format.is_oid(push):
                raise self._damaged(f"{line[:60]!r} begins with no push id")
            try:
                kinds[PushId(push)] = PushKind(kind)
            except ValueError as error:
                raise self._damaged(str(error)) from error
        return kinds

    def _damaged(self, why: str) -> LogStoreError:
        return LogStoreError(
            f"{self._layout.log} is damaged: {why}",
            hint="remove the repository's gittorrent directory and mirror it again",
        )
