"""A simulator of mirrors that tell each other of pushes, with a keeper among them.

The machines are the real ones; connections, clocks and disks are made up. One seed, one history.
Messages on a connection are late but in order; connections break; nodes crash and come back with
what they had written; the keeper crashes between any two steps, and comes back from a backup; liars
announce what is not there, send something else, or nothing.

Laws, checked as things happen: nobody ever sees two checkpoints of the keeper in one place; what is
signed was recorded; checkpoints and statements of freshness keep to their pace; memory is bounded.
`Network.settle` lets everything arrive: then all honest nodes show the same, and it is final.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from gittorrent.ids import SHA1, PushId
from gittorrent.push import keeping, spreading
from gittorrent.push.admission import PUSH_PATIENCE, Admission, Admitted
from gittorrent.push.chain import Point
from gittorrent.push.checkpoint import parse_checkpoint
from gittorrent.push.keeping import Draft, Keeping, Outlook
from gittorrent.push.ledger import Ledger
from gittorrent.push.policy_chain import PolicyVersion
from gittorrent.push.quota import Quota
from gittorrent.push.replay import SignedCheckpoint
from gittorrent.push.rule import Push, Verdict
from gittorrent.push.spreading import (
    MAX_ASKED,
    MAX_KNOWN,
    MAX_OFFERED,
    MAX_REFUSED,
    Item,
    PeerKey,
    Spreading,
)
from support.pushlog import START, TAGGER, Mirror, World, branch, first_policy, key, name_of, rule

Entry: TypeAlias = Push | SignedCheckpoint | PolicyVersion

PEOPLE = ("owner", "alice", "bob")
BRANCHES = tuple(branch(name) for name in ("main", "a", "b"))
KEEPER = "keeper"
PUSH_BYTES = 1000
STEP_SECONDS = 0.01
ANSWER_SECONDS = 20.0
CALLED = 4
MOST_REMEMBERED = 17 * MAX_REFUSED + 16 * (MAX_KNOWN + MAX_OFFERED + MAX_ASKED)


@dataclass
class Disk:
    """What a node finds again after a crash."""

    entries: list[Entry] = field(default_factory=list)
    draft: Draft | None = None
    fresh_at: float | None = None

    def copy(self) -> Disk:
        return Disk(list(self.entries), self.draft, self.fresh_at)


@dataclass
class Connection:
    """A conversation between two nodes, with what each calls the other."""

    ends: tuple[Node, Node]
    keys: tuple[PeerKey, PeerKey]
    is_open: bool = True
    arrives: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def side(self, node: Node) -> int:
        return 0 if self.ends[0] is node else 1


class Node:
    """An honest mirror.

    Args:
        network: it is part of.
        name: for messages.
        is_keeper: whether it has the keeper's key.
    """

    def __init__(self, network: Network, name: str, *, is_keeper: bool = False) -> None:
        self.network = network
        self.name = name
        self.is_keeper = is_keeper
        self.disk = Disk()
        self.group = 0
        self.life = 0
        self.wakes_at = 0.0
        self.is_up = False
        self.connections: dict[PeerKey, Connection] = {}
        self.start()

    # -- life

    def start(self) -> None:
        """Come up with what is on the disk, and no connection."""
        world, now = self.network.world, self.network.now
        self.is_up = True
        self.mirror = Mirror(world, Ledger(world.first, world.graph))
        self.admission = Admission(world.graph, Quota())
        self.spreading = Spreading(self)
        self.keeping = Keeping(now, self.disk.draft, self.disk.fresh_at)
        self.answers: set[Question] = set()
        self.inviters: set[PeerKey] = set()
        self.signing: tuple[Draft, SignedCheckpoint] | None = None
        for entry in self.disk.entries:
            self.tell_ledger(entry)
        self.mirror.ledger.settle()
        if self.is_keeper:
            self.look()

    def crash(self) -> None:
        self.is_up = False
        for connection in list(self.connections.values()):
            self.network.close(connection)

    # -- what spreading asks

    def holds(self, entry: PushId) -> bool:
        ledger = self.mirror.ledger
        policies = ledger._policies.values()
        return (
            ledger.push(entry) is not None
            or ledger.holds(entry)
            or entry in self.admission.waiting
            or any(version.id == entry for version in policies)
        )

    def head(self) -> Item:
        point = self.mirror.ledger.adopted
        return Item(point.id, point.number)

    def begins(self) -> int:
        return self.mirror.ledger.adopted.older.begins

    def open(self) -> Sequence[PushId]:
        ledger = self.mirror.ledger
        policies = ledger.policy.since(ledger.adopted.policy) or ()
        return [*(v.id for v in policies), *(push.id for push in ledger.unfinal)]

    def entry(self, wanted: PushId) -> Entry | None:
        ledger = self.mirror.ledger
        found: Entry | None = ledger.push(wanted)
        if found is None and ledger.holds(wanted):
            found = self.network.world.checkpoints.get(wanted)
        if found is None:
            found = next((v for v in ledger._policies.values() if v.id == wanted), None)
        return found

    def entries_to(self, head: PushId) -> list[Entry]:
        """Return everything up to a checkpoint, oldest first; nothing if it is not here."""
        at: Point | None = self.mirror.ledger.point(head)
        points: list[Point] = []
        while at is not None:
            points.append(at)
            at = at.previous
        found: list[Entry] = []
        for point in reversed(points):
            known = [version for version in [point.policy] if version not in found]
            found += known
            pushes = (self.mirror.ledger.push(push) for push in point.checkpoint.pushes)
            found += [push for push in pushes if push is not None]
            found.append(self.network.world.checkpoints[point.id])
        return found

    # -- taking in

    def tell_ledger(self, entry: Entry) -> None:
        ledger = self.mirror.ledger
        if isinstance(entry, Push):
            ledger.add_push(entry)
        elif isinstance(entry, SignedCheckpoint):
            ledger.add_checkpoint(entry)
        else:
            ledger.add_policy(entry)

    def write(self, entry: Entry) -> None:
        self.disk.entries.append(entry)
        self.tell_ledger(entry)

    def push(self, push: Push) -> bool:
        """Take a push as a depot; tells whether it was taken."""
        decision = self.admission.push(push, PUSH_BYTES, self.mirror.ledger, self.network.now)
        if decision.admitted is not Admitted.NOW:
            return False
        self.write(push)
        self.moved_on([Item(push.id)])
        return True

    def policy(self, version: PolicyVersion) -> None:
        """Take a policy as its owner's node."""
        self.write(version)
        self.moved_on([Item(version.id)])

    def take(self, peer: PeerKey, entry: Entry) -> None:
        """Take in what a peer sent, which is what it was asked for."""
        now, ledger = self.network.now, self.mirror.ledger
        new: list[Item] = []
        if isinstance(entry, Push):
            decision = self.admission.push(entry, PUSH_BYTES, ledger, now)
            if decision.admitted is Admitted.REFUSED:
                self.do(self.spreading.refused(entry.id, now, again=decision.again))
            elif decision.admitted is Admitted.NOW:
                self.write(entry)
                new.append(Item(entry.id))
            else:
                self.do(self.spreading.kept(entry.id, now))
        elif isinstance(entry, SignedCheckpoint):
            if entry.signer != ledger.policy.policy.keeper:
                self.do(self.spreading.lied(peer, "not the keeper", now))
                return
            decision = self.admission.checkpoint(entry, ledger, self.network.time)
            if decision.admitted is Admitted.NOW:
                for push in self.admission.named(entry):
                    self.write(push)
                    new.append(Item(push.id))
                self.write(entry)
                new.append(Item(entry.id, entry.checkpoint.number))
            else:
                self.do(self.spreading.kept(entry.id, now))
        elif not self.holds(entry.id):
            self.write(entry)
            new.append(Item(entry.id))
        self.moved_on(new, peer)

    def moved_on(self, new: list[Item], peer: PeerKey | None = None) -> None:
        """Let follow what follows from new entries."""
        ledger, now = self.mirror.ledger, self.network.now
        before = (ledger.adopted.id, ledger.policy.digest)
        ledger.settle()
        while ready := self.admission.due(ledger, now):
            for push in ready:
                self.write(push)
                new.append(Item(push.id))
        point = ledger.adopted
        if before != (point.id, ledger.policy.digest):
            self.admission.settle(ledger)
            is_new = before[1] != ledger.policy.digest
            self.do(self.spreading.moved(now, is_new_policy=is_new))
        for item in new:
            if not item.number or ledger.point(item.id) is not None:
                self.do(self.spreading.took(item, now))
        if peer is not None and ledger.lacking:
            self.do(self.spreading.lacks(peer, map(Item, sorted(ledger.lacking)), now))
        self.look()

    # -- conversations

    def joined(self, connection: Connection, *, is_called: bool) -> None:
        peer = connection.keys[connection.side(self)]
        self.connections[peer] = connection
        self.do(self.spreading.joined(peer, is_called=is_called))
        if not is_called:
            self.send(peer, self.head())

    def left(self, connection: Connection) -> None:
        peer = connection.keys[connection.side(self)]
        del self.connections[peer]
        if self.is_up:
            self.do(self.spreading.left(peer, self.network.now))

    def received(self, peer: PeerKey, message: Message) -> None:
        if isinstance(message, Item):
            self.do(self.spreading.told(peer, message, self.network.now))
        elif isinstance(message, Invitation):
            self.inviters.add(peer)
        elif isinstance(message, Sent):
            self.take_sent(peer, message)
        elif isinstance(message, Question):
            self.send(peer, Answer(message, self.answer(message)))
        else:
            self.take_answer(peer, message)
        assert self.spreading.remembered <= MOST_REMEMBERED
        self.network.wake(self, self.next_deadline())

    def answer(self, question: Question) -> list[Entry]:
        if question.item is None:
            entries = (self.entry(wanted) for wanted in self.open())
            return [*self.entries_to(self.head().id), *(e for e in entries if e is not None)]
        if question.is_log:
            return self.entries_to(question.item.id)
        found = self.entry(question.item.id)
        return [] if found is None else [found]

    def take_sent(self, peer: PeerKey, message: Sent) -> None:
        """Take what was sent along with the news of it; another thing than that is a lie."""
        now = self.network.now
        if not self.spreading.sent(peer, message.item, now):
            self.do(self.spreading.told(peer, message.item, now))
        elif entry_id(message.entry) != message.item.id:
            self.do(self.spreading.lied(peer, "another object", now))
        else:
            self.take(peer, message.entry)
            if peer in self.connections and not self.is_settled(message.item.id):
                self.do(self.spreading.failed(peer, message.item.id, now))

    def take_answer(self, peer: PeerKey, answer: Answer) -> None:
        now, question = self.network.now, answer.question
        self.answers.add(question)
        for entry in answer.entries:
            wanted = None if question.is_log or question.item is None else question.item.id
            if wanted not in (None, entry_id(entry)):
                self.do(self.spreading.lied(peer, "another object", now))
                return
            if peer in self.connections and not self.holds(entry_id(entry)):
                self.take(peer, entry)
        if question.item is None:
            self.answered += 1
            if self.answered == self.expected:
                self.end_asking(self.round)
        elif peer in self.connections and not self.is_settled(question.item.id):
            self.do(self.spreading.failed(peer, question.item.id, now))

    def is_settled(self, entry: PushId) -> bool:
        return self.holds(entry) or entry in self.spreading._refused

    def send(self, peer: PeerKey, message: Message) -> None:
        if peer in self.connections:
            self.network.send(self, self.connections[peer], message)
        if isinstance(message, Question):
            self.network.later(self, ANSWER_SECONDS, partial(self.give_up, peer, message))

    def give_up(self, peer: PeerKey, question: Question) -> None:
        """End the conversation with whoever did not answer."""
        if question not in self.answers and peer in self.connections:
            self.network.close(self.connections[peer])
        self.answers.discard(question)

    def do(self, effects: Iterable[spreading.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, spreading.Tell):
                entry = self.entry(effect.item.id)
                is_sent = effect.peer in self.inviters and isinstance(entry, Push)
                self.send(
                    effect.peer, Sent(effect.item, entry) if is_sent and entry else effect.item
                )
            elif isinstance(effect, spreading.Invite):
                self.send(effect.peer, Invitation())
            elif isinstance(effect, spreading.Drop):
                if effect.peer in self.connections:
                    self.network.close(self.connections[effect.peer])
            else:
                is_log = isinstance(effect, spreading.FetchLog)
                self.send(effect.peer, Question(effect.item, is_log=is_log))

    # -- time

    def next_deadline(self) -> float | None:
        deadlines = [
            self.spreading.next_deadline(), self.keeping.next_deadline(),
            self.admission.next_deadline(),
        ]  # fmt: skip
        return min((at for at in deadlines if at is not None), default=None)

    def tick(self) -> None:
        self.do(self.spreading.tick(self.network.now))
        for signed in self.admission.due_checkpoints(self.mirror.ledger, self.network.time):
            self.write(signed)
            self.moved_on([Item(signed.id, signed.checkpoint.number)])
        self.moved_on([])

    # -- the keeper

    def look(self) -> None:
        """Let the keeper see the log as it is."""
        ledger = self.mirror.ledger
        outlook = Outlook(
            ledger.adopted.id,
            self.is_keeper and ledger.policy.policy.keeper == key(KEEPER),
            bool(ledger.stopped),
            bool(ledger.view().judged) or ledger.policy != ledger.adopted.policy,
        )
        self.keep(self.keeping.saw(self.network.now, outlook))
        self.network.wake(self, self.next_deadline())

    def keep(self, effects: Iterable[keeping.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, keeping.SayFresh):
                self.say_fresh()
            else:
                # Each step takes a while, in which the node may crash.
                self.network.later(self, STEP_SECONDS, partial(self.step, effect))

    def say_fresh(self) -> None:
        now, before = self.network.now, self.disk.fresh_at
        assert before is None or now >= before + keeping.FRESH_SECONDS
        self.disk.fresh_at = now

    def step(self, effect: keeping.Effect) -> None:
        now = self.network.now
        if isinstance(effect, keeping.AskMirrors):
            self.ask_mirrors()
        elif isinstance(effect, keeping.Compose):
            self.keep(self.keeping.composed(now, self.compose()))
        elif isinstance(effect, keeping.Record):
            self.disk.draft = effect.draft
            self.keep(self.keeping.recorded(effect.draft))
        elif isinstance(effect, keeping.Sign):
            assert self.disk.draft == effect.draft, "signed what was not recorded"
            checkpoint = parse_checkpoint(effect.draft.text, SHA1)
            self.signing = (
                effect.draft, self.network.world.sign(effect.draft.text, checkpoint, KEEPER)
            )  # fmt: skip
            self.keep(self.keeping.signed())
        else:
            self.commit()
        self.network.wake(self, self.next_deadline())

    def compose(self) -> Draft | None:
        ledger = self.mirror.ledger
        if ledger.stopped or ledger.policy.policy.keeper != key(KEEPER):
            return None
        made = ledger.proposal(tagger=TAGGER, time=int(self.network.time))
        is_news = made.taken or made.adopted
        return Draft(ledger.adopted.id, made.text()) if is_news else None

    def commit(self) -> None:
        assert self.signing is not None
        (draft, made), self.signing = self.signing, None
        now, ledger = self.network.now, self.mirror.ledger
        if draft.previous != ledger.adopted.id:
            self.keep(self.keeping.failed(now, is_void=True))
            return
        self.network.world.checkpoints[made.id] = made
        self.write(made)
        self.network.note_signed(made)
        self.moved_on([Item(made.id, made.checkpoint.number)])
        assert ledger.adopted.id == made.id, ledger.refuted
        self.keep(self.keeping.done(now))

    round = 0
    expected = 0
    answered = 0

    def ask_mirrors(self) -> None:
        """Ask everybody for what they have, and wait a while for answers."""
        self.round += 1
        self.answered, self.expected = 0, len(self.connections)
        for peer in self.connections:
            self.send(peer, Question(None))
        self.network.later(self, 3.0, partial(self.end_asking, self.round))

    def end_asking(self, number: int) -> None:
        if number == self.round:
            self.round += 1
            known = len(self.network.nodes) - 1
            self.keep(self.keeping.asked(self.network.now, known=known, answered=self.answered))


@dataclass(frozen=True, eq=False)
class Question:
    """Asks for an entry, for the log up to a checkpoint, or, without an item, for everything."""

    item: Item | None
    is_log: bool = False


@dataclass(frozen=True)
class Answer:
    question: Question
    entries: list[Entry]


@dataclass(frozen=True)
class Invitation:
    """Asks for pushes to be sent along with the news of them."""


@dataclass(frozen=True)
class Sent:
    """Tells of a push and sends it along."""

    item: Item
    entry: Entry


Message: TypeAlias = Item | Question | Answer | Invitation | Sent


class Liar(Node):
    """Announces what is not there; answers with something else, with nothing, or never."""

    def received(self, peer: PeerKey, message: Message) -> None:
        if isinstance(message, Answer | Sent):
            return
        chance = self.network.random
        kind = chance.random()
        if isinstance(message, Invitation):
            stranger = self.invented(Question(None))[0]
            if kind < 0.5:
                self.send(peer, Sent(Item(name_of(b"another %f" % chance.random())), stranger))
        elif isinstance(message, Item):
            if kind < 0.5:
                number = chance.choice((0, 0, message.number + 1, 1_000_000))
                self.send(peer, Item(name_of(b"no such thing %f" % chance.random()), number))
            else:
                super().received(peer, message)
        elif kind < 0.3:
            self.send(peer, Answer(message, []))
        elif kind < 0.5:
            self.send(peer, Answer(message, self.invented(message)))
        elif kind < 0.7:
            super().received(peer, message)

    def invented(self, question: Question) -> list[Entry]:
        """Return a checkpoint by a key that is no keeper, or a push by a stranger."""
        stranger = self.mirror.signed("stranger", {BRANCHES[0]: self.network.world.graph.commit()})
        if not self.network.random.random() < 0.5:
            return [stranger]
        mirror = Mirror(
            self.network.world, Ledger(self.network.world.first, self.mirror.world.graph)
        )
        mirror.take(stranger)
        made = mirror.ledger.proposal(tagger=TAGGER, time=int(self.network.time))
        signed = self.network.world.sign(made.text(), made, "stranger")
        self.network.world.checkpoints[signed.id] = signed
        return [signed]


class Network:
    """The nodes, what is under way between them, and the time.

    Args:
        seed: decides everything.
        count: how many honest mirrors; the first one keeps.
        liars: how many others.
    """

    def __init__(self, seed: int, count: int, liars: int = 0) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.world = World(first_policy(rule("refs/*", "alice"), rule("refs/*", "bob")))
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.serial = 0
        self.signed: dict[tuple[int, PushId], PushId] = {}
        self.signed_at: list[float] = []
        self.accepted: dict[PushId, Push] = {}
        self.links: dict[tuple[int, int], Connection] = {}
        self.saved: Disk | None = None
        self.nodes: list[Node] = []
        for number in range(count):
            self.nodes.append(Node(self, f"n{number}", is_keeper=number == 0))
        self.nodes += [Liar(self, f"liar{number}") for number in range(liars)]
        for node in self.nodes[1:]:
            self.later(node, self.random.random(), partial(self.connect_some, node))

    @property
    def time(self) -> float:
        return START + self.now

    @property
    def honest(self) -> list[Node]:
        return [node for node in self.nodes if not isinstance(node, Liar)]

    # -- time

    def at(self, when: float, act: Callable[[], None]) -> None:
        self.serial += 1
        heapq.heappush(self.events, (max(when, self.now), self.serial, act))

    def later(self, node: Node, seconds: float, act: Callable[[], None]) -> None:
        """Do something unless the node crashed meanwhile."""
        life = node.life
        self.at(self.now + seconds, lambda: act() if node.life == life else None)

    def wake(self, node: Node, when: float | None) -> None:
        """Let a node know the time when something is due."""
        if when is not None and not self.now < node.wakes_at <= when:
            node.wakes_at = max(when, self.now + 0.001)
            self.later(node, node.wakes_at - self.now, node.tick)

    def run(self, seconds: float) -> None:
        """Let time go by."""
        until = self.now + seconds
        while self.events and self.events[0][0] <= until:
            self.now, _, act = heapq.heappop(self.events)
            self.world.clock = max(self.world.clock, int(self.time))
            act()
        self.now = until

    # -- connections

    def connect_some(self, node: Node) -> None:
        """Let a node call a few others that it is not connected to, and look again later."""
        others = [n for n in self.nodes if n is not node and n.is_up and n.group == node.group]
        connected = {end for c in node.connections.values() for end in c.ends}
        fresh = [other for other in others if other not in connected]
        called = sum(c.ends[0] is node for c in node.connections.values())
        for other in self.random.sample(fresh, min(len(fresh), max(0, CALLED - called))):
            self.serial += 2
            keys = (PeerKey(self.serial - 1), PeerKey(self.serial))
            connection = Connection((node, other), keys)
            node.joined(connection, is_called=True)
            other.joined(connection, is_called=False)
        self.later(node, 1 + self.random.random(), partial(self.connect_some, node))

    def send(self, sender: Node, connection: Connection, message: Message) -> None:
        to = 1 - connection.side(sender)
        delay = self.random.choice((0.001, 0.02, 0.2))
        when = max(connection.arrives[to], self.now + delay)
        connection.arrives[to] = when
        self.at(when, partial(self.arrive, connection, to, message))

    def arrive(self, connection: Connection, to: int, message: Message) -> None:
        if connection.is_open:
            connection.ends[to].received(connection.keys[to], message)

    def close(self, connection: Connection) -> None:
        if connection.is_open:
            connection.is_open = False
            for end in connection.ends:
                end.left(connection)

    # -- what happens

    def note_signed(self, made: SignedCheckpoint) -> None:
        """Check that the keeper never signs two in one place, and keeps its pace."""
        previous = made.checkpoint.previous
        assert previous is not None
        place = (made.checkpoint.number, previous)
        assert self.signed.setdefault(place, made.id) == made.id, "two checkpoints in one place"
        self.signed_at.append(self.now)

    def push(self) -> None:
        """Let somebody push at a mirror, mostly forward, sometimes not."""
        node = self.random.choice([node for node in self.honest if node.is_up] or self.honest)
        if not node.is_up:
            return
        ref = self.random.choice(BRANCHES)
        now, graph = node.mirror.value(ref), self.world.graph
        forward = now is None or self.random.random() < 0.9
        new = graph.commit(*([now] if now is not None and forward else []))
        push = node.mirror.signed(self.random.choice(PEOPLE), {ref: new})
        outcome = node.push(push)
        if outcome and Verdict.REFUSED not in node.mirror.verdicts(push):
            self.accepted[push.id] = push

    def crash(self) -> None:
        node = self.random.choice(self.honest)
        if node.is_up:
            node.crash()
            node.life += 1
            self.at(self.now + self.random.choice((0.5, 5, 60)), partial(self.restart, node))

    def restart(self, node: Node) -> None:
        node.start()
        self.connect_some(node)

    def partition(self) -> None:
        groups = self.random.choice((1, 2, 2, 3))
        for node in self.nodes:
            node.group = self.random.randrange(groups)
        for node in self.nodes:
            for connection in list(node.connections.values()):
                if connection.ends[0].group != connection.ends[1].group:
                    self.close(connection)

    def heal(self) -> None:
        for node in self.nodes:
            node.group = 0

    def backup(self) -> None:
        self.saved = self.nodes[0].disk.copy()

    def restore(self) -> None:
        """Let the keeper come back from its backup; what it signed since is at mirrors only."""
        keeper = self.nodes[0]
        if not keeper.is_up or self.saved is None:
            return
        self.heal()
        self.run(60)
        if keeper.is_up:
            keeper.crash()
            keeper.life += 1
            keeper.disk = self.saved.copy()
            keeper.disk.fresh_at = None
            self.restart(keeper)

    def history(self, steps: int) -> None:
        """Let things happen."""
        for _ in range(steps):
            act = self.random.choices(
                [self.push, self.crash, self.partition, self.heal, self.backup, self.restore],
                [30, 2, 1, 2, 1, 0.5],
            )[0]
            act()
            self.run(self.random.choice((0.0, 0.05, 0.5, 3.0, 30.0)))

    def is_settled(self) -> bool:
        heads = {node.head() for node in self.honest}
        return len(heads) == 1 and not any(
            node.mirror.ledger.unfinal or node.admission.waiting or not node.is_up
            for node in self.honest
        )

    def settle(self) -> None:
        """Let everything arrive, and check that all come to the same, and that it is final."""
        self.heal()
        until = self.now + 2 * PUSH_PATIENCE
        while self.now < until and not self.is_settled():
            self.run(60)
        keeper = self.nodes[0].mirror.ledger
        for node in self.honest:
            ledger = node.mirror.ledger
            assert node.is_up
            assert ledger.adopted.id == keeper.adopted.id, node.name
            assert ledger.unfinal == (), node.name
            assert node.admission.waiting == ()
        for push in self.accepted:
            assert keeper.adopted.taken.get(push.encode()) is not None


def entry_id(entry: Entry) -> PushId:
    return entry.id
