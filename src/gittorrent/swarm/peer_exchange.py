"""Peer exchange at a node: which downloaders of a repository are told of which others.

For a node that many downloaders of one repository talk to. Each may tell where it listens; a
newcomer is told of some who came before and dials them, which grows a sparse random graph in which
nobody is dialled twice by the same peer. A member that does not listen (behind NAT) is told of
newcomers too, since it can only dial.

Tracks the members present and where they listen. Entropy comes in. Rules: one address a member;
what a member is told is bounded, so that nobody can be made to dial the world.
Source: docs/protocol/mirrorsync.md, Peer exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.swarm.keys import ParticipantKey

DEGREE = 8
"""Neighbours a newcomer is told of: a random graph of this degree stays connected under churn."""

MOST_TOLD = 40
"""Addresses one member is told of in all."""


class _Member(Struct):
    url: str | None = None
    told: int = 0


class PeerHint(Struct, frozen=True):
    """Tell ``to`` of the member that listens at ``url``."""

    to: ParticipantKey
    url: str


class PeerExchange:
    """Decides which members are told of which others, for one repository.

    Args:
        random: returns 0 <= x < n for n > 0.
    """

    def __init__(self, random: Callable[[int], int]) -> None:
        self._random = random
        self._members: dict[ParticipantKey, _Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def joined(self, peer: ParticipantKey) -> None:
        """Note a member that has not said whether it listens."""
        self._members.setdefault(peer, _Member())

    def left(self, peer: ParticipantKey) -> None:
        """Forget a member; no other is told of it any more."""
        self._members.pop(peer, None)

    def listens(self, peer: ParticipantKey, url: str | None) -> list[PeerHint]:
        """Note where a member listens, None for nowhere, and return the hints to send."""
        member = self._members.setdefault(peer, _Member())
        news = url is not None and member.url is None
        member.url = url
        made = []
        if member.told < MOST_TOLD:
            for other in self._sample(peer, listening=True):
                known = self._members[other].url
                if known is not None:
                    member.told += 1
                    made.append(PeerHint(peer, known))
        if news and url is not None:
            for other in self._sample(peer, listening=False):
                deaf = self._members[other]
                if deaf.told < MOST_TOLD:
                    deaf.told += 1
                    made.append(PeerHint(other, url))
        return made

    def _sample(self, peer: ParticipantKey, *, listening: bool) -> list[ParticipantKey]:
        """Return up to DEGREE other members at random, of those who listen or of the others."""
        pool = [
            key
            for key, member in self._members.items()
            if key != peer and (member.url is not None) == listening
        ]
        chosen: list[ParticipantKey] = []
        while pool and len(chosen) < DEGREE:
            at = self._random(len(pool))
            pool[at], pool[-1] = pool[-1], pool[at]
            chosen.append(pool.pop())
        return chosen
