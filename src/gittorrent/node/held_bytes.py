"""Counts what peers send that was asked for and is not taken in yet, over all repositories.

Whoever calls may tell of anything, and is asked for it: what it sends then is held until all that
belongs to it is here and was judged. A message counts from its announcement on, by the size that
was announced. Rules: beyond the limit the conversation that holds most ends, which is never one
that passes on what people push; one that was ended before does not stand in for others.
Source: docs/protocol/mirrorsync.md, Live conversations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.push.spreading import PeerKey

    Drop = Callable[[str], None]

MAX_HELD = 128 << 20
"""Bytes that are held of all peers: two of the largest entries."""

SMALL = 64 << 10
"""Bytes for which no conversation ends: all connections of a node together hold 64 MiB at that,
and those who pass on what people push hold no more."""

TOO_MUCH = "it sends more at once than can be judged"
"""What the one that holds most is told."""


class _Share(Struct):
    """What is held of one peer: what came, and the message that is on its way."""

    drop: Drop
    came: int = 0
    coming: int = 0
    is_dropped: bool = False

    @property
    def size(self) -> int:
        return self.came + self.coming


class HeldBytes:
    """The shares of all peers.

    Args:
        most: bytes in all.
        small: bytes for which no conversation ends.
    """

    def __init__(self, most: int = MAX_HELD, small: int = SMALL) -> None:
        self._most = most
        self._small = small
        self._shares: dict[PeerKey, _Share] = {}
        self.total = 0

    def add(self, peer: PeerKey, size: int, drop: Drop) -> None:
        """Count bytes that came; `release` must follow.

        Args:
            peer: who sent them.
            size: how many.
            drop: ends the conversation with it, for a reason.
        """
        if size:
            self._shares.setdefault(peer, _Share(drop)).came += size
            self._count(size)

    def coming(self, peer: PeerKey, size: int, drop: Drop) -> None:
        """Take note that a message of so many bytes is on its way, in place of the one before.

        Args:
            peer: who sends it.
            size: as announced; 0 when it came, or nothing more comes.
            drop: ends the conversation with it, for a reason.
        """
        share = self._shares.get(peer)
        if share is None:
            if not size:
                return
            share = self._shares[peer] = _Share(drop)
        more, share.coming = size - share.coming, size
        self._count(more)
        self._forget_if_empty(peer, share)

    def release(self, peer: PeerKey, size: int) -> None:
        """Take note that bytes are held no more."""
        share = self._shares.get(peer)
        if share is not None:
            share.came -= size
            self.total -= size
            self._forget_if_empty(peer, share)

    def _forget_if_empty(self, peer: PeerKey, share: _Share) -> None:
        if share.size <= 0:
            self._shares.pop(peer, None)

    def _count(self, more: int) -> None:
        self.total += more
        while self.total > self._most:
            staying = (share for share in self._shares.values() if not share.is_dropped)
            largest = max(staying, key=lambda each: each.size, default=None)
            if largest is None or largest.size <= self._small:
                return
            largest.is_dropped = True
            # Nothing more comes of what is on its way; what came is let go when it was judged.
            self.total -= largest.coming
            largest.coming = 0
            largest.drop(TOO_MUCH)
