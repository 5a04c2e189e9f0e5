"""Super-seeding: what a lone origin shows to whom, so that it sends about one copy in all.

For the end that has a whole pack while several others download it. Each part is shown to one
downloader first; the swarm multiplies it. A part is shown again when nobody present has it any
more, or to a downloader that gets nothing from the others (it cannot reach them, or they have
nothing for it).

Tracks, for one pack: who downloads it, what each was shown, has, and got from us. Rules: a single
downloader sees everything at once; whoever the swarm does not feed sees everything too; what was
shown for a second time is bounded in time. Time comes in. Must not know connections or bytes.
Source: docs/protocol/mirrorsync.md, Super-seeding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gittorrent.swarm.bitmap import PartSet

if TYPE_CHECKING:
    from gittorrent.swarm.events import PeerKey

LEAD = 6
"""Parts shown and not yet had: enough to keep a link of 100 ms and 500 Mbit/s busy."""

CROWD = 3
"""Downloaders from which super-seeding pays; two gain little from each other."""

STALL_SECONDS = 1.5
"""Time without a new part after which a downloader is shown parts that others have too."""

PATIENCE_SECONDS = 6.0
"""Time after which a downloader that got nothing from the swarm is left to draw from us alone."""


@dataclass(slots=True)
class _Downloader:
    shown: PartSet
    has: PartSet
    sent: int
    joined: float
    grew: float
    from_others: bool = False
    alone: bool = False
    told: PartSet | None = field(default=None)


class Revealer:
    """Decides what each downloader of one pack is shown.

    Args:
        parts: how many the pack has.
    """

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._downloaders: dict[PeerKey, _Downloader] = {}
        self._times_shown = [0] * parts
        self._next_fresh = 0

    def __len__(self) -> int:
        return len(self._downloaders)

    @property
    def is_crowded(self) -> bool:
        """Tell whether super-seeding is on."""
        return len(self._downloaders) >= CROWD

    def joined(self, peer: PeerKey, now: float) -> None:
        """Note that ``peer`` begins to download the pack."""
        if peer not in self._downloaders:
            self._downloaders[peer] = _Downloader(
                PartSet(self._parts), PartSet(self._parts), 0, now, now
            )

    def left(self, peer: PeerKey) -> None:
        """Note that ``peer`` is gone; what only it had becomes fresh again."""
        gone = self._downloaders.pop(peer, None)
        if gone is None:
            return
        for part in gone.shown:
            if not any(part in d.has or part in d.shown for d in self._downloaders.values()):
                self._times_shown[part] = 0
                self._next_fresh = min(self._next_fresh, part)

    def has(self, peer: PeerKey, parts: PartSet, now: float) -> None:
        """Note which parts ``peer`` says it has.

        Whoever has everything downloads no more, and is forgotten as a downloader.
        """
        downloader = self._downloaders.get(peer)
        if downloader is None:
            return
        if len(parts) > len(downloader.has):
            downloader.grew = now
        if len(parts) > downloader.sent:
            downloader.from_others = True
        downloader.has = parts
        if len(parts) == self._parts:
            del self._downloaders[peer]

    def sent(self, peer: PeerKey, part: int) -> None:
        """Note that a part was sent to ``peer``."""
        downloader = self._downloaders.get(peer)
        if downloader is not None:
            downloader.sent += 1
            if part not in downloader.shown:
                downloader.shown.add(part)
                self._times_shown[part] += 1

    def reveal(self, peer: PeerKey, now: float) -> PartSet | None:
        """Return all that ``peer`` may ask us for from now on; None stands for everything."""
        downloader = self._downloaders.get(peer)
        if downloader is None or not self.is_crowded or downloader.alone:
            return None
        if not downloader.from_others and now - downloader.joined > PATIENCE_SECONDS:
            downloader.alone = True
            return None
        missing = sum(1 for part in downloader.shown if part not in downloader.has)
        while missing < LEAD:
            part = self._fresh()
            if part is None:
                break
            self._show(downloader, part)
            missing += 1
        if missing == 0 and now - downloader.grew > STALL_SECONDS:
            for part in self._rarest(downloader):
                self._show(downloader, part)
            downloader.grew = now
        return downloader.shown

    def changed(self, peer: PeerKey, now: float) -> PartSet | bool | None:
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

    def _show(self, downloader: _Downloader, part: int) -> None:
        downloader.shown.add(part)
        self._times_shown[part] += 1

    def _fresh(self) -> int | None:
        """Return the lowest part that was shown to nobody."""
        while self._next_fresh < self._parts:
            if self._times_shown[self._next_fresh] == 0:
                return self._next_fresh
            self._next_fresh += 1
        return None

    def _rarest(self, downloader: _Downloader) -> list[int]:
        """Return a few parts that the downloader lacks and fewest others have."""
        lacking = [p for p in range(self._parts) if p not in downloader.has]
        holders = {
            part: sum(1 for other in self._downloaders.values() if part in other.has)
            for part in lacking
        }
        return sorted(lacking, key=lambda part: (holders[part], self._times_shown[part], part))[
            : LEAD // 2
        ]
