"""How much memory a git may ask for that indexes what a stranger sent.

Each of its threads holds an object, its base and a delta at once, and a delta of a few bytes may
stand for gigabytes. Memory is what git asks for, RLIMIT_DATA, which counts private writable memory
since Linux 4.7; packs that it maps to read are not in it.
Source: setrlimit(2).
"""

from __future__ import annotations

import contextlib
import resource

from gittorrent.git import family

INDEXING_MEMORY = 1 << 30
"""Bytes that one git may ask for to index, before what came is counted."""

INDEXING_MEMORY_PER_BYTE = 8
"""Bytes more for each byte that came: what git notes of an object takes some 100, and an object of
a real history seldom less than 30 in its pack."""


def indexing_memory(size: int) -> int:
    """Return how many bytes of memory may be asked for to index ``size`` bytes of packs."""
    return INDEXING_MEMORY + size * INDEXING_MEMORY_PER_BYTE


def limit_memory(pid: int, limit: int) -> None:
    """Bound what a process, and each that it starts, may ask for; a lower hard limit stays.

    A process that has ended needs none.
    """
    _limit(pid, limit)
    # What it starts from then on inherits this; git may have started its helper before.
    for member in family.members(pid)[1:]:
        _limit(member, limit)


def _limit(pid: int, limit: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.prlimit(pid, resource.RLIMIT_DATA, (soft, hard))
