"""When HAVE messages are sent, and to which peers: as fast as the requests can be served.

For a downloader that gives while it takes. Told at once, all peers would ask the first holder of a
part for it and wait in line there, while those that got it early stand idle: a part would spread
one by one instead of doubling. So a few peers are told at a time, as many as there is room for in
the line of those who wait to be sent something; the others hear of it a little later, from us or
from a peer that got it meanwhile.

Tracks, for one pack: what each peer says it has, what it was told, and when. Rules: a peer that
lacks nothing we have is not told; a peer that could use something is told within
``LONGEST_SECONDS`` however long the line is. Time comes in. Must not know connections or bytes.
Source: docs/protocol/mirrorsync.md, Upload slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection

    from gittorrent.swarm.bitmap import PartSet
    from gittorrent.swarm.keys import ConversationKey

LINE = 8
"""Peers that may be sent something or wait for it: those with a slot and as many again."""

ANSWER_SECONDS = 0.5
"""Time in which a peer that was told is expected to ask."""

LONGEST_SECONDS = 10.0
"""Time after which news are told however long the line is."""


class _PeerState(Struct):
    has: int = 0
    told: int = 0
    since: float = 0.0  # it was last told something, or came


class HaveScheduler:
    """Decides who is told of the parts of one pack."""

    def __init__(self) -> None:
        self._peers: dict[ConversationKey, _PeerState] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def joined(self, peer: ConversationKey, told: PartSet, now: float) -> None:
        """Note a peer and what it was told as it came."""
        since = now if len(told) else now - ANSWER_SECONDS  # it has nothing yet to ask for
        self._peers[peer] = _PeerState(told=told.to_mask(), since=since)

    def left(self, peer: ConversationKey) -> None:
        """Forget a peer."""
        self._peers.pop(peer, None)

    def has(self, peer: ConversationKey, parts: PartSet) -> None:
        """Note what a peer says it has."""
        state = self._peers.get(peer)
        if state is not None:
            state.has = parts.to_mask()

    def due(
        self, have: PartSet, line: Collection[ConversationKey], now: float
    ) -> list[ConversationKey]:
        """Return who is to be told now of all that we ``have``; they count as told.

        ``line``: the peers that are being sent something or wait for it.
        """
        mask = have.to_mask()
        answering = 0
        waiting: list[tuple[float, int, ConversationKey]] = []
        for key, state in self._peers.items():
            if key in line:
                continue
            if now - state.since < ANSWER_SECONDS:
                answering += 1
            news = (mask & ~state.told & ~state.has).bit_count()
            if news:
                waiting.append((state.since, -news, key))
        room = LINE - len(line) - answering
        told = []
        for since, _, key in sorted(waiting):
            state = self._peers[key]
            if room <= 0 and now - since < LONGEST_SECONDS:
                continue
            room -= 1
            state.told, state.since = mask, now
            told.append(key)
        return told
