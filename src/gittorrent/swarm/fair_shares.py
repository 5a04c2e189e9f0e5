"""Places in a table, shared out fairly among those whose word filled it.

Pure. Each source gets one place in turn until there are none left (max-min fairness), so a source
that says a thousand things takes no place from one that says a few.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

T = TypeVar("T")


def fair_shares(items: Iterable[T], source: Callable[[T], Hashable], places: int) -> list[T]:
    """Return the items that get a place, in their order.

    Args:
        items: those that want one, each source's best first.
        source: whose word an item is.
        places: that there are.
    """
    given = list(items)
    turns: dict[Hashable, int] = defaultdict(int)
    ranked = []
    for position, item in enumerate(given):
        told_by = source(item)
        ranked.append((turns[told_by], position))
        turns[told_by] += 1
    return [given[position] for position in sorted(p for _, p in sorted(ranked)[:places])]


def in_turn(items: Iterable[T], source: Callable[[T], Hashable]) -> list[T]:
    """Return all items, one of each source in turn, each source's in its order."""
    turns: dict[Hashable, int] = defaultdict(int)
    ranked = []
    for position, item in enumerate(items):
        told_by = source(item)
        ranked.append((turns[told_by], position, item))
        turns[told_by] += 1
    return [item for _, _, item in sorted(ranked, key=lambda each: each[:2])]
