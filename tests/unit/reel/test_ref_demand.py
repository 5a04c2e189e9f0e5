"""Which branches clones ask for most: counts that fade, in a table with bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gittorrent.ids import RefName
from gittorrent.reel.ref_demand import HALF_LIFE_SECONDS, LEAST_ASKED, MAX_REFS, RefDemand

ENOUGH = int(LEAST_ASKED)


def branch(name: str) -> RefName:
    return RefName(f"refs/heads/{name}".encode())


def test_the_most_asked_come_first() -> None:
    demand = RefDemand()
    demand.add({branch("a"): ENOUGH, branch("b"): ENOUGH + 1, branch("c"): ENOUGH - 1}, 0.0)
    assert demand.most_asked(0.0) == [branch("b"), branch("a")]


def test_counts_fade() -> None:
    demand = RefDemand()
    demand.add({branch("a"): 2 * ENOUGH}, 1000.0)
    demand.add({branch("a"): ENOUGH}, 1000.0 + HALF_LIFE_SECONDS)
    assert demand.most_asked(1000.0 + 2 * HALF_LIFE_SECONDS) == [branch("a")]
    assert demand.most_asked(1000.0 + 2.1 * HALF_LIFE_SECONDS) == []


def test_a_clock_that_was_set_back_changes_no_count() -> None:
    demand = RefDemand()
    demand.add({branch("a"): ENOUGH}, 1e9)
    assert demand.most_asked(0.0) == [branch("a")]


def test_the_least_asked_goes_for_another() -> None:
    demand = RefDemand()
    demand.add({branch(f"{n:03}"): ENOUGH + n for n in range(MAX_REFS)}, 0.0)
    demand.add({branch("new"): ENOUGH + 1}, 0.0)
    found = demand.most_asked(0.0)
    assert len(found) == MAX_REFS
    assert branch("new") in found
    assert branch("000") not in found


def test_what_is_kept_is_read_again() -> None:
    demand = RefDemand()
    demand.add({branch("a"): ENOUGH + 3, RefName(b"refs/heads/\xff x"): 1}, 5.0)
    again = RefDemand.parse(demand.text)
    assert again.text == demand.text
    assert again.most_asked(5.0) == [branch("a")]


@given(st.binary(max_size=300))
def test_any_file_is_read(text: bytes) -> None:
    demand = RefDemand.parse(text)
    again = RefDemand.parse(demand.text)
    assert again.text == demand.text
    assert all(ref.startswith(b"refs/heads/") for ref in demand.most_asked(0.0))


def test_a_file_with_too_much_is_cut() -> None:
    lines = b"".join(b"99 refs/heads/%d\n" % number for number in range(2 * MAX_REFS))
    assert len(RefDemand.parse(b"0\n" + lines).most_asked(0.0)) == MAX_REFS


def test_a_count_is_the_same_after_it_was_kept() -> None:
    """Times have fractions, and what is kept has none."""
    for now in (1_700_000_000.4, 1_700_000_000.6, 1_700_000_000.999):
        demand = RefDemand()
        demand.add({branch("a"): ENOUGH}, now)
        assert RefDemand.parse(demand.text).most_asked(now) == [branch("a")]
