"""Where the peers of one swarm may be, whom they were learned from, and when to try them again.

Pure: time comes in, names are resolved elsewhere. Addresses come from users, trackers and peers.
Those that strangers gave are checked by the rules of `gittorrent.wire.urls`, carry how far their
teller may send us, and are bounded twice: in what one teller may name, and in how often one IP
address is called on strangers' word, however many names and ports it is told under.
Source: docs/protocol/gtp01.md, Learned addresses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.wire.urls import UrlError, parse_learned_host

if TYPE_CHECKING:
    from collections.abc import Collection

    from gittorrent.wire.urls import AddressClass

FIRST_WAIT = 2.0
"""Seconds to the second attempt; the third waits twice as long, and so on."""

LONGEST_WAIT = 300.0

MOST_ADDRESSES = 2000
"""Addresses that are remembered; a swarm's peers can name as many as they like."""

MOST_FAILURES = 8
"""Attempts in a row after which a stranger's address is forgotten."""

TOLD_AT_ONCE = 50
"""New addresses taken from one teller at once: what a tracker's answer holds."""

TOLD_SECONDS = 12.0
"""Time after which a teller may name one more: fifty in the lifetime a tracker gives a newcomer."""

CALLS_AT_ONCE = 8
"""Calls to one IP address on strangers' word before one of them led to a peer."""

CALL_SECONDS = 60.0
"""Time after which such an address may be called once more."""

MOST_COUNTED = 10_000
"""Tellers, or IP addresses called, that are counted; beyond that nobody new is believed."""

HostPort = tuple[str, int]
"""A host, by name or number, and a port."""


class _Bucket(Struct):
    tokens: float
    counted: float


class Budget:
    """Counts what is done on behalf of each of many: so much at once, then at a steady rate.

    Args:
        burst: of actions at once.
        seconds: after which one more is allowed.
    """

    def __init__(self, burst: int, seconds: float) -> None:
        self._burst = burst
        self._seconds = seconds
        self._buckets: dict[str, _Bucket] = {}

    def take(self, now: float, name: str) -> bool:
        """Count one action; tells whether it is allowed."""
        if name not in self._buckets and len(self._buckets) >= MOST_COUNTED:
            self._prune(now)
            if len(self._buckets) >= MOST_COUNTED:
                return False
        bucket = self._buckets.setdefault(name, _Bucket(self._burst, now))
        gained = (now - bucket.counted) / self._seconds
        bucket.tokens, bucket.counted = min(self._burst, bucket.tokens + gained), now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def give_back(self, name: str) -> None:
        """Note that an action turned out well, and does not count."""
        bucket = self._buckets.get(name)
        if bucket is not None:
            bucket.tokens = min(self._burst, bucket.tokens + 1)

    def _prune(self, now: float) -> None:
        whole = self._burst * self._seconds
        self._buckets = {n: b for n, b in self._buckets.items() if now - b.counted < whole}


class Teller(Struct, frozen=True):
    """Who told of an address.

    Args:
        name: what counts as one teller: a tracker's URL, or a network address.
        trusted: the kind of address it may send us to; see `gittorrent.wire.urls.may_contact`.
    """

    name: str
    trusted: AddressClass


class _Entry(Struct):
    teller: Teller | None
    failures: int = 0
    next_try: float = 0.0
    busy: bool = False
    is_proved: bool = False
    reached: set[HostPort] = field(default_factory=set)


class Addresses:
    """The addresses of one swarm.

    Args:
        tellers: counts what each teller names; the node's, shared by its swarms.
        calls: counts calls to each IP address on strangers' word; likewise.
    """

    def __init__(self, tellers: Budget | None = None, calls: Budget | None = None) -> None:
        self._tellers = tellers or Budget(TOLD_AT_ONCE, TOLD_SECONDS)
        self._calls = calls or Budget(CALLS_AT_ONCE, CALL_SECONDS)
        self._entries: dict[HostPort, _Entry] = {}
        self._known_as: dict[HostPort, HostPort] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, host: str, port: int) -> None:
        """Remember an address the user gave; it is never forgotten and may be anywhere."""
        self._entries.setdefault((host, port), _Entry(None)).teller = None

    def told(self, now: float, teller: Teller, host: str, port: int) -> bool:
        """Take in an address from a stranger; tells whether it is news and will be tried."""
        try:
            place = (parse_learned_host(host), port)
        except UrlError:
            return False
        if place in self._entries or place in self._known_as:
            return False
        if len(self._entries) >= MOST_ADDRESSES or not self._tellers.take(now, teller.name):
            return False
        self._entries[place] = _Entry(teller)
        return True

    def trusted(self, place: HostPort) -> AddressClass | None:
        """Return how far the teller of an address may send us; None for one the user gave."""
        entry = self._entries.get(place)
        return None if entry is None or entry.teller is None else entry.teller.trusted

    def resolved(self, place: HostPort, ips: Collection[str]) -> None:
        """Note the IP addresses that ``place`` has now; what it had before is free for others."""
        entry = self._entries.get(place)
        if entry is not None:
            self._release(place, {each for each in entry.reached if each[0] not in ips})

    def may_call(self, now: float, place: HostPort, ip: str, group: str) -> bool:
        """Tell whether to call one IP address that ``place`` resolved to, and count the call.

        Args:
            now: seconds.
            place: what is being tried.
            ip: one of its addresses.
            group: what counts as one target.

        Returns:
            False where another entry leads to the same address and port, which is called under
            that one, and where strangers have sent us there too often.
        """
        entry = self._entries.get(place)
        if entry is None:
            return False
        reached = (ip, place[1])
        is_known = self._known_as.get(reached, place) != place
        if entry.teller is not None and (is_known or not self._calls.take(now, group)):
            return False
        if self._known_as.setdefault(reached, place) == place:
            entry.reached.add(reached)
        return True

    def due(self, now: float, limit: int) -> list[HostPort]:
        """Return up to ``limit`` addresses to try now, and note that they are being tried."""
        found = [
            address
            for address, entry in self._entries.items()
            if not entry.busy and entry.next_try <= now
        ][: max(limit, 0)]
        for address in found:
            self._entries[address].busy = True
        return found

    def succeeded(self, address: HostPort, group: str) -> None:
        """Note that a peer of the swarm answered at an address; ``group``: as for `may_call`."""
        entry = self._entries.get(address)
        if entry is None:
            return
        if entry.teller is not None:
            self._calls.give_back(group)
            if not entry.is_proved:  # it was counted once, however often it is called
                self._tellers.give_back(entry.teller.name)
        entry.is_proved = True

    def ended(
        self, now: float, address: HostPort, jitter: float, *, was_useful: bool = False
    ) -> None:
        """Note that an attempt or a connection ended.

        Args:
            now: seconds.
            address: which.
            jitter: 0 to 1, so that two nodes that call each other do not do so for ever.
            was_useful: whether the peer gave data or stayed for long. A handshake alone is no
                reason to call again as soon as the first time.
        """
        entry = self._entries.get(address)
        if entry is None:
            return
        entry.busy = False
        entry.failures = 1 if was_useful else entry.failures + 1
        if entry.failures > MOST_FAILURES and entry.teller is not None:
            self._remove(address)
            return
        wait = min(FIRST_WAIT * 2 ** (entry.failures - 1), LONGEST_WAIT)
        entry.next_try = now + wait * (0.5 + jitter)

    def forget(self, address: HostPort) -> None:
        """Never try an address again: it is our own."""
        entry = self._entries.get(address)
        if entry is not None:
            entry.busy, entry.next_try = True, float("inf")

    def _remove(self, address: HostPort) -> None:
        self._release(address, set(self._entries[address].reached))
        del self._entries[address]

    def _release(self, address: HostPort, places: set[HostPort]) -> None:
        """Let others be called at places that were known under an address."""
        self._entries[address].reached -= places
        for reached in places:
            del self._known_as[reached]
