"""PartSet: membership, layout and strictness."""

from __future__ import annotations

import pytest

from gittorrent.swarm.bitmap import MAX_PARTS, PartSet
from support.part_sets import part_set


def test_most_significant_bit_of_the_first_byte_is_part_0() -> None:
    parts = PartSet(10)
    parts.add(0)
    parts.add(9)
    assert parts.to_bytes() == b"\x80\x40"
    assert list(parts) == [0, 9]
    assert PartSet(10, b"\x80\x40") == parts


def test_counts_each_member_once() -> None:
    parts = PartSet(3)
    for part in (1, 1, 2, 2):
        parts.add(part)
    assert len(parts) == 2
    parts.discard(1)
    parts.discard(1)
    assert len(parts) == 1
    assert 1 not in parts
    assert 2 in parts


@pytest.mark.parametrize("part", [-1, 3, 8])
def test_there_are_no_other_parts(part: int) -> None:
    parts = PartSet(3)
    assert part not in parts
    with pytest.raises(ValueError, match="parts 0 to 2"):
        parts.add(part)
    with pytest.raises(ValueError, match="parts 0 to 2"):
        parts.discard(part)


@pytest.mark.parametrize(
    ("flags", "start", "expected"),
    [
        ("", 0, 0),
        ("#", 0, 1),
        (".#", 0, 0),
        ("##.#", 0, 2),
        ("##.#", 3, 4),
        (".#", 9, 2),
        ("#" * 17 + ".", 0, 17),
        ("#" * 24, 3, 24),
        ("#" * 8 + ".", -4, 8),
    ],
)
def test_first_missing(flags: str, start: int, expected: int) -> None:
    assert part_set(f == "#" for f in flags).first_missing(start) == expected


@pytest.mark.parametrize("raw", [b"", b"\0\0", b"\xff", b"\x01"])
def test_refuses_a_bitmap_of_another_size_or_with_padding_set(raw: bytes) -> None:
    with pytest.raises(ValueError, match="bitmap"):
        PartSet(5, raw)


@pytest.mark.parametrize("parts", [-1, MAX_PARTS + 1])
def test_refuses_counts_out_of_range(parts: int) -> None:
    with pytest.raises(ValueError, match="parts"):
        PartSet(parts)


@pytest.mark.parametrize("parts", [0, 1, 7, 8, 9, 1000])
def test_full(parts: int) -> None:
    full = PartSet.full(parts)
    assert len(full) == parts
    assert list(full) == list(range(parts))
    assert full.first_missing() == parts


def test_a_copy_is_independent() -> None:
    one = PartSet(4)
    two = one.copy()
    two.add(3)
    assert 3 not in one
    assert one != two
    assert one != "...."
    assert repr(two) == "<PartSet 1 of 4>"


def test_a_set_that_changes_has_no_hash() -> None:
    with pytest.raises(TypeError):
        hash(PartSet(1))
