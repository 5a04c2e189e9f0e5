"""Addresses that strangers name: what one teller may name, how often a place is called."""

from __future__ import annotations

import itertools

import pytest

from gittorrent.gtp.node.addresses import (
    CALL_SECONDS,
    CALLS_AT_ONCE,
    FIRST_WAIT,
    LONGEST_WAIT,
    MOST_FAILURES,
    TOLD_AT_ONCE,
    TOLD_SECONDS,
    Addresses,
    Teller,
)
from gittorrent.wire.urls import AddressClass

TELLER = Teller("192.0.2.1", AddressClass.PUBLIC)
SPELLINGS = ["".join(c) for c in itertools.product(*[(c, c.upper()) for c in "localhost"])][:250]


def test_spellings_of_one_name_are_one_address() -> None:
    known = Addresses()
    assert sum(known.told(0, TELLER, host, 80) for host in SPELLINGS) == 1
    assert known.due(0, 100) == [("localhost", 80)]


@pytest.mark.parametrize(
    "host",
    [
        "localhost.",
        "127.1",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "2130706433",
        "fe80::1%eth0",
        "[::1]",
        "a b",
        "",
    ],
)
def test_addresses_that_programs_read_differently_are_not_taken(host: str) -> None:
    assert not Addresses().told(0, TELLER, host, 80)


def test_one_teller_names_so_many_and_then_slowly() -> None:
    known = Addresses()
    taken = [known.told(0, TELLER, f"h{n}.example.org", 80) for n in range(250)]
    assert sum(taken) == TOLD_AT_ONCE
    assert not known.told(1, TELLER, "next.example.org", 80)
    assert known.told(1, Teller("192.0.2.2", AddressClass.PUBLIC), "next.example.org", 80)
    assert known.told(TOLD_SECONDS + 1, TELLER, "later.example.org", 80)


def test_names_of_one_place_are_called_under_the_first() -> None:
    known = Addresses()
    for host in ("a.example.org", "b.example.org"):
        assert known.told(0, TELLER, host, 80)
    assert known.may_call(0, ("a.example.org", 80), "192.0.2.7", "192.0.2.7")
    assert not known.may_call(0, ("b.example.org", 80), "192.0.2.7", "192.0.2.7")


def test_ports_of_one_address_share_its_calls() -> None:
    known, calls = Addresses(), 0
    for port in range(1, TOLD_AT_ONCE):
        assert known.told(0, TELLER, "192.0.2.7", port)
        calls += known.may_call(0, ("192.0.2.7", port), "192.0.2.7", "192.0.2.7")
    assert calls == CALLS_AT_ONCE
    assert known.may_call(CALL_SECONDS, ("192.0.2.7", 1), "192.0.2.7", "192.0.2.7")
    known.succeeded(("192.0.2.7", 1), "192.0.2.7")
    assert known.may_call(CALL_SECONDS, ("192.0.2.7", 2), "192.0.2.7", "192.0.2.7")


def test_what_the_user_gave_is_not_counted_and_never_forgotten() -> None:
    known = Addresses()
    known.add("192.0.2.7", 80)
    for attempt in range(50):
        assert known.may_call(attempt, ("192.0.2.7", 80), "192.0.2.7", "192.0.2.7")
        known.ended(attempt, ("192.0.2.7", 80), 0.5)
    assert len(known) == 1
    assert known.trusted(("192.0.2.7", 80)) is None


def test_a_name_keeps_no_place_that_it_leads_to_no_more() -> None:
    """Or a stranger could keep a peer from being called by naming it once."""
    known = Addresses()
    place = ("x.example.org", 80)
    assert known.told(0, TELLER, *place)
    known.resolved(place, ["192.0.2.7"])
    assert known.may_call(0, place, "192.0.2.7", "192.0.2.7")
    assert not known.told(0, TELLER, "192.0.2.7", 80)
    known.resolved(place, ["192.0.2.8"])
    assert known.may_call(0, place, "192.0.2.8", "192.0.2.8")
    assert known.told(0, TELLER, "192.0.2.7", 80)
    assert known.may_call(0, ("192.0.2.7", 80), "192.0.2.7", "192.0.2.7")


def test_a_place_that_is_not_called_is_not_kept_from_others() -> None:
    known = Addresses()
    for number in range(CALLS_AT_ONCE + 1):
        place = (f"h{number}.example.org", number + 1)
        assert known.told(0, TELLER, *place)
        called = known.may_call(0, place, "192.0.2.7", "192.0.2.7")
        assert called == (number < CALLS_AT_ONCE)
    assert known.told(0, TELLER, "192.0.2.7", CALLS_AT_ONCE + 1)


def test_a_peer_that_comes_back_gives_its_teller_no_more_names() -> None:
    known = Addresses()
    taken = [known.told(0, TELLER, f"h{n}.example.org", 80) for n in range(TOLD_AT_ONCE)]
    assert all(taken)
    for _ in range(TOLD_AT_ONCE):
        known.succeeded(("h0.example.org", 80), "192.0.2.7")
    assert known.told(0, TELLER, "one.example.org", 80)
    assert not known.told(0, TELLER, "two.example.org", 80)


def test_who_hangs_up_after_the_handshake_is_called_less_and_less_often() -> None:
    known, place, now = Addresses(), ("192.0.2.7", 80), 0.0
    known.add(*place)
    assert known.due(now, 1) == [place]
    for attempt in range(10):
        known.succeeded(place, "192.0.2.7")
        known.ended(now, place, 0.5)
        wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT)
        assert known.due(now + wait - 0.1, 1) == []
        now += wait
        assert known.due(now, 1) == [place]
    known.ended(now, place, 0.5, was_useful=True)
    assert known.due(now + FIRST_WAIT, 1) == [place]


def test_a_stranger_that_never_gives_anything_is_forgotten() -> None:
    known, place = Addresses(), ("192.0.2.7", 80)
    assert known.told(0, TELLER, *place)
    for attempt in range(MOST_FAILURES + 1):
        known.succeeded(place, "192.0.2.7")
        known.ended(1000.0 * attempt, place, 0.5)
    assert len(known) == 0
