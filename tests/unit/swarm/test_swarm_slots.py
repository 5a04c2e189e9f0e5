"""Upload slots: turns, slow readers, and how many there are."""

from __future__ import annotations

from gittorrent.swarm.keys import ConversationKey
from gittorrent.swarm.slots import (
    FIRST_HOLD_SECONDS,
    HOLD_SECONDS,
    HOLD_TIMES,
    REST_TRIALS,
    SLOTS,
    TRIAL_PARTS,
    Slots,
)

PEERS = [ConversationKey(n) for n in range(600)]
MIB = 1 << 20


def full(slots: Slots, count: int, now: float = 0.0) -> list[ConversationKey]:
    begun: list[ConversationKey] = []
    for peer in PEERS[:count]:
        begun += slots.ask(peer, now)
    return begun


def test_as_many_begin_as_there_are_slots() -> None:
    slots = Slots(2)
    assert full(slots, 5) == PEERS[:2]
    assert (len(slots), slots.waiting, slots.limit) == (2, 3, 2)
    assert slots.line == set(PEERS[:5])


def test_turns_are_taken_in_the_order_of_asking() -> None:
    slots = Slots(1)
    current = full(slots, 3)[0]
    order = []
    for _ in range(6):
        begun = slots.done(current, 1.0)
        assert slots.ask(current, 1.0) == []
        (current,) = begun
        order.append(current)
    assert order == [PEERS[1], PEERS[2], PEERS[0], PEERS[1], PEERS[2], PEERS[0]]


def test_asking_twice_counts_once() -> None:
    slots = Slots(1)
    full(slots, 2)
    assert slots.ask(PEERS[0], 0.0) == []
    assert slots.ask(PEERS[1], 0.0) == []
    assert slots.waiting == 1


def test_whoever_leaves_frees_its_slot_or_its_place() -> None:
    slots = Slots(1)
    full(slots, 3)
    assert slots.done(PEERS[1], 0.5) == []
    assert slots.done(PEERS[0], 1.0) == [PEERS[2]]
    assert slots.done(PEERS[2], 2.0) == []
    assert slots.line == set()


def test_nothing_is_due_while_nobody_waits() -> None:
    slots = Slots(2)
    full(slots, 2)
    assert slots.next_deadline() is None
    assert slots.tick(1e6) == []


def test_a_slow_reader_gives_its_slot_up() -> None:
    slots = Slots(2)
    full(slots, 4)
    slots.done(PEERS[1], 0.1)  # a part takes a tenth of a second; PEERS[2] begins
    due = slots.next_deadline()
    assert due == HOLD_SECONDS
    assert slots.tick(due - 0.01) == []
    assert slots.tick(due) == [PEERS[3]]
    assert PEERS[0] in slots.line, "it still sends its part"
    assert slots.ask(PEERS[0], due) == []
    assert slots.waiting == 0


def test_on_a_slow_line_everybody_may_take_long() -> None:
    slots = Slots(1)
    full(slots, 3)
    assert slots.next_deadline() == FIRST_HOLD_SECONDS
    assert slots.done(PEERS[0], 12.0) == [PEERS[1]]
    assert slots.next_deadline() == 12.0 + HOLD_TIMES * 12.0


def test_those_who_came_first_and_read_nothing_do_not_hold_up_all_who_follow() -> None:
    slots = Slots(1)
    full(slots, 4)
    assert slots.tick(FIRST_HOLD_SECONDS) == [PEERS[1]]
    assert slots.next_deadline() == FIRST_HOLD_SECONDS + HOLD_SECONDS
    assert slots.tick(FIRST_HOLD_SECONDS + HOLD_SECONDS) == [PEERS[2]]


def test_ticking_at_the_deadline_always_helps() -> None:
    for now in (0.1, 0.7, 1e5 + 0.3, 1e9 + 1 / 3):
        slots = Slots(1)
        full(slots, 2, now)
        due = slots.next_deadline()
        assert due is not None
        assert slots.tick(due) == [PEERS[1]], f"stuck at {now}"


def run(slots: Slots, rate_of: dict[int, float], seconds: float, now: float = 0.0) -> int:
    """Send parts at the rate each number of slots brings; return the most slots there were."""
    end, most = now + seconds, slots.limit
    full(slots, 600, now)
    while now < end:
        best = max(n for n in rate_of if n <= slots.limit)
        now += MIB / rate_of[best]
        slots.sent(MIB, now)
        most = max(most, slots.limit)
    return most


def test_more_slots_are_kept_where_they_bring_more() -> None:
    slots = Slots()
    per_slot = 2.5e6  # the narrow lines are theirs
    run(slots, {n: n * per_slot for n in range(1, 65)}, 40.0)
    assert slots.limit >= 32


def test_more_slots_are_given_up_where_they_bring_nothing() -> None:
    slots = Slots()
    most = run(slots, {1: 25e6}, 60.0)
    assert most == 2 * SLOTS
    trial = TRIAL_PARTS * SLOTS * MIB / 25e6
    assert REST_TRIALS * trial > 5.0, "trials are rare"
    assert slots.limit in (SLOTS, 2 * SLOTS)


def test_slots_that_pay_no_more_are_given_up() -> None:
    slots = Slots()
    run(slots, {n: n * 2.5e6 for n in range(1, 65)}, 40.0)
    assert slots.limit >= 32
    run(slots, {1: 25e6}, 600.0, 41.0)
    assert slots.limit <= 2 * SLOTS


def test_without_demand_nothing_is_tried() -> None:
    slots = Slots()
    for second in range(100):
        slots.sent(10 * MIB, float(second))
    assert slots.limit == SLOTS


def test_a_free_slot_is_taken_without_waiting_unless_somebody_waits() -> None:
    slots = Slots(2)
    first, second, third, fourth = PEERS[:4]
    assert slots.take(first, 0.0)
    assert slots.ask(second, 0.0) == [second]
    assert not slots.take(third, 0.0), "there is none"
    assert slots.ask(third, 0.0) == []
    assert slots.done(first, 1.0) == [third]
    assert not slots.take(fourth, 1.0)
    slots.ask(first, 1.0)
    slots.done(second, 2.0)
    assert slots.line == {third, first}
    assert not slots.take(fourth, 2.0)
    slots.done(third, 3.0)
    assert slots.take(fourth, 3.0)
