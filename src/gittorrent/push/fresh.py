"""Statements of freshness: a keeper says that a checkpoint was its newest at some time.

Pure. A log proves what is in it, not that there is nothing newer; a mirror that withholds news can
show old statements only (docs/protocol/trust.md, "Freshness").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.ids import PushId, RepositoryId

if TYPE_CHECKING:
    from gittorrent.ids import ObjectFormat
    from gittorrent.trust.policy import Policy

FRESH_WITHIN = 86_400
"""Seconds after which a statement is old where the policy does not say: a keeper may be off at
night."""

MAX_AHEAD = 600
"""Seconds that a statement may be ahead of the reader's clock, which may be slow."""

_TEXT = re.compile(
    rb"gittorrent fresh 1\nrepository ([a-z2-7]{52})\ncheckpoint ([0-9a-f]{40,64})\n"
    rb"time (0|[1-9]\d{0,11})\n\Z"
)


class FreshnessError(TrustError):
    """A statement of freshness breaks its grammar."""


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


def parse_fresh(text: bytes, object_format: ObjectFormat) -> Fresh:
    """Read a statement (without signature); raises `FreshnessError`."""
    found = _TEXT.match(text)
    if found is None or not object_format.is_oid(found[2].decode("ascii")):
        raise FreshnessError(f"not a statement of freshness: it begins {text[:80]!r}")
    checkpoint = PushId(found[2].decode("ascii"))
    return Fresh(RepositoryId(found[1].decode("ascii")), checkpoint, int(found[3]))
