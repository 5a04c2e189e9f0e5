"""A simulator of mirrors that exchange pushes, checkpoints and policies; one seed, one history.

Messages are late, lost, sent twice and out of order; mirrors are cut off, crash and come back with
the checkpoint they had adopted; keys push what they may not, hold pushes back and invent counts;
the keeper is away, comes back from a backup, lies, and is replaced by the roots. After every
step the laws are checked that must hold whatever happens (`Simulation.check_step`); `end` lets
everything arrive and checks that all come to the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from msgspec.structs import replace

from gittorrent.ids import Oid, PushId, RefName
from gittorrent.push.certificate import CONFLICTS, Nonce
from gittorrent.push.chain import CheckpointError, Point, keeper_since, units_on
from gittorrent.push.checkpoint import Taken, parse_checkpoint, parse_listing
from gittorrent.push.ledger import Ledger
from gittorrent.push.listing import Listing, listing_of
from gittorrent.push.policy_chain import PolicyVersion
from gittorrent.push.provisional import Judged, View, view
from gittorrent.push.replay import SignedCheckpoint
from gittorrent.push.rule import (
    MAX_OPEN,
    Push,
    Unit,
    UnknownObjectError,
    Verdict,
    judge,
    judge_if_it_fits,
)
from gittorrent.push.starting import newest_chain, point_from
from gittorrent.trust.policy import Change, Grant
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
    next_policy,
)
from support.pushlog import quorum as quorum_line
from support.pushlog import rule as auth_line

BRANCHES = (MAIN, branch("a"), branch("a/b"), branch("dev"), branch("release"))
TAG = RefName(b"refs/tags/v1")
PEOPLE = ("owner", "alice", "bob", "carol", "mallory", "wip", "stranger")
AUTH = (
    OWNER,
    auth_line("refs/*", "alice"),
    auth_line("refs/*", "bob"),
    auth_line("refs/heads/*", "carol", Grant.FORCE),
    auth_line("refs/*", "mallory"),
    auth_line("refs/heads/a*", "wip", Grant.CREATE),
)
QUORUM = quorum_line("refs/heads/release", 2, "alice", "bob", "carol")


@dataclass
class Node:
    """A mirror, what it will receive, and the checkpoint that it would come back with."""

    mirror: Mirror
    group: int = 0
    inbox: list[object] = field(default_factory=list)


class Simulation:
    """One history.

    Args:
        seed: decides everything.
        count: how many mirrors.
    """

    def __init__(self, seed: int, count: int) -> None:
        self.random = random.Random(seed)
        self.world = World(first_policy(*AUTH[1:], quorums=(QUORUM,)))
        self.nodes = [Node(mirror) for mirror in self.world.mirrors(count)]
        self.pushes: dict[PushId, Push] = {}
        self.held: list[Push] = []
        self.policies: list[PolicyVersion] = [self.world.policy]
        self.rivals: tuple[PolicyVersion, ...] = ()
        self.keeper = "keeper"
        self.keeper_at = 0
        self.backup: Ledger | None = None
        self.checked: set[PushId] = {self.world.first.id}
        self.counts: dict[str, int] = {}
        self.accepted: set[PushId] = set()
        self.thorough = 0.1

    # -- the world

    def run(self, steps: int) -> None:
        for _ in range(steps):
            act = self.random.choices(
                [self.push, self.deliver, self.keep, self.partition, self.wait, self.release,
                 self.crash, self.change_people, self.lie, self.twin, self.rotate, self.flood,
                 self.quarrel, self.agree],
                [30, 45, 12, 3, 4, 4, 3, 1, 2, 0.6, 0.6, 0.3, 0.4, 1],
            )[0]  # fmt: skip
            self.counts[act.__name__] = self.counts.get(act.__name__, 0) + 1
            act()

    def any_node(self) -> Node:
        return self.random.choice(self.nodes)

    def announce(self, source: Node, item: object) -> None:
        """Send something to everybody who can be reached, some of it twice."""
        for node in self.nodes:
            if node is not source and node.group == source.group:
                node.inbox += [item] * self.random.choice((0, 1, 1, 1, 2))

    def deliver(self) -> None:
        """Let one node receive some of what is on its way, in any order."""
        node = self.any_node()
        self.random.shuffle(node.inbox)
        arrived = node.inbox[: self.random.randrange(1, 8)]
        del node.inbox[: len(arrived)]
        for item in arrived:
            self.receive(node.mirror, item)
        node.mirror.ledger.settle()
        self.check_node(node.mirror)

    def receive(self, mirror: Mirror, item: object) -> None:
        if isinstance(item, Push):
            mirror.ledger.add_push(item)
        elif isinstance(item, SignedCheckpoint):
            mirror.ledger.add_checkpoint(item)
        elif isinstance(item, PolicyVersion):
            mirror.ledger.add_policy(item)

    def partition(self) -> None:
        groups = self.random.choice((1, 1, 2, 3))
        for node in self.nodes:
            node.group = self.random.randrange(groups)

    def wait(self) -> None:
        self.world.clock += self.random.choice((60, 3600, DAY, 12 * DAY, 20 * DAY))

    def crash(self) -> None:
        """Let a node come back with the checkpoint it had adopted and all it had kept."""
        node = self.any_node()
        old = node.mirror.ledger
        fresh = Ledger(old._anchor, self.world.graph)
        self.copy(old, fresh)
        node.mirror.ledger = fresh

    def copy(self, source: Ledger, target: Ledger) -> None:
        for version in source._policies.values():
            target.add_policy(version)
        for push in source._pushes.values():
            target.add_push(push)
        for point in source._points.values():
            if point.previous is not None:
                target.add_checkpoint(self.world.checkpoints[point.id])
        for signed in source._waiting.values():
            target.add_checkpoint(signed)
        target.settle()

    # -- people

    def push(self) -> None:
        node = self.any_node()
        made = self.made_push(node.mirror)
        if made is None:
            return
        self.pushes[made.id] = made
        if self.random.random() < 0.1:
            self.held.append(made)
            return
        node.mirror.take(made)
        self.check_node(node.mirror)
        verdicts = node.mirror.verdicts(made)
        if verdicts and Verdict.REFUSED not in verdicts:
            self.accepted.add(made.id)
        self.announce(node, made)

    def flood(self) -> None:
        """Let somebody push many values that do not fit, at one mirror."""
        node = self.any_node()
        who = self.random.choice(("mallory", "alice"))
        refs = [ref for ref in BRANCHES[:4] if node.mirror.value(ref) is not None]
        for ref in refs * 6:
            stale = self.world.graph.commit()
            forward = self.world.graph.commit(stale)
            made = node.mirror.signed(who, {ref: forward}, old={ref: stale})
            self.pushes[made.id] = made
            node.mirror.take(made)
            self.announce(node, made)
        self.check_node(node.mirror)

    def made_push(self, mirror: Mirror) -> Push | None:
        who = self.random.choice(PEOPLE)
        nonce = self.nonce(mirror)
        kind = self.random.random()
        if kind < 0.06:
            conflicts = list(mirror.ledger.view().listing.conflicts())
            if not conflicts:
                return None
            gone = self.random.choice(sorted(conflict.name for conflict in conflicts))
            return mirror.signed(who, {gone: None}, nonce=nonce)
        refs = self.random.sample((*BRANCHES, TAG), self.random.choice((1, 1, 1, 2, 3)))
        changes = {ref: self.value(mirror, ref, who) for ref in refs}
        changes = {ref: new for ref, new in changes.items() if new != mirror.value(ref)}
        directories = branch("a") in changes and branch("a/b") in changes
        if directories and changes[branch("a")] and changes[branch("a/b")]:
            del changes[branch("a")]
        if not changes:
            return None
        options = ["atomic"] if self.random.random() < 0.2 else []
        if self.random.random() < 0.06:
            options.append("head=" + self.random.choice(BRANCHES).decode())
        return mirror.signed(who, changes, *options, nonce=nonce)

    def value(self, mirror: Mirror, ref: RefName, who: str) -> Oid | None:
        """Return what somebody pushes: forward, a merge, an amended commit, nothing."""
        now = mirror.value(ref)
        if self.random.random() < 0.03:
            return self.world.graph.blob()
        kind = self.random.random()
        if now is None or not self.world.graph.is_commit(now):
            return self.world.graph.commit()
        if kind < 0.08:
            return None
        if kind < 0.2:
            return self.world.graph.commit()
        if kind < 0.45:
            others = [c.value for c in mirror.ledger.view().listing.entry(ref).conflicts]
            others = [value for value in others if self.world.graph.is_commit(value)]
            return self.world.graph.commit(now, *others)
        if kind < 0.5:
            return self.random.choice(list(self.world.graph.numbers))
        return self.world.graph.commit(now)

    def nonce(self, mirror: Mirror) -> Nonce:
        """Return the nonce that is offered, or one that somebody made up."""
        offered = mirror.ledger.nonce()
        if self.random.random() < 0.85:
            return offered
        known = [point.id for point in mirror.ledger._points.values()]
        count = self.random.choice((1, 2, offered.count, 65_535))
        return Nonce(offered.repository, self.random.choice(known), count)

    def release(self) -> None:
        """Let a push out that was held back, or one that everybody had."""
        candidates = [*self.held, *self.pushes.values()]
        if candidates:
            push = self.random.choice(candidates)
            self.held = [held for held in self.held if held != push]
            node = self.any_node()
            node.mirror.take(push)
            self.check_node(node.mirror)
            self.announce(node, push)

    # -- the keeper

    @property
    def keeping(self) -> Node:
        return self.nodes[self.keeper_at]

    def keep(self) -> None:
        """Let the keeper sign what its node shows, unless something stops it."""
        mirror = self.keeping.mirror
        if mirror.ledger.stopped or mirror.ledger.policy.policy.keeper != key(self.keeper):
            return
        shown = mirror.ledger.view()
        signed = mirror.keep(self.keeper)
        assert same_state(shown.listing, mirror.ledger.view().listing)
        self.check_node(mirror)
        self.announce(self.keeping, signed)

    def lie(self) -> None:
        """Let the keeper sign what does not follow, or leave pushes out, which does."""
        mirror = self.keeping.mirror
        if mirror.ledger.stopped or mirror.ledger.policy.policy.keeper != key(self.keeper):
            return
        honest = mirror.ledger.proposal(tagger=b"K <k@x>", time=self.world.clock)
        false = self.random.choice(
            (
                replace(honest, state="0" * 64),
                replace(honest, number=honest.number + 1),
                replace(honest, taken=honest.taken[1:]),
                replace(honest, taken=tuple(reversed(honest.taken))),
                replace(honest, head=branch("elsewhere")),
                replace(honest, taken=tuple(Taken(t.push, t.ref, Verdict.REFUSED)
                                            for t in honest.taken)),
            )
        )  # fmt: skip
        if false != honest:
            signed = self.world.sign(false.text(), false, self.keeper)
            self.world.checkpoints[signed.id] = signed
            self.announce(self.keeping, signed)

    def twin(self) -> None:
        """Let the keeper forget its last checkpoint and sign another in its place."""
        mirror = self.keeping.mirror
        point = mirror.ledger.adopted
        usable = not mirror.ledger.stopped and point.policy.policy.keeper == key(self.keeper)
        if point.previous is None or not usable or point.keeper_since == point.number:
            return
        backup = Mirror(self.world, Ledger(point.previous, self.world.graph))
        for push in self.random.sample(list(self.pushes.values()), min(3, len(self.pushes))):
            backup.take(push)
        if backup.ledger.policy.policy.keeper == key(self.keeper):
            self.announce(self.keeping, backup.keep(self.keeper))

    def rotate(self) -> None:
        """Let the roots name another keeper, from some node's checkpoint or one before."""
        node = self.any_node()
        point = node.mirror.ledger.adopted
        latest = self.policies[-1]
        if self.random.random() < 0.3 and point.previous is not None:
            point = point.previous
        if latest.since(point.policy) is None or self.rivals:
            return
        at: Point | None = point
        name = f"keeper{len(self.policies)}"
        assert at is not None
        version = next_policy(latest, at.id, keeper=key(name))
        self.policies.append(version)
        self.keeper, self.keeper_at = name, self.nodes.index(node)
        for known in self.policies:
            node.mirror.ledger.add_policy(known)
        node.mirror.ledger.settle()
        self.announce(node, version)

    def change_people(self) -> None:
        """Let the roots remove or add somebody."""
        if self.rivals:
            return
        rules = [line for line in AUTH if line is OWNER or self.random.random() < 0.8]
        node = self.any_node()
        latest = self.policies[-1]
        version = next_policy(latest, node.mirror.ledger.adopted.id, rules=tuple(rules))
        self.policies.append(version)
        node.mirror.policy(version)
        self.announce(node, version)

    def quarrel(self) -> None:
        """Let the roots sign two versions that both name a keeper; both of these may begin."""
        node = self.any_node()
        point, latest = node.mirror.ledger.adopted, self.policies[-1]
        if self.rivals or latest.since(point.policy) is None:
            return
        names = [f"keeper{len(self.policies)}{side}" for side in "ab"]
        self.rivals = tuple(next_policy(latest, point.id, keeper=key(name)) for name in names)
        for name, version in zip(names, self.rivals, strict=True):
            side = self.any_node()
            for known in (*self.policies, version):
                side.mirror.policy(known)
            self.announce(side, version)
            is_alone = side.mirror.ledger.policy.policy.keeper == key(name)
            if is_alone and not side.mirror.ledger.stopped and self.random.random() < 0.7:
                self.announce(side, side.mirror.keep(name))
            self.check_node(side.mirror)

    def agree(self) -> None:
        """Let the roots of both rivals sign one version in place of them."""
        if not self.rivals:
            return
        node, latest = self.any_node(), self.policies[-1]
        at: Point | None = node.mirror.ledger.adopted
        while at is not None and latest.since(at.policy) is None:
            at = at.previous
        assert at is not None
        self.keeper, self.keeper_at = f"keeper{len(self.policies)}", self.nodes.index(node)
        version = next_policy(
            latest, at.id, keeper=key(self.keeper),
            instead_of=tuple(sorted(rival.digest for rival in self.rivals)),
        )  # fmt: skip
        told = (*self.policies, *self.rivals, version)
        self.policies.append(version)
        self.rivals = ()
        for known in told:
            node.mirror.policy(known)
            self.announce(node, known)

    # -- laws

    def check_node(self, mirror: Mirror) -> None:
        """Check what a node adopted since, and that its view is what the words of the page say."""
        at: Point | None = mirror.ledger.adopted
        while at is not None and at.id not in self.checked:
            self.checked.add(at.id)
            self.check_point(at)
            at = at.previous
        ledger = mirror.ledger
        if self.random.random() > self.thorough:
            return
        shown, point = ledger.view(), ledger.adopted
        pushes = [
            push for push in ledger.unfinal if ledger.holds(push.certificate.nonce.checkpoint)
        ]
        units = units_on(point, pushes, keeper_since(point, ledger.policy))
        expected = naive_view(point.listing, units, shown, self.world)
        assert [(j.unit.push.id, j.unit.ref, j.outcome.verdict) for j in shown.judged] == expected
        self.random.shuffle(units)
        again = view(point.listing, units, ledger.policy, self.world.graph)
        assert again.listing.digest == shown.listing.digest

    def check_point(self, point: Point) -> None:
        """Check a checkpoint unit by unit, and that its texts come back."""
        before = point.previous
        assert before is not None
        text = point.checkpoint.text()
        assert parse_checkpoint(text, point.checkpoint.object_format) == point.checkpoint
        listing = before.listing
        pushes = {name: self.pushes[name] for name in point.checkpoint.pushes}
        units = {
            (unit.push.id, unit.ref): unit
            for unit in units_on(before, pushes.values(), point.keeper_since)
        }
        for item in point.checkpoint.taken:
            unit = units[(item.push, item.ref)]
            after = judge(listing, unit, point.policy.policy, self.world.graph).listing
            self.check_step(listing, after, unit, item.verdict, point.policy)
            listing = after
        whole = point.listing.whole_text()
        assert len(whole) == point.listing.size
        entries = parse_listing(whole, point.checkpoint.object_format)
        known = listing_of(point.listing.head, point.listing.head_mark, entries)
        assert known.digest == point.listing.digest == point.checkpoint.state

    def check_step(
        self, before: Listing, after: Listing, unit: Unit, verdict: Verdict, version: PolicyVersion
    ) -> None:
        """Check that one unit changed only what its signer may, and lost nothing."""
        contains, rules, who = self.world.graph.contains, version.policy, unit.push.key
        lines = {line.ref: line for line in unit.lines}
        if verdict is Verdict.REFUSED:
            assert same_state(before, after)
        old, new = before.refs(), after.refs()
        for ref in old.keys() | new.keys():
            was, now = old.get(ref), new.get(ref)
            if was == now:
                continue
            assert verdict is Verdict.APPLIED
            assert lines[ref].new == now
            old_value = lines[ref].old
            assert old_value == was or (old_value and was and contains(was, old_value))
            if rules.quorum_for(ref) is not None:
                assert (lines[ref].old, who in QUORUM.keys) == (was, True)
            elif was is None:
                assert rules.allows(ref, who, Change.CREATE)
            elif now is None or not contains(now, was):
                assert rules.allows(ref, who, Change.REWIND)
                assert lines[ref].old == was
                assert unit.standing.age >= before.entry(ref).mark
            assert after.entry(ref).mark >= before.entry(ref).mark
        for ref, held in new.items():
            assert not after.clashes(ref)
            assert ref == TAG or self.world.graph.is_commit(held)
        open_after = set(after.conflicts())
        for conflict in set(before.conflicts()) - open_after:
            value = after.value(conflict.ref)
            absorbed = value is not None and contains(value, conflict.value)
            newer = any(
                other.key == conflict.key and other.ref == conflict.ref
                and contains(other.value, conflict.value)
                for other in open_after
            )  # fmt: skip
            dismissed = conflict.name in lines and (
                who == conflict.key or rules.allows(conflict.ref, who, Change.DELETE)
            )
            assert absorbed or newer or dismissed
        if verdict is Verdict.CONFLICT:
            for line in unit.lines:
                value = after.value(line.ref)
                if line.new is not None and not (value and contains(value, line.new)):
                    assert any(
                        contains(other.value, line.new) and other.ref == line.ref
                        for other in open_after
                    )
        assert after.open_of(who) <= max(MAX_OPEN, before.open_of(who))
        if before.head != after.head:
            assert rules.allows(after.head, who, Change.REWIND)

    # -- the end

    def spread(self) -> None:
        """Let everything arrive everywhere."""
        for node in self.nodes:
            node.inbox.clear()
        everything = Mirror(self.world, Ledger(self.world.first, self.world.graph))
        for node in self.nodes:
            self.copy(node.mirror.ledger, everything.ledger)
        for version in self.policies:
            everything.ledger.add_policy(version)
        for signed in self.world.checkpoints.values():
            everything.ledger.add_checkpoint(signed)
        everything.ledger.settle()
        for node in self.nodes:
            self.copy(everything.ledger, node.mirror.ledger)
            self.check_node(node.mirror)

    def end(self) -> None:
        """Let everything arrive, the roots decide if they must, and compare all nodes."""
        self.agree()
        self.spread()
        self.thorough = 1.0
        last = self.nodes[-1].mirror
        latest = self.policies[-1]
        if any(node.mirror.ledger.stopped for node in self.nodes) or not all(
            node.mirror.ledger.policy == latest for node in self.nodes
        ):
            self.decide(last)
        if last.ledger.policy.policy.keeper != key(self.keeper):
            self.decide(last)
        self.spread()
        self.compare()
        self.keeper_at = self.nodes.index(next(n for n in self.nodes if n.mirror is last))
        self.keep()
        self.spread()
        self.compare()
        self.check_accepted(last)
        self.check_clones(last)
        self.mend(last)

    def check_clones(self, mirror: Mirror) -> None:
        """Check what who lacks objects comes to, before and after these arrive.

        A keeper that lied is found out when they do, at the latest.
        """
        honest = not {"lie", "twin"} & self.counts.keys()
        for clone in (self.newcomer(mirror), self.clone(mirror)):
            if clone is None:
                continue
            same = clone.adopted.id == mirror.ledger.adopted.id
            assert same or not honest
            try:
                clone.judge_again(self.world.graph)
            except CheckpointError:
                assert not honest
                continue
            clone.settle()
            if clone.adopted.id != mirror.ledger.adopted.id:
                assert clone.stopped
                assert not honest
                continue
            assert clone.adopted.listing.digest == mirror.ledger.adopted.listing.digest
            shown = mirror.ledger.view()
            assert clone.view().listing.digest == shown.listing.digest
            assert clone.nonce() == mirror.ledger.nonce()
            assert not clone.view().unjudged

    def newcomer(self, mirror: Mirror) -> Ledger:
        """Return a ledger told of all that another knows in any order, with some objects."""
        ledger = Ledger(self.world.first, Forgetful(self.world.graph, self.random))
        everything: list[object] = [
            *self.policies, *mirror.ledger._pushes.values(), *self.world.checkpoints.values(),
        ]  # fmt: skip
        self.random.shuffle(everything)
        for item in everything:
            self.receive(Mirror(self.world, ledger), item)
        ledger.settle()
        return ledger

    def clone(self, mirror: Mirror) -> Ledger | None:
        """Return a ledger that began at a whole checkpoint, with few objects and no old pushes."""
        ledger = mirror.ledger
        chain = newest_chain(self.world.checkpoints, ledger, ledger.policy)
        if not chain or ledger.adopted.numbers.get(chain[-1].id.encode()) is None:
            return None
        policy = ledger.policy_version(chain[-1].checkpoint.policy)
        assert policy is not None
        clone = Ledger(point_from(chain, policy), Forgetful(self.world.graph, self.random))
        for version in self.policies:
            clone.add_policy(version)
        for signed in self.world.checkpoints.values():
            if signed.checkpoint.number > chain[-1].checkpoint.number:
                clone.add_checkpoint(signed)
        for push in ledger.unfinal:
            clone.add_push(push)
        clone.settle(short=True)
        return clone

    def decide(self, mirror: Mirror) -> None:
        """Let the roots name a new keeper on the newest checkpoint that their policies lead to."""
        latest = self.policies[-1]
        points = [
            point
            for point in mirror.ledger._points.values()
            if latest.since(point.policy) is not None
        ]
        best = max(points, key=lambda point: (point.number, point.id))
        self.keeper = f"keeper{len(self.policies)}"
        version = next_policy(latest, best.id, keeper=key(self.keeper), rules=AUTH)
        self.policies.append(version)
        for node in self.nodes:
            node.mirror.policy(version)

    def compare(self) -> None:
        first = self.nodes[0].mirror.ledger
        for node in self.nodes:
            ledger = node.mirror.ledger
            assert not ledger.stopped, ledger.stopped
            assert ledger.adopted.id == first.adopted.id
            assert ledger.policy.digest == first.policy.digest
            assert ledger.view().listing.digest == first.view().listing.digest
            assert ledger.nonce() == first.nonce()

    def check_accepted(self, mirror: Mirror) -> None:
        """Check that a checkpoint says of every push that a depot took what became of it."""
        point = mirror.ledger.adopted
        assert mirror.ledger.unfinal == () or all(
            not mirror.ledger.holds(push.certificate.nonce.checkpoint)
            for push in mirror.ledger.unfinal
        )
        for push in self.accepted:
            held = mirror.ledger.holds(self.pushes[push].certificate.nonce.checkpoint)
            assert not held or point.taken.get(push.encode()) is not None

    def mend(self, mirror: Mirror) -> None:
        """End every conflict of a branch with one merge, and move every branch forward."""
        for ref in BRANCHES:
            entry = mirror.ledger.view().listing.entry(ref)
            if entry.value is None or mirror.ledger.policy.policy.quorum_for(ref) is not None:
                continue
            others = [conflict.value for conflict in entry.conflicts]
            merge = self.world.graph.commit(entry.value, *others)
            push = mirror.push("owner", merge, ref)
            assert mirror.verdicts(push) == [Verdict.APPLIED]
            assert mirror.ledger.view().listing.entry(ref).conflicts == ()
        assert not any(name.startswith(CONFLICTS) for name in mirror.ledger.view().listing.refs())


class Forgetful:
    """Evidence of who has some objects only.

    Args:
        graph: knows all.
        source: decides which.
    """

    def __init__(self, graph: Graph, source: random.Random) -> None:
        share = source.choice((0.0, 0.3, 0.9))
        self.known = {commit for commit in graph.numbers if source.random() < share}
        self.graph = graph
        self.valid = graph.valid
        self.certified = graph.certified

    def contains(self, outer: Oid, inner: Oid) -> bool:
        if outer != inner and not {outer, inner} <= self.known:
            raise UnknownObjectError(f"{outer} or {inner} is not here")
        return self.graph.contains(outer, inner)

    def is_commit(self, value: Oid) -> bool:
        if value not in self.known:
            raise UnknownObjectError(f"{value} is not here")
        return self.graph.is_commit(value)


def same_state(one: Listing, other: Listing) -> bool:
    """Tell whether two states show the same."""
    conflicts = [sorted(c.name + c.value.encode() for c in x.conflicts()) for x in (one, other)]
    return (one.head, one.refs(), conflicts[0]) == (other.head, other.refs(), conflicts[1])


def naive_view(
    listing: Listing, units: list[Unit], shown: View, world: World
) -> list[tuple[PushId, RefName | None, Verdict]]:
    """Do as the page says, without being clever."""
    from gittorrent.push.provisional import _rank

    found = []
    judged: list[Judged] = []

    def take(unit: Unit) -> None:
        nonlocal listing
        outcome = judge(listing, unit, shown.policy.policy, world.graph)
        listing = outcome.listing
        judged.append(Judged(unit, outcome))
        found.append((unit.push.id, unit.ref, outcome.verdict))

    for count in sorted({unit.standing.age.place for unit in units}):
        equals = [unit for unit in units if unit.standing.age.place == count]
        equals.sort(key=lambda unit: _rank(shown.policy.digest, unit))
        while equals:
            fitting = [
                u for u in equals if judge_if_it_fits(listing, u, shown.policy.policy, world.graph)
            ]
            if not fitting:
                break
            equals.remove(fitting[0])
            take(fitting[0])
        for unit in equals:
            take(unit)
    assert listing.digest == shown.listing.digest
    return found
