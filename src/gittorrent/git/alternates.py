"""Which object directories a repository borrows from (gitrepository-layout(5), alternates)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gittorrent.git.runner import Git

MAX_DEPTH = 6
"""How far git follows from one to the next; beyond it complains of too deep a nesting."""

MAX_LENDERS = 1000
"""Object directories looked at; git itself opens each."""

_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_SPECIAL = re.compile(r'^["#]|\n')
_SHORT = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def alternates_file(objects: Path) -> Path:
    """Return where it is written what an object directory borrows from."""
    return objects / "info" / "alternates"


def borrow(objects: Path, others: Iterable[Path]) -> None:
    """Write down what an object directory borrows from, whatever bytes the paths are."""
    lines = "".join(f"{_line(str(path.resolve()))}\n" for path in others)
    alternates_file(objects).write_bytes(os.fsencode(lines))


def lend_instead(objects: Path, folder: Path, instead: Path) -> None:
    """Borrow from what lies in one folder, where something of the same name lies in another.

    Args:
        objects: an object directory.
        folder: that its lenders lie in, at any depth.
        instead: where a copy of it is.
    """
    former = list(_named_in(objects))
    # Lenders are named by what their paths lead to.
    folder = folder.resolve()
    there = [
        instead / lender.relative_to(folder) if lender.is_relative_to(folder) else lender
        for lender in former
    ]
    lent = [new if new.is_dir() else old for old, new in zip(former, there, strict=True)]
    if lent != former:
        borrow(objects, lent)


def _line(path: str) -> str:
    return quoted(path).replace("\n", "\\n") if _SPECIAL.search(path) else path


def borrowing(git: Git, directories: Iterable[Path]) -> Git:
    """Return a repository that looks into other object directories, too, without a change on disk.

    Args:
        git: the repository.
        directories: few enough for one variable of the environment.
    """
    paths = ":".join(quoted(str(directory)) for directory in directories)
    return replace(git, variables={**git.variables, "GIT_ALTERNATE_OBJECT_DIRECTORIES": paths})


def quoted(text: str) -> str:
    """Return a text as git takes it in lists of paths and in settings (git(1), git-config(1))."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def lenders(objects: Path) -> Iterator[Path]:
    """Yield the object directories that one borrows from, by itself or through others, once each.

    Args:
        objects: an object directory.
    """
    seen = {objects.resolve()}
    level = [objects.resolve()]
    for _ in range(MAX_DEPTH):
        below = [lender for one in level for lender in _named_in(one) if lender.is_dir()]
        level = [lender for lender in dict.fromkeys(below) if lender not in seen]
        seen.update(level)
        yield from level
        if len(seen) > MAX_LENDERS:
            return


def _named_in(objects: Path) -> Iterator[Path]:
    try:
        text = alternates_file(objects).read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # git cannot read it either
    for line in text.split(b"\n"):
        if line and not line.startswith(b"#"):
            yield (objects / os.fsdecode(_unquoted(line))).resolve()


def _unquoted(line: bytes) -> bytes:
    """Return the path that a line stands for; git quotes those that it has to as in C."""
    if len(line) < 2 or not (line.startswith(b'"') and line.endswith(b'"')):
        return line
    return _ESCAPE.sub(_meant, line[1:-1])


def _meant(found: re.Match[bytes]) -> bytes:
    said = found[1]
    if len(said) == 3:
        return bytes([int(said, 8) & 0xFF])
    return _SHORT.get(said, said)
