"""What publishing does with each ref of an origin, which others may have moved as well.

Pure. People push to an origin by ordinary ssh, and others push to mirrors of it. So three values of
each ref are compared: what it was when it was last published or taken over, what it is here, and
what the log shows. Whether one commit is in the past of another is asked of whoever has the
objects.

Rules: what changed on one side goes to the other; where both changed, the value that contains the
other counts if both contain what was there before; everything else is left as it is on both sides
and named. A ref here is moved other than forward only once a checkpoint took in what it is here, as
the ref's value or as a conflict, which stays: nobody's unfinished business is undone. A branch that
is checked out here is moved by whoever works on it, as with git's own pushes. Another's
push is never reverted, since what is published of a ref is a change of the very value that the log
shows (docs/protocol/trust.md, "The rule").
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from gittorrent.push.certificate import Line
from gittorrent.push.listing import directories_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gittorrent.ids import Oid, RefName, Refs

    Contains = Callable[[Oid, Oid], bool | None]
    """Whether the first id is the second or has it in its past; None counts as no."""

_TAGS = b"refs/tags/"


class Past(Protocol):
    """What is remembered of the last time that an origin and its log were compared."""

    def knows(self, ref: RefName) -> bool:
        """Tell whether it is remembered what ``ref`` was, or that there was none."""

    def value(self, ref: RefName) -> Oid | None:
        """Return what ``ref`` was; None if there was none."""

    def is_settled(self, ref: RefName, value: Oid) -> bool:
        """Tell whether a checkpoint took this remembered value of ``ref`` in.

        It did if the value was final then or became so since, and if it is or was a conflict.
        """


class Trouble(Enum):
    """Why a ref stays different here and in the log; the value follows its name."""

    BOTH_MOVED = "was changed both here and elsewhere"
    DELETED_HERE = "was deleted here and changed elsewhere"
    DELETED_ELSEWHERE = "was deleted elsewhere and changed here"
    NOT_FINAL = "was changed elsewhere, and what it is here is not final yet"
    DIRECTORY = "cannot exist together with a ref that was made elsewhere"
    WAITING = "waits until enough of the keys that must agree on it have published the same"
    CHECKED_OUT = "was changed elsewhere, and is checked out in a work tree here"
    HEAD_BRANCH = "was deleted here, and is the default branch as long as no other one is"


class Side(Enum):
    """Where the value of a ref is that counts."""

    HERE = "here"
    ELSEWHERE = "elsewhere"


class Parted(Struct, frozen=True):
    """A ref that stays different here and in the log.

    Args:
        ref: its name.
        was: what it was when both were the same; None if there was none, or nothing is remembered.
        here: what it is in the origin.
        elsewhere: what the log shows.
        trouble: why.
    """

    ref: RefName
    was: Oid | None
    here: Oid | None
    elsewhere: Oid | None
    trouble: Trouble


class Comparison(Struct, frozen=True):
    """What is to be done with refs that differ, each sorted by name.

    Args:
        publish: changes of what the log shows.
        take: changes of the origin's refs.
        parted: what is left as it is.
    """

    publish: tuple[Line, ...]
    take: tuple[Line, ...]
    parted: tuple[Parted, ...]


def compare(here: Refs, elsewhere: Refs, past: Past, contains: Contains) -> Comparison:
    """Compare the refs of an origin with those of its log.

    Args:
        here: the origin's refs.
        elsewhere: what the log shows of the same refs, without conflicts.
        past: what is remembered of the last time.
        contains: answers for the objects.
    """
    publish: list[Line] = []
    take: list[Line] = []
    parted: list[Parted] = []
    for ref in _different(here, elsewhere):
        own, other = here.get(ref), elsewhere.get(ref)
        decided = _decide(ref, own, other, past, contains)
        if decided is Side.HERE:
            publish.append(Line(other, own, ref))
        elif decided is Side.ELSEWHERE:
            take.append(Line(own, other, ref))
        else:
            parted.append(_parted(ref, own, other, past, decided))
    return _without_clashes(publish, take, parted, past)


def withhold(comparison: Comparison, in_use: Collection[RefName], past: Past) -> Comparison:
    """Return a comparison by which no branch is moved that somebody works on.

    What is in a work tree would count as a change that takes back what the branch was moved by.

    Args:
        comparison: it.
        in_use: branches that are checked out.
        past: what is remembered of the last time.
    """
    held = [line for line in comparison.take if line.ref in in_use]
    if not held:
        return comparison
    trouble = Trouble.CHECKED_OUT
    parted = (_parted(line.ref, line.old, line.new, past, trouble) for line in held)
    return Comparison(
        comparison.publish,
        tuple(line for line in comparison.take if line.ref not in in_use),
        tuple(sorted([*comparison.parted, *parted], key=lambda each: each.ref)),
    )


def questions(here: Refs, elsewhere: Refs, past: Past) -> list[tuple[Oid, Oid]]:
    """Return the pairs that `compare` may ask about, so that git can be asked of all together."""
    pairs: list[tuple[Oid, Oid]] = []
    for ref in _different(here, elsewhere):
        own, other = here.get(ref), elsewhere.get(ref)
        if own is None or other is None or ref.startswith(_TAGS):
            continue
        was = past.value(ref)
        if not past.knows(ref) or was not in (own, other):
            pairs += [(own, other), (other, own)]
            pairs += [(value, was) for value in (own, other) if was is not None]
        elif was == own:
            pairs.append((other, own))
    return pairs


def _different(here: Refs, elsewhere: Refs) -> list[RefName]:
    return sorted({ref for ref, _ in here.items() ^ elsewhere.items()})


def _decide(
    ref: RefName, own: Oid | None, other: Oid | None, past: Past, contains: Contains
) -> Side | Trouble:
    """Return which side's value counts for a ref that differs, or why none does."""
    was = past.value(ref)
    if past.knows(ref) and was == other:
        return Side.HERE
    if past.knows(ref) and was == own:
        return _taken_over(ref, own, other, past, contains)
    if own is None:
        # Nothing is lost: what was deleted here on purpose can be deleted again.
        return Trouble.DELETED_HERE if past.knows(ref) else Side.ELSEWHERE
    if other is None:
        return Trouble.DELETED_ELSEWHERE
    if not ref.startswith(_TAGS) and (was is None or (contains(own, was) and contains(other, was))):
        if contains(own, other):
            return Side.HERE
        if contains(other, own):
            return Side.ELSEWHERE
    return Trouble.BOTH_MOVED


def _taken_over(
    ref: RefName, own: Oid | None, other: Oid | None, past: Past, contains: Contains
) -> Side | Trouble:
    """Judge a change that was made elsewhere only."""
    is_forward = own is None or (
        other is not None and not ref.startswith(_TAGS) and contains(other, own)
    )
    if is_forward or (own is not None and past.is_settled(ref, own)):
        return Side.ELSEWHERE
    return Trouble.NOT_FINAL


def _parted(
    ref: RefName, own: Oid | None, other: Oid | None, past: Past, trouble: Trouble
) -> Parted:
    return Parted(ref, past.value(ref), own, other, trouble)


def _without_clashes(
    publish: Sequence[Line], take: Sequence[Line], parted: Sequence[Parted], past: Past
) -> Comparison:
    """Leave out what would make one ref a directory of another, on either side.

    Neither side has such refs by itself, so it takes one that is here only and stays, and one that
    is elsewhere only and stays.
    """
    here = {line.ref for line in publish if line.old is None}
    here |= {each.ref for each in parted if each.elsewhere is None}
    there = {line.ref for line in take if line.old is None}
    there |= {each.ref for each in parted if each.here is None}
    above_here = {name for ref in here for name in directories_of(ref)} if there else set()
    above_there = {name for ref in there for name in directories_of(ref)} if here else set()
    clashing = {ref for ref in here if ref in above_there or not there.isdisjoint(_above(ref))}
    clashing |= {ref for ref in there if ref in above_here or not here.isdisjoint(_above(ref))}
    trouble = Trouble.DIRECTORY
    left = [
        *(
            _parted(line.ref, line.new, None, past, trouble)
            for line in publish
            if line.ref in clashing
        ),
        *(
            _parted(line.ref, None, line.new, past, trouble)
            for line in take
            if line.ref in clashing
        ),
    ]
    return Comparison(
        tuple(line for line in publish if line.ref not in clashing),
        tuple(line for line in take if line.ref not in clashing),
        tuple(sorted([*parted, *left], key=lambda each: each.ref)),
    )


def _above(ref: RefName) -> set[bytes]:
    return set(directories_of(ref))
