"""Laws of reels: one order for every input, texts that come back, views that fit, cheapest ways."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gittorrent.ids import OBJECT_FORMATS, SHA1, ManifestId, Oid, PushId, RepositoryId
from gittorrent.reel.arrival import Arrival
from gittorrent.reel.manifest import Manifest, ManifestError, Segment, parse_manifest
from gittorrent.reel.order import Commit, canonical_order
from gittorrent.reel.pack import FilePiece, WireView, pack_header
from gittorrent.reel.parts import part_count, part_range
from gittorrent.reel.path import REEL_BYTES, ReelOffer, best_path
from gittorrent.reel.segments import choose_target, cut, edges, frontier
from gittorrent.shapes import HISTORY, WHOLE


@st.composite
def histories(draw: st.DrawFn) -> list[Commit]:
    """Draw a history: each commit may have parents among those before it, and outside."""
    size = draw(st.integers(0, 14))
    names = draw(st.permutations([Oid(chr(97 + n)) for n in range(size)]))
    commits = []
    for number, name in enumerate(names):
        parents = draw(st.lists(st.sampled_from([*names[:number], Oid("X"), Oid("Y")]), max_size=4))
        commits.append(Commit(name, draw(st.integers(0, 3)), tuple(parents)))
    return commits


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_depends_on_nothing_but_the_commits(commits: list[Commit], random) -> None:  # type: ignore[no-untyped-def]
    ordered = canonical_order(commits)
    shuffled = list(commits)
    random.shuffle(shuffled)
    assert canonical_order(shuffled) == ordered
    assert sorted(c.oid for c in ordered) == sorted(c.oid for c in commits)


@given(histories())
def test_the_order_is_repeated_selection_of_the_smallest(commits: list[Commit]) -> None:
    left = {commit.oid: commit for commit in commits}
    for placed in canonical_order(commits):
        ready = [c for c in left.values() if not any(p in left for p in c.parents)]
        assert placed == min(ready, key=lambda c: (c.time, c.oid))
        del left[placed.oid]
    assert not left


@given(histories(), st.lists(st.integers(0, 40), min_size=14, max_size=14), st.integers(1, 60))
def test_cuts_are_runs_that_reach_the_target(
    commits: list[Commit], drawn: list[int], target: int
) -> None:
    ordered = canonical_order(commits)
    sizes = drawn[: len(ordered)]
    cuts = cut(sizes, target)
    assert cuts[0].first == 0
    assert cuts[-1].last == len(sizes)
    assert all(a.last == b.first for a, b in pairwise(cuts))
    for piece in cuts[:-1]:
        run = sizes[piece.first : piece.last]
        assert sum(run) >= target
        assert sum(run[:-1]) < target
    placed: set[str] = {"X", "Y"}
    for piece in cuts:
        members = ordered[piece.first : piece.last]
        inside = {c.oid for c in members}
        assert set(edges(members)) <= placed, "edges lie in earlier segments or outside"
        for oid in inside - set(frontier(members)):
            assert any(oid in c.parents for c in members)
        placed |= inside


@given(st.integers(0, 1 << 60), st.integers(1, 1 << 31))
def test_the_target_is_the_smallest_that_suffices(raw: int, smallest: int) -> None:
    target = choose_target(raw, smallest)
    assert raw <= 16 * target
    assert target == smallest or raw > 16 * (target // 2)
    assert target // smallest & (target // smallest - 1) == 0


def _hex(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size // 2, max_size=size // 2).map(bytes.hex)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    object_format = draw(st.sampled_from(list(OBJECT_FORMATS.values())))
    oids = _hex(object_format.hex_size)
    segments, offset, objects = [], 12, 0
    for _ in range(draw(st.integers(1, 5))):
        count = draw(st.integers(1, 1000))
        tips = sorted(draw(st.sets(oids, max_size=3)))
        raw = draw(st.integers(0, 1 << 50))
        segments.append(Segment(offset, count, raw, tuple(Oid(tip) for tip in tips)))
        offset += count + draw(st.integers(0, 100_000))
        objects += count
    size = max(offset, 3 * objects) + object_format.raw_size + draw(st.integers(0, 1 << 20))
    part_size = 1 << draw(st.integers(17, 24))
    start = draw(st.none() | oids)
    return Manifest(
        repository=RepositoryId(draw(st.from_regex(r"[a-z2-7]{52}", fullmatch=True))),
        object_format=object_format,
        start=None if start is None else PushId(start),
        end=PushId(draw(oids)),
        encoder=draw(st.integers(0, 9)),
        target=draw(st.integers(0, 1 << 50)),
        part_size=part_size,
        objects=objects,
        pack_size=size,
        pack_checksum=draw(oids),
        segments=tuple(segments),
        parts=tuple(draw(_hex(64)) for _ in range(part_count(size, part_size))),
        shape=draw(st.sampled_from([WHOLE, HISTORY])),
    )  # fmt: skip


@given(manifests())
def test_manifests_come_back(manifest: Manifest) -> None:
    found = parse_manifest(manifest.text())
    assert found == manifest
    assert found.id == manifest.id


@given(manifests(), st.data())
def test_every_other_text_has_another_id_or_is_refused(
    manifest: Manifest, data: st.DataObject
) -> None:
    text = bytearray(manifest.text())
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[at]))
    try:
        found = parse_manifest(bytes(text))
    except ManifestError:
        return
    assert found.text() == text
    assert found.id != manifest.id


@given(st.integers(1, 1 << 40), st.integers(1 << 12, 1 << 24))
def test_parts_cover_the_pack_once(size: int, part_size: int) -> None:
    count = part_count(size, part_size)
    for index in {0, count // 2, count - 1}:
        offset, length = part_range(index, size, part_size)
        assert offset == index * part_size
        assert 0 < length <= part_size
        assert (index == count - 1) == (offset + length == size)


@given(
    st.binary(min_size=1, max_size=80),
    st.binary(max_size=60),
    st.integers(0, 150),
    st.integers(0, 150),
)
def test_the_wire_form_is_seen_through_whatever_git_appended(
    middle: bytes, appended: bytes, offset: int, count: int
) -> None:
    trailer = SHA1.new_hash(middle).digest()
    wire = pack_header(7) + middle + trailer
    stored = pack_header(9) + middle + appended + b"another trailer"
    view = WireView(SHA1, 7, len(wire), trailer.hex())
    seen = b""
    for piece in view.pieces(offset, count):
        if isinstance(piece, FilePiece):
            seen += stored[piece.offset : piece.offset + piece.count]
        else:
            seen += piece
    assert seen == wire[offset : offset + count]


LOG = [PushId(name) for name in "abcde"]


@st.composite
def offers(draw: st.DrawFn) -> list[ReelOffer]:
    ends = st.sampled_from([*LOG, PushId("x")])
    made = []
    for number in range(draw(st.integers(0, 7))):
        start = draw(st.none() | ends)
        size = draw(st.integers(0, 5)) * REEL_BYTES // 2
        made.append(ReelOffer(ManifestId(f"m{number}"), start, draw(ends), size))
    return made


def _every_chain(offers: list[ReelOffer], have: set[PushId]) -> dict[PushId, int]:
    """Return the cheapest cost of every push that some chain without repetition reaches."""
    cost = {push: 0 for push in have if push in LOG}
    waiting: list[tuple[PushId | None, int, frozenset[PushId | None]]] = [
        (start, 0, frozenset({start})) for start in [None, *cost]
    ]
    while waiting:
        at, spent, passed = waiting.pop()
        for offer in offers:
            if offer.start == at and offer.end in LOG and offer.end not in passed:
                total = spent + offer.pack_size + REEL_BYTES
                cost[offer.end] = min(cost.get(offer.end, total), total)
                waiting.append((offer.end, total, passed | {offer.end}))
    return cost


@settings(max_examples=300)
@given(offers(), st.sets(st.sampled_from([*LOG, PushId("x")]), max_size=2))
def test_no_chain_is_newer_or_cheaper_than_the_best(
    given_offers: list[ReelOffer], have: set[PushId]
) -> None:
    way = best_path(given_offers, have, LOG)
    costs = _every_chain(given_offers, have)
    if not way:
        assert not costs or max(costs, key=LOG.index) in have
        return
    assert way[0].start is None or way[0].start in have
    assert all(a.end == b.start for a, b in pairwise(way))
    assert way[-1].end == max(costs, key=LOG.index)
    assert sum(offer.pack_size + REEL_BYTES for offer in way) == costs[way[-1].end]


@given(st.data())
def test_every_segment_is_complete_exactly_when_its_bytes_are(data: st.DataObject) -> None:
    size = data.draw(st.integers(40, 3000))
    part_size = data.draw(st.integers(1, 700))
    inside = data.draw(st.sets(st.integers(13, size - 1), max_size=8))
    starts = [12, *sorted(inside)]
    count = part_count(size, part_size)
    segments = tuple(Segment(start, 1, 1, ()) for start in starts)
    arrival = Arrival(
        Manifest(
            repository=RepositoryId("a2" * 26),
            object_format=SHA1,
            start=None,
            end=PushId("cd" * 20),
            encoder=1,
            target=1,
            part_size=part_size,
            objects=len(starts),
            pack_size=size,
            pack_checksum="",
            segments=segments,
            parts=("",) * count,
        )
    )
    there = bytearray(size)
    complete: set[int] = set()
    order = data.draw(st.lists(st.integers(0, count - 1), max_size=2 * count))
    for part in [*order, *range(count)]:
        offset, length = part_range(part, size, part_size)
        there[offset : offset + length] = b"1" * length
        prefix, fresh = arrival.add(part)
        gap = there.find(0)
        assert prefix == arrival.prefix == (size if gap < 0 else gap)
        assert complete.isdisjoint(fresh)
        complete.update(fresh)
        ends = [*starts[1:], size]
        spans = list(zip(starts, ends, strict=True))
        assert complete == {n for n, (a, b) in enumerate(spans) if 0 not in there[a:b]}
    assert complete == set(range(len(starts)))
