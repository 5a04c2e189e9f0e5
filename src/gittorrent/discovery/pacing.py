"""When which repository is announced: in turn, evenly, and never faster than the DHT can bear.

Pure: time comes in. Tracks for each repository when it is due next. Rules: each is announced again
before the nodes that store it forget it, as long as the rate allows; beyond that all take turns, so
that none is left out; newcomers come first.
Source: docs/protocol/mirrorsync.md, Discovery.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from gittorrent.ids import RepositoryId

if TYPE_CHECKING:
    from collections.abc import Iterable

RENEW_SECONDS = 25 * 60.0
"""Time between two announcements of a repository: nodes keep one for 30 minutes or more."""

RATE = 4.0
"""Announcements a second at most. One costs about 25 packets of some 100 bytes, so this is 10 KB/s:
6,000 repositories are renewed in time, and 10,000 take turns of 42 minutes."""


class Pacing:
    """The order of a node's announcements.

    Args:
        renew_seconds: between two of one repository.
        rate: announcements a second, of all together.
    """

    def __init__(self, renew_seconds: float = RENEW_SECONDS, rate: float = RATE) -> None:
        self._renew_seconds = renew_seconds
        self._gap = 1 / rate
        self._due: list[tuple[float, RepositoryId]] = []
        self._present: set[RepositoryId] = set()
        self._queued: set[RepositoryId] = set()
        self._free_at = 0.0

    def __len__(self) -> int:
        return len(self._present)

    def serve(self, repositories: Iterable[RepositoryId], now: float) -> None:
        """Take over what is served now; newcomers are due at once, others keep their turn."""
        self._present = set(repositories)
        for newcomer in sorted(self._present - self._queued):
            heapq.heappush(self._due, (now, newcomer))
            self._queued.add(newcomer)

    def again(self, now: float) -> None:
        """Have all announced anew: what was announced before holds no more."""
        self._due = [(now, repository) for repository in sorted(self._queued)]

    def take(self, now: float) -> RepositoryId | None:
        """Return the repository to announce now, None if none is due or it is too early."""
        if now < self._free_at:
            return None
        while self._due and self._due[0][0] <= now:
            _, repository = heapq.heappop(self._due)
            if repository not in self._present:
                self._queued.discard(repository)
                continue
            heapq.heappush(self._due, (now + self._renew_seconds, repository))
            self._free_at = now + self._gap
            return repository
        return None

    def wait(self, now: float) -> float:
        """Return the seconds until `take` may have something, if nothing new is served."""
        due = self._due[0][0] if self._due else now + self._renew_seconds
        return max(0.0, due - now, self._free_at - now)
