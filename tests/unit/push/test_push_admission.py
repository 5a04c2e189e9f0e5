"""What is handed to the log now, what waits for what it builds on, and what is too much."""

from __future__ import annotations

from gittorrent.ids import Oid
from gittorrent.push.admission import (
    MAX_WAITING_CHECKPOINTS,
    MAX_WAITING_PUSHES,
    PUSH_PATIENCE,
    Admission,
    Admitted,
)
from gittorrent.push.certificate import Nonce
from gittorrent.push.fresh import MAX_AHEAD
from gittorrent.push.ledger import Ledger
from gittorrent.push.quota import MAX_BYTES, MAX_PUSHES, Quota
from gittorrent.push.replay import SignedCheckpoint
from gittorrent.push.rule import Push, UnknownObjectError
from gittorrent.push.starting import point_from
from support.pushlog import (
    MAIN,
    START,
    TAGGER,
    Graph,
    Mirror,
    World,
    branch,
    first_policy,
    key,
    next_policy,
    rule,
)


class Blind(Graph):
    """Has no objects."""

    def contains(self, outer: Oid, inner: Oid) -> bool:
        raise UnknownObjectError(f"{inner} is not here")


def admission(world: World) -> Admission:
    return Admission(world.graph, Quota())


def row(depot: Mirror, count: int) -> list[Push]:
    """Push several times on top of each other at one depot."""
    found = []
    for _ in range(count):
        value = depot.value()
        new = depot.world.graph.commit(*([] if value is None else [value]))
        found.append(depot.push("owner", new))
    return found


def test_a_push_that_builds_on_what_is_here() -> None:
    world = World()
    mirror, asked = world.mirror(), admission(world)
    first, second = row(world.mirror(), 2)
    for push in (first, second):
        assert asked.push(push, 1, mirror.ledger, 0.0).admitted is Admitted.NOW
        mirror.take(push)
        assert asked.push(push, 1, mirror.ledger, 0.0).admitted is Admitted.KNOWN


def test_a_push_waits_for_the_one_it_builds_on() -> None:
    world = World()
    mirror, asked = world.mirror(), admission(world)
    first, second, third = row(world.mirror(), 3)
    for late in (third, second):
        assert asked.push(late, 1, mirror.ledger, 0.0).admitted is Admitted.LATER
    assert asked.due(mirror.ledger, PUSH_PATIENCE - 1) == []
    assert asked.push(first, 1, mirror.ledger, 0.0).admitted is Admitted.NOW
    mirror.take(first)
    assert asked.due(mirror.ledger, 1.0) == [second]
    mirror.take(second)
    assert asked.due(mirror.ledger, 1.0) == [third]
    assert asked.waiting == ()


def test_an_old_value_whose_objects_are_not_here() -> None:
    world = World()
    mirror = world.mirror()
    first, second = row(world.mirror(), 2)
    asked = Admission(Blind(world.graph.ancestors, world.graph.numbers), Quota())
    mirror.push("owner", world.graph.commit())
    assert asked.push(second, 1, mirror.ledger, 0.0).admitted is Admitted.LATER
    mirror.take(first)
    assert asked.due(mirror.ledger, 1.0) == [second]


def test_an_hour_at_most() -> None:
    world = World()
    mirror, asked = world.mirror(), admission(world)
    _, withheld = row(world.mirror(), 2)
    asked.push(withheld, 1, mirror.ledger, 5.0)
    assert asked.next_deadline() == 5.0 + PUSH_PATIENCE
    assert asked.due(mirror.ledger, 5.0 + PUSH_PATIENCE) == [withheld]


def test_a_checkpoint_that_takes_it_ends_the_waiting() -> None:
    world = World()
    keeper, mirror, asked = world.mirror(), world.mirror(), admission(world)
    _, second = row(keeper, 2)
    asked.push(second, 1, mirror.ledger, 0.0)
    assert asked.named(keeper.keep()) == [second]
    assert asked.waiting == ()


def test_what_a_taken_push_gave_is_known() -> None:
    """A push on top of one that a checkpoint took since, after the ref was rewound."""
    world = World()
    keeper, depot = world.mirror(), world.mirror()
    first, second = row(depot, 2)
    keeper.take(first)
    keeper.keep()
    keeper.push("owner", world.graph.commit())
    asked = admission(world)
    assert asked.push(second, 1, keeper.ledger, 0.0).admitted is Admitted.NOW


def test_a_push_on_a_checkpoint_that_is_not_here() -> None:
    world = World()
    keeper, mirror, asked = world.mirror(), world.mirror(), admission(world)
    row(keeper, 1)
    signed = keeper.keep()
    (push,) = row(keeper, 1)
    assert asked.push(push, 1, mirror.ledger, 0.0).admitted is Admitted.LATER
    mirror.sync(keeper)
    mirror.learn(signed)
    late = world.mirror()
    assert asked.due(late.ledger, 1.0) == []
    late.learn(signed)
    assert asked.due(late.ledger, 1.0) == [push]


def test_a_first_push_on_a_checkpoint_waits_for_nothing() -> None:
    world = World()
    mirror, asked = world.mirror(), admission(world)
    made = mirror.signed("owner", {MAIN: world.graph.commit()}, old={MAIN: world.graph.commit()})
    assert asked.push(made, 1, mirror.ledger, 0.0).admitted is Admitted.NOW


def test_who_has_no_say_is_refused() -> None:
    world = World()
    mirror, asked = world.mirror(), admission(world)
    made = mirror.signed("stranger", {MAIN: world.graph.commit()})
    decision = asked.push(made, 1, mirror.ledger, 0.0)
    assert (decision.admitted, decision.again) == (Admitted.REFUSED, False)
    assert "policy" in decision.reason


def test_no_more_than_the_quota_of_one_key() -> None:
    world = World(first_policy(rule("refs/*", "alice")))
    mirror, asked = world.mirror(), admission(world)
    for number in range(MAX_PUSHES):
        made = mirror.signed("alice", {branch(f"b{number}"): world.graph.commit()})
        assert asked.push(made, 1, mirror.ledger, 0.0).admitted is Admitted.NOW
        mirror.ledger.add_push(made)
    over = mirror.signed("alice", {MAIN: world.graph.commit()})
    decision = asked.push(over, 1, mirror.ledger, 0.0)
    assert (decision.admitted, decision.again) == (Admitted.REFUSED, True)
    owners = mirror.signed("owner", {MAIN: world.graph.commit()})
    assert asked.push(owners, 1, mirror.ledger, 0.0).admitted is Admitted.NOW
    mirror.keep()
    asked.settle(mirror.ledger)
    assert asked.push(over, 1, mirror.ledger, 0.0).admitted is Admitted.NOW


def test_no_more_bytes_than_the_quota() -> None:
    quota = Quota()
    world = World()
    first, second = row(world.mirror(), 2)
    who = key("owner")
    assert quota.refusal(who, MAX_BYTES) == ""
    quota.add(who, first.id, MAX_BYTES)
    quota.add(who, first.id, MAX_BYTES)
    assert quota.refusal(who, 0) == ""
    assert "MiB" in quota.refusal(who, 1)
    quota.keep(lambda push: push == second.id)
    assert quota.refusal(who, 1) == ""


def test_waiting_pushes_are_bounded() -> None:
    people = [f"p{number}" for number in range(MAX_WAITING_PUSHES // MAX_PUSHES + 1)]
    world = World(first_policy(*(rule("refs/*", who) for who in people)))
    mirror, asked = world.mirror(), admission(world)
    known = mirror.ledger.adopted.id
    nonce = Nonce(world.repository, known, 7)
    old = world.graph.commit()
    for who in people:
        for _ in range(MAX_PUSHES):
            made = mirror.signed(who, {MAIN: world.graph.commit()}, old={MAIN: old}, nonce=nonce)
            assert asked.push(made, 1, mirror.ledger, 0.0).admitted is Admitted.LATER
    assert len(asked.waiting) == MAX_WAITING_PUSHES


def test_a_checkpoint_dated_ahead_waits_for_its_time() -> None:
    world = World()
    keeper, mirror, asked = world.mirror(), world.mirror(), admission(world)
    for _ in range(MAX_WAITING_CHECKPOINTS + 1):
        row(keeper, 1)
        made = keeper.ledger.proposal(tagger=TAGGER, time=START + MAX_AHEAD + 10)
        signed = world.sign(made.text(), made, "keeper")
        keeper.learn(signed)
        decision = asked.checkpoint(signed, mirror.ledger, START)
        assert decision.admitted is Admitted.LATER
    assert len(asked.waiting) == MAX_WAITING_CHECKPOINTS
    assert asked.due_checkpoints(mirror.ledger, START + 9) == []
    assert len(asked.due_checkpoints(mirror.ledger, START + 10)) == MAX_WAITING_CHECKPOINTS
    assert asked.checkpoint(signed, mirror.ledger, START + 10).admitted is Admitted.NOW


def ahead_of(keeper: Mirror, who: str = "keeper") -> SignedCheckpoint:
    """Let a keeper whose clock is wrong sign what it shows."""
    made = keeper.ledger.proposal(tagger=TAGGER, time=START + 40 * 86400)
    signed = keeper.world.sign(made.text(), made, who)
    keeper.learn(signed)
    return signed


def test_a_date_means_nothing_where_the_roots_had_another_keeper_go_on_from_before() -> None:
    world = World()
    keeper, mirror, asked = world.mirror(), world.mirror(), admission(world)
    good = keeper.ledger.adopted.id
    row(keeper, 1)
    wrong = [ahead_of(keeper)]
    row(keeper, 1)
    wrong.append(ahead_of(keeper))
    assert asked.checkpoint(wrong[0], mirror.ledger, START).admitted is Admitted.LATER
    cure = next_policy(world.policy, good, keeper=key("other"))
    mirror.policy(cure)
    assert asked.due_checkpoints(mirror.ledger, START) == [wrong[0]], "it can be adopted no more"
    assert asked.checkpoint(wrong[1], mirror.ledger, START).admitted is Admitted.NOW
    keeper.policy(cure)
    assert not mirror.ledger.passes_over(world.checkpoints[good].checkpoint)
    late = ahead_of(keeper, "other")
    assert asked.checkpoint(late, mirror.ledger, START).admitted is Admitted.LATER


def test_a_date_counts_where_another_keeper_goes_on_from_the_very_checkpoint() -> None:
    world = World()
    keeper, mirror, asked = world.mirror(), world.mirror(), admission(world)
    row(keeper, 1)
    wrong = ahead_of(keeper)
    mirror.policy(next_policy(world.policy, wrong.id, keeper=key("other")))
    assert asked.checkpoint(wrong, mirror.ledger, START).admitted is Admitted.LATER


def test_a_checkpoint_before_the_one_that_a_log_begins_with() -> None:
    """Whoever begins late knows of it by its id alone, and waits for nothing on it."""
    world = World()
    keeper, asked = world.mirror(), admission(world)
    first, second = row(world.mirror(), 2)
    keeper.take(first)
    keeper.keep()
    late = Mirror(
        world, Ledger(point_from(list(world.checkpoints.values()), world.policy), world.graph)
    )
    assert not late.ledger.holds(second.certificate.nonce.checkpoint)
    assert asked.push(second, 1, late.ledger, 0.0).admitted is Admitted.NOW
