"""What holds for any sets, any order of events, and any schedule of failures."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import MIB, Network, VirtualPeer

from gittorrent.swarm import events as ev
from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.download import Download
from gittorrent.swarm.picker import Picker
from gittorrent.swarm.settings import Mode
from support.part_sets import part_set

PARTS = 9
SEEDS = st.integers(0, 2**32 - 1)


@given(st.lists(st.booleans(), max_size=70), st.lists(st.tuples(st.booleans(), st.integers(0, 69))))
def test_a_part_set_is_a_set(flags: list[bool], changes: list[tuple[bool, int]]) -> None:
    parts = part_set(flags)
    model = {part for part, flag in enumerate(flags) if flag}
    for adding, part in changes:
        if part < len(flags):
            (parts.add if adding else parts.discard)(part)
            (model.add if adding else model.discard)(part)
    assert list(parts) == sorted(model)
    assert len(parts) == len(model)
    assert PartSet(len(flags), parts.to_bytes()) == parts
    assert PartSet.from_mask(len(flags), parts.to_mask()) == parts
    for start in range(len(flags) + 1):
        missing = [part for part in range(start, len(flags)) if part not in model]
        assert parts.first_missing(start) == (missing[0] if missing else len(flags))


@given(
    st.integers(1, 40).flatmap(
        lambda n: st.tuples(
            st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=9),
            st.lists(st.sampled_from(".o#"), min_size=n, max_size=n),
            st.integers(0, n - 1),
            st.integers(1, 12),
        )
    )
)
def test_the_rarest_part_is_picked(
    drawn: tuple[list[list[bool]], list[str], int, int],
) -> None:
    claims, state, at, limit = drawn
    picker = Picker(part_set(s == "#" for s in state), lambda n: at)
    for part, s in enumerate(state):
        if s == "o":
            picker.take(part, part)
    for claim in claims:
        picker.add_holder(part_set(claim).to_mask())
    counts = [sum(column) for column in zip(*claims, strict=True)]
    assert [picker.holders(part) for part in range(len(state))] == counts
    asked = claims[0]
    possible = [p for p, s in enumerate(state) if s == "." and asked[p]]
    candidates = picker.candidates(part_set(asked).to_mask())
    run = picker.pick(candidates, Mode.RAREST, 0, limit)
    if not possible:
        assert run is None
    else:
        assert run is not None
        least = min(counts[part] for part in possible)
        chosen = range(run[0], run[1] + 1)
        assert 1 <= len(chosen) <= limit
        assert all(part in possible and counts[part] == least for part in chosen)
    for claim in claims:
        picker.remove_holder(part_set(claim).to_mask())
    assert all(picker.holders(part) == 0 for part in range(len(state)))
    picker.check_invariant()


peer_keys = st.integers(1, 4).map(ev.PeerKey)
part_numbers = st.integers(0, PARTS - 1)
bitmaps = st.none() | st.lists(st.booleans(), min_size=PARTS, max_size=PARTS).map(part_set)


def made(event: type[ev.Event], *fields: st.SearchStrategy[object]) -> st.SearchStrategy[ev.Event]:
    """Draw events; ``st.builds`` would look for types that are imported for type checkers only."""
    return st.tuples(*fields).map(lambda values: event(*values))


any_event = st.one_of(
    made(ev.PeerJoined, peer_keys, bitmaps, st.sampled_from(ev.PeerKind)),
    made(ev.PeerHas, peer_keys, bitmaps),
    made(ev.PartProgress, peer_keys, st.integers(-1, PARTS), st.integers(-5, 2000)),
    made(ev.PartArrived, peer_keys, part_numbers, st.just(1000)),
    made(ev.PartVerified, peer_keys, part_numbers),
    made(ev.PartWrong, peer_keys, part_numbers),
    made(ev.PartMissing, peer_keys, part_numbers, part_numbers),
    made(ev.PeerBusy, peer_keys, st.floats(-1, 400)),
    made(ev.PeerLost, peer_keys, st.just("lost")),
    made(ev.PartFromElsewhere, part_numbers),
    st.just(ev.Tick()),
)


class Watcher:
    """Checks each effect against what a shell knows."""

    def __init__(self, download: Download) -> None:
        self.download = download
        self.owed: dict[ev.PeerKey, set[int]] = {}
        self.finished = 0

    def tell(self, now: float, event: ev.Event) -> None:
        if isinstance(event, ev.PeerLost):
            self.owed.pop(event.peer, None)
        if isinstance(event, ev.PeerBusy):
            self.owed[event.peer] = set()
        if isinstance(event, ev.PartArrived):
            self.owed.get(event.peer, set()).discard(event.part)
        if isinstance(event, ev.PartMissing):
            named = set(range(event.first, event.last + 1))
            self.owed[event.peer] = self.owed.get(event.peer, set()) - named
        done = self.download.finished
        effects = self.download.handle(now, event)
        assert not (done and self.finished and effects), "effects after the end"
        for effect in effects:
            match effect:
                case ev.Ask(peer, first, last):
                    asked = set(range(first, last + 1))
                    owed = self.owed.setdefault(peer, set())
                    assert not asked & owed, "asked twice of one peer"
                    assert not any(part in self.download.have for part in asked)
                    assert all(self.download.wants(part) for part in asked)
                    owed |= asked
                case ev.Cancel(peer, first, last):
                    cancelled = set(range(first, last + 1))
                    assert cancelled <= self.owed[peer], "cancelled what was not asked"
                    self.owed[peer] -= cancelled
                case ev.Ban(peer):
                    self.owed.pop(peer, None)
                case ev.Finished():
                    self.finished += 1
        self.download.check_invariant()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1, 20), any_event), max_size=60),
    st.sets(part_numbers),
    SEEDS,
)
def test_any_events_in_any_order(
    steps: list[tuple[float, ev.Event]], here: set[int], seed: int
) -> None:
    have = part_set(part in here for part in range(PARTS))
    work = Download(PARTS, 1000, PARTS * 1000, have, random.Random(seed).randrange)
    watcher = Watcher(work)
    now = 0.0
    for passed, event in steps:
        now += passed  # a clock that goes back is survived
        watcher.tell(now, event)
    # whatever happened: one complete peer that answers brings it to the end
    helper = ev.PeerKey(99)
    now += 500
    watcher.tell(now, ev.PeerJoined(helper, None))
    for _ in range(400):
        for key in list(watcher.owed):
            for part in sorted(watcher.owed[key]) if key == helper else ():
                now += 0.01
                if part in watcher.owed.get(key, ()):
                    watcher.tell(now, ev.PartArrived(key, part, 1000))
                    watcher.tell(now, ev.PartVerified(key, part))
        for part in list(work._state.verifying):  # digests that were still being computed
            watcher.tell(now, ev.PartVerified(helper, part))
        if work.finished:
            break
        due = work.next_deadline()
        now = max(now, due if due is not None else now) + 0.01
        watcher.tell(now, ev.Tick())
    watcher.tell(now, ev.Tick())
    assert work.finished
    assert watcher.finished == 1


def wild_peer(draw: random.Random, parts: int) -> VirtualPeer:
    """Return a peer that may do anything wrong, at any time."""
    have = None
    if draw.random() < 0.5:
        share = draw.random()
        have = part_set(draw.random() < share for _ in range(parts))
    peer = VirtualPeer(10 ** draw.uniform(4, 7.7), draw.choice([0.001, 0.05, 0.4]), have)
    peer.joins = draw.choice([0.0, draw.uniform(0, 20)])
    if draw.random() < 0.4:
        peer.dies = peer.joins + draw.uniform(0, 20)
    if draw.random() < 0.3:
        start = draw.uniform(0, 10)
        peer.stalls = (start, draw.choice([math.inf, start + draw.uniform(0, 20)]))
    if draw.random() < 0.2:
        peer.garbage = frozenset(p for p in range(parts) if draw.random() < 0.2)
    if draw.random() < 0.2:
        peer.lacks = frozenset(p for p in range(parts) if draw.random() < 0.2)
    if draw.random() < 0.2:
        peer.busy = peer.joins + draw.uniform(0, 10)
    return peer


@settings(max_examples=120, deadline=None)
@given(SEEDS)
def test_any_failures_end_well_while_one_honest_seed_stays(seed: int) -> None:
    print(f"seed {seed}")  # replays with: wild_run(seed)
    wild_run(seed)


def test_a_part_owed_for_long_is_asked_of_a_fast_peer() -> None:
    wild_run(10110)  # took 24 s once: who had delivered nothing passed for as fast as the others


def test_a_part_owed_by_two_slow_peers_is_asked_of_a_fast_one() -> None:
    wild_run(9084)  # took 22 s once, waiting for the slow ones


def test_a_late_part_is_asked_of_a_fast_peer_before_an_untried_one() -> None:
    wild_run(221443878)  # took 18.8 s once: the untried one stalled while the fast one was idle


def wild_run(seed: int) -> None:
    """Run one download among peers drawn from ``seed``; the first is honest and stays."""
    draw = random.Random(seed)
    parts = draw.choice([1, 2, 7, 30, 90])
    honest = VirtualPeer(10 ** draw.uniform(5.5, 7), draw.choice([0.001, 0.1]))
    peers = [honest, *(wild_peer(draw, parts) for _ in range(draw.randrange(9)))]
    pack_size = (parts - 1) * MIB + draw.randint(1, MIB)
    network = Network(
        peers, parts, pack_size=pack_size, seed=seed, progress=draw.random() < 0.7, check=True
    )
    end = network.run(limit=3600.0)
    alone = pack_size / honest.rate
    assert network.verified == dict.fromkeys(range(parts), 1)
    assert not honest.banned
    assert end <= 2.0 * alone + 15, f"{end:.1f} s; the honest seed alone takes {alone:.1f} s"
