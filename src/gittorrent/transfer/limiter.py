"""How fast this node may send: a token bucket shared by everything that does.

A limit is in bytes per second; without one nothing waits. Waiting is fair in the order of asking.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

from gittorrent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 256 << 10
"""Bytes sent between two looks at the limit, when there is none or it is high."""

_RATE = re.compile(r"(\d+(?:\.\d+)?)([KMG]?)\Z", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class RateError(UsageError):
    """A rate is not written as a number of bytes per second."""


def parse_rate(text: str) -> int:
    """Return bytes per second of a rate such as ``500K`` or ``1.5M``.

    Raises:
        RateError: it is none, or zero.
    """
    found = _RATE.match(text.strip())
    rate = int(float(found[1]) * _FACTORS[found[2].lower()]) if found else 0
    if rate < 1:
        raise RateError(
            f"{text!r} is no rate", hint="write bytes per second, with K, M or G: 500K, 2M"
        )
    return rate


class Limiter:
    """Lets ``rate`` bytes through per second.

    Args:
        rate: bytes per second, None for no limit.
        clock: seconds that never run backwards.
    """

    def __init__(self, rate: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._free_at = clock()

    @property
    def chunk(self) -> int:
        """Bytes to ask for at a time: a tenth of a second's worth, within bounds."""
        if self.rate is None:
            return CHUNK
        return max(4096, min(CHUNK, self.rate // 10))

    async def take(self, count: int) -> None:
        """Wait until ``count`` bytes may be sent."""
        if self.rate is None:
            return
        now = self._clock()
        begin = max(now, self._free_at)
        self._free_at = begin + count / self.rate
        if begin > now:
            await asyncio.sleep(begin - now)
