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

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection

    from gittorrent.swarm.bitmap import PartSet
    from gittorrent.swarm.events import PeerKey

LINE = 8
"""Neighbours that may be sent something or wait for it: those with a slot and as many again."""

ANSWER_SECONDS = 0.5
"""Time in which somebody who was told is expected to ask."""

LONGEST_SECONDS = 10.0
"""Time after which news are told however long the line is."""


class _PeerState(Struct):
    has: int = 0
    told: int = 0
    since: float = 0.0  # it was last told something, or came


class HaveScheduler:
    """Decides who is told of the parts of one pack."""

    def __init__(self) -> None:
        self._peer_manager: dict[PeerKey, _PeerState] = {}

    def __len__(self) -> int:
        return len(self._peer_manager)

    def joined(self, peer: PeerKey, told: PartSet, now: float) -> None:
        """Note a neighbour and what it was told as it came."""
        since = now if len(told) else now - ANSWER_SECONDS  # it has nothing yet to ask for
        self._peer_manager[peer] = _PeerState(told=told.to_mask(), since=since)

    def left(self, peer: PeerKey) -> None:
        """Forget a neighbour."""
        self._peer_manager.pop(peer, None)

    def has(self, peer: PeerKey, parts: PartSet) -> None:
        """Note what a neighbour says it has."""
        neighbour = self._peer_manager.get(peer)
        if neighbour is not None:
            neighbour.has = parts.to_mask()

    def due(self, have: PartSet, line: Collection[PeerKey], now: float) -> list[PeerKey]:
        """Return who is to be told now of all that we ``have``; they count as told.

        ``line``: the neighbours that are being sent something or wait for it.
        """
        mask = have.to_mask()
        answering = 0
        waiting: list[tuple[float, int, PeerKey]] = []
        for key, neighbour in self._peer_manager.items():
            if key in line:
                continue
            if now - neighbour.since < ANSWER_SECONDS:
                answering += 1
            news = (mask & ~neighbour.told & ~neighbour.has).bit_count()
            if news:
                waiting.append((neighbour.since, -news, key))
        room = LINE - len(line) - answering
        told = []
        for since, _, key in sorted(waiting):
            neighbour = self._peer_manager[key]
            if room <= 0 and now - since < LONGEST_SECONDS:
                continue
            room -= 1
            neighbour.told, neighbour.since = mask, now
            told.append(key)
        return told
