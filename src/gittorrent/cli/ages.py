"""Lengths of time as people say them."""

from __future__ import annotations

from gittorrent.cli.output import count

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))


def how_long(seconds: int) -> str:
    """Return a length of time in its largest unit, such as ``3 hours``; negative ones are none."""
    for size, unit in _UNITS:
        if seconds >= size:
            return count(seconds // size, unit)
    return count(max(0, seconds), "second")
