"""A simulated node: the scheduler's real objects, held together as the program's shells do it.

A node talks over connections; each end of one has, in *byte mode*, a real ``wire.Session``, and
every message is encoded, carried and parsed again, while the content of parts is counted but not
there. In *message mode*, for thousands of nodes, the messages are handed over as they are.

What is copied from the shells: parts wait for an upload slot and are sent whole; messages overtake
parts that wait, not the one being sent; questions are answered in order; every 0.25 s progress is
sampled, what was verified is announced, and the origin shows what its super-seeder decides; a ban
ends the connection and the banned node is not talked to again.

Must not know: the scenario, or other nodes, except through connections.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from sim_end import MANIFEST, REEL, End
from sim_network import Clock, Link, Network

from gittorrent.swarm import events as ev
from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.download import Download
from gittorrent.swarm.have_scheduler import HaveScheduler
from gittorrent.swarm.keys import ConversationKey
from gittorrent.swarm.peer_exchange import PeerExchange
from gittorrent.swarm.settings import Settings
from gittorrent.swarm.slots import Slots
from gittorrent.swarm.super_seeder import SMALLEST_PACK, SuperSeeder
from gittorrent.wire import messages as msg
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorState
from gittorrent.wire.reelname import PackShape

TICK_SECONDS = 0.25
"""How often a node looks at the clock, announces and shows."""

FEWEST_NEIGHBOURS = 4
"""With fewer a node asks to be introduced again."""

AGAIN_SECONDS = 5.0
"""How often at most it does so."""

MOST_NEIGHBOURS = 40
"""Conversations a node keeps."""

PATIENT_DIAL = 3
"""Times a node dials again whom it lost touch with."""


class Conduct(Enum):
    """How a node behaves."""

    HONEST = "honest"
    LIAR = "liar"  # claims everything, has nothing
    GARBAGE = "garbage"  # claims everything, sends noise
    SILENT = "silent"  # claims everything, never answers


@dataclass(slots=True)
class Figures:
    """What is measured of one node."""

    finished_at: float | None = None
    useful: int = 0
    received: int = 0
    garbage: int = 0
    most_answers: int = 0


class Node:
    """One participant.

    ``download`` is None for a complete node. ``host`` gives it the world: how to dial a URL.
    """

    def __init__(
        self,
        number: int,
        link: Link,
        clock: Clock,
        network: Network,
        shape: PackShape,
        draw: random.Random,
        *,
        dial: Callable[[Node, str], None],
        conduct: Conduct = Conduct.HONEST,
        whole: bool = False,
        listens: bool = True,
        introduces: bool = False,
        settings: Settings | None = None,
    ) -> None:
        self.number = number
        self.link = link
        self.clock = clock
        self.network = network
        self.shape = shape
        self.conduct = conduct
        self.url = f"git://10.{number >> 16}.{number >> 8 & 255}.{number & 255}:9418/x"
        self.listens = listens
        self.alive = True
        self.began = 0.0
        self.slots = Slots()
        self.ends: dict[int, End] = {}
        self.figures = Figures()
        self.bans: dict[int, str] = {}
        self.wrong: dict[int, int] = {}
        self.given_bytes = 0
        self.control_bytes = 0
        self.starved = 0
        self.known: set[str] = {self.url}
        self.mirrors: list[str] = []  # nodes it depends on: redialled when lost
        self._dial = dial
        self._draw = draw
        self._asked_again = 0.0
        self._told_origin = 0
        self.have_scheduler = HaveScheduler()
        self._slots_at: float | None = None
        self.peer_exchange = PeerExchange(draw.randrange) if introduces else None
        shows_some = introduces and shape.parts >= SMALLEST_PACK
        self.super_seeder = SuperSeeder(shape.parts) if shows_some else None
        self.download: Download | None = None
        if not whole and conduct is Conduct.HONEST:
            self.download = Download(
                shape.parts,
                shape.part_size,
                shape.pack_size,
                PartSet(shape.parts),
                draw.randrange,
                settings,
            )
            self.figures.finished_at = None

    # What it has

    @property
    def count(self) -> int:
        """How many parts it has, or says so."""
        return self.shape.parts if self.download is None else len(self.download.have)

    def can_give(self, part: int) -> bool:
        if self.conduct is Conduct.LIAR:
            return False
        return self.download is None or part in self.download.have

    def offer(self) -> msg.HaveBundle:
        """Return what it announces."""
        held: msg.Held | bytes = msg.ALL
        if self.download is not None and self.count < self.shape.parts:
            held = self.download.have.to_bytes()
        return msg.HaveBundle(REEL, MANIFEST, self.shape.pack_size, held)

    def _shown(self, shown: PartSet | None) -> msg.HaveBundle:
        held: msg.Held | bytes = msg.ALL if shown is None else shown.to_bytes()
        return msg.HaveBundle(REEL, MANIFEST, self.shape.pack_size, held)

    # Life

    def start(self) -> None:
        """Begin to tick, somewhere within the tick."""
        self.began = self.clock.now
        self.clock.at(self.clock.now + self._draw.random() * TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Vanish."""
        self.alive = False
        for end in list(self.ends.values()):
            self.hang_up(end)

    def connected(self, end: End) -> None:
        """A connection stands."""
        self.ends[end.key] = end
        if not end.caller:
            end.say(msg.Ready(msg.VERSION, f"n{self.number}"))
            if self.peer_exchange is not None:
                self.peer_exchange.joined(end.participant)

    def hang_up(self, end: End) -> None:
        """End a connection; both sides notice after the latency."""
        if not end.open:
            return
        self._lost(end)
        delay = self.network.delay(self.link, end.other.node.link)
        self.clock.at(self.clock.now + delay, end.other.node.lost, end.other)

    def lost(self, end: End) -> None:
        """The other end is gone."""
        if end.open:
            self._lost(end)

    def _lost(self, end: End) -> None:
        end.open = False
        end.out.close()
        del self.ends[end.key]
        if self.peer_exchange is not None:
            self.peer_exchange.left(end.participant)
        if self.super_seeder is not None:
            self.super_seeder.left(end.participant)
        self.have_scheduler.left(end.conversation)
        self.begin(self.slots.done(end.conversation, self.clock.now))
        if end.joined and self.alive:
            self._handle(ev.PeerLost(end.peer, "gone"))

    def _tick(self) -> None:
        if not self.alive:
            return
        now = self.clock.now
        self.clock.at(now + TICK_SECONDS, self._tick)
        if self.download is not None and not self.download.finished:
            for end in list(self.ends.values()):
                if end.incoming is not None and end.joined:
                    part = end.incoming.part
                    self._handle(ev.PartProgress(end.peer, part, end.received))
            self._handle(ev.Tick())
            self._look_for_company(now)
        if self.conduct is Conduct.HONEST:
            self._announce()
        self._show(now)

    def _announce(self) -> None:
        """Tell those of what is here now whose turn it is to hear of it."""
        if self.download is None or not self.count:
            return
        offer = self.offer()
        for key in self.have_scheduler.due(self.download.have, self.slots.line, self.clock.now):
            self.ends[key].say(offer)
        if self.count > self._told_origin:
            self._told_origin = self.count
            for end in self.ends.values():
                if end.other.node.is_origin:
                    end.say(offer)

    def _show(self, now: float) -> None:
        if self.super_seeder is None:
            return
        for end in self.ends.values():
            changed = self.super_seeder.changed(end.participant, now)
            if changed is not False:
                end.say(self._shown(changed))

    def _look_for_company(self, now: float) -> None:
        if len(self.ends) >= FEWEST_NEIGHBOURS or now - self._asked_again < AGAIN_SECONDS:
            return
        self._asked_again = now
        dialled = {end.other.node.url for end in self.ends.values()}
        for url in self.mirrors:
            if url not in dialled:
                self._dial(self, url)
        self._say_where()

    def _say_where(self) -> None:
        for end in self.ends.values():
            if end.other.node.peer_exchange is not None:
                self._say_where_to(end)

    def _say_where_to(self, end: End) -> None:
        """Tell where we listen; who does not is given up on as deaf by the introducer."""
        if self.listens:
            end.say(msg.Try(MirrorEntry(self.url, 3600, MirrorState.PARTIAL)))
        else:
            node = end.other.node
            self.clock.at(self.clock.now + 1.0, node.introduce, end.other, None)

    def introduce(self, end: End, url: str | None) -> None:
        """Tell of each other those who should know."""
        if self.peer_exchange is None or not end.open:
            return
        if self.super_seeder is not None and url is not None:
            self.super_seeder.listens(end.participant)
        for made in self.peer_exchange.listens(end.participant, url):
            target = self.ends.get(made.to)
            if target is not None:
                target.say(msg.Try(MirrorEntry(made.url, 3600, MirrorState.PARTIAL)))

    # Messages

    def take(self, end: End, message: object) -> None:
        """Act on a message that came."""
        match message:
            case msg.HaveBundle():
                self._take_claim(end, message)
            case msg.FetchParts():
                if self.super_seeder is not None:
                    self.super_seeder.asked(end.participant, message.first, message.last)
                self._take_question(end, message)
            case msg.CancelParts():
                if self.super_seeder is not None:
                    self.super_seeder.cancelled(end.participant, message.first, message.last)
                for _, cancelled in end.answers:
                    cancelled.update(message.indices)
            case msg.MissingParts():
                if end.joined:
                    self._handle(ev.PartMissing(end.peer, message.first, message.last))
                end.send_waiting()
            case msg.Ready():
                end.say(msg.WantBundle(REEL))
                if not self.is_origin:
                    self._say_what(end)
                    if end.other.node.peer_exchange is not None:
                        self._say_where_to(end)
            case msg.WantBundle():
                self._take_want(end)
            case msg.Try():
                self._take_try(end, message)
            case _:
                pass

    @property
    def is_origin(self) -> bool:
        return self.peer_exchange is not None

    def _take_want(self, end: End) -> None:
        if self.super_seeder is not None:
            now = self.clock.now
            self.super_seeder.joined(end.participant, now)
            changed = self.super_seeder.changed(end.participant, now)
            end.say(self._shown(None if changed is False else changed))
        else:
            self._say_what(end)
        end.say(msg.EndWant(REEL))

    def _say_what(self, end: End) -> None:
        """Tell a new peer what is here."""
        end.say(self.offer())
        if self.download is not None and not end.other.node.is_origin:
            self.have_scheduler.joined(end.conversation, self.download.have, self.clock.now)

    def _take_claim(self, end: End, message: msg.HaveBundle) -> None:
        claim = None
        if isinstance(message.parts, bytes):
            claim = PartSet(self.shape.parts, message.parts)
        if self.super_seeder is not None:
            had = PartSet.full(self.shape.parts) if claim is None else claim
            self.super_seeder.has(end.participant, had, self.clock.now)
        self.have_scheduler.has(
            end.conversation, PartSet.full(self.shape.parts) if claim is None else claim
        )
        if self.download is None or self.download.finished:
            return
        if end.joined:
            self._handle(ev.PeerHas(end.peer, claim))
        else:
            end.joined = True
            self._handle(ev.PeerJoined(end.peer, claim))

    def _take_question(self, end: End, message: msg.FetchParts) -> None:
        if self.conduct is Conduct.SILENT:
            return
        end.answers.append((message, set()))
        self.figures.most_answers = max(self.figures.most_answers, len(end.answers))
        end.pump()

    def _take_try(self, end: End, message: msg.Try) -> None:
        url = message.entry.url
        if self.peer_exchange is not None:
            self.introduce(end, url)
        elif url not in self.known and len(self.ends) < MOST_NEIGHBOURS:
            self.known.add(url)
            self._dial(self, url)

    def begin(self, granted: list[ConversationKey]) -> None:
        """Let those send whose turn it is."""
        for key in granted:
            end = self.ends.get(key)
            if end is not None:
                end.begin()
        due = self.slots.next_deadline()
        if due is not None and (self._slots_at is None or due < self._slots_at):
            self._slots_at = due
            self.clock.at(due, self._slots_due)

    def _slots_due(self) -> None:
        self._slots_at = None
        if self.alive:
            self.begin(self.slots.tick(self.clock.now))

    # Download

    def part_arrived(self, end: End, part: int) -> None:
        size = self.shape.size_of(part)
        download = self.download
        if download is None:
            return
        self.figures.received += size
        wanted = download.wants(part)
        if end.joined:
            self._handle(ev.PartArrived(end.peer, part, size))
        if wanted:
            other = end.other.node
            if other.conduct is Conduct.GARBAGE:
                self.figures.garbage += size
                self.wrong[other.number] = self.wrong.get(other.number, 0) + 1
                self._handle(ev.PartWrong(end.peer, part))
            else:
                self.figures.useful += size
                self._handle(ev.PartVerified(end.peer, part))
        end.send_waiting()

    def _handle(self, event: ev.Event) -> None:
        if self.download is None or self.download.finished:
            return
        for effect in self.download.handle(self.clock.now, event):
            match effect:
                case ev.Ask():
                    self.ends[effect.peer].ask(effect.first, effect.last)
                case ev.Cancel():
                    if effect.peer in self.ends:
                        self.ends[effect.peer].cancel(effect.first, effect.last)
                case ev.Ban():
                    self._ban(effect.peer, effect.reason)
                case ev.Finished():
                    self.figures.finished_at = self.clock.now
                    self._announce()
                case ev.Starved():
                    self.starved += 1

    def _ban(self, key: ev.PeerKey, reason: str) -> None:
        end = self.ends.get(key)
        if end is not None:
            self.bans[end.other.node.number] = reason
            self.hang_up(end)
