"""Figures of one peer: rate, depth, expected finish, stalls."""

from __future__ import annotations

import math

import pytest

from gittorrent.swarm.events import PeerKey, PeerKind
from gittorrent.swarm.peers import Peer
from gittorrent.swarm.settings import MAX_DEPTH, Settings

MIB = 1 << 20
SETTINGS = Settings()


def peer_at(rate: float, parts: int = 8, delay: float = 0.05) -> Peer:
    """Return a peer that has delivered some parts at ``rate`` bytes/s since time 0."""
    peer = Peer(PeerKey(1), PeerKind.SESSION, None)
    for part in range(parts):
        peer.fly(0.0, part, MIB)
    now = delay
    peer.receive(now, 0, 1, complete=False)
    for part in range(parts):
        now += MIB / rate
        peer.receive(now, part, MIB, complete=True)
        del peer.flights[part]
        peer.delivered_parts += 1
    return peer


@pytest.mark.parametrize("rate", [1e5, 1e6, 1e7, 1e9])
def test_rate_and_round_trip_are_measured(rate: float) -> None:
    peer = peer_at(rate)
    assert peer.meter.rate == pytest.approx(rate, rel=0.25 if rate > 1e8 else 0.01)
    assert peer.round_trip == pytest.approx(0.05, rel=0.01)


def test_the_time_of_the_first_piece_itself_is_no_distance() -> None:
    peer = Peer(PeerKey(1), PeerKind.SESSION, None)
    peer.fly(0.0, 0, MIB)
    peer.receive(0.1 + 0.25, 0, MIB // 4, complete=False)  # 1 MiB/s, 0.1 s away
    peer.receive(0.1 + 0.5, 0, MIB // 2, complete=False)
    assert peer.round_trip == pytest.approx(0.1)
    peer.receive(0.1 + 1.0, 0, MIB, complete=True)
    del peer.flights[0]
    peer.fly(9.0, 1, MIB)
    peer.receive(9.1 + 0.25, 1, MIB // 4, complete=False)
    assert peer.round_trip == pytest.approx(0.1)


def test_an_idle_spell_does_not_count_against_the_rate() -> None:
    peer = peer_at(1e6)
    peer.fly(1000.0, 50, MIB)
    peer.receive(1000.05, 50, MIB // 4, complete=False)
    peer.receive(1000.05 + MIB * 0.75 / 1e6, 50, MIB, complete=True)
    assert peer.meter.rate == pytest.approx(1e6, rel=0.01)


@pytest.mark.parametrize(
    ("rate", "depth"), [(1e4, 2), (1e6, 2), (1e7, 6), (4e7, 23), (1e10, MAX_DEPTH)]
)
def test_depth_follows_bandwidth_and_delay(rate: float, depth: int) -> None:
    peer = peer_at(rate)
    peer.delivered_parts = 100
    assert peer.depth(MIB, SETTINGS) == pytest.approx(depth, abs=1)


def test_what_is_owed_grows_with_what_was_delivered() -> None:
    """The first part may come at once out of a buffer; the line behind it may be slow."""
    peer = peer_at(1e9, parts=1)
    found = []
    for delivered in range(4):
        peer.delivered_parts = delivered
        found.append(peer.depth(MIB, SETTINGS))
    assert found == [2, 4, 6, 8]


def test_data_in_flight_is_bounded_on_a_long_line() -> None:
    peer = peer_at(10.0 * MIB, delay=5.0)
    peer.delivered_parts = 100
    assert peer.depth(MIB, SETTINGS) == pytest.approx(20, abs=1)  # two seconds' worth


def test_room_comes_by_the_half_pipeline() -> None:
    peer = peer_at(4e7)
    depth = peer.depth(MIB, SETTINGS)
    for part in range(depth // 2 + 2):
        peer.fly(10.0, part, MIB)
    assert peer.room(10.0, MIB, SETTINGS) == 0
    del peer.flights[0], peer.flights[1]
    assert peer.room(10.0, MIB, SETTINGS) == depth - depth // 2
    peer.quiet_until = 11.0
    assert peer.room(10.0, MIB, SETTINGS) == 0


def test_one_part_at_a_time_for_the_snubbed_and_the_unreliable() -> None:
    peer = peer_at(4e7)
    peer.refused |= {1, 2}
    assert peer.depth(MIB, SETTINGS) == 1
    peer = peer_at(4e7)
    peer.snubbed = True
    assert peer.depth(MIB, SETTINGS) == 1


def test_expected_finish_counts_what_is_owed_before() -> None:
    peer = peer_at(1e6)
    assert peer.finish_after(10.0, MIB, 1.0) == pytest.approx(10.05 + MIB / 1e6, rel=0.01)
    for part in (20, 21):
        peer.fly(10.0, part, MIB)
    assert peer.finish_of(10.0, 20, 1.0) == pytest.approx(10 + MIB / 1e6, rel=0.01)
    assert peer.finish_of(10.0, 21, 1.0) == pytest.approx(10 + 2 * MIB / 1e6, rel=0.01)
    assert peer.finish_after(10.0, MIB, 1.0) == pytest.approx(10 + 3 * MIB / 1e6, rel=0.01)
    late = 10 + 2 * MIB / 1e6
    assert peer.finish_of(late, 20, 1.0) == pytest.approx(late + MIB / 1e6, rel=0.01)
    peer.snubbed = True
    assert peer.finish_of(10.0, 20, 1.0) == math.inf


def test_patience_is_long_for_strangers_and_short_for_the_fast() -> None:
    stranger = Peer(PeerKey(1), PeerKind.HTTP, None)
    assert stranger.stalls_at(MIB, SETTINGS) == math.inf
    stranger.fly(100.0, 0, MIB)
    assert stranger.stalls_at(MIB, SETTINGS) == 105.0
    fast = peer_at(4e7)
    fast.fly(100.0, 9, MIB)
    assert fast.stalls_at(MIB, SETTINGS) == 102.0
    slow = peer_at(125e3)
    slow.fly(100.0, 9, MIB)
    assert slow.stalls_at(MIB, SETTINGS) == pytest.approx(100 + 4 * MIB / 125e3, rel=0.01)


def test_bytes_that_flow_put_the_stall_off() -> None:
    peer = Peer(PeerKey(1), PeerKind.SESSION, None)
    peer.fly(0.0, 0, MIB)
    for second in range(1, 9):
        peer.receive(float(second), 0, second * 125_000, complete=False)
        assert peer.stalls_at(MIB, SETTINGS) > second + 4
    assert peer.meter.rate == pytest.approx(125_000)


def test_progress_is_clipped_to_the_part_and_never_goes_back() -> None:
    peer = Peer(PeerKey(1), PeerKind.SESSION, None)
    peer.fly(0.0, 0, MIB)
    peer.receive(1.0, 0, 10 * MIB, complete=False)
    peer.receive(2.0, 0, 5, complete=False)
    peer.receive(2.0, 77, 5, complete=False)
    assert peer.flights[0].received == MIB
