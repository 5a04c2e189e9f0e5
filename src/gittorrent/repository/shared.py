"""``core.sharedRepository``: what this program keeps in a repository is as open as git's own files.

The setting decides the mode of this program's own directory; what is made below it follows from
that (`gittorrent.durable`). Git is asked for the setting with nobody's configuration but the
repository's own, as where this program lets it write objects.

Source: git-config(1), core.sharedRepository.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from gittorrent.durable import make_directory, share_like_directory
from gittorrent.git.repository import read_config

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.repository.layout import Layout

_GROUP, _EVERYBODY = 0o660, 0o664

_WORDS = {
    "umask": 0,
    "false": 0,
    "no": 0,
    "off": 0,
    "": 0,
    "group": _GROUP,
    "true": _GROUP,
    "yes": _GROUP,
    "on": _GROUP,
    "all": _EVERYBODY,
    "world": _EVERYBODY,
    "everybody": _EVERYBODY,
}
"""What the words add to the umask's bits of files."""

_NUMBERS = {0: 0, 1: _GROUP, 2: _EVERYBODY}
"""The same for numbers of long ago."""


def shared_directory_mode(setting: str, mode: int) -> int:
    """Return the mode that git gives to a directory of a repository.

    Args:
        setting: value of ``core.sharedRepository``.
        mode: that the umask left it.
    """
    added = _WORDS.get(setting.lower())
    if added is None:
        try:
            number = int(setting, 8)
        except ValueError:
            return mode  # git stops at it; what is to be said of it git says
        added = _NUMBERS.get(number)
        if added is None:
            return stat.S_ISGID | _enterable(number & 0o666)
    if not added:
        return mode
    return stat.S_ISGID | mode | _enterable(added)


def follow_shared_repository(layout: Layout) -> None:
    """Make this program's directory as open as the repository is to be, and what is in it.

    What another user made is left to that user, and nothing is done where the mode is right.
    """
    setting = read_config(layout.git_dir, isolated=True).get("core.sharedrepository")
    if setting is None:
        return
    make_directory(layout.own)
    found = layout.own.stat()
    wanted = shared_directory_mode(setting, stat.S_IMODE(found.st_mode))
    if wanted == stat.S_IMODE(found.st_mode) or found.st_uid != os.geteuid():
        return
    layout.own.chmod(wanted)
    _share_below(layout.own)


def _share_below(directory: Path) -> None:
    with os.scandir(directory) as present:
        entries = list(present)
    for entry in entries:
        if entry.is_symlink() or entry.stat().st_uid != os.geteuid():
            continue
        path = directory / entry.name
        share_like_directory(path)
        if entry.is_dir():
            _share_below(path)


def _enterable(bits: int) -> int:
    """Add the right to enter to everybody who may read."""
    return bits | (bits & 0o444) >> 2
