"""Whom to tell of new parts, and when: demand is invited as fast as it can be met.

For a downloader that gives while it takes. Told at once, all neighbours would ask the first holder
of a part for it and wait in line there, while those that got it early stand idle: a part would
spread one by one instead of doubling. So a few neighbours are told at a time, as many as there is
room for in the line of those who wait to be sent something; the others hear of it a little later,
from us or from somebody who got it meanwhile.

Tracks, for one pack: what each neighbour says it has, what it was told, and when. Rules: who lacks
nothing that we have is not told; everybody who could use something is told within
``LONGEST_SECONDS`` whatever the line. Time comes in. Must not know connections or bytes.
Source: docs/protocol/mirrorsync.md, Upload slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gittorrent.swarm.bitmap import PartSet
    from gittorrent.swarm.events import PeerKey

import os
RARE = int(os.environ.get("RARE", "1"))
LINE = int(os.environ.get("LINE", "6"))
"""Neighbours that may be sent something or wait for it: those who hold a slot and as many again."""

ANSWER_SECONDS = float(os.environ.get("ANS", "0.5"))
"""Time in which somebody who was told is expected to ask."""

LONGEST_SECONDS = float(os.environ.get("LONGEST", "10"))
"""Time after which news are told however long the line is."""


@dataclass(slots=True)
class _Neighbour:
    has: int = 0
    told: int = 0
    when: float | None = None


class Announcer:
    """Decides who is told of the parts of one pack."""

    def __init__(self) -> None:
        self._neighbours: dict[PeerKey, _Neighbour] = {}

    def __len__(self) -> int:
        return len(self._neighbours)

    def joined(self, peer: PeerKey, told: PartSet, now: float) -> None:
        """Note a neighbour and what it was told as it came."""
        self._neighbours[peer] = _Neighbour(told=told.to_mask(), when=now)

    def left(self, peer: PeerKey) -> None:
        """Forget a neighbour."""
        self._neighbours.pop(peer, None)

    def has(self, peer: PeerKey, parts: PartSet) -> None:
        """Note what a neighbour says it has."""
        neighbour = self._neighbours.get(peer)
        if neighbour is not None:
            neighbour.has = parts.to_mask()

    def due(self, have: PartSet, line: int, now: float) -> list[PeerKey]:
        """Return who is to be told now of all that we ``have``; they count as told.

        ``line``: how many neighbours are being sent something or wait for it.
        """
        mask = have.to_mask()
        answering = 0
        waiting: list[tuple[float, int, PeerKey]] = []
        for key, neighbour in self._neighbours.items():
            news = (mask & ~neighbour.told & ~neighbour.has).bit_count()
            since = now if neighbour.when is None else neighbour.when
            if now - since < ANSWER_SECONDS:
                answering += 1
            elif news:
                waiting.append((since, -news, key))
        room = LINE - line - answering
        told = []
        rare = self._rare(mask) if RARE else 0
        for since, _, key in sorted(waiting):
            neighbour = self._neighbours[key]
            if rare & ~neighbour.told:
                rare &= neighbour.told
            elif room <= 0 and now - since < LONGEST_SECONDS:
                continue
            room -= 1
            neighbour.told, neighbour.when = mask, now
            told.append(key)
        return told

    def _rare(self, mask: int) -> int:
        """Return those of our parts that no neighbour has and at most one was told of."""
        once = twice = 0
        for neighbour in self._neighbours.values():
            mask &= ~neighbour.has
            twice |= once & neighbour.told
            once |= neighbour.told
        return mask & ~twice

    def copies(self, part_bit: int) -> int:
        return sum(1 for n in self._neighbours.values() if n.has & part_bit)
