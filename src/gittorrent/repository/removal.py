"""Deletes a repository of the node so that no process ever finds it half deleted.

It is given another name first, in the same folder, and deleted under that. What a crash leaves
there goes when another one is deleted or mirrored, a day later.
"""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING

from gittorrent.durable import sweep, sync_directory
from gittorrent.errors import LocalError

if TYPE_CHECKING:
    from pathlib import Path

_PREFIX = ".removed-"


def set_aside(path: Path) -> Path:
    """Take a repository from its place; returns where it waits for `delete`.

    Raises:
        LocalError: it cannot be moved.
    """
    aside = path.with_name(f"{_PREFIX}{secrets.token_hex(8)}")
    try:
        path.rename(aside)
        sync_directory(path.parent)
    except OSError as error:
        raise LocalError(f"cannot move {path} out of its place: {error.strerror}") from error
    return aside


def delete(aside: Path) -> None:
    """Delete what was set aside.

    Raises:
        LocalError: it cannot be deleted, or not all of it.
    """
    try:
        shutil.rmtree(aside)
    except OSError as error:
        raise LocalError(
            f"cannot delete {error.filename}: {error.strerror}",
            hint=f"nothing needs it any more: delete {aside} yourself",
        ) from error


def sweep_removed(folder: Path) -> None:
    """Delete what those left in a folder who were killed while they deleted."""
    sweep(folder, f"{_PREFIX}*")
