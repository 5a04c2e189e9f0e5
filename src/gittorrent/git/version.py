"""Which git this is, and whether it is new enough."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from gittorrent.errors import LocalError
from gittorrent.git import environment
from gittorrent.git.runner import executable

OLDEST_GIT = (2, 39)
"""Older ones lack cruft packs as used here and are not tested."""

_VERSION = re.compile(r"git version (\d+(?:\.\d+)+)")


class GitTooOldError(LocalError):
    """The git found is older than what this program is tested with."""


@functools.cache
def _version_of(path: str) -> tuple[int, ...]:
    out = subprocess.run(
        [path, "--version"], stdout=subprocess.PIPE, env=environment.isolated(), check=True
    ).stdout.decode(errors="replace")
    match = _VERSION.match(out)
    if match is None:
        raise LocalError(f"{path} --version says {out.strip()!r}, which is not a git version")
    return tuple(int(number) for number in match.group(1).split("."))


def git_version() -> tuple[int, ...]:
    """Return the version of the git in use, such as (2, 47, 3).

    Raises:
        GitTooOldError: it is older than `OLDEST_GIT`.
    """
    path = executable()
    version = _version_of(path)
    if version < OLDEST_GIT:
        shown, oldest = (".".join(map(str, v)) for v in (version, OLDEST_GIT))
        raise GitTooOldError(f"{path} is git {shown}; at least {oldest} is needed")
    return version


def found_versions() -> dict[str, str]:
    """Return every git on the PATH with what it says of its version, the one in use first."""
    places = [executable()]
    for folder in os.get_exec_path():
        found = shutil.which("git", path=folder)
        if found is not None and not any(Path(found).samefile(each) for each in places):
            places.append(found)
    return {place: _said_version(place) for place in places}


def _said_version(path: str) -> str:
    try:
        return ".".join(map(str, _version_of(path)))
    except (LocalError, OSError, subprocess.CalledProcessError) as error:
        return f"no git that runs: {error}"
