"""Super-seeding: which parts a lone origin shows to which downloader, to send about one copy.

For the end that has a whole pack while several others download it. Each part is shown to one
downloader; the swarm multiplies it. A part is shown again when whoever got it left before others
had it, when it was shown in vain, or to a downloader that has had nothing new for a while (it does
not reach the others, or they have nothing for it).

Tracks, for one pack: who downloads it; what each was shown, has, and got from us; how many hold
each part; how many parts we send in a second, and how long one takes.

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

STALL_SECONDS = 1.5
"""Time without a new part after which a downloader is shown what others have, at least."""

STALL_PARTS = 3.0
"""The same in times that we need for a part: on slow lines everything takes longer."""

PATIENCE_SECONDS = 6.0
"""Time after which who got nothing from others is taken not to reach them, at least."""

PATIENCE_PARTS = 16.0
"""The same in times that we need for a part: two windows full, one to send and one to pass on."""

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
    is_idle: bool = False  # it never took anything, and asked for none of them in time
    listens: bool = False  # others can reach it


class SuperSeeder:
    """Decides what each downloader of one pack is shown.

    Args:
        parts: how many the pack has.
        crowd: downloaders from which it pays; with fewer than `CROWD` only if they can meet.
    """

    def __init__(self, parts: int, crowd: int = CROWD) -> None:
        self._parts = parts
        self._crowd = crowd
        self._downloaders: OrderedDict[ParticipantKey, _Downloader] = (
            OrderedDict()
        )  # next one first
        self._counts = Picker(PartSet(parts), lambda _n: 0)
        self._keepers = [0] * parts  # downloaders that it was shown or sent to
        self._fresh = list(range(parts))  # a heap; entries are checked when they come up
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
        return len(self._downloaders)

    @property
    def is_crowded(self) -> bool:
        """Tell whether super-seeding is on."""
        count = len(self._downloaders)
        return count >= CROWD or (count >= self._crowd and self._may_meet())

    def _may_meet(self) -> bool:
        """Tell whether others reach one of the downloaders, as far as it had time to say so."""
        at = self._now - DEAF_SECONDS
        return any(each.listens or each.joined > at for each in self._downloaders.values())

    @property
    def window(self) -> int:
        """How many parts may be shown and not yet taken, in all."""
        # While nothing is sent at all, each time as many as have not asked so far.
        untaken = 0 if self._sent else self._idle_parts
        return max(LEAST_WINDOW, untaken, 2 * len(self._sent))

    def joined(self, peer: ParticipantKey, now: float) -> None:
        """Note that ``peer`` begins to download the pack."""
        self._tick(now)
        if peer not in self._downloaders:
            self._downloaders[peer] = _Downloader(PartSet(self._parts), now, now)

    def listens(self, peer: ParticipantKey) -> None:
        """Note that others can reach ``peer``."""
        downloader = self._downloaders.get(peer)
        if downloader is not None:
            downloader.listens = True

    def left(self, peer: ParticipantKey) -> None:
        """Note that ``peer`` is gone; what only it had becomes fresh again."""
        gone = self._downloaders.pop(peer, None)
        if gone is None:
            return
        self._counts.remove_holder(gone.has)
        self._open -= len(gone.open)
        for part in gone.shown:
            self._let_go(part)
        self._again()

    def has(self, peer: ParticipantKey, parts: PartSet, now: float) -> None:
        """Note which parts ``peer`` says it has.

        Whoever has everything downloads no more, and is forgotten as a downloader.
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
            downloader.from_others = True
        for part in [part for part in downloader.open if part in parts]:
            self._taken(downloader, part)
        if len(parts) == self._parts:
            self.left(peer)

    def asked(self, peer: ParticipantKey, first: int, last: int) -> None:
        """Note that ``peer`` asked for a run of parts; what it was not shown tells nothing."""
        downloader = self._downloaders.get(peer)
        if downloader is not None:
            downloader.asked.update(part for part in downloader.open if first <= part <= last)
            downloader.is_idle = downloader.is_idle and not downloader.asked

    def cancelled(self, peer: ParticipantKey, first: int, last: int) -> None:
        """Note that ``peer`` withdrew a run of parts, asked for or not."""
        downloader = self._downloaders.get(peer)
        if downloader is not None:
            downloader.asked = {part for part in downloader.asked if not first <= part <= last}

    def sent(self, peer: ParticipantKey, part: int) -> None:
        """Note that a part was sent to ``peer``."""
        self._count_sent()
        downloader = self._downloaders.get(peer)
        if downloader is None:
            return
        downloader.sent += 1
        downloader.rests_until, downloader.rest = -math.inf, 0.0
        downloader.is_idle = False
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
        while self._open - self._idle_parts < self.window:
            if not (self._show_fresh(now) or self._show_again(now)):
                break
        self._pass_at = now

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
            self._show(peer, downloader, part, now)
            return True
        return False

    def _show_again(self, now: float) -> bool:
        """Show a rare part to a peer that gets nothing from the others."""
        if self._gap is None:
            return False  # we do not know yet what is long
        stall = max(STALL_SECONDS, STALL_PARTS * self._gap)
        patience = max(PATIENCE_SECONDS, PATIENCE_PARTS * self._gap)
        for peer, downloader in self._downloaders.items():
            if now < downloader.rests_until or downloader.open:
                continue
            apart = not downloader.from_others and now - downloader.joined > patience
            if not apart and now - downloader.grew <= stall:
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
