"""How often clones of one commit asked for which branch lately: a bounded table that forgets.

Pure. The keeper makes tip reels for the branches most asked for. Whoever asks for a branch raises
its count, strangers too, so the table decides only which of the published branches are worth a
reel, and `gittorrent.repository.shape_maker` for how many. Counts halve in `HALF_LIFE_SECONDS`.
Source: docs/protocol/reels.md, "Reels of other shapes".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gittorrent.ids import RefName

if TYPE_CHECKING:
    from collections.abc import Mapping

HALF_LIFE_SECONDS = 24 * 3600.0
"""Time in which a count halves: what runs every day stays, what was a rush is gone in a week."""

MAX_REFS = 64
"""Branches in the table; the one asked for least goes for a new one."""

LEAST_ASKED = 16.0
"""Count from which a branch is worth a reel: making one costs as much as some ten clones by
upload-pack."""

_BRANCHES = b"refs/heads/"
_MOST = 1e9
_MAX_TEXT = 256 << 10


class RefDemand:
    """The counts of one repository.

    Args:
        counts: of branches, as they were at ``at``.
        at: seconds since 1970.
    """

    def __init__(self, counts: Mapping[RefName, float] | None = None, at: float = 0.0) -> None:
        self._counts = dict(counts or {})
        self._at = at

    @classmethod
    def parse(cls, text: bytes) -> RefDemand:
        """Read what `text` wrote; lines that it did not write are skipped."""
        lines = text[:_MAX_TEXT].split(b"\n")
        at = _number(lines[0])
        if at is None:
            return cls()
        counts: dict[RefName, float] = {}
        for line in lines[1:]:
            number, _, ref = line.partition(b" ")
            count = _number(number)
            if count is not None and ref.startswith(_BRANCHES) and len(counts) < MAX_REFS:
                counts[RefName(ref)] = min(count, _MOST)
        return cls(counts, at)

    @property
    def text(self) -> bytes:
        """The table as it is kept: its time, then a count and a branch in each line."""
        lines = [b"%.0f" % self._at]
        lines += [b"%.3f %s" % (count, ref) for ref, count in sorted(self._counts.items())]
        return b"\n".join(lines) + b"\n"

    def add(self, asked: Mapping[RefName, int], now: float) -> None:
        """Count how often branches were asked for.

        Args:
            asked: times by branch.
            now: seconds since 1970.
        """
        self._age(now)
        for ref, times in asked.items():
            self._counts[ref] = min(self._counts.get(ref, 0.0) + times, _MOST)
        ranked = sorted(self._counts.items(), key=lambda each: (-each[1], each[0]))
        self._counts = dict(ranked[:MAX_REFS])

    def most_asked(self, now: float) -> list[RefName]:
        """Return the branches that are worth a reel, the one asked for most first."""
        self._age(now)
        ranked = sorted(self._counts.items(), key=lambda each: (-each[1], each[0]))
        return [ref for ref, count in ranked if count >= LEAST_ASKED]

    def _age(self, now: float) -> None:
        """Let the counts come to what they are now; a clock that was set back changes nothing.

        Whole seconds count, as they are kept: else a count would shrink by being written.
        """
        now = float(math.floor(now))
        passed = max(0.0, now - self._at)
        factor = 0.5 ** (passed / HALF_LIFE_SECONDS)
        self._counts = {ref: count * factor for ref, count in self._counts.items()}
        self._at = now


def _number(text: bytes) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None
