"""When a keeper's node makes a reel of what it has signed: when that pays, in a quiet moment.

Pure. Until there is a reel, newcomers take the last checkpoints by an ordinary fetch, which is
cheap for a few pushes and dear for many. A reel for each push would be work for each push, and a
manifest for everybody. So a reel is due after `MANY` checkpoints, or `LONGEST` after the first one;
then it waits for a moment without pushes, but no longer than `PATIENCE`.

Tracks how many checkpoints no reel covers yet, and since when. Times are seconds on any steady
clock. Must not know reels.
Source: docs/protocol/reels.md, "Reels of a keeper's node".
"""

from __future__ import annotations

from msgspec import Struct

MANY = 16
"""Checkpoints that make a reel due: fetching the pushes of fewer takes one request."""

LONGEST = 600.0
"""Seconds after which a reel is due, were it for one checkpoint: its push may be a large one."""

QUIET = 5.0
"""Seconds without a new checkpoint that count as a quiet moment."""

PATIENCE = 120.0
"""Seconds for which a reel that is due waits for a quiet moment."""

RETRY = 300.0
"""Seconds after which a reel is tried again that could not be made."""


class ReelTimes(Struct, frozen=True):
    """When reels are made; see the constants of these names. Other values are for tests."""

    many: int = MANY
    longest: float = LONGEST
    quiet: float = QUIET


class ReelTiming:
    """Decides when the reels of one repository are made.

    Args:
        times: that it goes by.
    """

    def __init__(self, times: ReelTimes = ReelTimes()) -> None:  # noqa: B008 (it is frozen)
        self._times = times
        self._uncovered = 0
        self._since = 0.0
        self._changed = 0.0
        self._due: float | None = None
        self._not_before = 0.0

    def saw(self, now: float, uncovered: int) -> None:
        """Take note of how many checkpoints no reel covers."""
        if uncovered == self._uncovered:
            return
        if not self._uncovered or uncovered < self._uncovered:
            self._since = now
            self._due = None
        self._uncovered = uncovered
        self._changed = now
        if not uncovered:
            self._due = None
        elif self._due is None and uncovered >= self._times.many:
            self._due = now

    def failed(self, now: float) -> None:
        """Take note that a reel that was due could not be made."""
        self._not_before = now + RETRY

    def deadline(self) -> float | None:
        """Return when a reel is to be made, as things stand; None for as long as none is."""
        if not self._uncovered:
            return None
        longest = self._since + self._times.longest
        due = longest if self._due is None else min(self._due, longest)
        quiet = min(self._changed + self._times.quiet, due + PATIENCE)
        return max(due, quiet, self._not_before)

    def is_due(self, now: float) -> bool:
        """Tell whether a reel is to be made now."""
        deadline = self.deadline()
        return deadline is not None and now >= deadline
