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
from typing import TYPE_CHECKING, NamedTuple

from gittorrent.durable import file_state

if TYPE_CHECKING:
    from collections.abc import Iterator
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
        self._found: OrderedDict[_Key, tuple[list[FileState | None], Settings]] = OrderedDict()
        self._is_momentary = False

    @contextlib.contextmanager
    def for_a_moment(self) -> Iterator[None]:
        """Let what the user's and the system's files say count while the block runs, too."""
        self._is_momentary = True
        try:
            yield
        finally:
            self._is_momentary = False
            with self._lock:
                for key in [each for each in self._found if not each.isolated]:
                    del self._found[key]

    def of(self, git: Git, states: list[FileState | None]) -> Settings | None:
        """Return what is known; None if nothing is, or not any more.

        Args:
            git: the repository, and whose settings count there.
            states: of its files, as `states_of` returns them.
        """
        if not self._counts(git):
            return None
        with self._lock:
            found = self._found.get(_key(git))
            if found is None or found[0] != states:
                return None
            self._found.move_to_end(_key(git))
            return list(found[1])

    def _counts(self, git: Git) -> bool:
        """Tell whether what other files than the repository's say is known as well, or left out."""
        return git.isolated or self._is_momentary

    def note(self, git: Git, states: list[FileState | None], settings: Settings) -> None:
        """Remember a reading.

        Args:
            git: as for `of`.
            states: of the files before they were read.
            settings: what git said.
        """
        if not self._counts(git):
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


class _Key(NamedTuple):
    """Which repository is read, and with which settings besides its own."""

    directory: Path
    isolated: bool
    config: tuple[str, ...]
    variables: frozenset[tuple[str, str]]


def _key(git: Git) -> _Key:
    return _Key(git.directory, git.isolated, git.config, frozenset(git.variables.items()))


KNOWN = KnownSettings()
"""Those of this process."""
