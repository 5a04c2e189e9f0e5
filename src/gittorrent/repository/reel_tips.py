"""Commits that reach all that a checkpoint's refs reach: where reels begin.

A reel from one checkpoint to the next leaves out what the refs of the first reach. With a hundred
thousand refs git takes a second to read where they point, and most of these commits are in the past
of a few others. Those few are kept, and brought up to date with each reel by what it changed.

Tracks, in a file of the log's folder, for each checkpoint that the next reel may begin after: its
id, and commits that refs point at there, such that each commit that refs reach is reached from one
of them. Some may be in the past of others. Checkpoints are parted by empty lines, the newest stands
first. The file can be lost: it is found out anew by a walk over the history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import write_atomically
from gittorrent.git.history import commits_between, describe, peel
from gittorrent.ids import Oid, PushId, RefName
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
    """Where a reel of an origin begins, and what it has to cover.

    Args:
        carried: the origin.
        log: its log.
        checkpoint: where it begins; None for the beginning of history.
        end: the checkpoint that it completes.
        tips: commits that reach all that the refs reach where it begins.
        changed: how values changed from there to its end; None where that is not known.
    """

    carried: Carried
    log: VerifiedLog
    checkpoint: PushId | None
    end: PushId
    tips: frozenset[Oid]
    changed: Changed | None

    @classmethod
    def at(
        cls, carried: Carried, log: VerifiedLog, checkpoint: PushId | None, end: PushId
    ) -> ReelStart:
        """Find out what is known of a checkpoint."""
        if checkpoint is None:
            return cls(carried, log, None, end, frozenset(), None)
        tips = read_tips(carried, log, checkpoint)
        if tips is None:
            tips = minimal(carried.git, log.refs_at(checkpoint).values())
        changed = changed_between(log, checkpoint, end)
        return cls(carried, log, checkpoint, end, frozenset(tips), changed)

    def before(self) -> Iterator[Oid]:
        """Yield what refs point at where the reel begins; nothing is read before."""
        if self.checkpoint is not None:
            yield from set(self.log.refs_at(self.checkpoint).values())

    def after(self) -> Collection[Oid]:
        """Return what refs point at where it ends."""
        return self.log.refs_at(self.end).values()

    def new(self) -> Collection[Oid]:
        """Return what refs point at where it ends, but for what they did where it begins.

        What was touched in between and is as it was may be among it.
        """
        if self.changed is not None:
            return self.changed.new
        values = None
        if self.checkpoint is not None:
            values = touched_between(self.log, self.checkpoint, self.end)
        return self.after() if values is None else values

    def keep_next(self, newest: Iterable[Oid], others: Collection[PushId] = ()) -> None:
        """Keep what reels need that begin where this one ends.

        Args:
            newest: commits of the reel that no other one of it is a child of.
            others: checkpoints of which that is kept, too, where it is known.
        """
        if self.changed is None:
            gone = frozenset(self.before()) - set(self.after())
        else:
            gone = self.changed.gone
        tips = tips_after(self.carried.git, self.tips, newest, gone, self.after)
        keep_tips(self.carried, self.log, self.end, tips, others)


def read_tips(carried: Carried, log: VerifiedLog, checkpoint: PushId) -> set[Oid] | None:
    """Return what was kept for a checkpoint; None where nothing was, or not all is here."""
    tips = _read(carried, log).get(checkpoint)
    if tips is None:
        return None
    kinds = {None if info is None else info.kind for info in describe(carried.git, tips)}
    return tips if kinds <= {"commit"} else None


def keep_tips(
    carried: Carried,
    log: VerifiedLog,
    checkpoint: PushId,
    tips: Iterable[Oid],
    others: Collection[PushId] = (),
) -> None:
    """Keep the commits for reels that begin at a checkpoint, and those of some others."""
    known = {other: found for other, found in _read(carried, log).items() if other in others}
    blocks = {checkpoint: set(tips), **{o: t for o, t in known.items() if o != checkpoint}}
    text = "\n".join(
        "".join(f"{line}\n" for line in (each, *sorted(found))) for each, found in blocks.items()
    )
    write_atomically(_path(carried, log), text.encode("ascii"))


def _read(carried: Carried, log: VerifiedLog) -> dict[PushId, set[Oid]]:
    """Return what is kept, by checkpoint; nothing where the file is lost or damaged."""
    try:
        text = _path(carried, log).read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return {}
    blocks = [block.splitlines() for block in text.split("\n\n") if block]
    if not all(map(carried.object_format.is_oid, (line for block in blocks for line in block))):
        return {}
    return {PushId(block[0]): {Oid(line) for line in block[1:]} for block in blocks}


def changed_since(log: VerifiedLog, start: PushId) -> Changed | None:
    """Return how values changed from a checkpoint to the log's head; see `changed_between`."""
    return None if log.head is None else changed_between(log, start, log.head)


def changed_between(log: VerifiedLog, start: PushId, end: PushId) -> Changed | None:
    """Return how values changed between two checkpoints, by the pushes taken in between.

    None where the refs at one of them, or pushes taken in between, are not at hand.
    """
    point, last = log.ledger.point(start), log.ledger.point(end)
    refs = _touched(log, start, end)
    if point is None or last is None or refs is None:
        return None
    before, after = point.listing, last.listing
    changed = [ref for ref in refs if before.entry(ref) != after.entry(ref)]
    return Changed(
        frozenset(oid for ref in changed for oid in _values(before.entry(ref))),
        frozenset(oid for ref in changed for oid in _values(after.entry(ref))),
    )


def touched_between(log: VerifiedLog, start: PushId, end: PushId) -> frozenset[Oid] | None:
    """Return what refs point at, at a checkpoint, that pushes changed since another one.

    That is known where the refs at the first are not. None where those at the second, or pushes
    taken in between, are not at hand.
    """
    last, refs = log.ledger.point(end), _touched(log, start, end)
    if last is None or refs is None:
        return None
    return frozenset(oid for ref in refs for oid in _values(last.listing.entry(ref)))


def _touched(log: VerifiedLog, start: PushId, end: PushId) -> set[RefName] | None:
    """Return the refs that pushes changed between two checkpoints; None where not all are here."""
    ids = log.ids
    taken = {
        push
        for checkpoint in ids[ids.index(start) + 1 : ids.index(end) + 1]
        for push in log.checkpoint(checkpoint).checkpoint.pushes
    }
    if not all(push in log for push in taken):
        return None
    return {subject_of(line.ref) for push in taken for line in log.push(push).certificate.lines}


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
