"""Beginnings of parts that a line broke in, until who gave them goes on.

On a line that breaks again and again before a whole part has come, each attempt would begin anew,
for ever. So what has come of a part is kept while its mirror is dialled again, and only the rest is
asked for.

Tracks beginnings by the place that they came from, its URL and address, and by part. Rules: the
bytes of a part are from one place, so that when its digest is wrong there is no doubt whose fault
that is; nothing here is verified; what is kept is bounded, the oldest goes first. Pure.
Source: docs/protocol/mirrorsync.md, Swarm behaviour.
"""

from __future__ import annotations

from msgspec import Struct

MAX_OF_ONE = 8
"""Beginnings kept of one place: it has four answers under way at most, over HTTP."""

MAX_BYTES = 64 << 20
"""Bytes kept in all: four parts of the largest size there may be."""


class Place(Struct, frozen=True):
    """Where bytes came from: a mirror's URL, and the address at which it answered.

    Of a web server, behind whose URL there may be several, the address is empty.
    """

    url: str
    address: str


class Beginnings:
    """Beginnings of the parts of one pack; see the module."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Place, int], bytes] = {}  # the oldest first

    def keep(self, place: Place, part: int, beginning: bytes) -> None:
        """Keep what came of a part from a place, if that is more than is kept."""
        before = self._kept.pop((place, part), b"")
        self._kept[place, part] = max(beginning, before, key=len)
        same = [key for key in self._kept if key[0] == place]
        for key in same[:-MAX_OF_ONE]:
            del self._kept[key]
        while sum(map(len, self._kept.values())) > MAX_BYTES:
            del self._kept[next(iter(self._kept))]

    def take(self, place: Place, part: int) -> bytes:
        """Hand over what is kept of a part that a place is asked for; empty if there is nothing."""
        return self._kept.pop((place, part), b"")

    def parts_of(self, place: Place) -> tuple[int, ...]:
        """Return the parts of which something is kept that came from a place."""
        return tuple(part for known, part in self._kept if known == place)

    def forget(self, part: int) -> None:
        """Let go of what is kept of a part: it is here."""
        for key in [known for known in self._kept if known[1] == part]:
            del self._kept[key]
