"""Objects made by us, hashed and stored by git.

Git's SHA-1 detects collision attacks and Python's does not, so ids that others rely on come from
git. Many objects are hashed by one process; very many come to it in a pack, since a file for each
takes longer than hashing them.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

from gittorrent.durable import temporary_directory
from gittorrent.ids import Oid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat

_NUMBERS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
"""What kinds of objects are in a pack (gitformat-pack(5))."""


def hash_objects(
    git: Git, kind: str, contents: Sequence[bytes], *, write: bool, any_form: bool = False
) -> list[Oid]:
    """Return the ids of objects.

    Args:
        git: the repository whose object format counts.
        kind: ``blob``, ``tree``, ``commit`` or ``tag``.
        contents: one for each object.
        write: whether to store them in the repository.
        any_form: whether contents may break the form that git makes them in, as old objects and
            those of other programs do; otherwise one that breaks it fails all.
    """
    if not contents:
        return []
    options = ["-w"] if write else []
    options += ["--literally"] if any_form else []
    with temporary_directory("hash") as folder:
        paths = []
        for number, content in enumerate(contents):
            path = folder / str(number)
            path.write_bytes(content)
            paths.append(_quoted(path))
        out = git.run(
            "hash-object",
            "-t",
            kind,
            *options,
            "--no-filters",
            "--stdin-paths",
            stdin=b"".join(paths),
        )
    return [Oid(line) for line in out.decode("ascii").split()]


def _quoted(path: Path) -> bytes:
    """Return a path as git reads one from a line, whatever is in it."""
    name = os.fsencode(path)
    for plain, escaped in ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n")):
        name = name.replace(plain, escaped)
    return b'"' + name + b'"\n'


def hash_packed(
    git: Git, object_format: ObjectFormat, kind: str, contents: Sequence[bytes]
) -> list[Oid]:
    """Return the ids of very many objects, which are not stored.

    Args:
        git: any repository of that format.
        object_format: of the objects.
        kind: ``blob``, ``tree``, ``commit`` or ``tag``.
        contents: one for each object; their form is not looked at.
    """
    if not contents:
        return []
    different = list(dict.fromkeys(contents))
    with temporary_directory("hash") as folder:
        pack = folder / "objects.pack"
        digest = object_format.new_hash()
        offsets, size = [], 0
        with pack.open("wb") as file:
            for piece in _pack(kind, different):
                offsets.append(size)
                size += file.write(piece)
                digest.update(piece)
            file.write(digest.digest())
        name = f"--object-format={object_format.name}"
        git.run("index-pack", name, str(pack))
        listed = git.run("show-index", name, stdin=pack.with_suffix(".idx").read_bytes())
    found = {}
    for line in listed.decode("ascii").splitlines():
        offset, oid, *_ = line.split(" ")
        found[int(offset)] = Oid(oid)
    ids = {content: found[at] for content, at in zip(different, offsets[1:], strict=True)}
    return [ids[content] for content in contents]


def _pack(kind: str, contents: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the header of a pack, and then each of its objects (gitformat-pack(5))."""
    yield struct.pack(">4sII", b"PACK", 2, len(contents))
    for content in contents:
        left = len(content) >> 4
        header = bytearray([_NUMBERS[kind] << 4 | len(content) & 15])
        while left:
            header[-1] |= 0x80
            header.append(left & 0x7F)
            left >>= 7
        yield bytes(header) + zlib.compress(content, 1)


def tree_content(files: Sequence[tuple[str, Oid]]) -> bytes:
    """Return the content of a tree of plain files, given sorted by name."""
    return b"".join(
        b"100644 " + name.encode("ascii") + b"\0" + bytes.fromhex(oid) for name, oid in files
    )
