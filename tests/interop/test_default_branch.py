"""The owner renames the default branch: clones, mirrors and git's own clients get one that exists.

Each way of asking is one of its own: the helper goes by the log, a mirror's repository by its log,
git's own clients by the view of what is published.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.programs import Person

TRUNK = "refs/heads/trunk"


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    git_dir = gitcmd.init(tmp_path / "project.git")
    nodes.add_commit(git_dir, "refs/heads/main", "first", b"first\n")
    gitcmd.git(git_dir, "branch", "other", "main")
    return nodes.publish(git_dir, owner_key, "project")


def rename(origin: Carried, key: Signer) -> None:
    gitcmd.git(origin.layout.git_dir, "branch", "-m", "main", "trunk")
    nodes.publish(origin.layout.git_dir, key, None)


def test_everybody_gets_the_branch_that_took_its_place(
    origin: Carried, owner_key: Signer, person: Person, tmp_path: Path
) -> None:
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent::{served.git}/project.git"
        person.gittorrent("mirror", url, "--once", "--quiet").ok()
        rename(origin, owner_key)
        for asked in (url, f"gittorrent::{served.http}/project.git", f"{served.git}/project.git"):
            out = person.git("ls-remote", "--symref", asked, "HEAD").ok().out
            assert f"ref: {TRUNK}\tHEAD" in out, asked
        person.git("clone", url, "clone").ok()
        assert (person.root / "clone" / "first").read_text() == "first\n"
        person.gittorrent("mirror", url, "--once", "--quiet").ok()
    mirror = person.node / "repositories" / "project.git"
    assert gitcmd.text(mirror, "symbolic-ref", "HEAD") == TRUNK
    carried = Carried(mirror, origin.object_format)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "second")) as served:
        for asked in (f"gittorrent::{served.git}/project.git", f"{served.git}/project.git"):
            out = person.git("ls-remote", "--symref", asked, "HEAD").ok().out
            assert f"ref: {TRUNK}\tHEAD" in out, asked
