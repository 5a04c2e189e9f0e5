"""What repositories' settings are known to be, so that git is not asked for them again and again.

A command asks for settings of one repository in a dozen places, and a node at every look at it;
each time git starts. What a repository's own file says is known until that file is another one,
whoever wrote it. What other files say (the user's, the system's, included ones) may change without
a trace here, so it counts only where a command that is over soon says so (`for_a_moment`). Must not
know what settings mean.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from gittorrent.durable import file_state

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from pathlib import Path

    from gittorrent.durable import FileState
    from gittorrent.git.runner import Git

    Settings = list[tuple[str, str]]

MOST = 64
"""Readings that are kept."""

_FILES = ("config", "config.worktree")


class KnownSettings:
    """Readings of settings, with the state that the repositories' files had before."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, tuple[list[FileState | None], Settings]] = OrderedDict()
        self._is_momentary = False

    @contextlib.contextmanager
    def for_a_moment(self) -> Iterator[None]:
        """Let what the user's and the system's files say count while the block runs, too."""
        self._is_momentary = True
        try:
            yield
        finally:
            self._is_momentary = False

    def of(self, git: Git, states: list[FileState | None]) -> Settings | None:
        """Return what is known; None if nothing is, or not any more.

        Args:
            git: the repository, and whose settings count there.
            states: of its files, as `states_of` returns them.
        """
        if not git.isolated and not self._is_momentary:
            return None
        with self._lock:
            found = self._found.get(_key(git))
            if found is None or found[0] != states:
                return None
            self._found.move_to_end(_key(git))
            return list(found[1])

    def note(self, git: Git, states: list[FileState | None], settings: Settings) -> None:
        """Remember a reading.

        Args:
            git: as for `of`.
            states: of the files before they were read.
            settings: what git said.
        """
        if not git.isolated and not self._is_momentary:
            return
        if git.isolated and any(key.startswith("include") for key, _ in settings):
            return  # of files that are not looked at
        with self._lock:
            self._found[_key(git)] = (states, list(settings))
            while len(self._found) > self._most:
                self._found.popitem(last=False)


def states_of(git: Git, common: Path) -> list[FileState | None]:
    """Return what tells whether a repository's own files were replaced.

    Args:
        git: the repository.
        common: the directory that its work trees share.
    """
    places = dict.fromkeys((git.directory, common))
    return [file_state(place / name) for place in places for name in _FILES]


def _key(git: Git) -> Hashable:
    variables = frozenset(git.variables.items())
    return git.directory, git.isolated, git.config, variables


KNOWN = KnownSettings()
"""Those of this process."""
