"""Leads git's clones of some servers to the node of this machine, and takes that away again.

All of it is done by ``git config`` in one file that the user chose: the system's, the user's, or
one by its name. Rules for git alone are in a file beside that, which is included where a remote has
such a URL: git evaluates this condition, and programs that read its configuration with code of
their own do not. Rules: what is written is known by its form or noted beside it, so that `undo`
takes away that and nothing else, however often it is called; what somebody else has led elsewhere
already is left as it is, with an error. Sources: git-config(1), url.<base>.insteadOf, "Conditional
includes".
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import LocalError, UsageError
from gittorrent.git.ci_settings import ALLOW, ALLOW_IS_OURS, SOCKET
from gittorrent.git.runner import executable
from gittorrent.git.url_patterns import escaped, included_where
from gittorrent.wire.ci_urls import PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = f"gittorrent::{PREFIX}"
"""Begins what git turns URLs into."""

_BESIDE = ".gittorrent-ci"
"""Ends the name of the file with rules for git alone."""

_INCLUDE = re.compile(r"includeif\.hasconfig:remote\.\*\.url:.*\.path", re.DOTALL | re.IGNORECASE)
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

    def path(self, name: str) -> Path:
        """Return where the file is, which says something by that name."""
        status, out, said = _git([*self.words, "--show-origin", "--null", "--get", name])
        origin, _, _ = out.partition("\0")
        if status or not origin.startswith("file:"):
            raise _failed(said)
        return Path(origin.removeprefix("file:"))


class Setup(Struct, frozen=True):
    """What a place leads to the node.

    Args:
        prefixes: beginnings of URLs, as git compares them.
        socket: of the node; empty for the usual one.
        git_only: those of the prefixes that nobody but git is led by.
    """

    prefixes: tuple[str, ...] = ()
    socket: str = ""
    git_only: tuple[str, ...] = ()


def place_of(scope: str, file: Path | None) -> Place:
    """Return the place that ``--system``, ``--global`` or a file's name means."""
    if file is not None:
        return _file(file.absolute())
    return Place((f"--{scope}",))


def read_setup(place: Place) -> Setup:
    """Return what a place leads to the node."""
    entries = place.entries()
    sockets = [value for name, value in entries if name == SOCKET.lower()]
    led = _rules(entries)
    beside = [each for file in _included(entries) for each in _rules(_file(file).entries())]
    git_only = tuple(each for each in dict.fromkeys(beside) if each not in led)
    return Setup((*led, *git_only), sockets[-1] if sockets else "", git_only)


def set_up(place: Place, prefixes: Sequence[str], socket: str, *, git_only: bool = False) -> Setup:
    """Lead URLs with the prefixes to the node; what is led there in that way already stays.

    Args:
        place: where to write it.
        prefixes: beginnings of URLs.
        socket: of the node; empty for the usual one.
        git_only: whether only git is led there, and only where a remote has such a URL.

    Returns:
        All that the place leads there now.

    Raises:
        UsageError: git leads some of them elsewhere.
        LocalError: the file cannot be written.
    """
    before = read_setup(place)
    for prefix in prefixes:
        _require_free(prefix)
    if socket != before.socket and before.socket:
        place.remove(SOCKET, before.socket)
    if socket and socket != before.socket:
        place.add(SOCKET, socket)
    if not any(name == ALLOW for name, _ in place.entries()):
        # Noted first: what is ours without a note would stay for ever.
        place.add(ALLOW_IS_OURS, "true")
        place.add(ALLOW, "always")
    if git_only:
        _lead_git_only(place, prefixes)
    else:
        _lead_all(place, prefixes)
    return read_setup(place)


def _lead_all(place: Place, prefixes: Sequence[str]) -> None:
    there = _rules(place.entries())
    for prefix in prefixes:
        if prefix not in there:
            place.add(*_rule(prefix))
    _leave_git_only(place, prefixes)


def _lead_git_only(place: Place, prefixes: Sequence[str]) -> None:
    main, entries = place.path(ALLOW), place.entries()
    file = _beside(main)
    beside = _file(file)
    there = _rules(beside.entries())
    for prefix in prefixes:
        if prefix not in there:
            beside.add(*_rule(prefix))
    try:
        # What is included and cannot be read ends the git of whoever reads the first file.
        file.chmod(stat.S_IMODE(main.stat().st_mode))
    except OSError as error:
        raise LocalError(f"cannot change {file}: {error.strerror}") from error
    for prefix in prefixes:
        for name in _conditions(prefix):
            if (_as_listed(name), str(file)) not in entries:
                place.add(name, str(file))
        if prefix in _rules(entries):
            place.remove(*_rule(prefix))


def _leave_git_only(place: Place, prefixes: Sequence[str] | None = None) -> None:
    """Take away what leads git alone, for some prefixes or for all."""
    entries = place.entries()
    for file, name in _included(entries).items():
        # In a copy of a configuration the file is that of the first one, and stays.
        is_beside = file == _beside(place.path(name))
        beside = _file(file)
        rules = _rules(beside.entries())
        gone = rules if prefixes is None else [each for each in rules if each in prefixes]
        names = {_as_listed(each) for prefix in gone for each in _conditions(prefix)}
        for entry in dict.fromkeys(entries):
            if entry[1] == str(file) and (prefixes is None or entry[0] in names):
                place.remove(*entry)
        if is_beside:
            for prefix in gone:
                beside.remove(*_rule(prefix))
            if not beside.entries():
                file.unlink(missing_ok=True)


def undo(place: Place) -> Setup:
    """Take away what `set_up` wrote; returns what that was.

    Raises:
        LocalError: the file cannot be written.
    """
    before, entries = read_setup(place), place.entries()
    _leave_git_only(place)
    for name, value in dict.fromkeys(entries):
        if _is_own(name, value) or name == SOCKET.lower():
            place.remove(name, value)
    if (ALLOW_IS_OURS.lower(), "true") in entries:
        if (ALLOW, "always") in entries:
            place.remove(ALLOW, "always")
        place.remove(ALLOW_IS_OURS, "true")
    return before


def _beside(main: Path) -> Path:
    return main.with_name(f"{main.name}{_BESIDE}")


def _file(path: Path) -> Place:
    return Place(("--file", str(path)))


def _rule(prefix: str) -> tuple[str, str]:
    return f"url.{BASE}{prefix}.insteadOf", prefix


def _conditions(prefix: str) -> list[str]:
    """Return the names of settings that include a file where a remote's URL begins so.

    An asterisk matches no slash; two match any where they have their place between slashes alone.
    """
    begun = escaped(prefix)
    patterns = [f"{begun}**"] if prefix.endswith("/") else [f"{begun}*", f"{begun}*/**"]
    return [included_where(each) for each in patterns]


def _as_listed(name: str) -> str:
    """Return the name of a setting as git lists it."""
    section, _, rest = name.partition(".")
    middle, _, last = rest.rpartition(".")
    return f"{section.lower()}.{middle}.{last.lower()}"


def _included(entries: Sequence[tuple[str, str]]) -> dict[Path, str]:
    """Return the files with rules for git alone, each with a setting that includes it."""
    return {
        Path(value): name
        for name, value in entries
        if _INCLUDE.fullmatch(name) and value.startswith("/") and value.endswith(_BESIDE)
    }


def _rules(entries: Sequence[tuple[str, str]]) -> list[str]:
    """Return the prefixes that are led to the node."""
    return [value for name, value in entries if _is_own(name, value)]


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
