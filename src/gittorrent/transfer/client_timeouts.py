"""Timeouts of the client side: how long this program waits for answers to what it asks.

Every wait is bounded, and all bounds are here, so that tests can shorten them and the table in the
protocol page has one place to agree with. What has a small answer gets a fixed time. What may be
long (logs, offers, manifests, over git:// and HTTP alike) gets an `Allowance`, which grows with the
bytes that come: silence ends soon, a trickle little later, and a slow line that flows may take its
time. Parts have a scheduler of their own (`gittorrent.swarm`), which asks others meanwhile.

Pure: reads no clock. Source: docs/protocol/mirrorsync.md, How long anybody is waited for.
"""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

_LEAST_SECONDS = 64
"""Seconds of the least rate that have to come of parts, in however long that may take."""


class ClientTimeouts(Struct, frozen=True):
    """Times in seconds, and the rate below which an answer counts as a trickle.

    Args:
        look_up: for a name to be resolved.
        connect: for one of its addresses to accept, all of them together.
        stagger: until the next address of a name is tried too.
        answer: for first words, a list, and the silence within anything longer.
        least_rate: bytes per second of an answer, on average; half of what the slowest mobile
            lines carry. An answer takes its size divided by this at most.
        turn: for a log, however it flows, while somebody else could go on with it.
        upgrade: for a web server to agree to a conversation; it is asked for files then.
        notice: for the answer to a notice, before which the other end calls back.
        offers: for others to say what they offer once somebody has.
        second: until one more of those who offer a manifest is asked for it.
        rivals: for better ways to be proved once one is.
        strangers: for ways to be proved by others than the first mirror, while none is.
        busy: for one that has too much to do to have room for us, while nobody else answers.
        starved: for a mirror to turn up that has parts which none of those left has.
        unhurried: for all manifests of one look that nobody waits for.
        silence: without parts, or with a trickle of them, and without a word that they wait for
            their turn, after which a download is given up; with that word if others could serve.
        nothing: without parts, or with a trickle of them, after which a download is given up; see
            `impatient`.
    """

    look_up: float = 10.0
    connect: float = 10.0
    stagger: float = 2.0
    answer: float = 20.0
    least_rate: float = 1024.0
    turn: float = 25.0
    upgrade: float = 5.0
    notice: float = 60.0
    offers: float = 5.0
    second: float = 2.0
    rivals: float = 3.0
    strangers: float = 25.0
    busy: float = 120.0
    starved: float = 20.0
    unhurried: float = 300.0
    silence: float = 120.0
    nothing: float = 600.0

    def impatient(self, rate: int | None) -> ClientTimeouts:
        """Return the same for a pack that may come otherwise: who gives none of it soon is left.

        Args:
            rate: bytes per second to which the client limits itself; a quarter of it will do.
        """
        enough = math.inf if rate is None else rate / 4 * self.answer / _LEAST_SECONDS
        return replace(
            self,
            starved=self.rivals,
            nothing=self.answer,
            least_rate=min(self.least_rate, enough),
        )

    @property
    def least_parts(self) -> float:
        """Bytes of parts that must come in the time after which a download is given up."""
        return _LEAST_SECONDS * self.least_rate

    def at_rate(self, rate: int | None) -> ClientTimeouts:
        """Return the same for a client whose download rate is limited to ``rate`` bytes per
        second."""
        if rate is None or rate / 4 >= self.least_rate:
            return self
        return replace(self, least_rate=rate / 4)


class Allowance:
    """The deadline of a long answer, which each byte that comes puts off.

    Args:
        client_timeouts: how long silence may last, and what a byte buys.
        now: seconds on any steady clock.
    """

    def __init__(self, client_timeouts: ClientTimeouts, now: float) -> None:
        self._client_timeouts = client_timeouts
        self._until = now + client_timeouts.answer

    def left(self, now: float) -> float:
        """Return the seconds left; none when time is up."""
        return max(0.0, self._until - now)

    def paid(self, count: int, now: float) -> None:
        """Note that ``count`` bytes of what was asked for have come."""
        earned = self._until + count / self._client_timeouts.least_rate
        self._until = min(earned, now + self._client_timeouts.answer)

    def renew(self, now: float) -> None:
        """Begin anew: up to now it was us who did not read."""
        self._until = now + self._client_timeouts.answer
