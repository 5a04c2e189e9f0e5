"""Which part next: the parts that may be asked for, and how many peers hold each.

For the scheduler. A part leaves the picker when it is asked for and comes back when that request
comes to nothing; when it is verified it never comes back.

Tracks ``free``, the parts that may be asked for now, and the number of incomplete peers that hold
each part (complete peers hold all alike and change no order). Sets of parts are whole numbers
laid out like a bitmap (part 0 is the highest bit), so a decision is a handful of bitwise
operations: less than a millisecond with a million parts, microseconds with a thousand. Counts
are kept bit-sliced: ``planes[k]`` has the bit of each part whose count has bit k set.

Rules: a free part is never verified; counts never go below zero (``check_invariant``).
Must not know: time, rates, or which peer is which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.swarm.settings import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.swarm.bitmap import PartSet


class Picker:
    """Keeps the askable parts and picks runs of them.

    Arguments: ``have``, the parts already here; ``random``, entropy: ``random(n)`` gives a whole
    number of 0 to n - 1.
    """

    def __init__(self, have: PartSet, random: Callable[[int], int]) -> None:
        self.parts = have.parts
        self._width = (self.parts + 7) // 8 * 8
        self._random = random
        self._planes: list[int] = []
        self.everything = ((1 << self.parts) - 1) << (self._width - self.parts)
        self._have = have.to_mask()
        self.free = self.everything & ~self._have

    def bit(self, part: int) -> int:
        """Return the mask of one part."""
        return 1 << (self._width - 1 - part)

    def run_mask(self, first: int, last: int) -> int:
        """Return the mask of the parts ``first`` to ``last``, both included."""
        return ((1 << (last - first + 1)) - 1) << (self._width - 1 - last)

    def take(self, first: int, last: int) -> None:
        """The run was asked for; offer it no more."""
        self.free &= ~self.run_mask(first, last)

    def give_back(self, part: int) -> None:
        """A request came to nothing: offer the part again unless it is verified."""
        self.free |= self.bit(part) & ~self._have

    def done(self, part: int) -> None:
        """The part is verified; it is never offered again."""
        self._have |= self.bit(part)
        self.free &= ~self._have

    def add_holder(self, held: int) -> None:
        """Count one more incomplete peer as holder of the parts in the mask ``held``."""
        carry = held
        for k, plane in enumerate(self._planes):
            if not carry:
                return
            self._planes[k] = plane ^ carry
            carry &= plane
        if carry:
            self._planes.append(carry)

    def remove_holder(self, held: int) -> None:
        """Count one incomplete peer less; ``held`` must have been added before."""
        borrow = held
        for k, plane in enumerate(self._planes):
            if not borrow:
                break
            self._planes[k] = plane ^ borrow
            borrow &= ~plane
        while self._planes and not self._planes[-1]:
            self._planes.pop()

    def holders(self, part: int) -> int:
        """Return how many incomplete peers hold a part."""
        bit = self.bit(part)
        return sum(1 << k for k, plane in enumerate(self._planes) if plane & bit)

    def candidates(self, claim: int | None) -> int:
        """Return the mask of the free parts that a peer claims (None: it claims everything)."""
        return self.free if claim is None else self.free & claim

    def rarest(self, candidates: int) -> int:
        """Return those of the candidates that the fewest incomplete peers hold."""
        for plane in reversed(self._planes):
            candidates = candidates & ~plane or candidates
        return candidates

    def first_from(self, candidates: int, start: int) -> int | None:
        """Return the lowest candidate >= ``start``, or None."""
        if start >= self.parts:
            return None
        below = candidates & ((1 << (self._width - start)) - 1) if start > 0 else candidates
        return self._width - below.bit_length() if below else None

    def last_of(self, candidates: int) -> int:
        """Return the highest candidate; there must be one."""
        return self._width - (candidates & -candidates).bit_length()

    def count_run(self, candidates: int, first: int, limit: int) -> int:
        """Return how many candidates follow one another from ``first`` on, at most ``limit``."""
        limit = min(limit, self.parts - first)
        gaps = ~(candidates >> (self._width - first - limit)) & ((1 << limit) - 1)
        return limit - gaps.bit_length()

    def pick(self, candidates: int, mode: Mode, start: int, limit: int) -> tuple[int, int] | None:
        """Return the run to ask for next, (first, last), or None if there is no candidate.

        ``start``: with IN_ORDER the lowest part preferred; if no candidate is that high, the
        highest one is taken. ``limit``: most parts in the run (at least 1). With RAREST the run
        is of equally rare parts and begins at a random one of them.
        """
        if not candidates:
            return None
        if mode is Mode.RAREST:
            candidates = self.rarest(candidates)
            first = self.first_from(candidates, self._random(self.parts))
            if first is None:
                first = self.first_from(candidates, 0)
        else:
            first = self.first_from(candidates, start)
        if first is None:
            first = self.last_of(candidates)
        return first, first + self.count_run(candidates, first, limit) - 1

    def check_invariant(self) -> None:
        """Raise AssertionError if the state contradicts itself; for tests."""
        assert not self.free & self._have, "a verified part is offered"
        assert not (self.free | self._have) & ~self.everything, "a part beyond the last"
        assert all(plane & ~self.everything == 0 for plane in self._planes), "a count beyond"
        assert not self._planes or self._planes[-1], "an empty plane on top"
