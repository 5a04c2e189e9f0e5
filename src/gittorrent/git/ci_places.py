"""Leads git's clones of some servers to the node of this machine, and takes that away again.

All of it is done by ``git config`` in one file that the user chose: the system's, the user's, or
one by its name. Rules: what is written is known by its form or noted beside it, so that `undo`
takes away that and nothing else, however often it is called; what somebody else has led elsewhere
already is left as it is, with an error. Source: git-config(1), url.<base>.insteadOf.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import LocalError, UsageError
from gittorrent.git.ci_settings import ALLOW, ALLOW_IS_OURS, SOCKET
from gittorrent.git.runner import executable
from gittorrent.wire.ci_urls import PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = f"gittorrent::{PREFIX}"
"""Begins what git turns URLs into."""

_INSTEAD = re.compile(r"url\.(?P<base>.*)\.insteadof", re.DOTALL | re.IGNORECASE)


class Place(Struct, frozen=True):
    """A file of git's configuration.

    Args:
        words: how ``git config`` is told of it.
    """

    words: tuple[str, ...]

    def entries(self) -> list[tuple[str, str]]:
        """Return all that it says, without files that it includes; nothing if it is not there."""
        status, out, said = _git([*self.words, "--no-includes", "--null", "--list"])
        if status and "No such file" not in said and "unable to read" not in said:
            raise _failed(said)
        found = [entry.partition("\n") for entry in out.split("\0") if entry]
        return [(name, value) for name, _, value in found]

    def add(self, name: str, value: str) -> None:
        """Say something more."""
        status, _, said = _git([*self.words, "--add", name, value])
        if status:
            raise _failed(said)

    def remove(self, name: str, value: str) -> None:
        """Take away what it says with this value."""
        words = [*self.words, "--fixed-value", "--unset-all", name, value]
        status, _, said = _git(words)
        if status:
            raise _failed(said)


class Setup(Struct, frozen=True):
    """What a place leads to the node.

    Args:
        prefixes: beginnings of URLs, as git compares them.
        socket: of the node; empty for the usual one.
    """

    prefixes: tuple[str, ...] = ()
    socket: str = ""


def place_of(scope: str, file: Path | None) -> Place:
    """Return the place that ``--system``, ``--global`` or a file's name means."""
    if file is not None:
        return Place(("--file", str(file.absolute())))
    return Place((f"--{scope}",))


def read_setup(place: Place) -> Setup:
    """Return what a place leads to the node."""
    found, socket = [], ""
    for name, value in place.entries():
        if _is_own(name, value):
            found.append(value)
        elif name == SOCKET.lower():
            socket = value
    return Setup(tuple(found), socket)


def set_up(place: Place, prefixes: Sequence[str], socket: str) -> Setup:
    """Lead URLs with the prefixes to the node; what is led there already stays.

    Args:
        place: where to write it.
        prefixes: beginnings of URLs.
        socket: of the node; empty for the usual one.

    Returns:
        All that the place leads there now.

    Raises:
        UsageError: git leads some of them elsewhere.
        LocalError: the file cannot be written.
    """
    before = read_setup(place)
    for prefix in prefixes:
        _require_free(prefix)
    for prefix in prefixes:
        if prefix not in before.prefixes:
            place.add(f"url.{BASE}{prefix}.insteadOf", prefix)
    if socket != before.socket and before.socket:
        place.remove(SOCKET, before.socket)
    if socket and socket != before.socket:
        place.add(SOCKET, socket)
    if not any(name == ALLOW for name, _ in place.entries()):
        # Noted first: what is ours without a note would stay for ever.
        place.add(ALLOW_IS_OURS, "true")
        place.add(ALLOW, "always")
    return read_setup(place)


def undo(place: Place) -> Setup:
    """Take away what `set_up` wrote; returns what that was.

    Raises:
        LocalError: the file cannot be written.
    """
    before, entries = read_setup(place), place.entries()
    for name, value in dict.fromkeys(entries):
        if _is_own(name, value) or name == SOCKET.lower():
            place.remove(name, value)
    if (ALLOW_IS_OURS.lower(), "true") in entries:
        if (ALLOW, "always") in entries:
            place.remove(ALLOW, "always")
        place.remove(ALLOW_IS_OURS, "true")
    return before


def _is_own(name: str, value: str) -> bool:
    found = _INSTEAD.fullmatch(name)
    return found is not None and found["base"] == BASE + value


def _require_free(prefix: str) -> None:
    """Make sure that git, from wherever it reads, leads a prefix nowhere else.

    Raises:
        UsageError: it does.
    """
    words = ["--null", "--get-regexp", r"^url\..*\.insteadof$"]
    _, out, _ = _git(words)
    for entry in out.split("\0"):
        name, _, value = entry.partition("\n")
        found = _INSTEAD.fullmatch(name)
        if found is not None and value == prefix and found["base"] != BASE + prefix:
            raise UsageError(
                f"git leads {prefix} to {found['base']} already (url.<base>.insteadOf)",
                hint="take that setting away first, if it is not needed any more",
            )


def _failed(said: str) -> LocalError:
    return LocalError(f"git config failed: {said.strip() or 'it does not say why'}")


def _git(words: Sequence[str]) -> tuple[int, str, str]:
    done = subprocess.run(
        [executable(), "config", *words],
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
        cwd="/",
    )
    out = done.stdout.decode("utf-8", "surrogateescape")
    return done.returncode, out, done.stderr.decode("utf-8", "backslashreplace")
