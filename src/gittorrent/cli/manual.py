"""Where the manual page is, and whether ``man`` finds it.

A wheel brings the page along, below the prefix that it is installed in. Man looks beside the
directories of PATH, so it finds the page where the program is found by its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PAGE = Path("man1", "gittorrent.1")
_BESIDE_BIN = Path("share", "man")


def how_to_read(program: Path, environ: Mapping[str, str]) -> str:
    """Return what to type for the manual; empty if the page is not installed.

    Args:
        program: the file that runs, such as ``PREFIX/bin/gittorrent``.
        environ: variables that man goes by.
    """
    page = program.resolve().parent.parent / _BESIDE_BIN / _PAGE
    if any((folder / _PAGE).is_file() for folder in _searched(environ)):
        return "man gittorrent, or git help torrent"
    return f"man -l {page}" if page.is_file() else ""


def _searched(environ: Mapping[str, str]) -> list[Path]:
    """Return where man looks; an empty part of MANPATH stands for what is beside PATH."""
    named = environ.get("MANPATH", "").split(":")
    folders = [Path(part) for part in named if part]
    if "" in named:
        beside = (Path(part) for part in environ.get("PATH", "").split(":") if part)
        folders += [folder.parent / _BESIDE_BIN for folder in beside]
    return folders
