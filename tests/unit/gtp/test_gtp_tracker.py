"""The tracker's table: lifetimes, the lot, limits; and its wire forms."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from gittorrent.gtp import tracker_table
from gittorrent.gtp.errors import TrackerError
from gittorrent.gtp.messages import PeerAddress
from gittorrent.gtp.node.tracker_server import last_hop
from gittorrent.gtp.node.tracker_store import TrackerStore
from gittorrent.gtp.tracker_messages import (
    NOBODY,
    TrackerAnswer,
    TrackerEvent,
    TrackerRefusedError,
    TrackerRequest,
    encode_failure,
    is_address,
    parse_answer,
    parse_request,
)
from gittorrent.gtp.tracker_table import ListedPeer, TooManyRequestsError, TrackerTable
from gittorrent.transfer.addresses import caller_group

HASH = b"h" * 20


def peer(number: int) -> bytes:
    return number.to_bytes(20, "big")


def request(number: int, **changes: object) -> TrackerRequest:
    values: dict[str, object] = {"repo_hash": HASH, "peer_id": peer(number), "port": 9417}
    return TrackerRequest(**{**values, **changes})  # type: ignore[arg-type]


def table() -> TrackerTable:
    numbers = itertools.count()
    return TrackerTable(lambda below: next(numbers) % below, caller_group)


def test_lifetimes_grow_for_those_who_come_back_in_time() -> None:
    swarm, now, seen = table(), 0.0, []
    for _ in range(7):
        answer, _ = swarm.announce(now, request(1), "192.0.2.1")
        seen.append(answer.expires)
        now += answer.expires * 0.8
    assert seen[:4] == [600, 1200, 2400, 4800]
    assert seen[-1] == tracker_table.LONGEST_LIFETIME


def test_asking_often_is_no_loyalty() -> None:
    swarm = table()
    lifetimes = [swarm.announce(t, request(1), "192.0.2.1")[0].expires for t in range(5)]
    assert lifetimes == [600] * 5


def test_who_comes_late_begins_anew() -> None:
    swarm = table()
    swarm.announce(0, request(1), "192.0.2.1")
    swarm.announce(500, request(1), "192.0.2.1")
    answer, _ = swarm.announce(50_000, request(1), "192.0.2.1")
    assert answer.expires == 600


def test_a_started_event_begins_anew_and_valid_shortens() -> None:
    swarm = table()
    swarm.announce(0, request(1), "192.0.2.1")
    swarm.announce(500, request(1), "192.0.2.1")
    started = request(1, event=TrackerEvent.STARTED)
    assert swarm.announce(1500, started, "192.0.2.1")[0].expires == 600
    assert swarm.announce(1510, request(1, valid=120), "192.0.2.1")[0].expires == 120


def test_peers_with_data_come_first_and_never_oneself() -> None:
    swarm = table()
    for number in range(10):
        full = number in (3, 7)
        some = 5 if number == 5 else 0
        listed = request(number, completed=full, downloaded=some)
        swarm.announce(0, listed, f"192.0.2.{number + 1}")
    answer, _ = swarm.announce(1, request(3, completed=True, peers=4), "192.0.2.4")
    ids = [int.from_bytes(p.peer_id, "big") for p in answer.peers]
    assert set(ids[:2]) == {5, 7}
    assert len(ids) == 4
    assert 3 not in ids
    assert (answer.complete, answer.incomplete) == (2, 8)


def test_stopped_and_expired_peers_are_gone() -> None:
    swarm = table()
    swarm.announce(0, request(1), "192.0.2.1")
    swarm.announce(0, request(2), "192.0.2.2")
    answer, entry = swarm.announce(1, request(2, event=TrackerEvent.STOPPED), "192.0.2.2")
    assert entry is None
    assert answer.incomplete == 1
    answer, _ = swarm.announce(10_000, request(3), "192.0.2.3")
    assert answer.peers == ()
    assert swarm.counts(HASH) == (0, 1)


def test_nobody_moves_or_removes_a_peer_from_elsewhere() -> None:
    swarm = table()
    swarm.announce(0, request(1), "192.0.2.1")
    for event in TrackerEvent:
        with pytest.raises(TrackerError, match="another address"):
            swarm.announce(1, request(1, event=event), "198.51.100.1")
    assert swarm.counts(HASH) == (0, 1)


def test_an_address_may_list_only_so_many_and_ask_only_so_often() -> None:
    swarm = table()
    for number in range(tracker_table.MAX_LISTED_PER_ADDRESS):
        swarm.announce(0, request(number), "192.0.2.1")
    with pytest.raises(TrackerError, match="too many peers"):
        swarm.announce(0, request(999), "192.0.2.1")
    for _ in range(tracker_table.BURST):
        swarm.admit(0.0, "192.0.2.1")
    with pytest.raises(TooManyRequestsError) as caught:
        swarm.admit(0.0, "192.0.2.1")
    assert 0 < caught.value.seconds <= tracker_table.REFILL_SECONDS + 1
    swarm.admit(0.0, "192.0.2.2")
    swarm.admit(10.0, "192.0.2.1")


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    swarm, limit = table(), tracker_table.MAX_LISTED_PER_ADDRESS
    for number in range(limit):
        swarm.announce(0, request(number), f"2001:db8::{number + 1:x}")
    with pytest.raises(TrackerError, match="too many peers"):
        swarm.announce(0, request(999), "2001:db8::ffff")
    swarm.announce(0, request(999), "2001:db8:0:1::1")
    swarm.announce(0, request(5, event=TrackerEvent.STOPPED), "2001:db8::6")
    swarm.announce(0, request(1000), "2001:db8::ffff")
    for number in range(tracker_table.BURST):
        swarm.admit(0.0, f"2001:db8::{number:x}")
    with pytest.raises(TooManyRequestsError):
        swarm.admit(0.0, "2001:db8::ffff")


def test_requests_of_so_many_addresses_are_counted() -> None:
    """Of those that asked last, whoever else asks."""
    swarm = TrackerTable(lambda _below: 0, caller_group, max_sources=3)
    for _ in range(tracker_table.BURST):
        for number in range(3):
            swarm.admit(0.0, f"192.0.2.{number}")
    swarm.admit(0.0, "198.51.100.1")
    for number in (1, 2):
        with pytest.raises(TooManyRequestsError):
            swarm.admit(0.0, f"192.0.2.{number}")
    swarm.admit(0.0, "192.0.2.0")


def test_closed_trackers_refuse_other_repositories() -> None:
    swarm = TrackerTable(lambda _below: 0, caller_group, frozenset({b"x" * 20}))
    with pytest.raises(TrackerError, match="does not track"):
        swarm.announce(0, request(1), "192.0.2.1")


def test_peers_are_told_of_where_they_ask_from_and_references_are_handed_out() -> None:
    swarm = table()
    swarm.references[HASH] = (b"newest", b"older")
    swarm.announce(0, request(1, address="2001:db8::1"), "192.0.2.1")
    swarm.announce(0, request(2, address="peer.example.org"), "192.0.2.1")
    answer, _ = swarm.announce(0, request(3, references=1), "192.0.2.9")
    assert {p.host for p in answer.peers} == {"192.0.2.1"}
    assert answer.references == (b"newest",)


@pytest.mark.parametrize(
    ("asker", "told"),
    [
        ("8.8.8.8", {"8.8.4.4"}),
        ("10.0.0.9", {"8.8.4.4", "10.0.0.1"}),
        ("127.0.0.1", {"8.8.4.4", "10.0.0.1", "127.0.0.1"}),
    ],
)
def test_nobody_is_sent_into_a_network_of_its_own(asker: str, told: set[str]) -> None:
    swarm = table()
    for number, source in enumerate(("8.8.4.4", "10.0.0.1", "127.0.0.1")):
        swarm.announce(0, request(number), source)
    answer, _ = swarm.announce(0, request(9), asker)
    assert {p.host for p in answer.peers} == told


def test_a_claimed_address_of_an_earlier_version_is_not_restored() -> None:
    swarm = table()
    claimed = PeerAddress(peer(1), "victim.example.org", 25)
    swarm.restore(ListedPeer(HASH, claimed, "192.0.2.1", True, True, 600.0, 600))
    answer, _ = swarm.announce(0, request(2), "192.0.2.2")
    assert [(p.host, p.port) for p in answer.peers] == [("192.0.2.1", 25)]


@pytest.mark.parametrize(
    ("headers", "source"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["10.0.0.1, 203.0.113.7"], "203.0.113.7"),
        (["10.0.0.1", "203.0.113.7"], "203.0.113.7"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
    ],
)
def test_the_last_hop_is_who_asks(headers: list[str], source: str) -> None:
    assert last_hop(headers) == source


@pytest.mark.parametrize("headers", [[], [""], ["203.0.113.7, unknown"], ["203.0.113.7,"]])
def test_a_proxy_that_does_not_say_who_asks_lists_nobody(headers: list[str]) -> None:
    with pytest.raises(TrackerError, match="X-Forwarded-For"):
        last_hop(headers)


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("192.0.2.1", True), ("2001:db8::1", True), ("peer.example.org", True), ("host", True),
        ("256.1.1.1", False), ("1.2.3", False), ("-x.org", False), ("a..b", False), ("", False),
        ("a b", False), ("x" * 300, False), ("[::1]", False), ("evil/..", False),
    ],
)  # fmt: skip
def test_addresses(host: str, good: bool) -> None:
    assert is_address(host) is good


@pytest.mark.parametrize(
    "query",
    [
        "", "repo_hash=short", "port=0", "port=70000", "completed=2", "event=paused",
        "address=a%20b", "port=1&port=2", "uploaded=-1", "peers=x",
    ],
)  # fmt: skip
def test_malformed_requests_are_refused(query: str) -> None:
    good = request(1).query()
    names = {part.partition("=")[0] for part in query.split("&")}
    kept = [part for part in good.split("&") if part.partition("=")[0] not in names]
    with pytest.raises(TrackerError):
        parse_request("&".join([*kept, query]) if query else "")


@pytest.mark.parametrize("name", ["repo_hash", "peer_id", "port", "uploaded", "downloaded"])
def test_a_request_lacks_nothing_that_is_required(name: str) -> None:
    parts = request(1).query().split("&")
    with pytest.raises(TrackerError, match=name):
        parse_request("&".join(part for part in parts if part.partition("=")[0] != name))


def test_answers_from_files_and_failures() -> None:
    data = TrackerAnswer(0, (PeerAddress(NOBODY, "seed.example.org", 9417),)).encode()
    assert parse_answer(data).expires == 0
    with pytest.raises(TrackerRefusedError, match="closed today"):
        parse_answer(encode_failure("closed today"))
    for broken in (b"le", b"de1", b"d5:peersi1ee", b"d5:peersld4:porti1eeee", b"d7:expiresi-1ee"):
        with pytest.raises(TrackerError):
            parse_answer(broken)


def test_a_restart_keeps_the_swarm(tmp_path: Path) -> None:
    first = TrackerStore(tmp_path / "tracker.sqlite")
    swarm = table()
    for number in (1, 2):
        _, entry = swarm.announce(0, request(number, completed=True), "192.0.2.1")
        assert entry is not None
        first.put(entry)
    first.remove(HASH, peer(2))
    first.close()
    second = TrackerStore(tmp_path / "tracker.sqlite")
    again = table()
    for entry in second.load(100):
        again.restore(entry)
    assert again.counts(HASH) == (1, 0)
    assert second.load(1e9) == []
    second.close()
