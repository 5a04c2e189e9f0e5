"""Where git takes no bare repository that it comes upon, those that the user named still work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support import gitcmd, nodes
from support.programs import GITS, Person, serve, somebody


@pytest.fixture(params=GITS)
def careful(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    """Somebody whose git wants bare repositories to be named."""
    person = somebody(tmp_path / "person", request.param)
    person.git("config", "--global", "safe.bareRepository", "explicit").ok()
    return person


def test_every_command_takes_the_repository_it_is_given(
    careful: Person, people: Callable[[str], Person], tmp_path: Path
) -> None:
    bare = nodes.make_repository(tmp_path / "project.git")
    careful.gittorrent("publish", bare, "--new-key", "--wait").ok()
    careful.gittorrent("publish", "--wait", cwd=bare).ok()
    with serve(careful, bare) as daemon:
        other = people("other")
        other.git("config", "--global", "safe.bareRepository", "explicit").ok()
        other.gittorrent("mirror", daemon.url(), "--once").ok()
        # Git does not want to be in this directory; it is named all the same.
        mirror = other.node / "repositories" / "project.git"
        for command in ("verify", "log", "tidy"):
            other.gittorrent(command, mirror).ok()
        other.git("clone", "--mirror", daemon.url(), "c.git").ok()
        other.gittorrent("seed", other.root / "c.git", daemon.url(), "--for", "0").ok()
    assert gitcmd.refs(mirror)[b"refs/heads/main"] == gitcmd.refs(bare)[b"refs/heads/main"]
