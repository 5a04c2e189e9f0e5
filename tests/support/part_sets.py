"""Sets of parts as tests write them down."""

from __future__ import annotations

from collections.abc import Iterable

from gittorrent.swarm.bitmap import PartSet


def part_set(flags: Iterable[object]) -> PartSet:
    """Return the set of the positions at which ``flags`` is true; one flag for each part."""
    listed = [bool(flag) for flag in flags]
    made = PartSet(len(listed))
    for part, flag in enumerate(listed):
        if flag:
            made.add(part)
    return made
