"""What storage keeps of each entry of a log, so that a start need not read them all.

Pure. A record says of a checkpoint what later ones depend on: its number and time, the pushes it
took. They are written by this program for itself, from what it verified.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.ids import PushId
from gittorrent.push.object import PushKind

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat
    from gittorrent.push.replay import SignedCheckpoint


class Held(Enum):
    """What became of a checkpoint here; the value is the word in its record.

    Adopted after replay; adopted because its keeper signed it ("followed"); known to hold and not
    in the chain adopted ("aside"), or believed to; in want of something else; found not to follow.
    """

    ADOPTED = "adopted"
    FOLLOWED = "followed"
    ASIDE = "aside"
    ASIDE_FOLLOWED = "aside-followed"
    WAITING = "waiting"
    REFUTED = "refuted"


class Record(Struct, frozen=True):
    """One entry of a log as storage lists it.

    Args:
        id: its push id.
        kind: what it is.
        number: of a checkpoint: its place in the chain.
        time: of a checkpoint, in seconds.
        version: of the policy in force at a checkpoint.
        is_whole: whether a checkpoint has the whole listing.
        held: what became of a checkpoint.
        pushes: of a checkpoint: the pushes it took.
    """

    id: PushId
    kind: PushKind
    number: int = 0
    time: int = 0
    version: int = 0
    is_whole: bool = False
    held: Held = Held.ADOPTED
    pushes: tuple[PushId, ...] = ()

    def line(self) -> str:
        """Return the line, without its line feed: fields separated by one space."""
        if self.kind is not PushKind.CHECKPOINT:
            return f"{self.id} {self.kind.value}"
        whole = "whole" if self.is_whole else "changes"
        fields = (self.id, self.kind.value, self.number, self.time, self.version, whole)
        return " ".join(map(str, (*fields, self.held.value, *self.pushes)))

    @property
    def is_aside(self) -> bool:
        """Whether it is a checkpoint that holds and is not of the chain that was adopted."""
        return self.held in (Held.ASIDE, Held.ASIDE_FOLLOWED)

    @property
    def is_in_chain(self) -> bool:
        """Whether it is a checkpoint of the chain that was adopted."""
        return self.kind is PushKind.CHECKPOINT and self.held in (Held.ADOPTED, Held.FOLLOWED)


def parse_record(line: str, object_format: ObjectFormat) -> Record:
    """Read a line that `Record.line` wrote.

    Raises:
        ValueError: it is not one.
    """
    push, _, rest = line.partition(" ")
    kind, *fields = rest.split(" ")
    if not object_format.is_oid(push):
        raise ValueError(f"{line[:60]!r} begins with no push id")
    made = PushKind(kind)
    if made is not PushKind.CHECKPOINT:
        if fields:
            raise ValueError(f"{line[:60]!r} has words after a {kind}")
        return Record(PushId(push), made)
    if len(fields) < 5 or fields[3] not in ("whole", "changes"):
        raise ValueError(f"{line[:60]!r} does not say enough of a checkpoint")
    number, time, version, whole, held, *pushes = fields
    return Record(
        id=PushId(push),
        kind=made,
        number=int(number),
        time=int(time),
        version=int(version),
        is_whole=whole == "whole",
        held=Held(held),
        pushes=tuple(map(PushId, pushes)),
    )


def record_of(signed: SignedCheckpoint, held: Held) -> Record:
    """Return the record of a checkpoint."""
    said = signed.checkpoint
    return Record(
        id=signed.id,
        kind=PushKind.CHECKPOINT,
        number=said.number,
        time=said.time,
        version=said.version,
        is_whole=said.whole,
        held=held,
        pushes=said.pushes,
    )
