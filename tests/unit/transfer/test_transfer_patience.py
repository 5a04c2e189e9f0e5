"""How long those are waited for who give next to nothing."""

from __future__ import annotations

import pytest

from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.patience import Patience

TIMES = ClientTimeouts()


def given_up(
    *,
    rate: float = 0.0,
    words: float = 0.0,
    is_owed: bool = True,
    has_others: bool = False,
    joins: float = 0.0,
) -> tuple[int, str]:
    """Return when a download is given up, in seconds, and why; an hour and nothing if it is not.

    Args:
        rate: bytes per second that come.
        words: seconds between two words that parts wait for their turn; none by default.
        is_owed: whether anybody was asked.
        has_others: whether somebody else could serve.
        joins: seconds between two mirrors that come.
    """
    patience = Patience(TIMES, 0.0)
    came = 0
    for now in range(1, 3600):
        new, came = int(rate * now) - came, int(rate * now)
        patience.flowed(new)
        if words and now % words == 0:
            patience.queued(now)
        if joins and now % joins == 0:
            patience.joined()
        if reason := patience.give_up(now, is_owed=is_owed, has_others=has_others):
            return now, reason
    return 3600, ""


def test_silence_ends_soon() -> None:
    assert given_up() == (121, "nothing was received in 121 seconds, nor a word on why")


@pytest.mark.parametrize("rate", [1 / 60, 1, 500])
def test_a_trickle_ends_as_soon(rate: float) -> None:
    at, reason = given_up(rate=rate)
    assert at == 121
    assert "almost nothing" in reason


def test_what_flows_goes_on() -> None:
    assert given_up(rate=1024) == (3600, "")


@pytest.mark.parametrize("rate", [0, 1 / 60])
def test_who_says_that_parts_wait_is_waited_for_longer(rate: float) -> None:
    assert given_up(words=10, rate=rate) == (601, "almost nothing was received in 601 seconds")


def test_a_word_now_and_then_is_not_enough() -> None:
    at, _ = given_up(words=100)
    assert at < 200


@pytest.mark.parametrize("rate", [0, 1 / 60])
def test_where_others_could_serve_that_is_as_long_as_silence(rate: float) -> None:
    at, reason = given_up(words=10, rate=rate, has_others=True)
    assert at == 121
    assert "others are there" in reason


def test_no_time_counts_in_which_nobody_was_asked() -> None:
    at, _ = given_up(is_owed=False)
    assert at == 601


def test_newcomers_have_time_but_not_for_ever() -> None:
    at, _ = given_up(joins=60)
    assert at == 601
