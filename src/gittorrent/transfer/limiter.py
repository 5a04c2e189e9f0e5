"""How fast this process may send and take: token buckets, for all together and for each peer.

A limit is in bytes per second; without one nothing waits. Waiting is fair in the order of asking.
What goes to one peer passes that peer's bucket and the common one, and waits for the later of them.
Any thread may ask.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from gittorrent.errors import UsageError
from gittorrent.sizes import parse_size
from gittorrent.transfer.addresses import caller_group

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 256 << 10
"""Bytes sent between two looks at the limit, when there is none or it is high."""

RECENT_PEERS = 256
"""Peers whose limits are remembered though nothing is sent to them just now."""


class RateError(UsageError):
    """A rate is not written as a number of bytes per second."""


def parse_rate(text: str) -> int:
    """Return bytes per second of a rate such as ``500K`` or ``1.5M``.

    Raises:
        RateError: it is none, or zero.
    """
    rate = parse_size(text)
    if not rate:
        raise RateError(
            f"{text!r} is no rate", hint="write bytes per second, with K, M or G: 500K, 2M"
        )
    return rate


class Limiter:
    """Lets ``rate`` bytes through per second.

    Args:
        rate: bytes per second, None for no limit.
        clock: seconds that never run backwards.
        within: a limiter that counts the same bytes too; None if there is none.
    """

    def __init__(
        self,
        rate: int | None,
        clock: Callable[[], float] = time.monotonic,
        within: Limiter | None = None,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._within = within
        self._free_at = clock()
        self._lock = threading.Lock()  # downloads of a node run in threads of their own

    def set_rate(self, rate: int | None) -> None:
        """Let so many bytes through per second from now on; what waits waits no longer for it.

        What was let through already counts at the new rate, so that a queue which a low rate made
        does not outlive it.
        """
        with self._lock:
            now = self._clock()
            owed = max(0.0, self._free_at - now) * (self._rate or 0)
            self._rate = rate
            self._free_at = now + (owed / rate if rate else 0.0)

    @property
    def rate(self) -> int | None:
        """The most that can get through here: bytes per second, None for no limit."""
        within = None if self._within is None else self._within.rate
        if self._rate is None or within is None:
            return within if self._rate is None else self._rate
        return min(self._rate, within)

    @property
    def chunk(self) -> int:
        """Bytes to ask for at a time: a tenth of a second's worth, within bounds."""
        rate = self.rate
        if rate is None:
            return CHUNK
        return max(4096, min(CHUNK, rate // 10))

    @property
    def is_open(self) -> bool:
        """Whether there is no limit at all, so that nothing need be counted."""
        return self._rate is None and (self._within is None or self._within.is_open)

    def reserve(self, count: int) -> float:
        """Count ``count`` bytes, and return the seconds to wait before they may pass."""
        wait = 0.0 if self._within is None else self._within.reserve(count)
        with self._lock:
            if self._rate is None:
                return wait
            now = self._clock()
            begin = max(now, self._free_at)
            self._free_at = begin + count / self._rate
        return max(wait, begin - now)

    async def take(self, count: int) -> None:
        """Wait until ``count`` bytes may pass."""
        wait = self.reserve(count)
        if wait > 0:
            await asyncio.sleep(wait)


class Limits:
    """The limits of one process: what it sends, what it takes, and what one peer gets.

    Addresses that count as one caller count as one peer (`caller_group`).

    Args:
        up: bytes per second of all sending together; None for no limit.
        down: bytes per second of all that is taken; None for no limit.
        peer_up: bytes per second that one peer gets, however many connections it has.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        up: int | None = None,
        down: int | None = None,
        peer_up: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.up = Limiter(up, clock)
        self.down = Limiter(down, clock)
        self._peer_up = peer_up
        self._clock = clock
        self._peers: WeakValueDictionary[str, Limiter] = WeakValueDictionary()
        # Whoever comes back at once, as with every request over HTTP, finds its bucket as it was.
        self._recent: deque[Limiter] = deque(maxlen=RECENT_PEERS)
        self._lock = threading.Lock()

    def set_rates(self, up: int | None, down: int | None, peer_up: int | None) -> bool:
        """Go by other limits from now on, for what is under way too; see the class.

        Returns:
            Whether any is another than before.
        """
        before = (self.up.rate, self.down.rate, self._peer_up)
        if before == (up, down, peer_up):
            return False
        self.up.set_rate(up)
        self.down.set_rate(down)
        with self._lock:
            self._peer_up = peer_up
            for limiter in self._peers.values():
                limiter.set_rate(peer_up)
        return True

    def sending_to(self, address: str) -> Limiter:
        """Return what paces sending to one address; keep it as long as anything is sent there.

        Args:
            address: an IP address; empty for somebody who is gone already.
        """
        peer = caller_group(address) if address else ""
        with self._lock:
            limiter = self._peers.get(peer)
            if limiter is None:
                limiter = Limiter(self._peer_up, self._clock, self.up)
                self._peers[peer] = limiter
                self._recent.append(limiter)
        return limiter
