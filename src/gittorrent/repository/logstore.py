"""Keeps push logs on disk, one for each repository that a git directory has to do with.

Push objects are kept of all logs together (`push_files`). A file ``log`` has a line for
each entry of one log, in the order of admission, with what has to be known at a start
(`gittorrent.push.records.Record`). An entry is part of the log when it is listed there; a push
object that no log lists is a stale file that a crash left. In carried repositories each entry is
also a commit, and ``refs/gittorrent/log`` follows the newest checkpoint.

What was verified when it was recorded is not verified again at every open, however long the log
is: policies are, the checkpoints since the newest whole listing are followed, the pushes that none
took are judged. A file ``snapshot`` beside it makes that shorter; it can be thrown away.
``verify`` replays all.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import Batch, file_state, write_atomically
from gittorrent.errors import GitTorrentError, TrustError
from gittorrent.git import scratch
from gittorrent.git.hashing import hash_objects, hash_packed, tree_content
from gittorrent.git.runner import Git
from gittorrent.ids import PushId
from gittorrent.push.commit import entry_commit, entry_files, entry_parents
from gittorrent.push.facts import NoObjects
from gittorrent.push.log import VerifiedLog
from gittorrent.push.object import PushKind, PushObject, PushObjectError, parse_push_object
from gittorrent.push.records import parse_record
from gittorrent.push.snapshot import SnapshotError, load_snapshot
from gittorrent.repository.evidence import GitEvidence
from gittorrent.repository.push_files import PushFiles
from gittorrent.repository.readers_file import hide, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from gittorrent.ids import ObjectFormat, Oid, Refs, RepositoryId
    from gittorrent.push.facts import Facts
    from gittorrent.push.records import Record
    from gittorrent.push.snapshot import Snapshot
    from gittorrent.repository.layout import Layout

FIRST_LINE = "gittorrent log 2"
"""What a file ``log`` begins with; the format of version 0.1 had no such line."""


START_SIZE = 128 << 10
"""Bytes of checkpoints that a start may have to take apart before a snapshot is kept: it takes
about as long as starting git a few times."""


FEW = 16
"""Entries for which a file for each object costs less than another start of git."""


class LogStoreError(GitTorrentError):
    """The log kept on disk is damaged, or of a version that is not read any more."""


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

    Raises:
        TrustError: a text does not say what it builds on.
    """
    if write:
        return _identify(partial(hash_objects, git, write=True), pushes, object_format)
    with scratch.blank(object_format) as staging:
        if len(pushes) > FEW:
            return _identify(partial(hash_packed, staging, object_format), pushes, object_format)
        return _identify(partial(hash_objects, staging, write=False), pushes, object_format)


def _identify(
    hash_them: Callable[[str, Sequence[bytes]], list[Oid]],
    pushes: Sequence[PushObject],
    object_format: ObjectFormat,
) -> list[PushId]:
    files = [entry_files(push).listed() for push in pushes]
    contents = [content for listed in files for _, content in listed]
    blobs = iter(hash_them("blob", contents))
    tree_contents = [tree_content([(n, next(blobs)) for n, _ in listed]) for listed in files]
    trees = hash_them("tree", tree_contents)
    commits = [
        entry_commit(push, tree, entry_parents(push, object_format))
        for push, tree in zip(pushes, trees, strict=True)
    ]
    return [PushId(oid) for oid in hash_them("commit", commits)]


class _Written(Struct, frozen=True):
    """A log as it was written last: it, how many entries it had, the file's state and content."""

    log: VerifiedLog
    count: int
    state: object
    text: bytes


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
        self._repository = self.repository = repository
        self._files = PushFiles(layout)
        self._written: _Written | None = None

    @property
    def path(self) -> Path:
        """The file that lists the entries: it changes whenever the log does."""
        return self._layout.logs if self._repository is None else self._list

    def records(self) -> list[Record]:
        """Return what is kept of each entry, in the order in which they were admitted.

        Raises:
            LogStoreError: the list is damaged, or of an old version.
        """
        if self._repository is None:
            return []
        found = []
        for line in self._lines():
            try:
                found.append(parse_record(line, self._format))
            except ValueError as error:
                raise self._damaged(str(error)) from error
        return found

    def entries(self) -> list[PushId]:
        """Return the ids of all entries, in the order in which they were admitted."""
        return [record.id for record in self.records()]

    def ids(self) -> list[PushId]:
        """Return the ids of the adopted checkpoints whose refs are known here, oldest first."""
        adopted = [record for record in self.records() if record.is_in_chain]
        first = next((n for n, record in enumerate(adopted) if record.is_whole), len(adopted))
        return [record.id for record in adopted[first:]]

    def head(self) -> PushId | None:
        """Return the id of the newest checkpoint adopted; None while there is none."""
        return next((r.id for r in reversed(self.records()) if r.is_in_chain), None)

    @property
    def begins_late(self) -> bool:
        """Whether the first checkpoints of the log are not here, as in a clone."""
        return next((r.number for r in self.records() if r.is_in_chain), 1) != 1

    def push_file(self, push: PushId) -> bytes | None:
        """Return a push object's file form, None when it is not in the store."""
        return self._files.read(push)

    def push(self, push: PushId) -> PushObject:
        """Return a push object that the log lists.

        Raises:
            LogStoreError: its file is missing or damaged.
        """
        data, path = self.push_file(push), self._layout.push(push)
        if data is None:
            raise LogStoreError(f"{path} is missing though the log lists it", hint=self._way_out())
        try:
            return parse_push_object(data)
        except PushObjectError as error:
            raise LogStoreError(
                f"{path} is damaged: {error}", hint=f"remove it; {self._way_out()}"
            ) from error

    def refs_at(self, checkpoint: PushId) -> Refs:
        """Return the refs at one of `ids`, open conflicts too.

        Raises:
            LogStoreError: it is none of these.
        """
        if checkpoint not in self.ids():
            raise LogStoreError(f"{checkpoint} is not in the log of {self._layout.git_dir}")
        return self._recall(None).refs_at(checkpoint)

    def open(self, facts: Facts | None = None) -> VerifiedLog:
        """Return the log as recorded: policies verified again, the rest as far as needed.

        Args:
            facts: about objects, for the pushes that no checkpoint took; by default what this git
                directory has.

        Raises:
            LogStoreError: it is damaged, or another repository's.
        """
        if facts is None:
            # Without any object, git may not even know the format of those that will come.
            facts = self.evidence() if self._layout.has_objects() else NoObjects()
        log = self._recall(facts)
        if log.entries and log.repository != self._repository:
            raise self._damaged(f"it is the log of repository {log.repository}")
        return log

    def copy_of(self, log: VerifiedLog) -> VerifiedLog:
        """Return another log like one whose entries are stored here, whether committed or not.

        What is added to the one, and does not hold, spoils nothing of the other.
        """
        return VerifiedLog.recall(self._format, log.records, self.push, log.facts, log.snapshot())

    def expect(self, log: VerifiedLog, pushes: Iterable[PushObject]) -> None:
        """Find out at once what judging many pushes will ask, where a log goes by objects here.

        Args:
            log: opened here, and not told of other facts since.
            pushes: those that it will be told of, not verified.

        Raises:
            GitError: this machine let git down.
        """
        if isinstance(log.facts, GitEvidence):
            log.facts.expect(pushes)

    def evidence(self, git: Git | None = None) -> GitEvidence:
        """Return what the objects in a repository tell, as far as they are here now.

        Args:
            git: the repository; this git directory by default.
        """
        return GitEvidence(git or Git(self._layout.git_dir))

    def replay(self) -> VerifiedLog:
        """Verify the whole log from its first entry, ids included, and return it.

        One whose first entries are not here is verified from its newest whole listing.

        Raises:
            TrustError: an entry does not hold.
        """
        records = self.records()
        pushes = [self.push(record.id) for record in records]
        evidence = self.evidence()
        evidence.expect(pushes)
        log = VerifiedLog(self._format, evidence)
        found = identify(Git(self._layout.git_dir), pushes, self._format, write=False)
        for record, push, computed in zip(records, pushes, found, strict=True):
            if record.id != computed:
                raise TrustError(f"push {record.id} is recorded wrongly: its id is {computed}")
            log.admit(push, record.id)
        chain = [record for record in records if record.is_in_chain]
        held = {record.id for record in records}
        begins = any(record.number == 1 for record in chain)
        log.settle(short=not begins or any(not held.issuperset(r.pushes) for r in chain))
        return log

    def store_push(self, push_id: PushId, push: PushObject) -> None:
        """Keep a push object; it joins the log with `commit`."""
        write_atomically(self._layout.push(push_id), push.encode())

    def store_pushes(self, pushes: Mapping[PushId, PushObject]) -> None:
        """Keep many push objects, as `store_push` does one."""
        with Batch() as batch:
            self.add_pushes(batch, pushes)

    def add_pushes(self, batch: Batch, pushes: Mapping[PushId, PushObject]) -> None:
        """Let a batch keep push objects."""
        self._files.add(batch, {push_id: push.encode() for push_id, push in pushes.items()})

    def commit(self, log: VerifiedLog) -> None:
        """Make ``log`` the log: the one step that decides whether a change happened.

        Raises:
            LogStoreError: it is another repository's.
        """
        if log.repository != self._repository:
            raise LogStoreError(
                f"the log of {log.repository} cannot become that of {self._repository}"
            )
        text = self._text_of(log)
        hide(self._layout, log)
        write_atomically(self._list, text)
        show(self._layout, log)
        if log.is_linear:
            self._written = _Written(log, len(log.entries), file_state(self._list), text)
        else:
            self._written = None
        # Afterwards, since it may name only what the log has; without it the next start is longer.
        path = self._layout.snapshot(log.repository)
        if log.start_size(_checkpoint_of(path)) > START_SIZE:
            write_atomically(path, log.snapshot().dump())

    def let_go(self, log: VerifiedLog) -> None:
        """Keep nothing in memory of the log that was written last, and a snapshot to begin at.

        Args:
            log: it; the repository's lock is held.
        """
        self._written = None
        path = self._layout.snapshot(log.repository)
        if log.number and _checkpoint_of(path) != log.head:
            write_atomically(path, log.snapshot().dump())

    def _text_of(self, log: VerifiedLog) -> bytes:
        """Return the file of a log; of one that was written here what came since is added."""
        known = self._written
        is_same = known is not None and known.log is log and known.state == file_state(self._list)
        if known is not None and is_same and log.is_linear:
            return known.text + _text(log.records_since(known.count))
        return f"{FIRST_LINE}\n".encode("ascii") + _text(log.records)

    def judge_again(self, log: VerifiedLog) -> None:
        """Replay what of a log was only believed, now that objects came into this repository.

        Args:
            log: the log; its push objects are all stored.

        Raises:
            TrustError: a checkpoint adopted is refuted, and nothing may be made of this log.
        """
        evidence = self.evidence()
        taken = {push for at in log.followed for push in log.checkpoint(at).checkpoint.pushes}
        wanted = [*(push for push in taken if push in log), *(push.id for push in log.unfinal)]
        evidence.expect(map(self.push, wanted))
        log.judge_again(evidence)

    def _recall(self, facts: Facts | None) -> VerifiedLog:
        records = self.records()
        untaken: list[PushObject] = []

        def read(push: PushId) -> PushObject:
            found = self.push(push)
            if found.kind is PushKind.CERTIFICATE:
                untaken.append(found)
            return found

        log = self._recalled(records, read, facts)
        if isinstance(facts, GitEvidence):
            facts.expect(untaken)
        return log

    def _recalled(
        self, records: Sequence[Record], read: Callable[[PushId], PushObject], facts: Facts | None
    ) -> VerifiedLog:
        snapshot = self._snapshot(records)
        if snapshot is not None:
            with contextlib.suppress(SnapshotError):
                return VerifiedLog.recall(self._format, records, read, facts, snapshot)
        return VerifiedLog.recall(self._format, records, read, facts)

    def _snapshot(self, records: Sequence[Record]) -> Snapshot | None:
        """Return the snapshot kept, if it is of a checkpoint that is adopted still."""
        if self._repository is None:
            return None
        path = self._layout.snapshot(self._repository)
        at = _checkpoint_of(path)
        if not any(record.id == at and record.is_in_chain for record in records):
            return None
        # It can be found anew, so a damaged one counts as none.
        with contextlib.suppress(FileNotFoundError, SnapshotError):
            return load_snapshot(path.read_bytes(), self._format)
        return None

    @property
    def _list(self) -> Path:
        assert self._repository is not None
        return self._layout.log(self._repository)

    def _lines(self) -> list[str]:
        """Return the line of each entry; refuses what an old version kept."""
        try:
            lines = self._list.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            self._refuse_old(self._layout.only_log)
            return []
        except UnicodeDecodeError as error:
            raise self._damaged(str(error)) from error
        if not lines or lines[0] != FIRST_LINE:
            self._refuse_old(self._list)
            raise self._damaged(f"it begins {lines[0][:60] if lines else ''!r}")
        return lines[1:]

    def _refuse_old(self, path: Path) -> None:
        """Stop at a log of version 0.1, whose entries are not read any more.

        Raises:
            LogStoreError: there is one.
        """
        try:
            with path.open("rb") as file:
                words = file.readline(200).split()
        except FileNotFoundError:
            return
        if len(words) == 2 and words[1] in (b"policy", b"references", b"certificate"):
            raise LogStoreError(
                f"{path} was made by gittorrent 0.1, whose logs are not read any more",
                hint=f"remove {self._layout.own}; then the owner publishes the repository anew,"
                " under a new id, and everybody else mirrors or clones that",
            )

    def _way_out(self) -> str:
        return (
            f"in a mirror or clone remove {self._list}, and the next update gets the log anew;"
            " an owner has it from a copy, or by 'gittorrent adopt URL_OF_A_MIRROR'"
        )

    def _damaged(self, why: str) -> LogStoreError:
        return LogStoreError(
            f"{self._list} is damaged: {why}",
            hint=self._way_out(),
        )


def _text(records: Iterable[Record]) -> bytes:
    return "".join(f"{record.line()}\n" for record in records).encode("ascii")


def _checkpoint_of(path: Path) -> PushId | None:
    """Return the checkpoint that the snapshot at a path says it is of; None if there is none."""
    try:
        with path.open("rb") as file:
            words = file.read(200).split(maxsplit=5)
    except FileNotFoundError:
        return None
    return PushId(words[4].decode("ascii", "replace")) if len(words) > 4 else None


def listed_pushes(layout: Layout) -> set[str]:
    """Return the ids of all entries of all logs that are kept: their push objects are needed."""
    found: set[str] = set()
    for path in layout.logs.glob("*/log"):
        with contextlib.suppress(FileNotFoundError):
            lines = path.read_text(encoding="ascii", errors="replace").splitlines()
            found.update(line.partition(" ")[0] for line in lines if line != FIRST_LINE)
    return found
