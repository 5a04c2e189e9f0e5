"""Beginnings of parts: whose they are, and how many are kept."""

from __future__ import annotations

from gittorrent.transfer.beginnings import MAX_BYTES, MAX_OF_ONE, Beginnings, Place

HERE = Place("git://127.0.0.1/r.git", "127.0.0.1")
MOVED = Place("git://127.0.0.1/r.git", "127.0.0.2")


def test_a_beginning_is_handed_over_once_and_to_nobody_else() -> None:
    kept = Beginnings()
    kept.keep(HERE, 3, b"abc")
    assert kept.parts_of(HERE) == (3,)
    assert kept.parts_of(MOVED) == ()
    assert kept.take(MOVED, 3) == b""
    assert kept.take(HERE, 2) == b""
    assert kept.take(HERE, 3) == b"abc"
    assert kept.take(HERE, 3) == b""


def test_the_longer_one_is_kept() -> None:
    kept = Beginnings()
    for beginning in (b"ab", b"abcd", b"a"):
        kept.keep(HERE, 0, beginning)
    assert kept.take(HERE, 0) == b"abcd"


def test_what_is_here_needs_no_beginning() -> None:
    kept = Beginnings()
    kept.keep(HERE, 0, b"a")
    kept.keep(MOVED, 0, b"b")
    kept.keep(HERE, 1, b"c")
    kept.forget(0)
    assert (kept.parts_of(HERE), kept.parts_of(MOVED)) == ((1,), ())


def test_one_place_has_few_and_all_together_have_bounded_bytes() -> None:
    kept = Beginnings()
    for part in range(MAX_OF_ONE + 3):
        kept.keep(HERE, part, b"a")
    kept.keep(MOVED, 0, b"b")
    assert kept.parts_of(HERE) == tuple(range(3, MAX_OF_ONE + 3))
    assert kept.parts_of(MOVED) == (0,)
    large = bytes(MAX_BYTES // 2)
    for number in range(3):
        kept.keep(Place(f"git://127.0.0.1/{number}.git", ""), 0, large)
    assert kept.parts_of(HERE) == kept.parts_of(MOVED) == ()
    assert kept.take(Place("git://127.0.0.1/1.git", ""), 0) == large
    assert kept.take(Place("git://127.0.0.1/0.git", ""), 0) == b""
