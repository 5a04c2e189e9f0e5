"""Whole downloads over the virtual network."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from virtual import MIB, Network, VirtualPeer

from gittorrent.swarm import events as ev
from gittorrent.swarm.settings import Mode
from support.part_sets import part_set

RATES = (5e6, 10e6, 20e6, 40e6)


def four() -> list[VirtualPeer]:
    return [VirtualPeer(rate, latency=0.03) for rate in RATES]


def ideal(network: Network) -> float:
    return network.size / sum(peer.rate for peer in network.peers)


def finished(network: Network, within: float, *, duplicates: float = 0.03) -> None:
    end = network.run()
    network.download.check_invariant()
    assert end <= within, f"took {end:.2f} s, {within:.2f} s allowed"
    assert network.verified == dict.fromkeys(range(network.parts), 1)
    assert network.duplicates <= duplicates


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("parts", [40, 200, 1000])
def test_four_unequal_peers_are_used_in_full(parts: int, progress: bool) -> None:
    network = Network(four(), parts, progress=progress)
    finished(network, 1.15 * ideal(network))
    assert network.longest_wait() < 0.4  # the slowest peer's first part takes 0.24 s


def test_the_prefix_grows_with_the_download() -> None:
    network = Network(four(), 600)
    finished(network, 1.05 * ideal(network))
    rate = sum(RATES) / MIB
    for when, prefix in network.prefix_at:
        assert prefix >= rate * when - 64, f"at {when:.2f} s only {prefix} parts could be read"


def test_a_slow_peer_is_not_given_what_the_indexer_needs_next() -> None:
    peers = [VirtualPeer(40e6), VirtualPeer(40e6), VirtualPeer(1e6)]  # 1 s for a part
    network = Network(peers, 600)
    finished(network, 1.05 * ideal(network))
    assert peers[2].sent_bytes >= 5 * MIB
    times = [when for when, _ in network.prefix_at if when > 2.5]  # once the rates are known
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.25


def test_of_the_last_parts_a_slow_peer_gets_none() -> None:
    peers = [VirtualPeer(40e6), VirtualPeer(1e6)]
    network = Network(peers, 200)
    finished(network, 1.05 * ideal(network))
    twice = [part for part, times in network.asked.items() if times > 1]
    assert all(part < 10 for part in twice), "only before the rates were known"


@pytest.mark.parametrize("latency", [0.001, 0.1, 0.3])
def test_distance_costs_little(latency: float) -> None:
    peers = [VirtualPeer(rate, latency=latency) for rate in RATES]
    network = Network(peers, 600)
    finished(network, 1.15 * ideal(network) + 3 * latency)


def test_the_fastest_peer_dies() -> None:
    peers = four()
    peers[3].dies = 1.0
    finished(Network(peers, 300), 1.15 * (1.0 + (300 * MIB - 75e6) / 35e6))


def test_the_fastest_peer_stalls_for_good() -> None:
    peers = four()
    peers[3].stalls = (1.0, math.inf)
    network = Network(peers, 300)
    finished(network, 1.15 * (1.0 + (300 * MIB - 75e6) / 35e6))
    assert network.longest_wait() < 2.5


def test_the_fastest_peer_stalls_and_comes_back() -> None:
    peers = four()
    peers[3].stalls = (1.0, 5.0)
    network = Network(peers, 1000)
    finished(network, 1.15 * (ideal(network) + 4 * 40 / 75))
    assert peers[3].sent_bytes > 300 * MIB


def test_a_garbage_sender_is_banned_at_its_first_wrong_part() -> None:
    peers = four()
    peers[3].garbage = frozenset(range(300))
    network = Network(peers, 300)
    finished(network, 1.15 * 300 * MIB / 35e6, duplicates=0.02)
    assert peers[3].banned
    assert not any(peer.banned for peer in peers[:3])


def test_a_liar_costs_time_only() -> None:
    peers = four()
    peers[3].lacks = frozenset(range(0, 300, 5))
    network = Network(peers, 300)
    finished(network, 1.15 * 300 * MIB / 35e6)
    assert peers[3].banned == "it lacks parts that it said it has"


def test_a_peer_without_a_few_parts_is_kept() -> None:
    peers = four()
    peers[3].lacks = frozenset({10, 200})
    network = Network(peers, 300)
    finished(network, 1.15 * 300 * MIB / 35e6)
    assert not peers[3].banned


def test_a_busy_peer_is_asked_again() -> None:
    peers = four()
    peers[3].busy = 1.0
    network = Network(peers, 600)
    finished(network, 1.15 * (ideal(network) + 3 * 40 / 75))
    assert peers[3].sent_bytes > 200 * MIB


@pytest.mark.parametrize("progress", [True, False])
def test_a_trickle_holds_nothing_up(progress: bool) -> None:
    peers = four()
    peers[0].rate = 20e3
    network = Network(peers, 300, progress=progress)
    finished(network, 1.15 * 300 * MIB / 70e6)
    assert network.longest_wait() < 2.0


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("rate", [50e3, 125e3])
def test_a_lone_slow_peer_is_enough(rate: float, progress: bool) -> None:
    network = Network([VirtualPeer(rate, latency=0.2)], 5, progress=progress)
    finished(network, 1.05 * ideal(network))


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_small_packs(parts: int) -> None:
    finished(Network(four(), parts), 0.3, duplicates=1.0)


def test_a_late_comer_is_put_to_use() -> None:
    peers = [VirtualPeer(5e6), VirtualPeer(40e6, joins=5.0)]
    finished(Network(peers, 200), 1.1 * (5 + (200 * MIB - 25e6) / 45e6))


def test_static_servers_are_asked_as_well() -> None:
    peers = [VirtualPeer(5e6), VirtualPeer(40e6, kind=ev.PeerKind.HTTP)]
    network = Network(peers, 200, progress=False)
    finished(network, 1.15 * ideal(network))


def test_incomplete_peers_together_are_as_good_as_complete_ones() -> None:
    draw = random.Random(3)
    held = [part_set(draw.random() < 0.4 for _ in range(500)) for _ in range(8)]
    peers = [VirtualPeer(10e6, have=have) for have in held] + [VirtualPeer(10e6)]
    network = Network(peers, 500)
    before = network.download.mode
    finished(network, 1.15 * ideal(network))
    assert (before, network.download.mode) == (Mode.IN_ORDER, Mode.RAREST)
    assert peers[8].sent_bytes < 2 * network.size / 9  # the lone seed gives what others lack


def test_a_resumed_download_fetches_only_the_rest() -> None:
    have = part_set(part % 3 == 0 for part in range(300))
    network = Network(four(), 300, have=have)
    end = network.run()
    assert end <= 1.2 * 200 * MIB / 75e6
    assert network.verified == {part: 1 for part in range(300) if part % 3}


def test_starved_until_a_peer_with_the_rest_comes() -> None:
    half = part_set(part < 50 for part in range(100))
    peers = [VirtualPeer(10e6, have=half), VirtualPeer(10e6, joins=30.0)]
    network = Network(peers, 100)
    finished(network, 30 + 1.15 * 50 * MIB / 10e6)
    assert len(network.starved) == 1
    assert network.starved[0] == pytest.approx(50 * MIB / 10e6, rel=0.1)


def test_a_hundred_peers() -> None:
    draw = random.Random(5)
    peers = [
        VirtualPeer(draw.uniform(1e6, 5e6), latency=draw.uniform(0.01, 0.2)) for _ in range(100)
    ]
    network = Network(peers, 1500)
    finished(network, 1.15 * ideal(network))


def test_the_same_seed_gives_the_same_run() -> None:
    def trace() -> tuple[float, list[int]]:
        draw = random.Random(7)
        peers = [
            VirtualPeer(1e7, have=part_set(draw.random() < 0.5 for _ in range(99)))
            for _ in range(5)
        ]
        network = Network([*peers, VirtualPeer(1e6)], 99, seed=11)
        return network.run(), [peer.sent_bytes for peer in network.peers]

    assert trace() == trace()
