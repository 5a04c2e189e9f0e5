"""Super-seeding: which parts a lone origin shows to which downloader, to send about one copy.

For the end that has a whole pack while several others download it. Each part is shown to one
downloader; the swarm multiplies it. A part is shown again when whoever got it left before others
had it, when it was shown in vain, or to a downloader that has had nothing new for a while (it does
not reach the others, or they have nothing for it). Of packs that crowds take one after the other,
whoever has everything and stays counts, too: it gives the next ones what they would take here.

Tracks, for one pack: who downloads it; what each was shown, has, and got from us; how many hold
each part; who has it all and stays; whether any got parts from others; how many parts we send in a
second, and how long one takes.

Rules: fewer than a crowd of downloaders see everything at once. What is shown and not yet taken is
bounded in all, at about what we send in two seconds, so that parts never seen yet are not kept
waiting behind others; while there is demand it never runs dry, so a crowd whose members cannot
reach each other is served at full speed. A newcomer that asks for nothing holds up nobody. Claims
are hearsay: they decide what is repeated, never whether a part is shown for the first time. Time
comes in; it may be the same in many calls. Must not know connections or bytes.
Source: docs/protocol/mirrorsync.md, Super-seeding.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.picker import Picker

if TYPE_CHECKING:
    from gittorrent.swarm.keys import ParticipantKey

CROWD = 3
"""Downloaders from which super-seeding pays; two gain little from each other."""

SHAPED_CROWD = 2
"""The same for packs of other shapes than the whole, if others can reach one of the two: machines
take these in crowds, and whatever the first two take before the third comes they take alone."""

DEAF_SECONDS = 1.0
"""Time a downloader gets to say where it listens before it counts as one that only dials."""

SMALLEST_PACK = 8
"""Parts from which on it pays: the origin sends half as much to five that start together. With
fewer the last one waits a tenth longer on fast lines, and everything is over in a second."""

SMALLEST_SHAPED_PACK = 4
"""The same for packs of other shapes than the whole, which crowds of machines take at the same
moment: what their origin sends counts more there than a tenth of a second."""

LEAST_WINDOW = 8
"""Parts shown and not yet taken, in all, at least: enough for 100 ms and 500 Mbit/s."""

UNPROVED_WINDOW = 2
"""The same while somebody has everything of whom nobody is known to get anything: newcomers begin
here, and soon show that they get it there."""

STALL_SECONDS = 1.5
"""Time without a new part after which a downloader is shown what others have, at least."""

STALL_PARTS = 3.0
"""The same in times that we need for a part: on slow lines everything takes longer."""

PATIENCE_SECONDS = 6.0
"""Time after which who got nothing from others is taken not to reach them, at least."""

PATIENCE_PARTS = 16.0
"""The same in times that we need for a part: two windows full, one to send and one to pass on."""

SEED_SECONDS = 5.0
"""Time in which a newcomer gets something from those who have everything; who does not is taken not
to reach them, and is shown parts here, as everybody is until one got some from others again. Also
`STALL_SECONDS` of such packs: one that does not reach others waits so long once, and is served at
full speed after `PATIENCE_SECONDS`."""

VAIN_SECONDS = 10.0
"""Time in which a part must be taken, at least, or it is shown to somebody else; and in which a
newcomer must ask for it."""

VAIN_WINDOWS = 4.0
"""The same, for who takes parts, in times that we need for all that is shown and not yet taken."""

ASK_SECONDS = 2.0
"""Time in which a newcomer asks for what it is shown, as a rule: a round trip. Who does not is
shown nothing more, and keeps nobody else from being shown something."""

LONGEST_REST = 600.0
"""Seconds for which a peer that requested nothing is shown nothing; doubled each time."""

RATE_SECONDS = 1.0
"""Over how long parts sent are counted."""


class _Downloader(Struct):
    shown: PartSet
    joined: float
    grew: float
    has: int = 0  # a mask, as the picker uses them
    sent: int = 0
    from_others: bool = False
    rests_until: float = -math.inf  # since it did not take what it was shown
    rest: float = 0.0  # how long it rested last
    told: PartSet | None = None
    open: dict[int, float] = field(default_factory=dict)  # shown and not yet taken: since when
    asked: set[int] = field(default_factory=set)  # of these
    claimed: set[int] = field(default_factory=set)  # asked for while everything was shown
    is_idle: bool = False  # it never took anything, and asked for none of them in time
    listens: bool = False  # others can reach it
    is_apart: bool = False  # it was noted that it gets nothing from those who have everything
    wanted: float = math.inf  # since when it is known to want the pack


class SuperSeeder:
    """Decides what each downloader of one pack is shown.

    Args:
        parts: how many the pack has.
        crowd: downloaders from which it pays; with fewer than `CROWD` only if they can meet.
        counts_seeds: whether those who have everything count as long as they are there.
    """

    def __init__(self, parts: int, crowd: int = CROWD, *, counts_seeds: bool = False) -> None:
        self._parts = parts
        self._crowd = crowd
        self._counts_seeds = counts_seeds
        self._seeds: set[ParticipantKey] = set()
        self._seeded = -math.inf  # since when there are any
        self._meet = False  # whether somebody got parts from others, as far as is known
        self._downloaders: OrderedDict[ParticipantKey, _Downloader] = (
            OrderedDict()
        )  # next one first
        self._counts = Picker(PartSet(parts), lambda _n: 0)
        self._keepers = [0] * parts  # downloaders that it was shown or sent to
        self._fresh = list(range(parts))  # a heap; entries are checked when they come up
        self._unsent = set(range(parts))  # to nobody, since anybody wanted the pack
        self._open = 0
        self._sent: deque[float] = deque()
        self._idle_parts = 0  # open for long, and not asked for
        self._idlers = 0  # downloaders that have such parts, or rest
        self._sent_at: float | None = None  # when a part was sent that others waited behind
        self._gap: float | None = None  # seconds from one part sent to the next
        self._now = -math.inf
        self._pass_at = -math.inf
        self._cursor = 0

    def __len__(self) -> int:
        return len(self._downloaders) + len(self._seeds)

    @property
    def is_crowded(self) -> bool:
        """Tell whether super-seeding is on."""
        count = len(self)
        return count >= CROWD or (count >= self._crowd and self._may_meet())

    def _may_meet(self) -> bool:
        """Tell whether others reach one of the downloaders, as far as it had time to say so."""
        if self._seeds:
            return True
        at = self._now - DEAF_SECONDS
        return any(each.listens or each.joined > at for each in self._downloaders.values())

    @property
    def window(self) -> int:
        """How many parts may be shown and not yet taken, in all."""
        # While nothing is sent at all, each time as many as have not asked so far.
        untaken = 0 if self._sent else self._idle_parts
        least = UNPROVED_WINDOW if self._seeds and not self._meet else LEAST_WINDOW
        return max(least, untaken, 2 * len(self._sent))

    def joined(self, peer: ParticipantKey, now: float) -> None:
        """Note that ``peer`` begins to download the pack."""
        self._tick(now)
        if peer not in self._downloaders and peer not in self._seeds:
            self._downloaders[peer] = _Downloader(PartSet(self._parts), now, now)

    def listens(self, peer: ParticipantKey) -> None:
        """Note that others can reach ``peer``."""
        downloader = self._downloaders.get(peer)
        if downloader is not None:
            downloader.listens = True

    def left(self, peer: ParticipantKey) -> None:
        """Note that ``peer`` is gone; what only it had becomes fresh again."""
        if peer in self._seeds:
            self._seeds.discard(peer)
            self._again()
        gone = self._downloaders.pop(peer, None)
        if gone is None:
            return
        self._counts.remove_holder(gone.has)
        self._open -= len(gone.open)
        for part in gone.shown:
            self._let_go(part)
        self._again()

    def wants(self, peer: ParticipantKey, now: float) -> None:
        """Note that ``peer`` wants the pack: it may have been told of it among others."""
        self._tick(now)
        downloader = self._downloaders.get(peer)
        if downloader is not None:
            downloader.wanted = min(now, downloader.wanted)

    def has(self, peer: ParticipantKey, parts: PartSet, now: float) -> None:
        """Note which parts ``peer`` says it has.

        Whoever has everything downloads no more, and is forgotten as a downloader; it may count as
        long as others can reach it.
        """
        self._tick(now)
        downloader = self._downloaders.get(peer)
        if downloader is None:
            return
        before, after = downloader.has, parts.to_mask()
        if after & ~before:
            downloader.grew = now
        self._counts.remove_holder(before & ~after)
        self._counts.add_holder(after & ~before)
        downloader.has = after
        if len(parts) > downloader.sent:
            self._meet = self._meet or not downloader.from_others
            downloader.from_others = True
        for part in [part for part in downloader.open if part in parts]:
            self._taken(downloader, part)
        if len(parts) == self._parts:
            self.left(peer)
            if self._counts_seeds and downloader.listens:
                self._seeded = self._seeded if self._seeds else now
                self._seeds.add(peer)

    def asked(self, peer: ParticipantKey, first: int, last: int) -> None:
        """Note that ``peer`` asked for a run of parts; what it was not shown tells nothing.

        While it is shown everything, what it asks for is what it will have: others need not be
        shown that when they come.
        """
        downloader = self._downloaders.get(peer)
        if downloader is not None:
            if downloader.told is None and not self.is_crowded:
                run = range(first, min(last + 1, self._parts))
                for part in [part for part in run if part not in downloader.shown]:
                    self._keep(downloader, part)
                    downloader.claimed.add(part)
            downloader.asked.update(part for part in downloader.open if first <= part <= last)
            downloader.is_idle = downloader.is_idle and not downloader.asked

    def cancelled(self, peer: ParticipantKey, first: int, last: int) -> None:
        """Note that ``peer`` withdrew a run of parts, asked for or not."""
        downloader = self._downloaders.get(peer)
        if downloader is not None:
            downloader.asked = {part for part in downloader.asked if not first <= part <= last}
            for part in [part for part in downloader.claimed if first <= part <= last]:
                downloader.claimed.discard(part)
                downloader.shown.discard(part)
                self._let_go(part)

    def sent(self, peer: ParticipantKey, part: int) -> None:
        """Note that a part was sent to ``peer``."""
        self._unsent.discard(part)
        self._count_sent()
        downloader = self._downloaders.get(peer)
        if downloader is None:
            return
        downloader.sent += 1
        downloader.rests_until, downloader.rest = -math.inf, 0.0
        downloader.is_idle = False
        downloader.claimed.discard(part)
        if part not in downloader.shown:
            self._keep(downloader, part)
        self._taken(downloader, part)

    def _count_sent(self) -> None:
        self._sent.append(self._now)
        if self._sent_at is not None:
            gap = self._now - self._sent_at
            self._gap = gap if self._gap is None else 0.8 * self._gap + 0.2 * gap
        self._sent_at = self._now if self._open > 1 else None

    def reveal(self, peer: ParticipantKey, now: float) -> PartSet | None:
        """Return all that ``peer`` may ask us for from now on; None stands for everything."""
        self._tick(now)
        downloader = self._downloaders.get(peer)
        if downloader is None or not self.is_crowded:
            return None
        self._show_more(now)
        return downloader.shown

    def changed(self, peer: ParticipantKey, now: float) -> PartSet | Literal[False] | None:
        """Return what to tell ``peer`` when that differs from what it was told, else False."""
        downloader = self._downloaders.get(peer)
        if downloader is None:
            return False
        shown = self.reveal(peer, now)
        if shown is None:
            if downloader.told is None:
                return False
            downloader.told = None
            return None
        if downloader.told is not None and shown == downloader.told:
            return False
        downloader.told = shown.copy()
        return downloader.told

    def _tick(self, now: float) -> None:
        self._now = max(self._now, now)
        while self._sent and self._sent[0] < self._now - RATE_SECONDS:
            self._sent.popleft()

    def _again(self) -> None:
        """Look again, after a change, which peers to show parts to."""
        self._pass_at = -math.inf

    def _show_more(self, now: float) -> None:
        """Fill the window, as far as there are takers."""
        if now <= self._pass_at:
            return
        self._withdraw(now)
        if self._seeds and self._meet:
            self._note_apart(now)
        while self._open - self._idle_parts < self.window:
            if not (self._show_fresh(now) or self._show_again(now)):
                break
        self._pass_at = now

    def _is_left_to_seeds(self, downloader: _Downloader, now: float) -> bool:
        """Tell whether those who have everything are left to give it to a downloader."""
        return self._meet and bool(self._seeds) and not self._is_apart(downloader, now)

    def _note_apart(self, now: float) -> None:
        """Take note of who gets nothing: it may be the first of many, until somebody does."""
        for downloader in self._downloaders.values():
            if not downloader.is_apart and self._is_apart(downloader, now):
                downloader.is_apart = True
                self._meet = False

    def _is_apart(self, downloader: _Downloader, now: float) -> bool:
        """Tell whether a downloader is taken not to reach those who have everything."""
        since = max(downloader.wanted, self._seeded)
        return not downloader.from_others and now - since > SEED_SECONDS

    def _show_fresh(self, now: float) -> bool:
        part = self._next_fresh()
        if part is None:
            return False
        most = -(-self.window // max(1, len(self._downloaders) - self._idlers))
        bit = self._counts.bit(part)
        for peer, downloader in self._downloaders.items():
            if downloader.is_idle or now < downloader.rests_until:
                continue
            if len(downloader.open) >= most or downloader.has & bit:
                continue
            if part not in self._unsent and self._is_left_to_seeds(downloader, now):
                continue
            self._show(peer, downloader, part, now)
            return True
        return False

    def _show_again(self, now: float) -> bool:
        """Show a rare part to a peer that gets nothing from the others."""
        if self._gap is None and not self._seeds:
            return False  # we do not know yet what is long
        gap = self._gap or 0.0
        # Of what crowds take, others are waited for: all may be busy machines.
        least = SEED_SECONDS if self._counts_seeds else STALL_SECONDS
        stall = max(least, STALL_PARTS * gap)
        patience = max(PATIENCE_SECONDS, PATIENCE_PARTS * gap)
        for peer, downloader in self._downloaders.items():
            if now < downloader.rests_until or downloader.open:
                continue
            # One that was told of it long before it wanted it lacks nothing for that time.
            wanted = downloader.wanted if downloader.wanted < math.inf else -math.inf
            apart = not downloader.from_others and now - max(downloader.joined, wanted) > patience
            if not apart and now - max(downloader.grew, wanted) <= stall:
                continue
            lacking = self._counts.everything & ~downloader.has
            rare = self._counts.rarest(lacking)
            part = self._counts.first_from(rare, self._cursor)
            if part is None:
                part = self._counts.first_from(rare, 0)
            if part is not None:
                self._cursor = part + 1
                self._show(peer, downloader, part, now)
                return True
        return False

    def _show(self, peer: ParticipantKey, downloader: _Downloader, part: int, now: float) -> None:
        if part not in downloader.shown:
            self._keep(downloader, part)
        downloader.open[part] = now
        self._open += 1
        self._downloaders.move_to_end(peer)

    def _keep(self, downloader: _Downloader, part: int) -> None:
        downloader.shown.add(part)
        self._keepers[part] += 1

    def _taken(self, downloader: _Downloader, part: int) -> None:
        downloader.asked.discard(part)
        if downloader.open.pop(part, None) is not None:
            self._open -= 1
            self._again()

    def _let_go(self, part: int) -> None:
        """One keeper of a part less; without any it is fresh, unless others got it meanwhile."""
        self._keepers[part] -= 1
        if self._keepers[part] == 0 and self._counts.holders(part) == 0:
            heapq.heappush(self._fresh, part)

    def _withdraw(self, now: float) -> None:
        """Take back what was shown in vain: sooner from those who never took anything."""
        gap = VAIN_SECONDS if self._gap is None else self._gap
        longest = max(VAIN_SECONDS, VAIN_WINDOWS * gap * self._open)
        self._idle_parts = self._idlers = 0
        for downloader in self._downloaders.values():
            # Who took parts before may have its hands full.
            is_serious = downloader.asked or downloader.sent
            patience = longest if is_serious else VAIN_SECONDS
            vain = [part for part, since in downloader.open.items() if now - since > patience]
            for part in vain:
                self._taken(downloader, part)
                downloader.shown.discard(part)
                self._let_go(part)
            if vain:
                downloader.rest = min(max(patience, 2 * downloader.rest), LONGEST_REST)
                downloader.rests_until = now + downloader.rest
            downloader.is_idle = not is_serious and any(
                now - since > ASK_SECONDS for since in downloader.open.values()
            )
            if downloader.is_idle:
                self._idle_parts += len(downloader.open)
            self._idlers += downloader.is_idle or now < downloader.rests_until

    def _next_fresh(self) -> int | None:
        """Return the lowest part that no peer was shown."""
        while self._fresh:
            part = self._fresh[0]
            if self._keepers[part] == 0:
                return part
            heapq.heappop(self._fresh)
        return None
