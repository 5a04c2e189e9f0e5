"""How long a download waits for those who give nothing, or next to nothing, of what they owe.

Tracks since when too little came, and how much of that time somebody owed parts, and had no excuse.
Rules: who waits for an upload slot of a crowd says so, and is waited for, but not for long where
somebody else is there, whom nobody has asked, who could serve; what trickles is no excuse; no time
counts in which nobody who is there was asked, and little of it once somebody new is.

Pure: time comes in. Source: docs/protocol/mirrorsync.md, How long anybody is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gittorrent.transfer.client_timeouts import ClientTimeouts

WORDS = 4
"""Times that a mirror has us wait for a slot has to be said in the time that silence may last."""


class Patience:
    """See the module.

    Args:
        client_timeouts: how long to wait.
        now: seconds on any steady clock.
    """

    def __init__(self, client_timeouts: ClientTimeouts, now: float) -> None:
        self._client_timeouts = client_timeouts
        self.renew(now)
        self._excused = now

    def renew(self, now: float) -> None:
        """Begin anew, as where up to now it was us who did not ask."""
        self._since = self._looked = now
        self._bytes = 0
        self._owed = 0.0
        self._silent = 0.0

    def flowed(self, count: int) -> None:
        """Note that bytes of parts came."""
        self._bytes += count

    def joined(self) -> None:
        """Note that somebody is there who was not before."""
        self._owed = self._silent = 0.0

    def queued(self, now: float) -> None:
        """Note that somebody who owes parts says that they wait for their turn."""
        self._excused = now + self._client_timeouts.silence / WORDS

    def give_up(self, now: float, *, is_owed: bool, has_others: bool) -> str:
        """Return why to wait no longer; empty while there is no reason.

        Args:
            now: seconds; called often.
            is_owed: whether somebody who is there was asked for parts.
            has_others: whether somebody is there who was not, and could serve otherwise.
        """
        elapsed, self._looked = now - self._looked, now
        if self._bytes >= self._client_timeouts.least_parts:
            self.renew(now)
            return ""
        if is_owed:
            self._owed += elapsed
            self._silent += elapsed if now > self._excused else 0.0
        silence = self._client_timeouts.silence
        if now - self._since > self._client_timeouts.nothing:
            return f"almost nothing was received in {now - self._since:.0f} seconds"
        if self._silent > silence and not self._bytes:
            return f"nothing was received in {self._silent:.0f} seconds, nor a word on why"
        if self._silent > silence:
            return f"almost nothing was received in {self._silent:.0f} seconds"
        if has_others and self._owed > silence:
            return f"parts wait for their turn for {self._owed:.0f} seconds, and others are there"
        return ""
