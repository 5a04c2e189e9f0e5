"""In which order and how fast repositories are announced."""

from __future__ import annotations

import itertools

from gittorrent.discovery.pacing import RATE, RENEW_SECONDS, Pacing
from gittorrent.ids import RepositoryId


def ids(count: int) -> list[RepositoryId]:
    return [RepositoryId(f"r{number:05}") for number in range(count)]


def announced(pacing: Pacing, begin: float, end: float) -> list[tuple[float, RepositoryId]]:
    """Announce from one time to another, as a node does."""
    done, now = [], begin
    while now < end:
        if (taken := pacing.take(now)) is not None:
            done.append((now, taken))
        else:
            now += max(pacing.wait(now), 1e-6)
    return done


def test_each_is_announced_and_renewed_in_time() -> None:
    pacing = Pacing()
    pacing.serve(ids(20), 0.0)
    done = announced(pacing, 0.0, 2 * RENEW_SECONDS - 1)
    assert [who for _, who in done] == ids(20) * 2
    assert done[19][0] <= 20 / RATE


def test_ten_thousand_never_go_faster_than_the_rate_and_all_get_a_turn() -> None:
    pacing = Pacing()
    pacing.serve(ids(10_000), 0.0)
    done = announced(pacing, 0.0, 10_000 / RATE + 60)
    assert {who for _, who in done} == set(ids(10_000))
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(done)]
    assert min(gaps) >= 1 / RATE - 1e-6


def test_who_is_served_no_more_is_announced_no_more_and_may_come_again() -> None:
    pacing = Pacing()
    first, second = ids(2)
    pacing.serve([first, second], 0.0)
    assert len(announced(pacing, 0.0, 10.0)) == 2
    pacing.serve([second], 10.0)
    assert [who for _, who in announced(pacing, 10.0, RENEW_SECONDS + 10)] == [second]
    pacing.serve([first, second], RENEW_SECONDS + 20)
    late = announced(pacing, RENEW_SECONDS + 20, RENEW_SECONDS + 30)
    assert [who for _, who in late] == [first]


def test_a_newcomer_does_not_wait_for_the_next_round() -> None:
    pacing = Pacing()
    pacing.serve(ids(1), 0.0)
    announced(pacing, 0.0, 1.0)
    pacing.serve(ids(2), 100.0)
    assert pacing.wait(100.0) == 0
    assert pacing.take(100.0) == ids(2)[1]


def test_nothing_served_is_nothing_due() -> None:
    pacing = Pacing()
    assert pacing.take(0.0) is None
    assert pacing.wait(0.0) > 0
