"""Loose objects of one object directory, read without starting git (gitrepository-layout(5)).

For what was unpacked a moment ago: a commit that was pushed, and its parents. What is not found
here may be packed, or borrowed; git knows. Ids are not computed again: git wrote what lies here.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from typing import TYPE_CHECKING

from gittorrent.ids import Oid

if TYPE_CHECKING:
    from pathlib import Path

MAX_CONTENT = 1 << 20
"""Bytes of an object that are read at most; commits are far smaller."""

_HEADER = 32
"""Bytes of an object's header at most."""

_READ = 4096
"""Bytes of a file that a header is read from."""

_PARENT = b"parent "


_NAME = re.compile("[0-9a-f]{38}(?:[0-9a-f]{24})?")
"""Name of an object's file in its folder; others there are unfinished."""


def names(objects: Path) -> list[Oid]:
    """Return the ids of all loose objects, in order.

    Args:
        objects: the object directory.
    """
    return sorted(
        Oid(f"{folder.name}{file.name}")
        for folder in objects.glob("[0-9a-f][0-9a-f]")
        for file in folder.iterdir()
        if _NAME.fullmatch(file.name)
    )


def object_kind(objects: Path, oid: Oid) -> str | None:
    """Return the kind of a loose object, such as ``commit``; None if it is not there.

    Args:
        objects: the object directory.
        oid: the object.
    """
    data = _inflated(objects, oid, _READ, _HEADER)
    return None if data is None else data.partition(b" ")[0].decode("ascii", "replace")


def commit_parents(objects: Path, oid: Oid) -> tuple[Oid, ...] | None:
    """Return the parents of a loose commit; None if none is there, or it is no commit."""
    data = _inflated(objects, oid, MAX_CONTENT, MAX_CONTENT)
    if data is None or not data.startswith(b"commit "):
        return None
    _, *lines = data.partition(b"\0")[2].split(b"\n")
    found = []
    for line in lines:
        if not line.startswith(_PARENT):
            break
        found.append(Oid(line.removeprefix(_PARENT).decode("ascii", "replace")))
    return tuple(found)


def descends(objects: Path, outer: Oid, inner: Oid, most: int) -> bool:
    """Tell whether loose commits lead down from ``outer`` to ``inner``; false does not mean no.

    Args:
        objects: the object directory.
        outer: where to begin.
        inner: the commit to find; need not be loose itself.
        most: commits to pass.
    """
    ahead, seen = deque([outer]), {outer}
    while ahead and len(seen) < most:
        for parent in commit_parents(objects, ahead.popleft()) or ():
            if parent == inner:
                return True
            if parent not in seen:
                seen.add(parent)
                ahead.append(parent)
    return False


def _inflated(objects: Path, oid: Oid, size: int, most: int) -> bytes | None:
    """Return the first bytes of a loose object with its header, from the first of its file."""
    try:
        with (objects / oid[:2] / oid[2:]).open("rb") as file:
            return zlib.decompressobj().decompress(file.read(size), most)
    except (FileNotFoundError, zlib.error):
        return None
