"""Looks whether what an object directory has is what its ids say, in a repository git may refuse.

Nothing of the repository but its objects is looked at: see `gittorrent.git.scratch`. Whether they
keep to fsck's rules, and whether any is missing, is another question.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from gittorrent.git import scratch
from gittorrent.git.packs_aside import pack_folders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gittorrent.ids import ObjectFormat

_DERIVED_OF_PACKS = ("multi-pack-index*", "*.bitmap")
_DERIVED = ("commit-graph", "commit-graphs")

PACKS_AT_ONCE = 64
"""Packs named in one command, whose length the system bounds."""


def first_fault(objects: Path, object_format: ObjectFormat) -> str:
    """Return what is wrong with an object or a pack; empty where nothing is.

    Args:
        objects: object directory, also with packs aside; what it borrows is not looked at.
        object_format: of the objects.
    """
    return next(_faults(objects, object_format), "")


def _faults(objects: Path, object_format: ObjectFormat) -> Iterator[str]:
    with scratch.borrowing(objects, object_format) as git:
        folders = pack_folders(objects.resolve())
        indexes = [index for folder in folders for index in sorted(folder.glob("*.idx"))]
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
    found = [objects / "info" / name for name in _DERIVED]
    for folder in pack_folders(objects):
        found += [path for pattern in _DERIVED_OF_PACKS for path in folder.glob(pattern)]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _first_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").splitlines()
    said = [line for line in lines if line.startswith(("error: ", "fatal: "))]
    # Where packs are aside, git says so each time.
    found = next((line for line in said if "check .git/objects/info/alternates" not in line), "")
    return found.partition(": ")[2]
