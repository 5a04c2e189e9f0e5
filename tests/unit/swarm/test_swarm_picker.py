"""Picker tests as drawings: one character for each part.

``#`` verified, ``o`` asked for, ``.`` free; a digit counts the incomplete peers that hold a part;
``*`` is claimed by the peer that is asked; ``^`` marks the run expected.
"""

from __future__ import annotations

import pytest

from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.picker import Picker
from gittorrent.swarm.settings import Mode
from support.part_sets import part_set


def mask(drawing: str, mark: str = "*") -> int:
    return part_set(char == mark for char in drawing).to_mask()


def build(state: str, counts: str = "", at: int = 0) -> Picker:
    picker = Picker(part_set(char == "#" for char in state), lambda n: min(at, n - 1))
    for part, char in enumerate(state):
        if char == "o":
            picker.take(part, part)
    for level in range(1, 10):
        held = part_set(char.isdigit() and int(char) >= level for char in counts)
        if len(held):
            picker.add_holder(held.to_mask())
    picker.check_invariant()
    return picker


def drawn(parts: int, run: tuple[int, int] | None) -> str:
    if run is None:
        return " " * parts
    return "".join("^" if run[0] <= part <= run[1] else " " for part in range(parts))


@pytest.mark.parametrize(
    ("state", "claim", "start", "limit", "expected"),
    [
        ("........", "********", 0, 3, "^^^     "),
        ("##......", "********", 0, 3, "  ^^^   "),
        ("##o.o...", "********", 0, 3, "   ^    "),
        ("##......", "***  ***", 3, 9, "     ^^^"),
        ("##......", "**** ***", 0, 9, "  ^^    "),
        ("........", "********", 5, 9, "     ^^^"),
        ("........", "***     ", 5, 9, "  ^     "),  # nothing so high: the highest there is
        ("########", "********", 0, 9, "        "),
        ("...#####", "   *****", 0, 9, "        "),
        ("........", "********", 0, 99, "^^^^^^^^"),
        (".........", "********.", 8, 1, "       ^ "),
    ],
)
def test_in_order(state: str, claim: str, start: int, limit: int, expected: str) -> None:
    picker = build(state)
    candidates = picker.candidates(mask(claim))
    run = picker.pick(candidates, Mode.IN_ORDER, start, limit)
    assert drawn(len(state), run) == expected


@pytest.mark.parametrize(
    ("state", "counts", "claim", "at", "limit", "expected"),
    [
        ("........", "32132321", "********", 0, 9, "  ^     "),
        ("........", "32132321", "********", 3, 9, "       ^"),
        ("..#.....", "32132321", "********", 0, 9, "       ^"),
        ("..o....o", "32132322", "********", 0, 9, " ^      "),
        ("........", "32132321", "**  **  ", 0, 9, " ^      "),
        ("........", "22222222", "********", 5, 2, "     ^^ "),
        ("........", "22222222", "********", 7, 2, "       ^"),
        ("#.......", "11114444", "********", 6, 2, " ^^     "),  # nothing after: from the start
        ("........", "00000000", "********", 2, 2, "  ^^    "),
        ("........", "89999999", " *******", 0, 1, " ^      "),
        ("########", "11111111", "********", 0, 1, "        "),
    ],
)
def test_rarest(state: str, counts: str, claim: str, at: int, limit: int, expected: str) -> None:
    picker = build(state, counts, at)
    run = picker.pick(picker.candidates(mask(claim)), Mode.RAREST, 0, limit)
    assert drawn(len(state), run) == expected


def test_a_complete_peer_may_be_asked_for_everything_free() -> None:
    picker = build("#.o.")
    assert picker.candidates(None) == mask(" * *")


def test_given_back_parts_are_offered_again_but_verified_ones_never() -> None:
    picker = build("....")
    picker.take(0, 3)
    assert not picker.free
    picker.give_back(2)
    assert picker.free == mask("  * ")
    picker.done(2)
    picker.give_back(2)
    assert not picker.free
    picker.check_invariant()


def test_holders_come_and_go() -> None:
    picker = build("......", "012345")
    assert [picker.holders(part) for part in range(6)] == [0, 1, 2, 3, 4, 5]
    picker.remove_holder(mask(" *****"))
    assert [picker.holders(part) for part in range(6)] == [0, 0, 1, 2, 3, 4]
    picker.add_holder(mask("*     "))
    assert [picker.holders(part) for part in range(6)] == [1, 0, 1, 2, 3, 4]
    picker.check_invariant()


def test_a_million_parts() -> None:
    parts = 1_000_000
    picker = Picker(PartSet(parts), lambda n: n // 2)
    evens = PartSet(parts, b"\xaa" * (parts // 8)).to_mask()
    for _ in range(3):
        picker.add_holder(evens)
    assert picker.pick(picker.candidates(None), Mode.RAREST, 0, 8) == (500_001, 500_001)
    for expected in range(0, 200, 8):
        run = picker.pick(picker.candidates(None), Mode.IN_ORDER, 0, 8)
        assert run == (expected, expected + 7)
        picker.take(*run)
    assert picker.pick(picker.candidates(evens), Mode.IN_ORDER, 0, 8) == (200, 200)
    picker.check_invariant()


@pytest.mark.parametrize("fault", ["free and here", "beyond", "top"])
def test_the_invariant_notices(fault: str) -> None:
    picker = build("#...")
    if fault == "free and here":
        picker.free |= mask("*   ")
    elif fault == "beyond":
        picker.free |= 1
    else:
        picker._planes.append(0)
    with pytest.raises(AssertionError):
        picker.check_invariant()
