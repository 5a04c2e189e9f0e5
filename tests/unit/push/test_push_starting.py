"""A clone that begins at a whole checkpoint goes on as a mirror does that replayed everything."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gittorrent.ids import Oid
from gittorrent.push.chain import CheckpointError, Point
from gittorrent.push.ledger import Ledger
from gittorrent.push.replay import SignedCheckpoint
from gittorrent.push.rule import Verdict
from gittorrent.push.starting import point_from
from support.pushlog import DAY, Mirror, World, branch, key, next_policy


def history() -> tuple[World, Mirror, list[SignedCheckpoint]]:
    """Return a repository of forty days, its keeper, and all checkpoints; the last is whole."""
    made = World()
    keeper = made.mirror()
    for number in range(40):
        made.clock += DAY
        keeper.push("owner", made.graph.commit(keeper.value() or made.graph.commit()))
        keeper.push("owner", made.graph.commit(), branch(f"topic/{number}"))
        if number % 3 == 2:
            keeper.push("owner", None, branch(f"topic/{number - 1}"))
        if number == 20:
            keeper.policy(next_policy(made.policy, keeper.ledger.adopted.id, keeper=key("k2")))
        keeper.keep("keeper" if number < 20 else "k2")
    checkpoint = keeper.ledger.proposal(tagger=b"K <k@x>", time=made.clock)
    listing = keeper.ledger.adopted.listing.sweep(keeper.ledger.adopted.first_valid)[0]
    whole = replace(checkpoint, whole=True, listing=listing.whole_text())
    keeper.learn(made.sign(whole.text(), whole, "k2"))
    chained = []
    at: Point | None = keeper.ledger.adopted
    while at is not None:
        chained.append(made.checkpoints[at.id])
        at = at.previous
    return made, keeper, chained[::-1]


def test_a_clone_goes_on_as_a_mirror_does() -> None:
    made, keeper, chained = history()
    assert chained[-1].checkpoint.whole
    recent = [
        signed
        for signed in chained
        if signed.checkpoint.time >= chained[-1].checkpoint.time - 33 * DAY
    ]
    assert recent[0].checkpoint.number > 1
    clone = Mirror(made, Ledger(point_from(recent, keeper.ledger.policy), made.graph))
    point = keeper.ledger.adopted
    assert clone.ledger.adopted.listing.digest == point.listing.digest
    assert clone.ledger.adopted.keeper_since == point.keeper_since
    assert clone.ledger.adopted.first_valid == point.first_valid
    push = clone.push("owner", made.graph.commit(Oid(clone.value() or "")))
    assert clone.verdicts(push) == [Verdict.APPLIED]
    keeper.take(push)
    made.clock += 20 * DAY
    for _ in range(3):
        clone.learn(keeper.keep("k2"))
        made.clock += 20 * DAY
    assert clone.ledger.adopted.id == keeper.ledger.adopted.id
    assert clone.ledger.adopted.listing.digest == keeper.ledger.adopted.listing.digest


def test_what_does_not_hang_together_is_refused() -> None:
    made, keeper, chained = history()
    policy = keeper.ledger.policy
    last = chained[-1]
    for wrong, reason in (
        (chained[-5:], "30 days are needed"),
        ([*chained[:30], *chained[31:]], "not the next one"),
        (chained[:-1], "no whole listing"),
        ([*chained[:-1], replace(last, signer=key("keeper"))], "not by the keeper"),
        ([*chained[:-1], altered(last, listing=last.checkpoint.listing[:-1])], "checkpoint line"),
        ([*chained[:-1], altered(last, state="0" * 64)], "another"),
    ):
        with pytest.raises(Exception, match=reason if reason != "another" else "lists other"):
            point_from(wrong, policy)
    assert made.policy.digest != policy.digest
    with pytest.raises(CheckpointError, match="not by the keeper"):
        point_from(chained, made.policy)


def altered(signed: SignedCheckpoint, **changes: object) -> SignedCheckpoint:
    return replace(signed, checkpoint=replace(signed.checkpoint, **changes))


def test_a_push_costs_the_same_however_long_the_log_is() -> None:
    """Questions about objects and fresh nodes of the state, for a push after ten and 500 others."""
    made = World()
    keeper = made.mirror()
    names = [branch(f"b{number}") for number in range(3000)]
    keeper.take(keeper.signed("owner", {name: made.graph.commit() for name in names}))
    keeper.keep()
    costs = []
    for number in range(500):
        before, asked = keeper.ledger.adopted, made.graph.asked
        old = keeper.value(names[number]) or made.graph.commit()
        keeper.push("owner", made.graph.commit(old), names[number])
        keeper.keep()
        fresh = keeper.ledger.adopted.listing.entries.nodes() - before.listing.entries.nodes()
        costs.append((made.graph.asked - asked, len(fresh)))
    assert max(costs) <= (12, 5)
    assert max(asked for asked, _ in costs[-50:]) <= max(asked for asked, _ in costs[:50])
