"""A map from names to values that is never changed, only succeeded, and knows its own digest.

Pure. A change copies the nodes on one path and shares all others, so that a map with 100,000
names is kept for each of thousands of checkpoints at the cost of what they change. The digest
depends on what is in the map and not on how it came there; it is computed once for each node,
when it is first asked for (docs/protocol/push.md, "Listing").

Rules: a subtree of at most `LEAF` entries is a leaf, any other a node of 16 subtrees, chosen by
the hexadecimal digits of the SHA-256 of the name.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAF = 16
"""Entries of a leaf at most: about what 16 digests take, so leaves and nodes cost alike."""

EMPTY_DIGEST = bytes(32)
"""The digest of no entry."""

V = TypeVar("V")


class _Leaf(Generic[V]):
    __slots__ = ("count", "digest", "entries")

    def __init__(self, entries: dict[bytes, tuple[str, V]]) -> None:
        self.entries = entries
        self.count = len(entries)
        self.digest: bytes | None = None


class _Node(Generic[V]):
    __slots__ = ("children", "count", "digest")

    def __init__(self, children: tuple[_Leaf[V] | _Node[V], ...], count: int) -> None:
        self.children = children
        self.count = count
        self.digest: bytes | None = None


class TreeMap(Generic[V]):
    """An immutable map from bytes to values.

    ``bytes(value)`` is what the digest is computed over; values that are never part of a digest
    need not support it.
    """

    __slots__ = ("_root",)

    def __init__(self, root: _Leaf[V] | _Node[V] | None = None) -> None:
        self._root: _Leaf[V] | _Node[V] = _Leaf({}) if root is None else root

    def __len__(self) -> int:
        return self._root.count

    def __iter__(self) -> Iterator[tuple[bytes, V]]:
        """Yield (name, value) in no order that means anything."""
        stack = [self._root]
        while stack:
            at = stack.pop()
            if isinstance(at, _Node):
                stack += at.children
            else:
                for name, (_, value) in at.entries.items():
                    yield name, value

    def get(self, name: bytes) -> V | None:
        """Return the value of ``name``; None if there is none."""
        at, depth, place = self._root, 0, ""
        if isinstance(at, _Node):
            place = _place(name)
        while isinstance(at, _Node):
            at = at.children[int(place[depth], 16)]
            depth += 1
        found = at.entries.get(name)
        return None if found is None else found[1]

    def set(self, name: bytes, value: V | None) -> TreeMap[V]:
        """Return the map in which ``name`` has this value; with None it has none."""
        root = _changed(self._root, _place(name), 0, name, value)
        return self if root is self._root else TreeMap(root)

    def nodes(self) -> frozenset[int]:
        """Return what tells the nodes of this map apart while it lives: how much two share."""
        found, stack = [], [self._root]
        while stack:
            at = stack.pop()
            found.append(id(at))
            if isinstance(at, _Node):
                stack += at.children
        return frozenset(found)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the tree; ``EMPTY_DIGEST`` if it is empty."""
        return _digest(self._root)


def _place(name: bytes) -> str:
    return hashlib.sha256(name).hexdigest()


def _changed(
    at: _Leaf[V] | _Node[V], place: str, depth: int, name: bytes, value: V | None
) -> _Leaf[V] | _Node[V]:
    if isinstance(at, _Node):
        digit = int(place[depth], 16)
        before = at.children[digit]
        child = _changed(before, place, depth + 1, name, value)
        if child is before:
            return at
        children = list(at.children)
        children[digit] = child
        node = _Node(tuple(children), at.count - before.count + child.count)
        return _Leaf(dict(_entries(node))) if node.count <= LEAF else node
    if value is None and name not in at.entries:
        return at
    entries = dict(at.entries)
    if value is None:
        del entries[name]
    else:
        entries[name] = (place, value)
    return _built(entries, depth)


def _built(entries: dict[bytes, tuple[str, V]], depth: int) -> _Leaf[V] | _Node[V]:
    if len(entries) <= LEAF:
        return _Leaf(entries)
    parts: list[dict[bytes, tuple[str, V]]] = [{} for _ in range(16)]
    for name, (place, value) in entries.items():
        parts[int(place[depth], 16)][name] = (place, value)
    return _Node(tuple(_built(part, depth + 1) for part in parts), len(entries))


def _entries(at: _Leaf[V] | _Node[V]) -> Iterator[tuple[bytes, tuple[str, V]]]:
    if isinstance(at, _Leaf):
        yield from at.entries.items()
    else:
        for child in at.children:
            yield from _entries(child)


def _digest(at: _Leaf[V] | _Node[V]) -> bytes:
    if at.digest is None:
        if not at.count:
            at.digest = EMPTY_DIGEST
        elif isinstance(at, _Node):
            made = hashlib.sha256(b"\1")
            for child in at.children:
                made.update(_digest(child))
            at.digest = made.digest()
        else:
            texts = (bytes(value) for _, (_, value) in sorted(at.entries.items()))  # type: ignore[call-overload]
            at.digest = hashlib.sha256(b"\0" + b"".join(texts)).digest()
    return at.digest


def tree_of(entries: dict[bytes, V]) -> TreeMap[V]:
    """Return the map with all of these, made at once."""
    return TreeMap(_built({name: (_place(name), value) for name, value in entries.items()}, 0))
