"""What of a pack is there: the growing beginning, and segments complete in whatever order."""

from __future__ import annotations

from msgspec.structs import replace

from gittorrent.ids import SHA1, PushId, RepositoryId
from gittorrent.reel.arrival import Arrival, Progress
from gittorrent.reel.manifest import Manifest, Segment

PART = 100


def manifest(size: int, *offsets: int) -> Manifest:
    return Manifest(
        repository=RepositoryId("a2" * 26),
        object_format=SHA1,
        start=None,
        end=PushId("cd" * 20),
        encoder=1,
        target=1 << 30,
        part_size=PART,
        objects=len(offsets),
        pack_size=size,
        pack_checksum="ef" * 20,
        segments=tuple(Segment(offset, 1, 1, ()) for offset in offsets),
        parts=("",) * -(-size // PART),
    )


def test_in_order() -> None:
    arrival = Arrival(manifest(350, 12, 150, 200))
    assert arrival.add(0) == Progress(100, ())
    assert arrival.add(1) == Progress(200, (0, 1))
    assert arrival.add(2) == Progress(300, ())
    assert arrival.add(3) == Progress(350, (2,))


def test_a_segment_in_the_middle_comes_first() -> None:
    arrival = Arrival(manifest(1000, 12, 350, 610))
    assert [arrival.add(part) for part in (6, 4, 5)] == [Progress(0, ())] * 3
    assert arrival.add(3) == Progress(0, (1,))
    assert arrival.add(9) == Progress(0, ())
    assert arrival.add(0) == Progress(100, ())
    assert arrival.add(8) == Progress(100, ())
    assert arrival.add(7) == Progress(100, (2,))
    assert arrival.add(2) == Progress(100, ())
    assert arrival.add(1) == Progress(1000, (0,))


def test_a_part_counts_once() -> None:
    arrival = Arrival(manifest(150, 12, 50))
    assert arrival.add(1) == Progress(0, ())
    assert arrival.add(1) == Progress(0, ())
    assert arrival.add(0) == Progress(150, (0, 1))
    assert arrival.add(0) == Progress(150, ())


def test_many_segments_within_a_part_and_the_trailer_in_a_part_of_its_own() -> None:
    arrival = Arrival(manifest(210, 12, 20, 30, 190))
    assert arrival.add(0) == Progress(100, (0, 1))
    assert arrival.add(1) == Progress(200, (2,))
    assert arrival.add(2) == Progress(210, (3,))


def test_the_parts_of_a_real_manifest_are_those_of_its_part_size() -> None:
    made = replace(manifest(350, 12), part_size=200, parts=("", ""))
    arrival = Arrival(made)
    assert arrival.add(1) == Progress(0, ())
    assert arrival.add(0) == Progress(350, (0,))
