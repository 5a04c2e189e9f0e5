"""Which reels of a chain are made one, when old ones may go, and what a mirror builds."""

from __future__ import annotations

import math
import random

import pytest

from gittorrent.ids import ManifestId, PushId
from gittorrent.reel.path import ReelOffer
from gittorrent.reel.splicing import (
    LEFT_ALONE,
    Range,
    lasting_chain,
    place,
    splice_from,
    superseded,
    to_build,
)

PLACES = {PushId(name): number for number, name in enumerate("abcdef")}


@pytest.mark.parametrize(
    ("sizes", "first"),
    [
        ([], None),
        ([9], None),
        ([1, 1, 1, 1], None),  # so few are left alone
        ([1, 1, 1, 1, 1], 0),
        ([100, 16, 8, 4, 2], None),
        ([100, 16, 8, 4, 2, 1], None),
        ([100, 16, 8, 4, 2, 2], 1),  # 2 and 2 make 4, with that before 8, with that before 16
        ([1000, 100, 40, 15, 4, 3], 4),
        ([1000, 100, 40, 13, 4, 3], 3),
        ([1000, 1, 1, 100, 40], 1),  # what was left alone before
        ([1000, 1, 1, 1, 900], 0),
    ],
)
def test_where_a_splice_begins(sizes: list[int], first: int | None) -> None:
    assert splice_from(sizes) == first


def spliced(new: list[int]) -> tuple[list[int], int, int]:
    """Publish reels of these sizes; return the chain, its greatest length, bytes encoded again."""
    chain: list[int] = []
    longest = again = 0
    for size in new:
        chain.append(size)
        first = splice_from(chain)
        if first is not None:
            chain[first:] = [sum(chain[first:])]
            again += chain[-1]
        assert splice_from(chain) is None
        longest = max(longest, len(chain))
    return chain, longest, again


@pytest.mark.parametrize("seed", range(40))
def test_chains_stay_short_and_no_byte_is_encoded_often(seed: int) -> None:
    chance = random.Random(seed)
    new = [chance.choice((1, 3, 10, 10, 10, 400, 100_000)) for _ in range(chance.randrange(1, 600))]
    if seed % 2:
        new = [chance.randrange(50_000, 200_000_000), *new]
    _, longest, again = spliced(new)
    total = sum(new)
    assert longest <= LEFT_ALONE + 1 + math.log2(total / min(new))
    assert again <= total * (2 + math.log(total / min(new), 1.5))


def test_two_hundred_publications_of_one_size() -> None:
    chain, longest, again = spliced([10_000, *[10] * 200])
    assert longest <= 2 + math.log2(200)
    assert len(chain) <= longest
    assert again <= 10 * 200 * math.log2(200)


def test_where_reels_lie() -> None:
    assert place(None, PushId("c"), PLACES) == Range(-1, 2)
    assert place(PushId("b"), PushId("c"), PLACES) == Range(1, 2)
    assert place(PushId("x"), PushId("c"), PLACES) is None
    assert place(None, PushId("x"), PLACES) is None


def test_a_reel_is_superseded_by_what_covers_it_since_the_first_of_those_came() -> None:
    spans = {"old": (0, 1), "next": (1, 3), "joined": (0, 3), "more": (0, 4), "twin": (0, 4)}
    ranges = {ManifestId(name): Range(*span) for name, span in spans.items()}
    since = {ManifestId(name): float(n) for n, name in enumerate(spans)}
    assert superseded(ranges, since) == {"old": 2.0, "next": 2.0, "joined": 3.0}


def offers(words: str) -> list[ReelOffer]:
    """Read offers such as ``:a/5 a:b/1``, sizes in MiB."""
    made = []
    for word in words.split():
        span, _, size = word.partition("/")
        start, _, end = span.partition(":")
        begins = PushId(start) if start else None
        made.append(ReelOffer(ManifestId(span), begins, PushId(end), int(size) << 20))
    return made


@pytest.mark.parametrize(
    ("given", "chain"),
    [
        (":a/9 a:b/1 b:c/1 a:c/4", ":a a:c"),  # though its parts are fewer bytes
        (":a/9 a:b/1 b:c/1", ":a a:b b:c"),
        (":a/1 a:b/1 b:c/1 c:d/1 :b/2 a:d/3", ":a a:d"),  # what covers :a leads past a
        (":a/1 :x/1 x:b/1", ":a"),
        ("a:b/1", ""),
    ],
)
def test_the_chain_that_lasts(given: str, chain: str) -> None:
    found = lasting_chain(offers(given), list(PLACES))
    assert " ".join(offer.manifest for offer in found) == chain


def test_a_mirror_builds_what_newcomers_take_and_nothing_here_is_as_good_as() -> None:
    def offer(start: str, end: str) -> ReelOffer:
        name = ManifestId(f"{start}:{end}")
        return ReelOffer(name, PushId(start) if start else None, PushId(end), 9)

    way = [offer("", "a"), offer("a", "c"), offer("c", "d"), offer("x", "d"), offer("d", "e")]
    held = [Range(-1, 0), Range(0, 1), Range(1, 2), Range(2, 5)]
    assert [each.manifest for each in to_build(way, held, PLACES)] == ["a:c"]


def test_splicing_ends_though_what_comes_out_is_larger_than_its_parts() -> None:
    """As with histories whose deltas find better bases in the parts."""
    log = [PushId(f"{number:03d}") for number in range(60)]
    made: list[ReelOffer] = []
    splices = 0
    for number, end in enumerate(log):
        start = log[number - 1] if number else None
        size = 40 << 20 if start is None else 1 << 20
        made.append(ReelOffer(ManifestId(f"{start}:{end}"), start, end, size))
        while True:
            chain = lasting_chain(made, log)
            first = splice_from([offer.pack_size for offer in chain])
            if first is None:
                break
            splices += 1
            assert splices <= 2 * len(log)
            start, size = chain[first].start, sum(offer.pack_size for offer in chain[first:])
            name = ManifestId(f"{start}:{end} {splices}")
            made.append(ReelOffer(name, start, end, size + (1 << 20)))
    assert splices > 10
