"""The state at a checkpoint as bytes, so that a start need not build it from texts.

Pure. A snapshot is what this program wrote for itself, and can be thrown away: everything in it
follows from the log. It holds the maps of a `Point` as trees that are opened as far as somebody
looks, so that a start costs the same for any number of refs and pushes.

::

    gittorrent snapshot 2
    checkpoint <push id>
    head <ref> <mark>
    numbers <keeper since> <unlisted> <swept> <size>
    maps <size>...                entries, directories, open lines, graves, taken, numbers, times
    check <CRC-32 of all else>

    the maps
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.ids import Oid, PushId, RefName
from gittorrent.push.chain import Point
from gittorrent.push.checkpoint import parse_listing
from gittorrent.push.listing import Age, Entry, Grave, Listing
from gittorrent.push.tree_map import TreeMap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import ObjectFormat
    from gittorrent.push.policy_chain import PolicyVersion
    from gittorrent.push.replay import SignedCheckpoint

_FIRST = b"gittorrent snapshot 2"


class SnapshotError(TrustError):
    """A snapshot is damaged, or not of the checkpoint that it is to be of."""


class Snapshot(Struct, frozen=True):
    """The state at a checkpoint, without the checkpoint.

    Args:
        checkpoint: its id.
        listing: the refs there.
        taken: as of a `Point`, and so are the others; what a `Point` knows besides of older
            checkpoints is in the records of the log.
    """

    checkpoint: PushId
    listing: Listing
    taken: TreeMap[int]
    numbers: TreeMap[int]
    times: TreeMap[int]
    keeper_since: int
    unlisted: int

    @classmethod
    def of(cls, point: Point) -> Snapshot:
        """Return what a start from ``point`` needs."""
        return cls(
            point.id, point.listing, point.taken, point.numbers, point.times, point.keeper_since,
            point.unlisted,
        )  # fmt: skip

    def point(self, signed: SignedCheckpoint, policy: PolicyVersion) -> Point:
        """Return the point that this was made of.

        Args:
            signed: the checkpoint.
            policy: the version that it names.

        Raises:
            SnapshotError: it is another checkpoint's.
        """
        said = signed.checkpoint
        if signed.id != self.checkpoint or said.state != self.listing.digest:
            raise SnapshotError(f"the snapshot is not of checkpoint {signed.id}")
        return Point(
            id=signed.id,
            checkpoint=said,
            policy=policy,
            listing=self.listing,
            taken=self.taken,
            numbers=self.numbers,
            times=self.times,
            keeper_since=self.keeper_since,
            unlisted=self.unlisted,
            previous=None,
        )

    def dump(self) -> bytes:
        """Return the bytes to keep."""
        listing = self.listing
        maps = [
            listing.entries.dump(bytes),
            *(each.dump(_digits) for each in (listing.directories, listing.open_lines)),
            listing.graves.dump(bytes),
            *(each.dump(_digits) for each in (self.taken, self.numbers, self.times)),
        ]
        numbers = (self.keeper_since, self.unlisted, listing.swept, listing.size)
        lines = [
            _FIRST,
            b"checkpoint " + self.checkpoint.encode("ascii"),
            listing.head_line().rstrip(b"\n"),
            b"numbers " + _words(numbers),
            b"maps " + _words(map(len, maps)),
        ]
        head, body = b"\n".join([*lines, b""]), b"".join(maps)
        return head + b"check %d\n\n" % zlib.crc32(body, zlib.crc32(head)) + body


def load_snapshot(data: bytes, object_format: ObjectFormat) -> Snapshot:
    """Read what `Snapshot.dump` returned.

    Raises:
        SnapshotError: it is damaged, or of another version.
    """
    end = data.find(b"\n\n") + 2
    head, _, check = data[: end - 1].rpartition(b"check ")
    body = memoryview(data)[end:]
    if not head.startswith(_FIRST + b"\n") or check != b"%d\n" % zlib.crc32(body, zlib.crc32(head)):
        raise SnapshotError("the snapshot is damaged")
    fields = dict(line.split(b" ", 1) for line in head.splitlines()[1:])
    maps, at = [], 0
    for size in map(int, fields[b"maps"].split()):
        maps.append(body[at : at + size])
        at += size
    keeper_since, unlisted, swept, size = map(int, fields[b"numbers"].split())
    ref, _, mark = fields[b"head"].rpartition(b" ")
    number, place = map(int, mark.split(b"."))
    entries = TreeMap.load(maps[0], lambda name, text: _entry(name, text, object_format))
    directories, open_lines, taken, kept_numbers, times = (
        TreeMap.load(maps[place], _number) for place in (1, 2, 4, 5, 6)
    )
    graves = TreeMap.load(maps[3], lambda _, text: Grave.parse(text))
    return Snapshot(
        checkpoint=PushId(fields[b"checkpoint"].decode("ascii")),
        listing=Listing(
            RefName(ref), Age(number, place), entries, directories, open_lines, graves, swept, size
        ),
        taken=taken,
        numbers=kept_numbers,
        times=times,
        keeper_since=keeper_since,
        unlisted=unlisted,
    )


def _entry(name: bytes, text: bytes, object_format: ObjectFormat) -> Entry:
    """Read an entry that was kept.

    Most are one line about a ref's value. These are split, not checked: the snapshot is whole, and
    what it was made of was checked. There are sixteen of them beside each ref that is looked up.
    """
    if not text.startswith(b"ref ") or text.count(b"\n") != 1:
        return parse_listing(text, object_format)[0]
    _, value, mark, _ = text.split(b" ")
    number, _, place = mark.partition(b".")
    return Entry(RefName(name), Oid(value.decode("ascii")), Age(int(number), int(place)))


def _digits(number: int) -> bytes:
    return b"%d" % number


def _number(_name: bytes, digits: bytes) -> int:
    return int(digits)


def _words(numbers: Iterable[int]) -> bytes:
    return b" ".join(b"%d" % number for number in numbers)
