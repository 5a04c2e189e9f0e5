"""Somebody works in a work tree that is linked to a mirror: it stays, and the mirror follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import gitcmd, nodes
from support.programs import GITS, serve, somebody, wait_until


@pytest.mark.parametrize("git", GITS)
def test_a_work_tree_of_a_mirror(tmp_path: Path, git: str) -> None:
    owner, operator = somebody(tmp_path / "owner", git), somebody(tmp_path / "operator", git)
    origin = nodes.make_repository(owner.root / "project.git")
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    mirror = operator.node / "repositories" / "project.git"

    def publish(name: str) -> str:
        made = nodes.add_commit(origin, "refs/heads/main", name, b"news\n")
        owner.gittorrent("publish", origin, "--wait").ok()
        return made

    def at(place: Path, ref: str) -> str:
        return gitcmd.text(place, "rev-parse", ref)

    with serve(owner) as node:
        operator.gittorrent("mirror", node.url(), "--once").ok()
        work = tmp_path / "work"
        operator.git("worktree", "add", "-q", work, "main", cwd=mirror).ok()
        was = at(work, "HEAD")
        assert "has main checked out" in " ".join(operator.gittorrent("doctor").out.split())
        new = publish("second")
        said = operator.gittorrent("mirror", "project", "--once").ok().err
        assert f"{work} is a work tree of a mirror" in " ".join(said.split())
        assert (at(mirror, "refs/heads/main"), at(work, "HEAD")) == (new, was)
        assert gitcmd.text(work, "status", "--porcelain") == ""
        # It is said once, as nothing follows the branch now.
        newer = publish("third")
        assert "work tree" not in operator.gittorrent("mirror", "project", "--once").ok().err
        operator.git("checkout", "-q", "main", cwd=work).ok()
        assert at(work, "HEAD") == newer
        # What comes on live conversations goes the same way.
        with serve(operator):
            newest = publish("fourth")
            wait_until(lambda: at(mirror, "refs/heads/main") == newest, "the mirror follows")
        assert at(work, "HEAD") == newer
        assert gitcmd.text(work, "status", "--porcelain") == ""
