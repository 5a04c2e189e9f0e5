"""Looks whether what an object directory has is what its ids say, in a repository git may refuse.

Nothing of the repository but its objects is looked at: see `gittorrent.git.scratch`. Whether they
keep to fsck's rules, and whether any is missing, is another question.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from gittorrent.git import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gittorrent.ids import ObjectFormat

_DERIVED = ("pack/multi-pack-index*", "pack/*.bitmap", "info/commit-graph", "info/commit-graphs")

PACKS_AT_ONCE = 64
"""Packs named in one command, whose length the system bounds."""


def first_fault(objects: Path, object_format: ObjectFormat) -> str:
    """Return what is wrong with an object or a pack; empty where nothing is.

    Args:
        objects: object directory; what it borrows from others is not looked at.
        object_format: of the objects.
    """
    return next(_faults(objects, object_format), "")


def _faults(objects: Path, object_format: ObjectFormat) -> Iterator[str]:
    with scratch.borrowing(objects, object_format) as git:
        indexes = sorted((objects.resolve() / "pack").glob("*.idx"))
        for at in range(0, len(indexes), PACKS_AT_ONCE):
            done = git.attempt("verify-pack", *map(str, indexes[at : at + PACKS_AT_ONCE]))
            if done.returncode:
                yield _first_line(done.stderr) or "a pack is corrupt"
        done = git.attempt("fsck", "--no-full", "--no-dangling", "--no-progress")
        if done.returncode:
            yield _first_line(done.stderr) or "a loose object is corrupt"


def drop_derived(objects: Path) -> None:
    """Remove what git derived from indexes and commits, and makes anew when it wants it.

    Args:
        objects: object directory in which an index was false.
    """
    for pattern in _DERIVED:
        for path in objects.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _first_line(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").splitlines()
    found = next((line for line in lines if line.startswith(("error: ", "fatal: "))), "")
    return found.partition(": ")[2]
