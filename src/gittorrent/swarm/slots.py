"""Upload slots: how many parts are sent side by side, and whose turn it is.

For the sending side. A part that travels alone is useful to the swarm sooner than many parts that
travel together, so only a few peers are served at a time, one part each, in the order in which they
became ready: fair rotation. A peer that reads much more slowly than others gives its slot up and
finishes its part without one, so it cannot hold the others up.

How many slots pay depends on whose link is the narrow one: on our own, more would only make parts
arrive later; on the peers', more add up. So while somebody waits twice the slots are tried now and
then, and kept when more bytes leave in a second because of them; or half, if no fewer leave.

Tracks who holds a slot since when, who waits, and what the last trial brought. Time comes in.
Must not know sockets.
Source: docs/protocol/mirrorsync.md, Upload slots.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gittorrent.swarm.keys import ConversationKey

SLOTS = 4
"""Parts sent side by side: two keep a link full while others are between parts; twice that."""

HOLD_SECONDS = 3.0
"""Time a peer may hold a slot with one part while others wait, at least."""

HOLD_TIMES = 3.0
"""The same in times that a part usually takes: on a slow line all parts take long."""

FIRST_HOLD_SECONDS = 15.0
"""The same before any part was sent in full, for those who come first."""

LONGEST_HOLD_SECONDS = 120.0
"""The same in any case."""

TRIAL_SECONDS = 1.0
"""Time over which bytes are counted before and after a change of the number of slots, at least."""

TRIAL_PARTS = 4
"""Parts for each slot over which bytes are counted, at least: a few parts tell nothing."""

REST_TRIALS = 10
"""Trials' time to wait after one that brought nothing."""

WORTH = 1.1
"""A trial pays when at least so many times the bytes leave."""

MOST_SLOTS = 256
"""Beyond this, parts arrive so late that the swarm stands still."""


class Slots:
    """Decides who may send its next part.

    Args:
        slots: how many at a time, at least.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._least = self._slots = slots
        self._counted = 0
        self._counted_parts = 0
        self._counting_since: float | None = None
        self._rate_before: float | None = None
        self._slots_before = slots
        self._upwards = True
        self._rest = 0
        self._typical: float | None = None  # seconds that a part takes
        self._holders: dict[ConversationKey, float] = {}
        self._overdue: dict[ConversationKey, float] = {}  # sends its part without a slot
        self._waiting: OrderedDict[ConversationKey, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._holders)

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    @property
    def line(self) -> set[ConversationKey]:
        """Who is being sent a part or waits for it."""
        return {*self._holders, *self._overdue, *self._waiting}

    @property
    def limit(self) -> int:
        """How many slots there are now."""
        return self._slots

    def sent(self, count: int, now: float) -> None:
        """Note that a part of ``count`` bytes left; now and then judge the number of slots."""
        if self._counting_since is None:
            self._counting_since = now
            return
        self._counted += count
        self._counted_parts += 1
        elapsed = now - self._counting_since
        if elapsed < TRIAL_SECONDS or self._counted_parts < TRIAL_PARTS * self._slots:
            return
        rate = self._counted / elapsed
        self._counted, self._counted_parts, self._counting_since = 0, 0, now
        self._judge(rate)

    def _judge(self, rate: float) -> None:
        """End a trial, or begin one: upwards while that pays, then downwards, and so on."""
        if not self._waiting:
            self._rate_before = None
            return
        before = self._rate_before
        if before is None:
            if self._rest:
                self._rest -= 1
            else:
                self._try_others(rate)
            return
        needed = before * WORTH if self._upwards else before / WORTH
        if rate >= needed:
            self._try_others(rate)
            return
        self._slots = self._slots_before
        self._upwards = not self._upwards
        self._rate_before = None
        self._rest = REST_TRIALS

    def _try_others(self, rate: float) -> None:
        if not self._upwards and self._slots <= self._least:
            self._upwards = True
        if self._upwards:
            others = min(2 * self._slots, MOST_SLOTS)
        else:
            others = max(self._slots // 2, self._least)
        self._rate_before = None if others == self._slots else rate
        self._slots_before, self._slots = self._slots, others

    def ask(self, peer: ConversationKey, now: float) -> list[ConversationKey]:
        """Note that ``peer`` wants to be sent a part; return who may begin now."""
        if peer not in self._holders and peer not in self._overdue:
            self._waiting[peer] = None
        return self._grant(now)

    def take(self, peer: ConversationKey, now: float) -> bool:
        """Let ``peer`` send a part at once if nobody need wait for that; tells whether it may."""
        if self._waiting or peer in self._overdue or len(self._holders) >= self._slots:
            return False
        self._holders[peer] = now
        return True

    def done(self, peer: ConversationKey, now: float) -> list[ConversationKey]:
        """Note that ``peer``'s part is sent or its connection gone; return who may begin now."""
        began = self._holders.pop(peer, None)
        if began is None:
            began = self._overdue.pop(peer, None)
        if began is not None:
            took = now - began
            known = self._typical
            self._typical = took if known is None else 0.75 * known + 0.25 * took
        self._waiting.pop(peer, None)
        return self._grant(now)

    def tick(self, now: float) -> list[ConversationKey]:
        """Take slots from those who hold them too long; return who may begin now."""
        if self._waiting:
            hold = self._hold()
            for peer in [p for p, since in self._holders.items() if since + hold <= now]:
                self._overdue[peer] = self._holders.pop(peer)
        return self._grant(now)

    def next_deadline(self) -> float | None:
        """Return when `tick` is due; None while no peer waits."""
        if not self._waiting or not self._holders:
            return None
        return min(self._holders.values()) + self._hold()

    def _hold(self) -> float:
        if self._typical is None:
            # Who came first may be slow, or all may be; not everybody has to wait to find out.
            return HOLD_SECONDS if self._overdue else FIRST_HOLD_SECONDS
        return min(max(HOLD_SECONDS, HOLD_TIMES * self._typical), LONGEST_HOLD_SECONDS)

    def _grant(self, now: float) -> list[ConversationKey]:
        begun = []
        while self._waiting and len(self._holders) < self._slots:
            peer, _ = self._waiting.popitem(last=False)
            self._holders[peer] = now
            begun.append(peer)
        return begun
