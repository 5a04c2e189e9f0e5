"""Takes the packs of a refused repository away from whoever borrows its objects.

A repository that git made with ``--shared`` or ``--reference`` reads the object directory of
another one and nothing else of it, so that it goes on where that one is refused
(`gittorrent.git.refused`). Its packs are moved to a folder in which git does not look, and a line
in ``objects/info/alternates`` leads to nothing: each git that borrows says the name of that, which
tells why, and fails where it needs an object. Packs that a git has not finished are removed when
the others come back: it had begun to write before the repository was refused.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gittorrent.durable import make_directory, sync_directory, write_atomically
from gittorrent.git.alternates import alternates_file
from gittorrent.git.packs import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_ASIDE = "pack-not-verified"

_ORDER = (".keep", ".pack", ".rev")
"""What of a pack comes first; git finds packs by their indexes, which come last."""


def pack_folders(objects: Path) -> tuple[Path, Path]:
    """Return where packs may be: in git's place, and aside."""
    return objects / "pack", objects / _ASIDE


def set_aside(objects: Path, words: Path) -> None:
    """Take away all packs; those who borrow them are told a name.

    Args:
        objects: object directory.
        words: a path at which there is nothing, and whose name says why.
    """
    place, aside = pack_folders(objects)
    _tell(objects, [*_other_lines(objects, words), os.fsencode(words)])
    if not place.is_dir():
        return
    if aside.is_dir():
        # A git that has begun before made the place again, and may go on writing there.
        _move(sorted(place.iterdir(), key=_place_in_order, reverse=True), aside)
    else:
        place.rename(aside)
    sync_directory(objects)


def bring_back(objects: Path, words: Path) -> None:
    """Put the packs that were taken away in their place again.

    Args:
        objects: object directory.
        words: as for `set_aside`.
    """
    place, aside = pack_folders(objects)
    make_directory(place)
    for folder in (place, aside):
        for pattern in UNFINISHED:
            for unfinished in folder.glob(pattern):
                unfinished.unlink(missing_ok=True)
    if aside.is_dir():
        _move(sorted(aside.iterdir(), key=_place_in_order), place)
        aside.rmdir()
        sync_directory(place)
    _tell(objects, _other_lines(objects, words))


def _place_in_order(file: Path) -> tuple[int, str]:
    known = file.suffix in _ORDER
    return _ORDER.index(file.suffix) if known else len(_ORDER), file.name


def _move(files: Iterable[Path], folder: Path) -> None:
    for file in files:
        file.rename(folder / file.name)


def _other_lines(objects: Path, words: Path) -> list[bytes]:
    """Return what else is borrowed from; the repository may have been moved since."""
    file = alternates_file(objects)
    lines = file.read_bytes().split(b"\n") if file.is_file() else []
    return [line for line in lines if line and not line.endswith(os.fsencode(f"/{words.name}"))]


def _tell(objects: Path, lines: list[bytes]) -> None:
    file = alternates_file(objects)
    if lines:
        write_atomically(file, b"".join(line + b"\n" for line in lines))
    else:
        file.unlink(missing_ok=True)
