"""A source that says much takes no place from one that says little."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gittorrent.swarm.fair_shares import fair_shares, in_turn

ITEMS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 1000)), unique=True)


def source(item: tuple[str, int]) -> str:
    return item[0]


@given(ITEMS, st.integers(0, 40))
def test_no_source_gets_more_while_another_that_wants_more_has_less(
    items: list[tuple[str, int]], places: int
) -> None:
    kept = fair_shares(items, source, places)
    wanted, given_to = Counter(map(source, items)), Counter(map(source, kept))
    assert len(kept) == min(places, len(items))
    for one in wanted:
        for other in wanted:
            if given_to[one] < wanted[one]:
                assert given_to[other] <= given_to[one] + 1
    # Each source's best, and all in their order.
    for one, count in given_to.items():
        assert [i for i in kept if source(i) == one] == [i for i in items if source(i) == one][
            :count
        ]
    assert kept == [item for item in items if item in set(kept)]


@given(ITEMS, st.lists(st.integers(0, 1000), unique=True, max_size=300), st.integers(6, 32))
def test_a_flood_from_one_more_source_leaves_the_others_their_fair_share(
    items: list[tuple[str, int]], flood: list[int], places: int
) -> None:
    everything = [*(("liar", number) for number in flood), *items]
    kept = Counter(map(source, fair_shares(everything, source, places)))
    honest = Counter(map(source, items))
    for one, wanted in honest.items():
        assert kept[one] >= min(wanted, places // (len(honest) + 1))


@given(ITEMS)
def test_in_turn_keeps_all_and_the_first_of_each_come_first(items: list[tuple[str, int]]) -> None:
    turned = in_turn(items, source)
    assert sorted(turned) == sorted(items)
    sources = len(set(map(source, items)))
    assert len(set(map(source, turned[:sources]))) == sources
