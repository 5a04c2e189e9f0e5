"""Who may ask us for data: a few interested peers at a time.

Pure. Places go to interested peers that gave most lately; one place goes round among the others,
so that newcomers get something to give. Source: docs/protocol/gtp01.md, Choking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.gtp.limits import UPLOAD_SLOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROTATE_SECONDS = 10.0
"""How often places are given anew."""


class Candidate(Struct, frozen=True):
    """A connected peer: its key, whether it is interested, and bytes it gave since last time."""

    peer: int
    interested: bool
    gave: int


def unchoked(
    candidates: Sequence[Candidate], turn: int, slots: int = UPLOAD_SLOTS
) -> frozenset[int]:
    """Return who may ask until the next turn.

    Args:
        candidates: everybody connected.
        turn: a number that goes up by one each time.
        slots: places to give.
    """
    interested = [c for c in candidates if c.interested]
    if len(interested) <= slots:
        return frozenset(c.peer for c in interested)
    ranked = sorted(interested, key=lambda c: (-c.gave, c.peer))
    chosen, others = ranked[: slots - 1], ranked[slots - 1 :]
    lucky = sorted(others, key=lambda c: c.peer)[turn % len(others)]
    return frozenset(c.peer for c in [*chosen, lucky])
