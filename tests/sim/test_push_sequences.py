"""Sequences of pushes, policies and checkpoints, named after what went wrong in other designs."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gittorrent.ids import Oid, PushId, RefName
from gittorrent.push.certificate import MAX_COUNT, Nonce
from gittorrent.push.chain import CheckpointError, nonce_on
from gittorrent.push.checkpoint import Taken
from gittorrent.push.composing import compose
from gittorrent.push.ledger import Ledger
from gittorrent.push.provisional import View
from gittorrent.push.rule import MAX_OPEN, Reason, Verdict
from gittorrent.trust.policy import Grant
from support.pushlog import (
    DAY,
    MAIN,
    OWNER,
    Graph,
    Mirror,
    World,
    branch,
    first_policy,
    key,
    name_of,
    next_policy,
    quorum,
    rule,
)

APPLIED, WAITING = [Verdict.APPLIED], [Verdict.WAITING]
CONFLICT, REFUSED = [Verdict.CONFLICT], [Verdict.REFUSED]
TAG = RefName(b"refs/tags/v1")


def world(*who: str, force: tuple[str, ...] = ()) -> World:
    """Return a repository where these push to branches and tags, some with force."""
    rules = [rule("refs/*", name, Grant.FORCE if name in force else Grant.PLAIN) for name in who]
    return World(first_policy(*rules))


def opened(*who: str, force: tuple[str, ...] = ()) -> tuple[World, Mirror, Mirror]:
    """Return a repository whose main has a commit that is final, its keeper and a mirror."""
    made = world(*who, force=force)
    keeper, mirror = made.mirrors(2)
    keeper.push("owner", made.graph.commit())
    keeper.keep()
    mirror.sync(keeper)
    return made, keeper, mirror


def open_values(mirror: Mirror) -> list[str]:
    return [conflict.value for conflict in mirror.ledger.view().listing.conflicts()]


def test_ratchet() -> None:
    """A plain push built on an old side branch does not rewind what came since."""
    made, keeper, mirror = opened("alice")
    base = keeper.value()
    assert base is not None
    old = keeper.ledger.nonce()
    for _ in range(5):
        keeper.push("owner", made.graph.commit(keeper.value() or base))
        keeper.keep()
    side = made.graph.commit(base)
    late = keeper.push("alice", side, old=base, nonce=old)
    assert keeper.verdicts(late) == CONFLICT
    assert keeper.value() == keeper.final() != side
    mirror.sync(keeper)
    assert mirror.value() == keeper.value()
    forced = keeper.push("alice", base)
    assert keeper.verdicts(forced) == REFUSED


def test_borrowed_votes() -> None:
    """However many keys may push ``wip/*``, none of their pushes says anything of ``main``."""
    rules = [rule("refs/heads/wip/*", f"w{n}") for n in range(9)]
    made = World(first_policy(*rules))
    keeper = made.mirror()
    keeper.push("owner", made.graph.commit())
    keeper.keep()
    value = keeper.value()
    assert value is not None
    for number in range(9):
        push = keeper.push(f"w{number}", made.graph.commit(value))
        assert keeper.verdicts(push) == REFUSED
        assert (
            keeper.verdicts(
                keeper.push(f"w{number}", made.graph.commit(value), branch(f"wip/{number}"))
            )
            == APPLIED
        )
    keeper.keep()
    assert keeper.value() == keeper.final() == value


def test_sole_pusher() -> None:
    """One person who pushes at two mirrors in turn, each a while behind, loses nothing."""
    made, keeper, mirror = opened("alice")
    for _ in range(4):
        for at, other in ((keeper, mirror), (mirror, keeper)):
            at.sync(other)
            push = at.push("alice", made.graph.commit(at.value() or made.graph.commit()))
            assert at.verdicts(push) == APPLIED
    keeper.sync(mirror)
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.final() == keeper.final() == mirror.value()
    assert open_values(mirror) == []


def test_late_laptops() -> None:
    """Two laptops that come home after weeks leave conflicts and do not move ``main`` back."""
    made, keeper, _ = opened("alice", "bob")
    laptops = made.mirrors(2)
    for laptop, who in zip(laptops, ("alice", "bob"), strict=True):
        laptop.sync(keeper)
        laptop.push(who, made.graph.commit(laptop.value() or made.graph.commit()))
    for _ in range(3):
        made.clock += 5 * DAY
        keeper.push("owner", made.graph.commit(keeper.value() or made.graph.commit()))
        keeper.keep()
    before = keeper.final()
    keeper.sync(*laptops)
    keeper.keep()
    assert keeper.final() == before
    assert len(open_values(keeper)) == 2
    assert before is not None
    merge = made.graph.commit(before, *(push.certificate.lines[0].new or before
                                        for laptop in laptops
                                        for push in laptop.ledger.unfinal))  # fmt: skip
    keeper.push("alice", merge)
    keeper.keep()
    assert (keeper.final(), open_values(keeper)) == (merge, [])


def test_a_laptop_that_was_away_too_long_is_told() -> None:
    made, keeper, laptop = opened("alice")
    push = laptop.push("alice", made.graph.commit(laptop.value() or made.graph.commit()))
    for _ in range(3):
        made.clock += 16 * DAY
        keeper.push("owner", made.graph.commit(keeper.value() or made.graph.commit()))
        keeper.keep()
    keeper.take(push)
    assert keeper.verdicts(push) == REFUSED


def test_resurrection() -> None:
    """After a forced removal a stale plain push does not bring back what was removed."""
    made, keeper, mirror = opened("alice")
    base = keeper.value()
    assert base is not None
    secret = made.graph.commit(base)
    keeper.push("alice", secret)
    keeper.keep()
    mirror.sync(keeper)
    keeper.push("owner", base)
    keeper.keep()
    stale = mirror.push("alice", made.graph.commit(secret))
    keeper.sync(mirror)
    assert keeper.verdicts(stale) == CONFLICT
    assert keeper.value() == base
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.value() == mirror.final() == base


def test_push_on_what_was_removed() -> None:
    """Nor does a plain push that comes with a fresh nonce, if it was made on what was removed."""
    made, keeper, _ = opened("alice")
    base = keeper.value()
    assert base is not None
    secret = made.graph.commit(base)
    keeper.push("alice", secret)
    keeper.push("owner", base)
    keeper.keep()
    again = keeper.push("alice", made.graph.commit(secret), old=secret)
    assert keeper.verdicts(again) == CONFLICT
    assert keeper.value() == base


def test_routine_removal() -> None:
    """A removed key's pushes in flight are refused once a checkpoint names the policy."""
    made, keeper, mirror = opened("alice")
    early = mirror.push("alice", made.graph.commit(mirror.value() or made.graph.commit()))
    version = next_policy(made.policy, keeper.ledger.adopted.id, rules=(OWNER,))
    keeper.policy(version)
    keeper.keep()
    keeper.sync(mirror)
    assert keeper.verdicts(early) == REFUSED
    mirror.sync(keeper)
    assert mirror.verdicts(early) == REFUSED
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.value() == keeper.final()


def test_what_was_final_stays_when_its_pusher_is_removed() -> None:
    made, keeper, mirror = opened("alice")
    mirror.push("alice", made.graph.commit(mirror.value() or made.graph.commit()))
    keeper.sync(mirror)
    keeper.keep()
    before = keeper.final()
    keeper.policy(next_policy(made.policy, keeper.ledger.adopted.id, rules=(OWNER,)))
    keeper.keep()
    assert keeper.final() == before


def test_mutual_removal() -> None:
    """Two roots each sign a next version without the other: neither counts by itself."""
    made, keeper, mirror = opened("alice", "bob")
    at = keeper.ledger.adopted.id
    first = next_policy(made.policy, at, rules=(OWNER, rule("refs/*", "alice")))
    second = next_policy(made.policy, at, rules=(OWNER, rule("refs/*", "bob")))
    mirror.policy(second, first)
    assert mirror.ledger.policy == made.policy
    assert set(mirror.ledger.rivals) == {first, second}
    keeper.policy(first)
    keeper.keep()
    mirror.sync(keeper)
    keeper.sync(mirror)
    assert mirror.ledger.policy == keeper.ledger.policy == first


def test_flood() -> None:
    """One key cannot leave more than a few conflicts, whatever it pushes, and harms nobody."""
    made, keeper, mirror = opened("alice", "mallory")
    base = keeper.value()
    assert base is not None
    old = mirror.ledger.nonce()
    keeper.push("owner", made.graph.commit(base))
    keeper.keep()
    flood = [
        keeper.signed("mallory", {MAIN: made.graph.commit(base)}, old={MAIN: base}, nonce=old)
        for _ in range(40)
    ]
    keeper.take(*flood)
    assert len(open_values(keeper)) == MAX_OPEN
    verdicts = [keeper.verdicts(push) for push in flood]
    assert verdicts.count(CONFLICT) == MAX_OPEN
    assert verdicts.count(REFUSED) == 40 - MAX_OPEN
    good = keeper.push("alice", made.graph.commit(keeper.value() or base))
    assert keeper.verdicts(good) == APPLIED
    keeper.keep()
    assert keeper.final() == good.certificate.lines[0].new


def test_flood_in_one_push() -> None:
    """A push that is one unit cannot leave more either: it is refused as a whole."""
    made, keeper, mirror = opened("mallory")
    old = mirror.ledger.nonce()
    names = [branch(f"b{n}") for n in range(MAX_OPEN + 1)]
    keeper.take(keeper.signed("owner", {name: made.graph.commit() for name in names}))
    keeper.keep()
    changes = {name: made.graph.commit() for name in names}
    push = keeper.signed("mallory", changes, "atomic", old=dict.fromkeys(names), nonce=old)
    keeper.take(push)
    assert keeper.verdicts(push) == REFUSED
    assert open_values(keeper) == []


def test_the_highest_count_wedges_nobody() -> None:
    """Who signs the highest count there is does not keep others from pushing on top."""
    made, keeper, mirror = opened("alice", "mallory")
    top = nonce_on(keeper.ledger.adopted, MAX_COUNT)
    keeper.push("mallory", made.graph.commit(keeper.value() or made.graph.commit()), nonce=top)
    for who in ("alice", "owner", "alice"):
        assert keeper.ledger.nonce().count == MAX_COUNT
        push = keeper.push(who, made.graph.commit(keeper.value() or made.graph.commit()))
        assert keeper.verdicts(push) == APPLIED
        assert keeper.value() == push.certificate.lines[0].new
    mirror.sync(keeper)
    assert mirror.value() == keeper.value()
    keeper.keep()
    assert keeper.ledger.nonce().count == 1


def test_back_dated_signature() -> None:
    """Expiry is judged by the checkpoint in the nonce, whatever date a signature claims."""
    made, keeper, _ = opened("alice")
    value = keeper.value()
    assert value is not None
    made.graph.expiry[key("alice")] = made.clock + DAY
    early = keeper.push("alice", made.graph.commit(value))
    assert keeper.verdicts(early) == APPLIED
    made.clock += 2 * DAY
    keeper.keep()
    late = keeper.push("alice", made.graph.commit(keeper.value() or value))
    certificate = replace(late.certificate, time=made.clock - 3 * DAY)
    assert keeper.verdicts(late) == REFUSED
    dated = replace(late, certificate=certificate, id=name_of(certificate.text()))
    keeper.take(dated)
    assert keeper.verdicts(dated) == REFUSED


def restored(made: World, keeper: Mirror) -> tuple[Mirror, Mirror]:
    """Return the keeper from a backup, and a mirror that knows what was signed since."""
    backup, mirror = made.mirrors(2)
    backup.sync(keeper)
    keeper.push("owner", made.graph.commit(keeper.value() or made.graph.commit()))
    keeper.keep()
    mirror.sync(keeper)
    return backup, mirror


def test_restored_keeper_that_syncs_first() -> None:
    made, keeper, _ = opened("alice")
    backup, mirror = restored(made, keeper)
    backup.sync(mirror)
    backup.push("alice", made.graph.commit(backup.value() or made.graph.commit()))
    backup.keep()
    mirror.sync(backup)
    assert mirror.ledger.adopted.id == backup.ledger.adopted.id
    assert not mirror.ledger.twins


def test_restored_keeper_that_does_not() -> None:
    """Two checkpoints of one number: nobody goes on, both are shown, pushes go on, roots decide."""
    made, keeper, _ = opened("alice")
    backup, mirror = restored(made, keeper)
    backup.push("alice", made.graph.commit(backup.value() or made.graph.commit()))
    twin = backup.keep()
    good = keeper.ledger.adopted.id
    fresh = made.mirror()
    for node in (mirror, backup, fresh):
        node.sync(keeper, backup, mirror)
        assert {node.ledger.twins[0].first.id, node.ledger.twins[0].second.id} == {good, twin.id}
        assert "another keeper" in node.ledger.stopped
    push = mirror.push("alice", made.graph.commit(mirror.value() or made.graph.commit()))
    assert mirror.verdicts(push) == APPLIED
    version = next_policy(made.policy, good, keeper=key("keeper2"))
    backup.sync(mirror)
    fresh.sync(mirror)
    for node in (mirror, backup, fresh):
        node.policy(version)
        assert node.ledger.adopted.id == good
        assert not node.ledger.stopped
        assert node.ledger.view().listing.digest == mirror.ledger.view().listing.digest
    mirror.keep("keeper2")
    for node in (backup, fresh):
        node.sync(mirror)
        assert node.ledger.adopted.id == mirror.ledger.adopted.id
    assert len(open_values(fresh)) == 1
    assert fresh.value() == push.certificate.lines[0].new


def test_keeper_that_invents() -> None:
    """A checkpoint with a change that nobody signed is refused, named and kept."""
    made, keeper, mirror = opened("alice")
    checkpoint = keeper.ledger.proposal(tagger=b"K <k@x>", time=made.clock)
    listing = keeper.ledger.adopted.listing
    entry = replace(listing.entry(MAIN), value=made.graph.commit())
    lying = listing.with_entry(entry)
    invented = replace(checkpoint, listing=bytes(entry), state=lying.digest, whole=False)
    bad = made.sign(invented.text(), invented, "keeper")
    mirror.learn(bad)
    assert mirror.ledger.adopted.id == keeper.ledger.adopted.id
    assert "another state" in mirror.ledger.refuted[bad.id]
    unknown = replace(checkpoint, state="0" * 64)
    stranger = made.sign(unknown.text(), unknown, "mallory")
    mirror.learn(stranger)
    assert "the keeper is" in mirror.ledger.refuted[stranger.id]


def test_keeper_that_lies_about_a_verdict() -> None:
    made, keeper, mirror = opened("alice")
    push = keeper.push("alice", made.graph.commit(keeper.value() or made.graph.commit()))
    mirror.take(push)
    checkpoint = keeper.ledger.proposal(tagger=b"K <k@x>", time=made.clock)
    taken = (replace(checkpoint.taken[0], verdict=Verdict.REFUSED),)
    empty = keeper.ledger.adopted.listing
    lying = replace(checkpoint, taken=taken, listing=b"", state=empty.digest, whole=False)
    bad = made.sign(lying.text(), lying, "keeper")
    mirror.learn(bad)
    assert "by the rule it is applied" in mirror.ledger.refuted[bad.id]
    assert mirror.verdicts(push) == APPLIED


def test_keeper_that_omits() -> None:
    """What a keeper leaves out stays visible, provisional, and goes on with the next keeper."""
    made, keeper, mirror = opened("alice")
    push = mirror.push("alice", made.graph.commit(mirror.value() or made.graph.commit()))
    for _ in range(3):
        keeper.keep()
        mirror.sync(keeper)
        assert mirror.ledger.unfinal == (push,)
        assert mirror.value() == push.certificate.lines[0].new != mirror.final()
    mirror.policy(next_policy(made.policy, mirror.ledger.adopted.id, keeper=key("keeper2")))
    mirror.keep("keeper2")
    assert mirror.final() == push.certificate.lines[0].new


def test_keeper_that_reorders() -> None:
    """Another order than was shown is the keeper's right; what loses is open, not lost."""
    made, keeper, mirror = opened("alice", "bob")
    base = mirror.value()
    assert base is not None
    one = mirror.push("alice", made.graph.commit(base))
    two = mirror.signed("bob", {MAIN: made.graph.commit(base)}, old={MAIN: base})
    keeper.take(two)
    checkpoint = keeper.keep()
    mirror.take(two)
    mirror.learn(checkpoint)
    assert mirror.final() == two.certificate.lines[0].new
    assert open_values(mirror) == [one.certificate.lines[0].new]


def test_keeper_that_takes_part_of_a_push() -> None:
    made, keeper, mirror = opened("alice")
    push = keeper.signed(
        "alice", {branch("a"): made.graph.commit(), branch("b"): made.graph.commit()}
    )
    keeper.take(push)
    mirror.take(push)
    whole = keeper.ledger.proposal(tagger=b"K <k@x>", time=made.clock)
    part = replace(whole, taken=whole.taken[:1])
    bad = made.sign(part.text(), part, "keeper")
    mirror.learn(bad)
    assert "parts of a push" in mirror.ledger.refuted[bad.id]


def test_keeper_rotation_while_the_old_one_signs() -> None:
    """From the checkpoint that the roots name only the new keeper's count."""
    made, keeper, mirror = opened("alice")
    from_here = keeper.ledger.adopted.id
    keeper.push("alice", made.graph.commit(keeper.value() or made.graph.commit()))
    keeper.keep()
    mirror.sync(keeper)
    beyond = mirror.final()
    version = next_policy(made.policy, from_here, keeper=key("keeper2"))
    mirror.policy(version)
    assert mirror.ledger.adopted.id == from_here
    assert (mirror.value(), mirror.final()) != (None, beyond)
    assert mirror.value() == beyond
    keeper.push("owner", made.graph.commit(keeper.value() or made.graph.commit()))
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.ledger.adopted.id == from_here
    mirror.keep("keeper2")
    keeper.sync(mirror)
    assert keeper.ledger.adopted.id == mirror.ledger.adopted.id
    assert keeper.final() == mirror.final() == mirror.value()
    assert open_values(mirror) == []


def test_retired_root() -> None:
    """A rival version of a policy that a checkpoint left behind changes nothing."""
    made, keeper, mirror = opened("alice")
    version = next_policy(made.policy, keeper.ledger.adopted.id, rules=(OWNER,))
    keeper.policy(version)
    keeper.keep()
    mirror.sync(keeper)
    usurping = (rule("refs/*", "mallory", Grant.FORCE),)
    at = keeper.ledger.adopted.id
    rival = next_policy(made.policy, at, keeper=key("mallory"), rules=usurping)
    for node in (mirror, keeper):
        node.policy(rival)
        assert node.ledger.policy == version
    keeper.push("owner", made.graph.commit(keeper.value() or made.graph.commit()))
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.ledger.adopted.id == keeper.ledger.adopted.id


def test_aba() -> None:
    """A push held back does not fit when the value that it was made on comes back."""
    made, keeper, _ = opened("alice", force=("alice",))
    base = keeper.value()
    assert base is not None
    held = keeper.signed("alice", {MAIN: made.graph.commit(base)})
    keeper.push("owner", made.graph.commit(base))
    keeper.keep()
    keeper.push("owner", base)
    keeper.keep()
    keeper.take(held)
    assert keeper.verdicts(held) == CONFLICT
    assert keeper.value() == base


def test_deletion_and_creation_held_back() -> None:
    """A creation held back does not bring a deleted branch back: the deletion left a mark."""
    made, keeper, _ = opened("alice")
    name = branch("topic")
    held = keeper.signed("alice", {name: made.graph.commit()})
    keeper.push("owner", made.graph.commit(), name)
    keeper.keep()
    keeper.push("owner", None, name)
    keeper.keep()
    keeper.take(held)
    assert keeper.verdicts(held) == CONFLICT
    assert keeper.value(name) is None
    again = keeper.push("alice", made.graph.commit(), name)
    assert keeper.verdicts(again) == APPLIED


def test_marks_of_deleted_refs_are_forgotten() -> None:
    made, keeper, _ = opened("alice")
    name = branch("topic")
    keeper.push("owner", made.graph.commit(), name)
    keeper.push("owner", None, name)
    keeper.keep()
    assert not keeper.ledger.adopted.listing.entry(name).says_nothing
    for _ in range(4):
        made.clock += 20 * DAY
        keeper.keep()
    assert keeper.ledger.adopted.listing.entry(name).says_nothing


def test_rewind_while_the_keeper_is_away() -> None:
    made, keeper, mirror = opened("alice")
    base = mirror.value()
    assert base is not None
    one = mirror.push("alice", made.graph.commit(base))
    mirror.push("owner", base)
    assert mirror.value() == base
    again = mirror.push("alice", made.graph.commit(base))
    assert mirror.verdicts(again) == APPLIED
    shown = mirror.value()
    keeper.sync(mirror)
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.final() == shown != one.certificate.lines[0].new


def test_amend_twice_on_one_checkpoint() -> None:
    made, keeper, mirror = opened("alice", force=("alice",))
    base = mirror.value()
    assert base is not None
    versions = [made.graph.commit(base) for _ in range(3)]
    for version in [*versions, *versions[:2]]:
        push = mirror.push("alice", version)
        assert mirror.verdicts(push) == APPLIED
        assert mirror.value() == version
    keeper.sync(mirror)
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.final() == versions[1]
    assert open_values(mirror) == []


def test_replay_of_a_taken_push_at_a_clone() -> None:
    made, keeper, _ = opened("alice", force=("alice",))
    base = keeper.value()
    assert base is not None
    push = keeper.push("alice", made.graph.commit(base))
    keeper.keep()
    keeper.push("owner", base)
    keeper.keep()
    clone = made.mirror()
    clone.sync(keeper)
    clone.take(push)
    assert clone.ledger.unfinal == ()
    checkpoint = clone.ledger.proposal(tagger=b"K <k@x>", time=made.clock)
    assert checkpoint.taken == ()
    assert clone.value() == base
    first = keeper.ledger.adopted.checkpoint
    again = replace(checkpoint, taken=keeper.ledger.adopted.previous.checkpoint.taken)  # type: ignore[union-attr]
    bad = made.sign(again.text(), again, "keeper")
    clone.learn(bad)
    assert bad.id in clone.ledger.refuted
    assert clone.ledger.adopted.checkpoint == first


def test_absorbed_conflict() -> None:
    """A newer conflict takes up an older one only of the same key: others' stay their own."""
    made, keeper, _ = opened("alice", "mallory")
    base = keeper.value()
    assert base is not None
    old = keeper.ledger.nonce()
    keeper.push("owner", made.graph.commit(base))
    keeper.keep()
    theirs = made.graph.commit(base)
    keeper.push("alice", theirs, old=base, nonce=old)
    more = made.graph.commit(theirs)
    keeper.push("mallory", more, old=base, nonce=old)
    assert set(open_values(keeper)) == {theirs, more}
    mine = made.graph.commit(theirs)
    keeper.push("alice", mine, old=theirs)
    assert set(open_values(keeper)) == {mine, more}


def test_conflict_is_dismissed_by_its_maker_or_by_force() -> None:
    made, keeper, _ = opened("alice", "bob")
    base = keeper.value()
    assert base is not None
    old = keeper.ledger.nonce()
    keeper.push("owner", made.graph.commit(base))
    keeper.keep()
    for who in ("alice", "bob"):
        keeper.push(who, made.graph.commit(base), old=base, nonce=old)
    first, second = (conflict.name for conflict in keeper.ledger.view().listing.conflicts())
    maker = {c.name: c.key for c in keeper.ledger.view().listing.conflicts()}
    other = "bob" if maker[first] == key("alice") else "alice"
    assert keeper.verdicts(keeper.push(other, None, first)) == REFUSED
    mine = "alice" if other == "bob" else "bob"
    assert keeper.verdicts(keeper.push(mine, None, first)) == APPLIED
    assert keeper.verdicts(keeper.push("owner", None, second)) == APPLIED
    keeper.keep()
    assert open_values(keeper) == []


def test_quorum() -> None:
    """A ref that two must agree on moves with the second of them, by the very same line."""
    lines = [quorum("refs/heads/release", 2, "alice", "bob", "carol")]
    made = World(first_policy(rule("refs/*", "dave", Grant.FORCE), quorums=lines))
    keeper, mirror = made.mirrors(2)
    name = branch("release")
    one, two = made.graph.commit(), made.graph.commit()
    assert keeper.verdicts(keeper.push("dave", one, name)) == REFUSED
    assert keeper.verdicts(keeper.push("owner", one, name)) == REFUSED
    assert keeper.verdicts(keeper.push("alice", one, name)) == WAITING
    assert keeper.verdicts(keeper.push("alice", one, name)) == WAITING
    assert keeper.verdicts(keeper.push("bob", two, name)) == WAITING
    assert keeper.value(name) is None
    keeper.keep()
    waiting = keeper.ledger.adopted.listing.entry(name).waiting
    assert [(each.key, each.new) for each in waiting] == [(key("alice"), one), (key("bob"), two)]
    mirror.sync(keeper)
    assert mirror.verdicts(mirror.push("carol", one, name)) == APPLIED
    keeper.sync(mirror)
    keeper.keep()
    assert keeper.final(name) == one
    entry = keeper.ledger.adopted.listing.entry(name)
    assert entry.waiting == ()
    atomic = keeper.push("alice", two, name, "atomic")
    assert keeper.verdicts(atomic) == REFUSED


def test_web_of_trust() -> None:
    from gittorrent.trust.policy import Rule, WebOfTrust
    from gittorrent.trust.refpattern import RefPattern

    line = Rule(RefPattern(b"refs/heads/*"), WebOfTrust(2, 1))
    made = World(first_policy(line))
    keeper = made.mirror()
    push = keeper.push("friend", made.graph.commit())
    assert keeper.verdicts(push) == REFUSED
    made.graph.vouched.add(key("friend"))
    other = made.mirror()
    other.take(push)
    assert other.verdicts(push) == APPLIED
    assert other.verdicts(other.push("friend", None)) == REFUSED
    assert other.verdicts(other.push("friend", made.graph.commit(), TAG)) == REFUSED


def test_head() -> None:
    """HEAD is part of the state, and its branch goes only together with a new value."""
    made, keeper, mirror = opened("alice")
    value = keeper.value()
    trunk = branch("trunk")
    deletion = keeper.push("owner", None)
    assert keeper.verdicts(deletion) == CONFLICT
    stranger = keeper.push("alice", value, trunk, "head=refs/heads/trunk")
    assert keeper.verdicts(stranger) == REFUSED
    rename = keeper.signed("owner", {MAIN: None, trunk: value}, "head=refs/heads/trunk")
    keeper.take(rename)
    assert keeper.verdicts(rename) == APPLIED
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.ledger.adopted.listing.head == trunk
    assert (mirror.final(), mirror.final(trunk)) == (None, value)
    missing = keeper.push("owner", made.graph.commit(), branch("x"), "head=refs/heads/y")
    assert keeper.verdicts(missing) == CONFLICT


def test_directories() -> None:
    """Of ``a`` and ``a/b`` the first that fits is there; the other is open, not lost."""
    made, keeper, _ = opened("alice")
    keeper.push("alice", made.graph.commit(), branch("a"))
    below = keeper.push("alice", made.graph.commit(), branch("a/b"))
    assert keeper.verdicts(below) == CONFLICT
    swap = keeper.signed("owner", {branch("a"): None, branch("a/c"): made.graph.commit()}, "atomic")
    keeper.take(swap)
    assert keeper.verdicts(swap) == APPLIED
    assert keeper.verdicts(keeper.push("alice", made.graph.commit(), branch("a"))) == CONFLICT


def test_tags_are_moved_with_force_only() -> None:
    made, keeper, _ = opened("alice")
    first = made.graph.commit()
    assert keeper.verdicts(keeper.push("alice", first, TAG)) == APPLIED
    assert keeper.verdicts(keeper.push("alice", made.graph.commit(first), TAG)) == REFUSED
    assert keeper.verdicts(keeper.push("owner", made.graph.commit(first), TAG)) == APPLIED


def test_concurrent_pushes_of_one_commit_agree() -> None:
    made, keeper, mirror = opened("alice", "bob")
    new = made.graph.commit(mirror.value() or made.graph.commit())
    one, two = mirror.push("alice", new), keeper.push("bob", new)
    keeper.sync(mirror)
    assert (keeper.verdicts(one), keeper.verdicts(two)) == (APPLIED, APPLIED)


def test_push_with_an_unknown_checkpoint_is_not_shown() -> None:
    made, keeper, _ = opened("alice")
    nonce = Nonce(made.repository, PushId("9" * 40), 1)
    push = keeper.push(
        "alice", made.graph.commit(keeper.value() or made.graph.commit()), nonce=nonce
    )
    assert keeper.verdicts(push) == []
    assert keeper.value() == keeper.final()


def test_no_checkpoint_is_proposed_while_stopped() -> None:
    made, keeper, _ = opened("alice")
    backup, mirror = restored(made, keeper)
    backup.push("alice", made.graph.commit(backup.value() or made.graph.commit()))
    backup.keep()
    mirror.sync(backup, keeper)
    with pytest.raises(CheckpointError, match="no checkpoint can follow"):
        mirror.ledger.proposal(tagger=b"K <k@x>", time=made.clock)


def test_rivals_that_both_change_the_keeper() -> None:
    """Neither counts; the repository goes on with the keeper it has, and both are shown."""
    made, keeper, mirror = opened("alice")
    at = keeper.ledger.adopted.id
    rivals = [next_policy(made.policy, at, keeper=key(name)) for name in ("k2", "k3")]
    for node in (keeper, mirror):
        node.policy(*rivals)
        assert set(node.ledger.rivals) == set(rivals)
    push = mirror.push("alice", made.graph.commit(mirror.value() or made.graph.commit()))
    keeper.sync(mirror)
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.final() == push.certificate.lines[0].new
    assert not mirror.ledger.stopped


def test_rivals_of_which_a_twin_names_one() -> None:
    """Which version counts does not hang on the side that a node was on when its keeper forked."""
    made, keeper, mirror = opened("alice")
    fork = keeper.ledger.adopted.id
    urls = ("git://a.example/", "git://b.example/")
    one, other = (next_policy(made.policy, fork, mirrors=(url,)) for url in urls)
    mirror.sync(keeper)
    keeper.policy(one)
    keeper.keep()
    mirror.push("alice", made.graph.commit())
    mirror.keep()
    keeper.sync(mirror)
    mirror.policy(other)
    mirror.sync(keeper)
    assert mirror.ledger.policy == one
    cure = next_policy(one, fork, keeper=key("k2"))
    mirror.policy(cure)
    keeper.policy(other, cure)
    assert mirror.ledger.adopted.id == keeper.ledger.adopted.id == fork
    signed = keeper.keep("k2")
    mirror.sync(keeper)
    assert mirror.ledger.adopted.id == signed.id


def test_checkpoints_under_a_rival_that_does_not_count() -> None:
    """The keeper that a rival version names neither stops the one that counts nor hides it."""
    made, keeper, mirror = opened("alice")
    here = keeper.ledger.adopted.id
    second = next_policy(made.policy, here, keeper=key("k2"))
    mirror.sync(keeper)
    mirror.policy(second)
    keeper.policy(second)
    strangers = dict(zip(("k3", "k4"), made.mirrors(2), strict=True))
    for name, stranger in strangers.items():
        stranger.sync(keeper)
        stranger.policy(next_policy(second, here, keeper=key(name)))
        stranger.keep(name)
    mirror.sync(*strangers.values())
    signed = keeper.keep("k2")
    mirror.sync(keeper)
    assert mirror.ledger.adopted.id == signed.id


def test_twins_of_a_keeper_that_does_not_count() -> None:
    """Two checkpoints of a rival version's keeper stop nobody who follows another."""
    made, keeper, _ = opened("alice")
    here = keeper.ledger.adopted.id
    one, other = (next_policy(made.policy, here, keeper=key(name)) for name in ("k2", "k3"))
    strangers = made.mirrors(2)
    for stranger in strangers:
        stranger.sync(keeper)
        stranger.policy(other)
        stranger.push("alice", made.graph.commit(stranger.value() or made.graph.commit()))
        stranger.keep("k3")
    keeper.policy(one)
    signed = keeper.keep("k2")
    keeper.sync(*strangers)
    assert not keeper.ledger.stopped
    assert keeper.ledger.adopted.id == signed.id


def test_several_new_keepers_in_a_row() -> None:
    """Of changes of keeper that no checkpoint names yet the last says where the chain goes on."""
    made, keeper, mirror = opened("alice")
    early = keeper.ledger.adopted
    keeper.push("alice", made.graph.commit(keeper.value() or made.graph.commit()))
    keeper.keep()
    mirror.sync(keeper)
    second = next_policy(made.policy, early.id, keeper=key("k2"))
    third = next_policy(second, keeper.ledger.adopted.id, keeper=key("k3"))
    mirror.policy(second)
    assert mirror.ledger.adopted.id == early.id
    mirror.policy(third)
    assert mirror.ledger.adopted.id == keeper.ledger.adopted.id
    signed = mirror.keep("k3")
    assert signed.checkpoint.adopted == (second.id, third.id)
    keeper.sync(mirror)
    assert keeper.ledger.adopted.id == signed.id


def test_push_on_what_the_old_keeper_signed_beyond() -> None:
    """Pushes made on a side that the roots left behind bar none that come later."""
    made, keeper, mirror = opened("alice", force=("alice",))
    here = keeper.ledger.adopted.id
    keeper.keep()
    mirror.sync(keeper)
    top = nonce_on(keeper.ledger.adopted, MAX_COUNT)
    mirror.push("alice", made.graph.commit(), nonce=top)
    mirror.policy(next_policy(made.policy, here, keeper=key("k2")))
    mirror.keep("k2")
    value = mirror.value()
    assert value is not None
    push = mirror.push("owner", made.graph.commit(value))
    assert mirror.verdicts(push) == APPLIED


def test_pushed_aside_while_the_keeper_is_away() -> None:
    """A key that claims to have been first moves a provisional value aside; one merge mends it."""
    made, _, mirror = opened("alice", "bob", "mallory")
    base = mirror.value()
    assert base is not None
    first = mirror.ledger.nonce()
    for who in ("alice", "bob") * 20:
        mirror.push(who, made.graph.commit(mirror.value() or base))
    shown = mirror.value()
    assert shown is not None
    aside = mirror.push("mallory", made.graph.commit(base), old=base, nonce=first)
    assert mirror.value() in (shown, aside.certificate.lines[0].new)
    kept = [mirror.value() or base, *(Oid(value) for value in open_values(mirror))]
    assert any(made.graph.contains(value, shown) for value in kept)
    merge = mirror.push("alice", made.graph.commit(*kept))
    assert mirror.verdicts(merge) == APPLIED
    assert open_values(mirror) == []


class Careless(Graph):
    """Evidence of a keeper that takes every object for a commit."""

    def is_commit(self, value: Oid) -> bool:
        return True


def test_branches_are_commits() -> None:
    """What git cannot hold as a branch is refused, whoever pushes it; tags may be anything."""
    made, keeper, mirror = opened("alice", force=("alice",))
    blob, new = made.graph.blob(), branch("new")
    for at in (keeper, mirror):
        for ref in (MAIN, new):
            assert at.verdicts(at.push("alice", blob, ref)) == REFUSED
        both = at.signed("alice", {new: made.graph.commit(), MAIN: blob}, "atomic")
        at.take(both)
        assert at.verdicts(both) == REFUSED
    assert mirror.verdicts(mirror.push("alice", blob, TAG)) == APPLIED
    keeper.sync(mirror)
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.final() == mirror.value()
    assert mirror.final(new) is None
    assert mirror.final(TAG) == blob


def test_a_keeper_that_takes_a_branch_that_is_no_commit() -> None:
    """Whoever has the object finds its keeper out, and goes on without that checkpoint."""
    made, keeper, mirror = opened("alice")
    graph = made.graph
    careless = Careless(graph.ancestors, graph.numbers)
    false = Mirror(made, Ledger(keeper.ledger.adopted, careless))
    push = false.push("alice", graph.blob(), branch("new"))
    assert false.verdicts(push) == APPLIED
    signed = false.keep()
    mirror.sync(false)
    assert "by the rule it is refused" in mirror.ledger.refuted[signed.id]
    assert mirror.value(branch("new")) is None


def test_rivals_whose_place_a_third_takes() -> None:
    """Nodes that went with either, or with none, meet again, and nothing that they took is lost."""
    made, keeper, mirror = opened("alice")
    at = keeper.ledger.adopted.id
    rivals = {name: next_policy(made.policy, at, keeper=key(name)) for name in ("k2", "k3")}
    sides, pushes = made.mirrors(2), []
    for side, (name, version) in zip(sides, rivals.items(), strict=True):
        side.sync(keeper)
        side.policy(version)
        pushes.append(side.push("alice", made.graph.commit(), branch(name)))
        side.keep(name)
    for node in (keeper, mirror):
        node.sync(*sides)
        assert node.ledger.adopted.id == at
    third = next_policy(
        made.policy, at, keeper=key("k2"),
        instead_of=tuple(sorted(version.digest for version in rivals.values())),
    )  # fmt: skip
    everybody = (keeper, mirror, *sides)
    for node in everybody:
        node.policy(*rivals.values(), third)
        node.sync(*everybody)
        assert (node.ledger.adopted.id, node.ledger.policy, node.ledger.rivals) == (at, third, ())
        assert all(node.verdicts(push) == APPLIED for push in pushes)
    signed = mirror.keep("k2")
    for node in everybody:
        node.sync(mirror)
        assert node.ledger.adopted.id == signed.id
        assert [node.final(branch(name)) for name in rivals] == [
            push.certificate.lines[0].new for push in pushes
        ]


def test_the_keeper_stays_whose_rivals_are_replaced() -> None:
    """A version that names no new keeper goes on from what that one signed before the rivals."""
    made, keeper, mirror = opened("alice")
    at = keeper.ledger.adopted.id
    rivals = [next_policy(made.policy, at, keeper=key(name)) for name in ("k2", "k3")]
    mirror.policy(rivals[0])
    mirror.keep("k2")
    third = next_policy(made.policy, at, instead_of=tuple(sorted(r.digest for r in rivals)))
    for node in (keeper, mirror):
        node.policy(*rivals, third)
        assert (node.ledger.adopted.id, node.ledger.policy) == (at, third)
    signed = keeper.keep()
    mirror.sync(keeper)
    assert mirror.ledger.adopted.id == signed.id


def test_keeper_that_takes_a_push_again() -> None:
    """A push that was taken is refused ever after, where its lines would fit once more, too."""
    made, keeper, mirror = opened("alice")
    push = keeper.push("alice", made.graph.commit(), branch("new"))
    keeper.keep()
    keeper.push("owner", None, branch("new"))
    keeper.keep()
    mirror.sync(keeper)
    point = mirror.ledger.adopted
    assert point.standing(push, 1).refusal is Reason.TAKEN
    honest = keeper.ledger.proposal(tagger=b"K <k@x>", time=made.clock)
    again = replace(honest, taken=(Taken(push.id, branch("new"), Verdict.CONFLICT),))
    bad = made.sign(again.text(), again, "keeper")
    mirror.learn(bad)
    assert "by the rule it is refused" in mirror.ledger.refuted[bad.id]


def test_a_new_keeper_goes_on_from_what_its_version_names() -> None:
    """Where the roots said it goes on is no choice of the new keeper's."""
    made, keeper, mirror = opened("alice")
    early = keeper.ledger.adopted
    keeper.push("alice", made.graph.commit(early.listing.value(MAIN) or made.graph.commit()))
    keeper.keep()
    mirror.sync(keeper)
    version = next_policy(made.policy, early.id, keeper=key("k2"))
    mirror.policy(version)
    late = keeper.ledger.adopted
    shown = View(late.listing, version)
    beside = compose(late, shown, version, tagger=b"K <k@x>", time=late.time).checkpoint
    bad = made.sign(beside.text(), beside, "k2")
    mirror.learn(bad)
    assert f"its keeper goes on from {early.id}" in mirror.ledger.refuted[bad.id]
    assert mirror.ledger.adopted.id == early.id


def test_a_checkpoint_that_hides_a_policy() -> None:
    """It lists the versions that it adopts, each; who was told of one only sees that."""
    made, keeper, mirror = opened("alice")
    second = next_policy(made.policy, keeper.ledger.adopted.id, rules=(OWNER,))
    third = next_policy(second, keeper.ledger.adopted.id)
    for node in (keeper, mirror):
        node.policy(second, third)
    honest = keeper.ledger.proposal(tagger=b"K <k@x>", time=made.clock)
    assert honest.adopted == (second.id, third.id)
    hiding = replace(honest, adopted=(third.id,))
    bad = made.sign(hiding.text(), hiding, "keeper")
    mirror.learn(bad)
    assert "does not extend the last" in mirror.ledger.refuted[bad.id]


@pytest.mark.parametrize("changes", [{"version": 2}, {"policy": "sha256:" + "5" * 64}])
def test_a_checkpoint_under_a_policy_that_is_none(changes: dict[str, object]) -> None:
    """Its number and its digest are of one and the same version, which is known."""
    made, keeper, mirror = opened("alice")
    keeper.push("alice", made.graph.commit(keeper.value() or made.graph.commit()))
    honest = keeper.ledger.proposal(tagger=b"K <k@x>", time=made.clock)
    lying = replace(honest, **changes)
    bad = made.sign(lying.text(), lying, "keeper")
    for push in keeper.ledger.unfinal:
        mirror.take(push)
    mirror.learn(bad)
    assert mirror.ledger.adopted.id != bad.id
    assert "policy" in mirror.ledger.refuted.get(bad.id, "the policy is waited for")


def test_head_that_was_set_later_stays() -> None:
    """A push that was held back does not set HEAD to what it was to be before."""
    _, keeper, mirror = opened("alice")
    value, trunk, other = keeper.value(), branch("trunk"), branch("other")
    for ref in (trunk, other):
        keeper.push("owner", value, ref)
    keeper.keep()
    held = keeper.signed("owner", {trunk: value}, "head=refs/heads/trunk")
    keeper.keep()
    keeper.push("owner", value, other, "head=refs/heads/other")
    keeper.keep()
    keeper.take(held)
    assert keeper.verdicts(held) == CONFLICT
    keeper.keep()
    mirror.sync(keeper)
    assert mirror.ledger.adopted.listing.head == other


def test_checkpoints_under_a_version_that_was_replaced() -> None:
    """Whoever adopted one that the keeper signed goes back, though the keeper is the same."""
    made, keeper, mirror = opened("alice")
    at = keeper.ledger.adopted.id
    urls = ("git://a.example/", "git://b.example/")
    rivals = [next_policy(made.policy, at, mirrors=(url,)) for url in urls]
    mirror.policy(rivals[0])
    mirror.keep()
    assert mirror.ledger.adopted.id != at
    third = next_policy(made.policy, at, instead_of=tuple(sorted(r.digest for r in rivals)))
    for node in (keeper, mirror):
        node.policy(*rivals, third)
        assert (node.ledger.adopted.id, node.ledger.policy) == (at, third)
    signed = keeper.keep()
    for node in (keeper, mirror):
        node.sync(keeper, mirror)
        assert node.ledger.adopted.id == signed.id
        assert not node.ledger.stopped
