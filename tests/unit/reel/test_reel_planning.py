"""Order, cuts, edges, frontiers, the encoder's command, pack headers and the best path."""

from __future__ import annotations

import re

import pytest

from gittorrent.ids import SHA1, ManifestId, Oid, PushId
from gittorrent.reel.encoder import pack_objects_command
from gittorrent.reel.order import Commit, OrderError, canonical_order
from gittorrent.reel.pack import (
    FilePiece,
    PackHeaderError,
    WireView,
    pack_header,
    parse_pack_header,
)
from gittorrent.reel.path import ReelOffer, best_path, reached
from gittorrent.reel.segments import (
    MOST_EDGES,
    MOST_TARGETS,
    SMALLEST_TARGET,
    SegmentCut,
    choose_target,
    cut,
    edges,
    frontier,
)

_COMMIT = re.compile(r"(\w)@(\d+)(?:\(([^)]*)\))?")


def history(picture: str) -> list[Commit]:
    """Read commits written as name@time(parents), such as ``a@1 b@2(a) m@3(b a)``."""
    return [
        Commit(Oid(name), int(time), tuple(Oid(parent) for parent in parents.split()))
        for name, time, parents in _COMMIT.findall(picture)
    ]


def order(picture: str) -> str:
    return "".join(commit.oid for commit in canonical_order(history(picture)))


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("a@1 b@2(a) c@3(b)", "abc"),
        ("c@1(b) b@2(a) a@3", "abc"),  # parents first, whatever the dates say
        ("b@5 a@5", "ab"),  # equal dates: by id
        ("b@4 a@5", "ba"),  # earlier dates first
        ("a@9 b@1(a) c@5", "cab"),
        ("a@1 b@3(a) c@2(a) m@0(b c)", "acbm"),
        ("a@1(x) b@2(a y)", "ab"),  # parents outside do not count
        ("a@1 m@2(a a)", "am"),  # a parent named twice is one parent
        ("d@0(c) c@0(b) b@0(a) a@18446744073709551615 z@1", "zabcd"),
    ],
)
def test_order(picture: str, expected: str) -> None:
    assert order(picture) == expected
    assert "".join(c.oid for c in canonical_order(history(picture)[::-1])) == expected


def test_a_circle_is_no_history() -> None:
    with pytest.raises(OrderError, match="2 commits are ancestors of themselves"):
        order("a@1(b) b@2(a) c@3")


def test_no_commits_have_an_order() -> None:
    assert canonical_order([]) == []


def test_target() -> None:
    assert choose_target(0) == SMALLEST_TARGET == 1 << 30
    full = SMALLEST_TARGET * MOST_TARGETS
    assert choose_target(full) == SMALLEST_TARGET
    assert choose_target(full + 1) == 2 * SMALLEST_TARGET
    assert choose_target(2 * full + 1) == 4 * SMALLEST_TARGET
    assert choose_target(160, smallest_target=4) == 16


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], [(0, 0)]),
        ([5], [(0, 1)]),
        ([5, 5], [(0, 2)]),  # cut when the target is reached, not when it would be passed
        ([10, 1], [(0, 1), (1, 2)]),
        ([9, 1, 1], [(0, 2), (2, 3)]),
        ([100, 100, 1], [(0, 1), (1, 2), (2, 3)]),
        ([10], [(0, 1)]),  # nothing follows, so nothing is cut
    ],
)
def test_cuts(sizes: list[int], expected: list[tuple[int, int]]) -> None:
    assert cut(sizes, 10) == [SegmentCut(*pair) for pair in expected]


def test_edges_go_backwards_and_keep_the_order_of_parents() -> None:
    assert edges(history("c@1(x a) d@2(c b) e@3(d z y)")) == ["z", "y", "b", "x", "a"]
    assert edges(history("a@1 b@2(a)")) == []
    assert edges(history("a@1(z) b@2(z)")) == ["z"]


def test_edges_are_ten_at_most() -> None:
    parents = " ".join("klmnopqrstuvw")
    assert edges(history(f"a@1(j) b@2({parents})")) == list("klmnopqrst")
    assert MOST_EDGES == 10


def test_frontier() -> None:
    assert frontier(history("b@1 a@2 c@3(a) d@4(z)")) == ("b", "c", "d")
    assert frontier([]) == ()


def test_the_command_pins_what_changes_bytes() -> None:
    words = pack_objects_command((2, 47, 3))
    at = words.index("pack-objects")
    settings = dict(word.split("=") for word in words[1:at:2])
    assert words[0:at:2] == ["-c"] * (at // 2)
    for key in (
        "pack.compression", "core.compression", "core.bigFileThreshold", "pack.windowMemory",
        "pack.deltaCacheSize", "pack.deltaCacheLimit", "core.attributesFile", "pack.useBitmaps",
        "pack.usePathWalk", "pack.packSizeLimit",
    ):  # fmt: skip
        assert key in settings
    assert words[at + 1 :] == [
        "--stdout", "--delta-base-offset", "--no-reuse-delta", "--no-reuse-object",
        "--threads=1", "--window=10", "--depth=50",
    ]  # fmt: skip


def test_only_compression_is_left_to_others() -> None:
    usual = pack_objects_command((2, 49))
    bare = pack_objects_command((2, 49), deflated=False)
    differences = {pair for pair in zip(usual, bare, strict=True) if len(set(pair)) == 2}
    assert differences == {
        (f"{key}=-1", f"{key}=0") for key in ("core.compression", "pack.compression")
    }


def test_newer_gits_are_told_which_name_hash() -> None:
    assert "--name-hash-version=1" not in pack_objects_command((2, 48, 9))
    for version in ((2, 49, 0), (2, 50), (3, 0)):
        assert pack_objects_command(version)[-1] == "--name-hash-version=1"


def test_pack_header() -> None:
    assert pack_header(258) == b"PACK\0\0\0\2\0\0\1\2"
    assert parse_pack_header(pack_header(258) + b"more") == 258
    for wrong in (b"", b"PACK", b"PACK\0\0\0\3\0\0\0\1", b"KCAP\0\0\0\2\0\0\0\1"):
        with pytest.raises(PackHeaderError):
            parse_pack_header(wrong)


def test_wire_view_at_its_borders() -> None:
    view = WireView(SHA1, 3, 100, "ab" * 20)
    assert view.middle_end == 80
    assert list(view.pieces(0, 100)) == [pack_header(3), FilePiece(12, 68), b"\xab" * 20]
    assert list(view.pieces(12, 68)) == [FilePiece(12, 68)]
    assert list(view.pieces(80, 5)) == [b"\xab" * 5]
    assert list(view.pieces(99, 500)) == [b"\xab"]
    assert list(view.pieces(5, 2)) == [pack_header(3)[5:7]]
    assert list(view.pieces(11, 2)) == [pack_header(3)[11:], FilePiece(12, 1)]
    for offset in (0, 5, 12, 50, 80, 100, 1000):
        assert b"".join(p for p in view.pieces(offset, 0) if isinstance(p, bytes)) == b""
    assert list(view.pieces(100, 10)) == []


def offer(start: str, end: str, size: int) -> ReelOffer:
    name = f"{start}:{end}"
    size <<= 20
    return ReelOffer(ManifestId(name), PushId(start) if start else None, PushId(end), size)


def path(offers: str, have: str = "", log: str = "abcdef", *, begins_late: bool = False) -> str:
    """Read offers such as ``:a/5 a:b/1``, sizes in MiB, and write the way taken."""
    made = []
    for word in offers.split():
        span, _, size = word.partition("/")
        start, _, end = span.partition(":")
        made.append(offer(start, end, int(size)))
    here, known = [PushId(h) for h in have], [PushId(push) for push in log]
    ways = {
        " ".join(r.manifest for r in best_path(some, here, known, begins_late=begins_late))
        for some in (made, made[::-1])
    }
    assert len(ways) == 1, "the order of offers does not matter"
    return ways.pop()


@pytest.mark.parametrize(
    ("offers", "have", "way"),
    [
        ("", "", ""),
        (":a/5 a:b/1 b:c/1", "", ":a a:b b:c"),
        (":a/5 a:b/1 :b/5", "", ":b"),
        (":a/5 a:b/1 :b/7", "", ":a a:b"),
        (":a/5 a:b/1 b:c/1 a:c/2 :b/6", "", ":a a:c"),  # the same bytes in fewer reels
        (":c/9 :a/1", "", ":c"),  # newest first, cheap second
        (":c/9 a:d/1", "", ":c"),  # a reel nothing leads to is no use
        (":c/9 a:d/1", "a", "a:d"),
        (":c/9 c:d/1 a:d/100", "a", ":c c:d"),
        (":c/9", "c", ""),
        (":c/9", "d", ""),  # what is here is newer already
        (":c/9 a:x/1 :x/1 x:d/1", "", ":c"),  # pushes not in the log do not count
        (":b/4 b:b/0 b:a/1", "", ":b"),
        (":a/1 :b/1 a:c/1 b:c/1", "", ":a a:c"),
    ],
)
def test_best_path(offers: str, have: str, way: str) -> None:
    assert path(offers, have) == way


@pytest.mark.parametrize(
    ("offers", "have", "way"),
    [
        (":x/9 x:y/1 y:b/1", "", ":x x:y y:b"),  # what is not known here is older
        (":x/9 x:y/1", "", ""),  # and is nothing to arrive at
        (":x/9 x:b/1 :b/11", "", ":x x:b"),
        (":x/9 x:b/1 a:b/1", "a", "a:b"),
        (":x/9 x:x/0 x:y/0 y:x/0 x:c/1", "", ":x x:c"),
    ],
)
def test_a_way_leads_over_what_is_older_than_the_log_that_is_known(
    offers: str, have: str, way: str
) -> None:
    assert path(offers, have, begins_late=True) == way


def test_what_can_be_taken_from_the_beginning_on() -> None:
    made = [offer("y", "z", 1), offer("a", "b", 1), offer("x", "y", 1), offer("", "x", 1)]
    assert [each.manifest for each in reached(made)] == [":x", "x:y", "y:z"]
    assert [each.manifest for each in reached([*made, offer("z", "x", 1)])][-1] == "z:x"
