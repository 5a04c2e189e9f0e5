"""Statements of freshness: a keeper says that a checkpoint was its newest at some time.

Pure. A log proves what is in it, not that there is nothing newer; a mirror that withholds news can
show old statements only (docs/protocol/trust.md, "Freshness"). Nobody reads the text: it is
made anew from what was sent, whose signature then holds or does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import TrustError

if TYPE_CHECKING:
    from gittorrent.ids import PushId, RepositoryId
    from gittorrent.trust.policy import Policy

FRESH_WITHIN = 86_400
"""Seconds after which a statement is old where the policy does not say: a keeper may be off at
night."""

MAX_AHEAD = 600
"""Seconds that a statement may be ahead of the reader's clock, which may be slow."""


class FreshnessError(TrustError):
    """A statement of freshness does not hold."""


class Fresh(Struct, frozen=True):
    """What a keeper says.

    Args:
        repository: its id.
        checkpoint: the newest one.
        time: when that was so, in seconds.
    """

    repository: RepositoryId
    checkpoint: PushId
    time: int

    def text(self) -> bytes:
        """Return what is signed."""
        return (
            f"gittorrent fresh 1\nrepository {self.repository}\ncheckpoint {self.checkpoint}\n"
            f"time {self.time}\n"
        ).encode("ascii")

    def is_old(self, policy: Policy, now: int) -> bool:
        """Tell whether it says nothing of the present any more, or not yet.

        Args:
            policy: the one in force.
            now: the reader's time in seconds.
        """
        within = policy.fresh_within or FRESH_WITHIN
        return not -MAX_AHEAD <= now - self.time <= within
