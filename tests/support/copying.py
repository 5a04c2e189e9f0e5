"""Copies of repositories in which something may still be at work."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_ATTEMPTS = 50


def copy_tree(
    source: Path,
    target: Path,
    *,
    symlinks: bool = False,
    ignore: Callable[[Any, list[str]], Iterable[str]] | None = None,
) -> None:
    """Copy a directory as `shutil.copytree` does, anew if some of it went meanwhile.

    Publishing ends before git has put the objects in order that it left; files and directories go.
    """
    for _ in range(_ATTEMPTS):
        try:
            shutil.copytree(source, target, symlinks=symlinks, ignore=ignore)
            return
        except shutil.Error as error:
            if not all(f"[Errno {errno.ENOENT}]" in str(why) for _, _, why in error.args[0]):
                raise
            shutil.rmtree(target)
    raise AssertionError(f"{source} does not come to rest")
