"""A map from names to values that is never changed, only succeeded, and knows its own digest.

Pure. A change copies the nodes on one path and shares all others, so that a map with 100,000
names is kept for each of thousands of checkpoints at the cost of what they change. The digest
depends on what is in the map and not on how it came there; it is computed once for each node,
when it is first asked for (docs/protocol/trust.md, "Listing").

Rules: a subtree of at most `LEAF` entries is a leaf, any other a node of 16 subtrees, chosen by
the hexadecimal digits of the SHA-256 of the name.

A map can be kept as bytes (`dump`) and be had again (`load`) without being taken apart: a subtree
is as soon as somebody looks into it, and what nobody looked into is kept again as it is.
"""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEAF = 16
"""Entries of a leaf at most: about what 16 digests take, so leaves and nodes cost alike."""

EMPTY_DIGEST = bytes(32)
"""The digest of no entry."""

_HEADER = Struct("!cI32s")
_SIZES = Struct("!16I")
_LENGTHS = Struct("!HI")

V = TypeVar("V")


class _Leaf(Generic[V]):
    __slots__ = ("count", "digest", "entries")

    def __init__(self, entries: dict[bytes, tuple[str, V]]) -> None:
        self.entries = entries
        self.count = len(entries)
        self.digest: bytes | None = None


class _Node(Generic[V]):
    __slots__ = ("children", "count", "digest")

    def __init__(self, children: tuple[_Tree[V], ...], count: int) -> None:
        self.children = children
        self.count = count
        self.digest: bytes | None = None


class _Kept(Generic[V]):
    """A subtree as bytes: one letter, its count and digest, then entries or subtrees."""

    __slots__ = ("_decode", "_opened", "count", "data", "digest")

    def __init__(self, data: memoryview, decode: Callable[[bytes, bytes], V]) -> None:
        _, self.count, digest = _HEADER.unpack_from(data)
        self.digest: bytes | None = digest if digest != EMPTY_DIGEST else None
        self.data = data
        self._decode = decode
        self._opened: _Leaf[V] | _Node[V] | None = None

    def open(self) -> _Leaf[V] | _Node[V]:
        if self._opened is None:
            made: _Leaf[V] | _Node[V]
            if bytes(self.data[:1]) == b"N":
                parts = _kept_parts(self.data)
                made = _Node(tuple(_Kept(part, self._decode) for part in parts), self.count)
            else:
                entries = {}
                for name, value in _kept_entries(self.data):
                    entries[name] = (_place(name), self._decode(name, value))
                made = _Leaf(entries)
            made.digest = self.digest
            self._opened = made
        return self._opened


_Tree = _Leaf[V] | _Node[V] | _Kept[V]


class TreeMap(Generic[V]):
    """An immutable map from bytes to values.

    ``bytes(value)`` is what the digest is computed over; values that are never part of a digest
    need not support it.
    """

    __slots__ = ("_root",)

    def __init__(self, root: _Tree[V] | None = None) -> None:
        self._root: _Tree[V] = _Leaf({}) if root is None else root

    def __len__(self) -> int:
        return self._root.count

    def __iter__(self) -> Iterator[tuple[bytes, V]]:
        """Yield (name, value) in no order that means anything."""
        for name, (_, value) in _entries(self._root):
            yield name, value

    def as_kept(self) -> Iterator[tuple[bytes, V | bytes]]:
        """Yield (name, value) as `__iter__` does, the value as bytes where it was not read yet."""
        stack = [self._root]
        while stack:
            at = stack.pop()
            if isinstance(at, _Node):
                stack += at.children
            elif isinstance(at, _Kept):
                yield from _all_kept(at.data)
            else:
                for name, (_, value) in at.entries.items():
                    yield name, value

    def get(self, name: bytes) -> V | None:
        """Return the value of ``name``; None if there is none."""
        at, depth, place = _open(self._root), 0, ""
        if isinstance(at, _Node):
            place = _place(name)
        while isinstance(at, _Node):
            at = _open(at.children[int(place[depth], 16)])
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
            at = _open(stack.pop())
            found.append(id(at))
            if isinstance(at, _Node):
                stack += at.children
        return frozenset(found)

    def differing(self, other: TreeMap[V]) -> Iterator[bytes]:
        """Yield the names that have another value in ``other``, or none in one of both.

        Passes over what both share, so a map and what succeeded it cost what was changed.
        """
        stack: list[tuple[_Tree[V], _Tree[V]]] = [(self._root, other._root)]
        while stack:
            one, two = stack.pop()
            if one is two or (one.digest is not None and one.digest == two.digest):
                continue
            one, two = _open(one), _open(two)
            if isinstance(one, _Node) and isinstance(two, _Node):
                stack += zip(one.children, two.children, strict=True)
            elif one is not two:
                first, second = dict(_entries(one)), dict(_entries(two))
                for name in {**first, **second}:
                    if first.get(name) != second.get(name):
                        yield name

    @property
    def digest(self) -> bytes:
        """SHA-256 of the tree; ``EMPTY_DIGEST`` if it is empty."""
        return _digest(self._root)

    def dump(self, encode: Callable[[V], bytes]) -> bytes:
        """Return the map as bytes.

        Args:
            encode: writes a value as what the ``decode`` of `load` reads.
        """
        return b"".join(_dumped(self._root, encode))

    @classmethod
    def load(cls, data: bytes | memoryview, decode: Callable[[bytes, bytes], V]) -> TreeMap[V]:
        """Return a map that was kept.

        Args:
            data: what `dump` returned, unharmed.
            decode: makes a value from its name and its bytes.
        """
        return cls(_Kept(memoryview(data), decode))


def _place(name: bytes) -> str:
    return hashlib.sha256(name).hexdigest()


def _open(at: _Tree[V]) -> _Leaf[V] | _Node[V]:
    return at.open() if isinstance(at, _Kept) else at


def _changed(tree: _Tree[V], place: str, depth: int, name: bytes, value: V | None) -> _Tree[V]:
    at = _open(tree)
    if isinstance(at, _Node):
        digit = int(place[depth], 16)
        before = at.children[digit]
        child = _changed(before, place, depth + 1, name, value)
        if child is before:
            return tree
        children = list(at.children)
        children[digit] = child
        node = _Node(tuple(children), at.count - before.count + child.count)
        return _Leaf(dict(_entries(node))) if node.count <= LEAF else node
    if value is None and name not in at.entries:
        return tree
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


def _entries(tree: _Tree[V]) -> Iterator[tuple[bytes, tuple[str, V]]]:
    stack = [tree]
    while stack:
        at = _open(stack.pop())
        if isinstance(at, _Leaf):
            yield from at.entries.items()
        else:
            stack += at.children


def _digest(tree: _Tree[V]) -> bytes:
    if tree.digest is not None:
        return tree.digest
    at = _open(tree)
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


def _dumped(at: _Tree[V], encode: Callable[[V], bytes]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a subtree, its header first."""
    if isinstance(at, _Kept):
        yield at.data
    elif isinstance(at, _Node):
        parts = [b"".join(_dumped(child, encode)) for child in at.children]
        yield _HEADER.pack(b"N", at.count, at.digest or EMPTY_DIGEST)
        yield _SIZES.pack(*map(len, parts))
        yield from parts
    else:
        yield _HEADER.pack(b"L", at.count, at.digest or EMPTY_DIGEST)
        for name, (_, value) in at.entries.items():
            data = encode(value)
            yield _LENGTHS.pack(len(name), len(data)) + name + data


def _kept_parts(data: memoryview) -> list[memoryview]:
    """Return the sixteen subtrees of a node that was kept."""
    parts, at = [], _HEADER.size + _SIZES.size
    for size in _SIZES.unpack_from(data, _HEADER.size):
        parts.append(data[at : at + size])
        at += size
    return parts


def _kept_entries(data: memoryview) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, value) of each entry of a leaf that was kept."""
    return _leaf_entries(bytes(data), 0, len(data))


def _all_kept(data: memoryview) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, value) of each entry of a subtree that was kept."""
    whole = bytes(data)
    stack = [(0, len(whole))]
    while stack:
        start, end = stack.pop()
        if whole.startswith(b"L", start):
            yield from _leaf_entries(whole, start, end)
            continue
        at = start + _HEADER.size + _SIZES.size
        for size in _SIZES.unpack_from(whole, start + _HEADER.size):
            stack.append((at, at + size))
            at += size


def _leaf_entries(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    at = start + _HEADER.size
    while at < end:
        name, value = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        middle = at + name
        yield data[at:middle], data[middle : middle + value]
        at = middle + value
