"""Admission of incoming connections: limits per address, and bans for wrong data.

Tracks how many connections each address has, and how often it sent wrong data. A peer that sent a
wrong part can come back under another port or node id at once, but not so easily under another
address. Other peers may share that address: so an address that sent something wrong may have fewer
conversations, and is banned only when that is repeated.

Rules: loopback has no bounds of its own, since tunnels and everybody on this machine come from
there. Of IPv6 addresses those of one /64 network count as one. Must not know sockets.
"""

from __future__ import annotations

from collections import Counter

from gittorrent.transfer.addresses import caller_group, is_loopback

MAX_CALLERS = 40
"""Conversations others may open with one clone or seed."""

MAX_PER_ADDRESS = 8
"""Of those, how many from one address: a few people behind one router."""

MAX_STRIKES = 3
"""Wrongs after which an address is not talked to any more; from the first on it gets one caller."""

MAX_BLAMED = 4096
"""Addresses remembered that did something wrong; the oldest is forgotten first."""


class PeerAdmission:
    """Says who may come in.

    Args:
        total: callers at once.
        per_address: callers of one address at once.
    """

    def __init__(self, total: int = MAX_CALLERS, per_address: int = MAX_PER_ADDRESS) -> None:
        self._total = total
        self._per_address = per_address
        self._open: Counter[str] = Counter()
        self._strikes: dict[str, int] = {}

    def change(self, total: int, per_address: int) -> None:
        """Let in as many from now on; those that are in stay."""
        self._total = total
        self._per_address = per_address

    def __len__(self) -> int:
        return self._open.total()

    def enter(self, address: str) -> bool:
        """Let a caller in, or say that it may not."""
        if self._open.total() >= self._total or not self.has_share(address):
            return False
        self._open[caller_group(address)] += 1
        return True

    def has_share(self, address: str) -> bool:
        """Tell whether an address has fewer callers than it may have, if there is room at all."""
        return is_loopback(address) or self._open[caller_group(address)] < self._allowed(address)

    def leave(self, address: str) -> None:
        """Note that a caller that was let in has gone."""
        group = caller_group(address)
        self._open[group] -= 1
        if self._open[group] <= 0:
            del self._open[group]

    def blame(self, address: str) -> None:
        """Note that a peer at an address sent wrong data or broke the protocol."""
        group = caller_group(address)
        self._strikes[group] = self._strikes.pop(group, 0) + 1
        while len(self._strikes) > MAX_BLAMED:
            del self._strikes[next(iter(self._strikes))]

    def is_banned(self, address: str) -> bool:
        """Tell whether an address is banned; an empty one, of somebody behind ssh, is not."""
        return bool(address) and self._allowed(address) == 0

    def _allowed(self, address: str) -> int:
        if is_loopback(address):
            return self._total
        strikes = self._strikes.get(caller_group(address), 0)
        if strikes == 0:
            return self._per_address
        return 1 if strikes < MAX_STRIKES else 0
