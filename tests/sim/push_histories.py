"""Random histories of a log, told to the real ledger and to the model of ``push_model``.

What happens here is not meant to be likely: nonces, counts and old values are often made up,
keepers sign what they like, roots change keepers back and forth, and nodes are told things in any
order. After each step both must say the same.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from functools import partial

from push_model import Model
from push_model_rule import CONFLICTS
from push_model_texts import units_of

from gittorrent.ids import SHA1, Oid, PushId, RefName
from gittorrent.push.certificate import MAX_COUNT, Certificate, Line, Nonce
from gittorrent.push.chain import Point, extend
from gittorrent.push.checkpoint import Checkpoint, parse_checkpoint
from gittorrent.push.ledger import Ledger
from gittorrent.push.policy_chain import PolicyVersion
from gittorrent.push.replay import SignedCheckpoint
from gittorrent.push.rule import Evidence, Push
from gittorrent.push.tree_map import TreeMap
from gittorrent.trust.policy import Grant, Quorum, Rule
from support.pushlog import (
    DAY,
    TAGGER,
    World,
    first_policy,
    key,
    name_of,
    next_policy,
    push_of,
    quorum,
    rule,
)

REFS = tuple(
    RefName(b"refs/" + name)
    for name in (
        b"heads/main", b"heads/a", b"heads/a/b", b"heads/wip/x", b"heads/stable", b"tags/v1",
    )
)  # fmt: skip
PEOPLE = ("owner", "alice", "bob", "carol", "dave", "mallory")
KEEPERS = ("keeper", "second", "third")
PAUSES = (1, 60, 3600, DAY, 9 * DAY, 20 * DAY, 31 * DAY)
Told = PolicyVersion | Push | SignedCheckpoint


def contents(point: Point) -> list[object]:
    """Return all that a point holds, as what compares by value."""
    maps: list[TreeMap[object]] = [point.taken, point.numbers, point.times]  # type: ignore[list-item]
    state = point.listing
    maps += [state.entries, state.directories, state.open_lines, state.graves]  # type: ignore[list-item]
    plain = (point.id, point.checkpoint, point.policy, point.keeper_since, point.unlisted)
    listed = (state.head, state.head_mark, state.swept, state.size, state.digest)
    return [plain, listed, *(dict(held) for held in maps)]


@dataclass
class Pair:
    """A node twice: as the program has it, and as the model has it."""

    ledger: Ledger
    model: Model
    evidence: Evidence
    known: dict[str, Told] = field(default_factory=dict)

    def tell(self, *all_told: Told) -> None:
        for told in all_told:
            self.known[told.id] = told
            if isinstance(told, PolicyVersion):
                self.ledger.add_policy(told)
                version: PolicyVersion | None = told
                while version is not None:
                    self.model.tell_policy(version.id, version.policy.text())
                    version = version.previous
            elif isinstance(told, Push):
                self.ledger.add_push(told)
                self.model.tell_push(told.id, str(told.key), told.certificate.text())
            else:
                self.ledger.add_checkpoint(told)
                self.model.tell_checkpoint(told.id, str(told.signer), told.checkpoint.text())

    def compare(self) -> None:
        """Settle both and look for a difference."""
        self.ledger.settle()
        self.model.settle()
        assert self.ledger.adopted.id == self.model.adopted
        time = self.model.replay(self.model.adopted)["time"] + 5
        told, _ = self.model.view(self.model.replay(self.model.adopted))
        view = self.ledger.view()
        assert [
            (
                item.unit.push.id,
                item.unit.ref.decode() if item.unit.ref else "*",
                item.outcome.verdict.value,
            )
            for item in view.judged
        ] == told
        assert bool(self.ledger.stopped) == self.model.stopped
        if not self.ledger.stopped:
            ours = self.ledger.proposal(tagger=TAGGER, time=time).text().decode()
            theirs = self.model.proposal(TAGGER.decode(), time, SHA1.empty_tree)
            assert ours == theirs
            self.replay(parse_checkpoint(ours.encode(), SHA1))
        assert self.ledger.nonce().count == self.model.count(self.model.replay(self.model.adopted))
        assert set(self.ledger.refuted) == self.model.refuted()

    def replay(self, checkpoint: Checkpoint) -> None:
        """Replay what the ledger composed; it comes to what the ledger takes without a replay."""
        ledger = self.ledger
        composed = ledger.composed
        assert composed is not None
        before, signer = ledger.adopted, ledger.policy.policy.keeper
        assert composed.is_of(before, checkpoint)
        end = PushId("0" * 40)
        replayed = extend(before, end, checkpoint, signer, ledger, self.evidence)
        taken = extend(before, end, checkpoint, signer, ledger, self.evidence, composed)
        assert contents(replayed) == contents(taken)

    def shown(self, ref: RefName) -> Oid | None:
        listing = self.ledger.view().listing
        if ref.startswith(CONFLICTS.encode()):
            return next((c.value for c in listing.conflicts() if c.name == ref), None)
        return listing.value(ref)


class History:
    """A few nodes, people, keepers and roots; all choices come from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World(first_policy(*self.rules(), quorums=self.quorums()))
        self.commits = [self.world.graph.commit()]
        self.everything: list[Told] = []
        self.versions = [self.world.policy]
        self.pairs = [self.pair() for _ in range(self.random.randint(1, 3))]
        if self.random.random() < 0.2:
            self.world.graph.expiry[key("bob")] = self.world.clock + 5 * DAY

    def rules(self) -> list[Rule]:
        choices = [
            rule("refs/heads/*", "alice"), rule("refs/heads/*", "bob"),
            rule("refs/heads/a*", "bob", Grant.FORCE),
            rule("refs/*", "carol", Grant.CREATE), rule("refs/tags/*", "alice", Grant.FORCE),
            rule("refs/heads/wip/*", "dave", Grant.FORCE), rule("refs/heads/main", "dave"),
        ]  # fmt: skip
        return [chosen for chosen in choices if self.random.random() < 0.7]

    def quorums(self) -> list[Quorum]:
        if self.random.random() < 0.5:
            return []
        return [
            quorum("refs/heads/stable", self.random.randint(1, 3), "owner", "alice", "bob", "dave")
        ]

    def pair(self) -> Pair:
        graph, first = self.world.graph, self.world.checkpoints[self.world.first.id]
        valid = partial(self.is_valid, {str(key(name)): key(name) for name in PEOPLE})
        model = Model(
            (self.world.policy.id, self.world.policy.policy.text()),
            (first.id, str(first.signer), first.checkpoint.text()),
            lambda outer, inner: graph.contains(Oid(outer), Oid(inner)),
            lambda value: graph.is_commit(Oid(value)),
            valid,
        )
        return Pair(Ledger(self.world.first, graph), model, graph)

    def is_valid(self, people: dict[str, object], name: str, time: int) -> bool:
        return time < self.world.graph.expiry.get(people[name], time + 1)  # type: ignore[call-overload, no-any-return]

    def run(self, steps: int) -> None:
        events = {
            self.push: 10,
            self.flood: 1,
            self.keep: 5,
            self.lie: 2,
            self.change_policy: 1,
            self.spread: 6,
        }
        for _ in range(steps):
            event = self.random.choices(list(events), list(events.values()))[0]
            pair = self.random.choice(self.pairs)
            event(pair)
            pair.compare()
        for pair in self.pairs:
            pair.tell(*self.everything)
            pair.compare()

    def new(self, told: Told, pair: Pair) -> None:
        """Let the world have something; mostly the node where it was made learns it at once."""
        self.everything.append(told)
        if self.random.random() < 0.8:
            pair.tell(told)

    def spread(self, pair: Pair) -> None:
        """Tell a node some of what there is."""
        chance = self.random.choice((0.2, 0.5, 1.0))
        told = [
            item
            for item in self.everything
            if item.id not in pair.known and self.random.random() < chance
        ]
        self.random.shuffle(told)
        pair.tell(*told)

    # Pushes

    def push(self, pair: Pair) -> None:
        self.new(self.made_push(pair), pair)

    def flood(self, pair: Pair) -> None:
        """One key makes many pushes that miss."""
        who, nonce = self.random.choice(PEOPLE[:3]), pair.ledger.nonce()
        for _ in range(self.random.randint(5, 20)):
            old, new = self.world.graph.commit(), self.world.graph.commit()
            self.new(
                self.certificate(who, nonce, (), [Line(old, new, self.random.choice(REFS))]), pair
            )

    def made_push(self, pair: Pair) -> Push:
        pick = self.random
        count = 1 if pick.random() < 0.6 else pick.randint(2, 4)
        lines: list[Line] = []
        for ref in pick.sample(REFS, count):
            line = self.line(pair, ref)
            nested = any(
                line.new and m.new and b"/".join((m.ref, b"")) in line.ref + b"/" for m in lines
            )
            if not nested and not any(m.new and m.ref.startswith(line.ref + b"/") for m in lines):
                lines.append(line)
        options = [b"atomic"] if pick.random() < 0.25 else []
        if pick.random() < 0.12:
            options.append(b"head=" + pick.choice(REFS[:5]))
        conflicts = list(pair.ledger.view().listing.conflicts())
        if conflicts and pick.random() < 0.25:
            conflict = pick.choice(conflicts)
            old = conflict.value if pick.random() < 0.9 else pick.choice(self.commits)
            new = None if pick.random() < 0.95 else self.commit(old)
            lines = [*lines[: pick.randint(0, 1)], Line(old, new, conflict.name)]
        return self.certificate(pick.choice(PEOPLE), self.nonce(pair), tuple(options), lines)

    def line(self, pair: Pair, ref: RefName) -> Line:
        pick = self.random
        value = pair.shown(ref) if pick.random() < 0.8 else pick.choice([None, *self.commits])
        how = pick.random()
        if how < 0.5:
            new: Oid | None = self.commit(value)
        elif how < 0.65:
            open_ = [c.value for c in pair.ledger.view().listing.conflicts() if c.ref == ref]
            new = self.commit(value, *open_)
        elif how < 0.85:
            new = pick.choice(self.commits)
        else:
            new = None
        if value == new:
            new = self.commit(value)
        if pick.random() < 0.03:
            new = self.world.graph.blob()
        return Line(value, new, ref)

    def commit(self, *parents: Oid | None) -> Oid:
        graph = self.world.graph
        known = [parent for parent in parents if parent is not None and graph.is_commit(parent)]
        if self.random.random() < 0.2 or not known:
            known.append(self.random.choice(self.commits))
        self.commits.append(graph.commit(*known))
        return self.commits[-1]

    def nonce(self, pair: Pair) -> Nonce:
        offered = pair.ledger.nonce()
        how = self.random.random()
        if how < 0.65:
            return offered
        checkpoints = [
            self.world.first.id,
            *(t.id for t in self.everything if isinstance(t, SignedCheckpoint)),
        ]
        checkpoint = self.random.choice(checkpoints)
        if how > 0.97:
            checkpoint = name_of(b"never made")
        count = MAX_COUNT if self.random.random() < 0.05 else self.random.randint(1, 3)
        return Nonce(offered.repository, checkpoint, count)

    def certificate(
        self, who: str, nonce: Nonce, options: tuple[bytes, ...], lines: list[Line]
    ) -> Push:
        self.world.clock += 1
        made = Certificate(
            SHA1, b"P Usher <p@example.org>", self.world.clock, "+0000", b"https://m.example/project.git",
            nonce, options, tuple(lines),
        )  # fmt: skip
        return push_of(made, key(who))

    # Keepers

    def keep(self, pair: Pair) -> None:
        """Sign what is shown here, mostly by the right key that knows what it signed before."""
        if self.random.random() < 0.9:
            pair.tell(*(told for told in self.everything if isinstance(told, SignedCheckpoint)))
            pair.compare()
        if pair.ledger.stopped:
            return
        self.world.clock += self.random.choice(PAUSES)
        checkpoint = pair.ledger.proposal(tagger=TAGGER, time=self.world.clock)
        right = [name for name in KEEPERS if key(name) == pair.ledger.policy.policy.keeper]
        who = self.random.choice(right if self.random.random() < 0.9 else KEEPERS)
        self.signed(checkpoint.text(), who, pair)

    def signed(self, text: bytes, who: str, pair: Pair) -> None:
        checkpoint = parse_checkpoint(text, SHA1)
        made = self.world.sign(text, checkpoint, who)
        self.world.checkpoints[made.id] = made
        self.new(made, pair)

    def lie(self, pair: Pair) -> None:
        """Sign other units in another order on any checkpoint, sometimes with a wrong line."""
        model, pick = pair.model, self.random
        at = model.adopted if pick.random() < 0.7 else pick.choice(list(model.checkpoints))
        before = model.try_replay(at)
        if before is None:
            return
        self.world.clock += pick.choice(PAUSES)
        digest = pick.choice([before["policy"], model.policy(before)])
        chosen = [push for push in model.pushes.values() if pick.random() < 0.5]
        if pick.random() < 0.8:
            chosen = [push for push in chosen if push["id"] not in before["taken"]]
        units = [(push, unit) for push in chosen for unit in units_of(push)]
        pick.shuffle(units)
        if units and pick.random() < 0.1:
            units.pop()
        state, told = before, []
        for push, unit in units:
            verdict, state = model.judge(state, push, unit, digest)
            told.append((push["id"], unit[0], verdict))
        time = max(self.world.clock, before["time"]) - (pick.random() < 0.05)
        after = model.close(before, state, {"time": time, "policy": digest, "push": told})
        form = pick.choice(("whole", "changes"))
        text = self.spoilt(
            model.checkpoint_text(before, after, told, form, TAGGER.decode(), SHA1.empty_tree)
        )
        if not told and pick.random() < 0.7:
            return
        who = next(name for name in KEEPERS if str(key(name)) == model.keeper(digest))
        self.signed(text, who if pick.random() < 0.9 else pick.choice(KEEPERS), pair)

    def spoilt(self, text: str) -> bytes:
        """Make something wrong, one time in four."""
        lines = text.splitlines()
        if self.random.random() < 0.25:
            at = next(n for n, line in enumerate(lines) if line.startswith("state "))
            verdicts = [n for n, line in enumerate(lines) if line.startswith("push ")]
            how = self.random.randrange(5)
            if how == 0:
                lines[at] = "state " + hashlib.sha256(text.encode()).hexdigest()
            elif how == 1:
                lines[at - 1] = "head refs/heads/made-up 0.0"
            elif how == 2 and lines[-1] not in ("changes", "whole"):
                lines.pop()
            elif how == 3 and verdicts:
                words, _, verdict = lines[verdicts[-1]].rpartition(" ")
                other = "refused" if verdict != "refused" else "conflict"
                lines[verdicts[-1]] = f"{words} {other}"
            else:
                sequence = next(n for n, line in enumerate(lines) if line.startswith("sequence "))
                lines[sequence] += "0"
        return "".join(line + "\n" for line in lines).encode()

    # Roots

    def change_policy(self, pair: Pair) -> None:
        """Draw up a version after the newest one, or after any."""
        pick = self.random
        known = pair.ledger.policy if pick.random() < 0.85 else pick.choice(self.versions)
        on = pair.ledger.adopted.id
        changes: dict[str, object] = {
            "rules": (rule("refs/*", "owner", Grant.FORCE), *self.rules())
        }
        if pick.random() < 0.6:
            changes["keeper"] = key(pick.choice(KEEPERS))
            chain = pair.model.replay(pair.model.adopted)["chain"]
            on = PushId(pick.choice([at for at, _, _ in chain[-3:]]))
        if pick.random() < 0.3:
            changes["quorums"] = tuple(self.quorums())
        rivals = [v.digest for v in self.versions if v.previous == known and pick.random() < 0.8]
        if rivals and pick.random() < 0.6:
            changes["instead_of"] = tuple(sorted(rivals))
        made = next_policy(known, on, **changes)
        self.versions.append(made)
        self.new(made, pair)
