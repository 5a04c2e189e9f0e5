"""Copies of a push with other certificates each: a checkpoint says which was judged."""

from __future__ import annotations

from itertools import permutations

from msgspec.structs import replace

from gittorrent.ids import RefName
from gittorrent.push.rule import Push, Verdict
from gittorrent.trust.policy import Grant, Policy, Rule, WebOfTrust
from gittorrent.trust.refpattern import RefPattern
from support.pushlog import MAIN, Graph, Mirror, World, branch, first_policy

TOPIC = branch("topic")
VOUCHED = Rule(RefPattern(b"refs/heads/*"), WebOfTrust(1, 1), Grant.PLAIN)


class Certified(Graph):
    """Evidence that goes by what came with the push."""

    def certified(self, push: Push, rule: WebOfTrust, policy: Policy, time: int) -> bool:
        return b"certified by a root" in push.certificates


def made() -> tuple[World, Mirror, Push, Push]:
    """Return a repository, its keeper, a push by somebody vouched for, and it without that."""
    world = World(first_policy(VOUCHED), Certified())
    keeper = world.mirror()
    keeper.push("owner", world.graph.commit())
    keeper.keep()
    bare = keeper.signed("dave", {TOPIC: world.graph.commit()})
    whole = replace(bare, certificates=(b"key of dave", b"certified by a root"))
    stripped = replace(bare, certificates=(b"key of dave",))
    return world, keeper, whole, stripped


def test_a_copy_that_was_stripped_does_not_stand_for_the_whole() -> None:
    world, keeper, whole, stripped = made()
    padded = replace(whole, certificates=(*whole.certificates, b"padding"))
    shown = set()
    for order in permutations((whole, stripped, padded)):
        mirror = world.mirror()
        mirror.sync(keeper)
        for push in order:
            mirror.take(push)
            assert mirror.verdicts(push) in ([Verdict.APPLIED], [Verdict.REFUSED])
        assert mirror.value(TOPIC) is not None
        shown.add(mirror.ledger.push(whole.id))
    assert len(shown) == 1, "who knows the same copies goes by the same one"


def test_a_checkpoint_binds_the_copy_that_it_judged() -> None:
    world, keeper, whole, stripped = made()
    keeper.take(whole)
    signed = keeper.keep()
    line = f"certificate {whole.id} {whole.copy}\n".encode()
    assert line in signed.checkpoint.text()
    mirror = world.mirror()
    mirror.take(stripped)
    for point in world.checkpoints.values():
        mirror.learn(point)
    for push in keeper.ledger._pushes.values():
        if push.id != whole.id:
            mirror.take(push)
    assert mirror.ledger.adopted.number == signed.checkpoint.number - 1
    assert mirror.ledger.lacking == {whole.id}
    mirror.take(whole)
    assert mirror.ledger.adopted.id == signed.id
    assert mirror.final(TOPIC) is not None


def test_a_keeper_that_names_another_copy_is_refuted() -> None:
    world, keeper, whole, stripped = made()
    keeper.take(whole)
    honest = keeper.ledger.proposal(tagger=b"K <k@x>", time=world.clock)
    false = replace(honest, copies=(replace(honest.copies[0], digest=stripped.copy),))
    signed = world.sign(false.text(), false, "keeper")
    mirror = world.mirror()
    mirror.sync(keeper)
    mirror.take(whole, stripped)
    mirror.learn(signed)
    assert "refused" in mirror.ledger.refuted[signed.id]
    without = replace(honest, copies=())
    mirror.take(replace(whole, certificates=()))
    mirror.learn(world.sign(without.text(), without, "keeper"))
    assert len(mirror.ledger.refuted) == 2


def test_a_clone_needs_no_certificates_to_believe() -> None:
    world, keeper, whole, _ = made()
    keeper.take(whole)
    keeper.keep()
    clone = world.mirror()
    for point in world.checkpoints.values():
        clone.ledger.add_checkpoint(point)
    clone.ledger.settle(short=True)
    assert clone.final(RefName(TOPIC)) == keeper.final(TOPIC)
    assert clone.final(MAIN) == keeper.final(MAIN)
    assert clone.ledger.adopted.id in clone.ledger.followed
