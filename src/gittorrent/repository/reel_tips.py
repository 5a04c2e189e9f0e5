"""Commits that reach all that a checkpoint's refs reach: where the next reel begins.

A reel from one checkpoint to the next leaves out what the refs of the first reach. With a hundred
thousand refs git takes a second to read where they point, and most of these commits are in the past
of a few others. Those few are kept, and brought up to date with each reel by what it changed.

Tracks, in a file of the log's folder: the checkpoint, and commits that refs point at there, such
that each commit that refs reach is reached from one of them. Some may be in the past of others. The
file can be lost: it is found out anew by a walk over the history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import write_atomically
from gittorrent.git.history import commits_between, describe, peel
from gittorrent.ids import Oid, PushId
from gittorrent.push.certificate import subject_of
from gittorrent.push.listing import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried


class Changed(Struct, frozen=True):
    """How what refs point at changed between two checkpoints; open conflicts count as refs.

    Args:
        gone: values of changed refs before.
        new: values of changed refs after.
    """

    gone: frozenset[Oid]
    new: frozenset[Oid]


class ReelStart(Struct, frozen=True):
    """Where the next reel of an origin begins, and what it has to cover.

    Args:
        carried: the origin.
        log: its log, at whose head the reel ends.
        checkpoint: where it begins; None for the beginning of history.
        tips: commits that reach all that its refs reach.
        changed: how values changed since; None where that is not known.
    """

    carried: Carried
    log: VerifiedLog
    checkpoint: PushId | None
    tips: frozenset[Oid]
    changed: Changed | None

    @classmethod
    def at(cls, carried: Carried, log: VerifiedLog, checkpoint: PushId | None) -> ReelStart:
        """Find out what is known of a checkpoint."""
        if checkpoint is None:
            return cls(carried, log, None, frozenset(), None)
        tips = read_tips(carried, log, checkpoint)
        if tips is None:
            tips = minimal(carried.git, log.refs_at(checkpoint).values())
        changed = changed_since(log, checkpoint)
        return cls(carried, log, checkpoint, frozenset(tips), changed)

    def before(self) -> Iterator[Oid]:
        """Yield what refs point at where the reel begins; nothing is read before."""
        if self.checkpoint is not None:
            yield from set(self.log.refs_at(self.checkpoint).values())

    def new(self) -> Collection[Oid]:
        """Return what refs point at where it ends, but for what they did where it begins."""
        return self.log.final_refs.values() if self.changed is None else self.changed.new

    def keep_next(self, newest: Iterable[Oid]) -> None:
        """Keep what the next reel needs that begins where this one ends.

        Args:
            newest: commits of the reel that no other one of it is a child of.
        """
        log = self.log
        assert log.head is not None
        if self.changed is None:
            gone = frozenset(self.before()) - set(log.final_refs.values())
        else:
            gone = self.changed.gone
        git = self.carried.git
        tips = tips_after(git, self.tips, newest, gone, lambda: log.final_refs.values())
        keep_tips(self.carried, log, log.head, tips)


def read_tips(carried: Carried, log: VerifiedLog, checkpoint: PushId) -> set[Oid] | None:
    """Return what was kept for a checkpoint; None where that is of another, or not all is here."""
    try:
        lines = _path(carried, log).read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    if lines[:1] != [checkpoint] or not all(map(carried.object_format.is_oid, lines)):
        return None
    tips = {Oid(line) for line in lines[1:]}
    kinds = {None if info is None else info.kind for info in describe(carried.git, tips)}
    return tips if kinds <= {"commit"} else None


def keep_tips(carried: Carried, log: VerifiedLog, checkpoint: PushId, tips: Iterable[Oid]) -> None:
    """Keep the commits for the reel that begins at a checkpoint."""
    lines = [checkpoint, *sorted(tips)]
    write_atomically(_path(carried, log), "".join(f"{line}\n" for line in lines).encode("ascii"))


def changed_since(log: VerifiedLog, start: PushId) -> Changed | None:
    """Return how values changed from a checkpoint to the log's head, by the pushes taken since.

    None where the refs at ``start``, or pushes taken since, are not at hand.
    """
    point = log.ledger.point(start)
    if point is None:
        return None
    ids = log.ids
    taken = {
        push
        for checkpoint in ids[ids.index(start) + 1 :]
        for push in log.checkpoint(checkpoint).checkpoint.pushes
    }
    if not all(push in log for push in taken):
        return None
    refs = {subject_of(line.ref) for push in taken for line in log.push(push).certificate.lines}
    before, after = point.listing, log.ledger.adopted.listing
    changed = [ref for ref in refs if before.entry(ref) != after.entry(ref)]
    return Changed(
        frozenset(oid for ref in changed for oid in _values(before.entry(ref))),
        frozenset(oid for ref in changed for oid in _values(after.entry(ref))),
    )


def minimal(git: Git, values: Iterable[Oid], others: Iterable[Oid] = ()) -> set[Oid]:
    """Return the commits among what refs point at that neither they nor ``others`` reach."""
    commits = {oid for oid in peel(git, values) if oid is not None}
    walked = commits_between(git, others, commits)
    parents = {parent for commit in walked for parent in commit.parents}
    return {commit.oid for commit in walked if commit.oid in commits} - parents


def tips_after(
    git: Git,
    tips: Iterable[Oid],
    newest: Iterable[Oid],
    gone: Iterable[Oid],
    values: Callable[[], Iterable[Oid]],
) -> set[Oid]:
    """Return the commits that reach all that refs reach after a reel.

    Args:
        git: the repository.
        tips: those before it.
        newest: commits of the reel that no other one of it is a child of.
        gone: what changed refs pointed at before.
        values: returns what all refs point at now; asked only if need be.
    """
    found = {*tips, *newest}
    known = set(gone)
    left = known if known <= found else found & {oid for oid in peel(git, known) if oid is not None}
    if not left:
        return found
    found -= left
    # What only they reached, and refs point at all the same, has to be reached in another way.
    if commits_between(git, found, left):
        found |= minimal(git, set(values()), found)
    return found


def _values(entry: Entry) -> set[Oid]:
    found = {conflict.value for conflict in entry.conflicts}
    return found if entry.value is None else {*found, entry.value}


def _path(carried: Carried, log: VerifiedLog) -> Path:
    return carried.layout.reel_tips(log.repository)
