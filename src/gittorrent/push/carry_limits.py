"""Within which limits an operator follows what others want carried. Pure; tracks nothing."""

from __future__ import annotations

from msgspec import Struct

MAX_REPOSITORIES = 100
"""Repositories that one collection brings here, unless the operator says otherwise."""

MAX_TOTAL = 100 << 30
"""Bytes of them in all, unless the operator says otherwise: a share of an ordinary disk."""

MAX_EACH = 20 << 30
"""Bytes of each, unless the operator says otherwise: the largest public repositories."""


class CollectionLimits(Struct, frozen=True):
    """Within which limits a collection is followed.

    Args:
        repositories: how many are carried because of it.
        total: bytes of them in all, on disk and to be downloaded.
        each: bytes of each.
        refs: patterns; a repository that publishes other refs is left out; empty for any.
        owners: keys; a repository counts only if one of them is a root of its policy, and signed
            it; empty for any.
    """

    repositories: int = MAX_REPOSITORIES
    total: int = MAX_TOTAL
    each: int = MAX_EACH
    refs: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
