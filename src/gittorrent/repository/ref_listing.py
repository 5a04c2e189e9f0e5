"""A repository's refs as git lists them, taken apart only where they are looked at.

Pure. Of a hundred thousand refs one or two change between two publications. What changed is found
by comparing two listings from both ends, and only the lines between are taken apart.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from gittorrent.git.refs import parse_refs
from gittorrent.ids import Oid, RefName, Refs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gittorrent.push.certificate import Line

_LOOKED_UP = 50
"""Names that are searched for one by one; to take everything apart costs about as much."""


class RefListing:
    """Refs by name.

    Args:
        text: a line each: value, space, name; sorted by name.
    """

    def __init__(self, text: bytes) -> None:
        self.text = text

    @cached_property
    def refs(self) -> Refs:
        """All of them."""
        return parse_refs(self.text)

    def value(self, ref: RefName) -> Oid | None:
        """Return what a ref is; None if there is none."""
        end = self.text.find(b" " + ref + b"\n")
        if end < 0:
            return None
        return Oid(self.text[self.text.rfind(b"\n", 0, end) + 1 : end].decode("ascii"))

    def only(self, names: Iterable[RefName]) -> Refs:
        """Return those of ``names`` that there are, with their values."""
        wanted = set(names)
        if len(wanted) > _LOOKED_UP:
            return {ref: oid for ref, oid in self.refs.items() if ref in wanted}
        found = ((ref, self.value(ref)) for ref in sorted(wanted))
        return {ref: oid for ref, oid in found if oid is not None}

    def changed_from(self, before: RefListing) -> set[RefName]:
        """Return the names of refs that are not what they are in another listing."""
        old, new = before.text, self.text
        size = min(len(old), len(new))
        start = _common(size, lambda count: old[:count] == new[:count])
        start = old.rfind(b"\n", 0, start) + 1
        end = _common(
            size - start, lambda count: old[len(old) - count :] == new[len(new) - count :]
        )
        # What ends in the same way may begin within a line, which is another one then.
        end = len(old) - old.find(b"\n", len(old) - end) - 1 if end else 0
        lines = [set(text[start : len(text) - end].splitlines()) for text in (old, new)]
        return {RefName(line.partition(b" ")[2]) for line in lines[0] ^ lines[1]}

    def after(self, changes: Iterable[Line]) -> RefListing:
        """Return the listing once refs were changed."""
        changed = list(changes)
        if not changed:
            return self
        refs = dict(self.refs)
        for line in changed:
            refs.pop(line.ref, None)
            if line.new is not None:
                refs[line.ref] = line.new
        return RefListing(
            b"".join(refs[ref].encode("ascii") + b" " + ref + b"\n" for ref in sorted(refs))
        )


def _common(size: int, agrees: Callable[[int], bool]) -> int:
    """Return the largest count up to ``size`` for which ``agrees`` says yes."""
    low, high = 0, size
    while low < high:
        middle = (low + high + 1) // 2
        if agrees(middle):
            low = middle
        else:
            high = middle - 1
    return low
