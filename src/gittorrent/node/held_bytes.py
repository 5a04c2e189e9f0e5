"""Counts what peers sent that was asked for and is not taken in yet, over all repositories.

Whoever calls may tell of anything, and is asked for it: what it sends then is held until all that
belongs to it is here and was judged. Rules: beyond the limit the conversation that holds most
ends, which is never one that passes on what people push.
Source: docs/protocol/mirrorsync.md, Live conversations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.push.spreading import PeerKey

MAX_HELD = 128 << 20
"""Bytes that are held of all peers: two of the largest entries."""

TOO_MUCH = "it sends more at once than can be judged"
"""What the one that holds most is told."""


class _Share(Struct):
    drop: Callable[[str], None]
    size: int = 0
    is_dropped: bool = False


class HeldBytes:
    """The shares of all peers.

    Args:
        most: bytes in all.
    """

    def __init__(self, most: int = MAX_HELD) -> None:
        self._most = most
        self._shares: dict[PeerKey, _Share] = {}

    @property
    def total(self) -> int:
        """Bytes that are held."""
        return sum(share.size for share in self._shares.values())

    def add(self, peer: PeerKey, size: int, drop: Callable[[str], None]) -> None:
        """Count bytes that came; `release` must follow.

        Args:
            peer: who sent them.
            size: how many.
            drop: ends the conversation with it, for a reason.
        """
        share = self._shares.setdefault(peer, _Share(drop))
        share.size += size
        if self.total > self._most:
            largest = max(self._shares.values(), key=lambda each: each.size)
            if not largest.is_dropped:
                largest.is_dropped = True
                largest.drop(TOO_MUCH)

    def release(self, peer: PeerKey, size: int) -> None:
        """Take note that bytes are held no more."""
        share = self._shares.get(peer)
        if share is not None:
            share.size -= size
            if share.size <= 0:
                del self._shares[peer]
