"""A keeper's node judges what it takes in once; everybody else replays it."""

from __future__ import annotations

from msgspec.structs import replace

from gittorrent.ids import Oid
from gittorrent.push.rule import Push, Verdict
from gittorrent.trust.policy import Policy
from support.pushlog import TAGGER, Graph, Mirror, World, branch


class Counting(Graph):
    """Facts, and how often it was asked whether a push's key is good: once for each judgement."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def valid(self, push: Push, policy: Policy, time: int) -> bool:
        self.asked += 1
        return super().valid(push, policy, time)


def opened() -> tuple[Counting, World, Mirror]:
    """Return a keeper's node that shows one push which no checkpoint has taken."""
    graph = Counting()
    world = World(graph=graph)
    keeper = world.mirror()
    first: Oid = graph.commit()
    keeper.push("owner", first)
    keeper.keep()
    keeper.push("owner", graph.commit(first))
    keeper.push("owner", graph.commit(), branch("other"))
    return graph, world, keeper


def test_what_a_node_composed_is_not_judged_again() -> None:
    graph, world, keeper = opened()
    shown = keeper.ledger.view().listing
    graph.asked = 0
    keeper.keep()
    assert graph.asked == 0
    assert keeper.ledger.adopted.listing.digest == shown.digest
    assert keeper.ledger.composed is None
    mirror = world.mirror()
    mirror.sync(keeper)
    assert graph.asked > 0
    assert mirror.ledger.adopted.id == keeper.ledger.adopted.id


def test_another_than_what_was_composed_is_judged() -> None:
    graph, world, keeper = opened()
    composed = keeper.ledger.proposal(tagger=TAGGER, time=world.clock)
    again = replace(composed, time=composed.time + 1)
    graph.asked = 0
    keeper.learn(world.sign(again.text(), again, "keeper"))
    assert graph.asked >= 2
    assert keeper.ledger.adopted.checkpoint == again


def test_a_lie_in_the_place_of_what_was_composed_is_found() -> None:
    _, world, keeper = opened()
    composed = keeper.ledger.proposal(tagger=TAGGER, time=world.clock)
    taken = (replace(composed.taken[0], verdict=Verdict.CONFLICT), *composed.taken[1:])
    lie = replace(composed, taken=taken)
    bad = world.sign(lie.text(), lie, "keeper")
    keeper.learn(bad)
    assert "by the rule it is applied" in keeper.ledger.refuted[bad.id]


def test_somebody_else_s_signature_does_not_do() -> None:
    _, world, keeper = opened()
    composed = keeper.ledger.proposal(tagger=TAGGER, time=world.clock)
    bad = world.sign(composed.text(), composed, "mallory")
    keeper.learn(bad)
    assert "and the keeper is" in keeper.ledger.refuted[bad.id]


def test_other_evidence_has_it_judged_again() -> None:
    graph, world, keeper = opened()
    composed = keeper.ledger.proposal(tagger=TAGGER, time=world.clock)
    keeper.ledger.judge_again(graph)
    assert keeper.ledger.composed is None
    graph.asked = 0
    keeper.learn(world.sign(composed.text(), composed, "keeper"))
    assert graph.asked >= 2
