"""Where peers may be, and when to try them again.

Tracks addresses and their failures. Addresses come from users, trackers and peers; those that
strangers gave are tried with more and more patience, and forgotten after a while.
"""

from __future__ import annotations

from msgspec import Struct

FIRST_WAIT = 2.0
"""Seconds to the second attempt; the third waits twice as long, and so on."""

LONGEST_WAIT = 300.0

MOST_ADDRESSES = 2000
"""Addresses that are remembered; a swarm's peers can name as many as they like."""

MOST_FAILURES = 8
"""Attempts in a row after which a stranger's address is forgotten."""


class _Entry(Struct):
    by_user: bool
    failures: int = 0
    next_try: float = 0.0
    busy: bool = False


class Addresses:
    """The addresses of one swarm."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, int], _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, host: str, port: int, *, by_user: bool = False) -> None:
        """Remember an address; what users gave is never forgotten."""
        known = self._entries.get((host, port))
        if known is not None:
            known.by_user = known.by_user or by_user
        elif by_user or len(self._entries) < MOST_ADDRESSES:
            self._entries[host, port] = _Entry(by_user)

    def due(self, now: float, limit: int) -> list[tuple[str, int]]:
        """Return up to ``limit`` addresses to try now, and note that they are being tried."""
        found = [
            address
            for address, entry in self._entries.items()
            if not entry.busy and entry.next_try <= now
        ][: max(limit, 0)]
        for address in found:
            self._entries[address].busy = True
        return found

    def succeeded(self, address: tuple[str, int]) -> None:
        """Note that a peer answered properly at an address."""
        entry = self._entries.get(address)
        if entry is not None:
            entry.failures = 0

    def ended(self, now: float, address: tuple[str, int], jitter: float) -> None:
        """Note that an attempt or a connection ended.

        Args:
            now: seconds.
            address: which.
            jitter: 0 to 1, so that two nodes that call each other do not do so for ever.
        """
        entry = self._entries.get(address)
        if entry is None:
            return
        entry.busy = False
        entry.failures += 1
        if entry.failures > MOST_FAILURES and not entry.by_user:
            del self._entries[address]
            return
        wait = min(FIRST_WAIT * 2 ** (entry.failures - 1), LONGEST_WAIT)
        entry.next_try = now + wait * (0.5 + jitter)

    def forget(self, address: tuple[str, int]) -> None:
        """Never try an address again: it is our own."""
        entry = self._entries.get(address)
        if entry is not None:
            entry.busy, entry.next_try = True, float("inf")
