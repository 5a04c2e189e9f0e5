"""Homes, nodes and repositories in directories whose names are not what most are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support import bulk, gitcmd
from support.programs import Person, serve, somebody

NAMES = [b"lat\xe9in", b"two\nlines", b'"quo\\ted"', b"#number", b" blanks "]


@pytest.fixture(params=NAMES, ids=["latin-1", "line-feed", "quotes", "number-sign", "blanks"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / os.fsdecode(request.param)


def test_everything_is_in_a_directory_of_an_odd_name(place: Path, tmp_path: Path) -> None:
    owner, other = somebody(place), somebody(tmp_path / "other")
    origin = bulk.make_small(place / "project.git")
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    with serve(owner) as node:
        urls = (f"{node.git}/project", f"gittorrent::{node.http}/project")
        for number, url in enumerate(urls):
            other.git("clone", url, f"clone{number}").ok()
        odd = Person(place / place.name, variables={"GITTORRENT_HOME": str(place / "mine")})
        odd.root.mkdir()
        done = odd.git("clone", node.url("project"), place.name).ok()
        assert "unexpectedly" not in done.err
        new = gitcmd.text(origin, "commit-tree", "-p", "HEAD", "-m", "new", "HEAD^{tree}")
        gitcmd.git(origin, "update-ref", "HEAD", new)
        owner.gittorrent("publish", origin, "--wait").ok()
        odd.git("-C", place.name, "fetch").ok()
        assert gitcmd.text(odd.root / place.name, "rev-parse", "origin/HEAD") == new
        odd.gittorrent("mirror", "--once", node.url("project")).ok()
        (row,) = json.loads(odd.gittorrent("status", "--json").ok().out)["repositories"]
        assert row["problem"] == ""
        assert Path(row["path"]) == place / "mine" / "repositories" / "project.git"
        odd.gittorrent("verify", "project").ok()
        odd.gittorrent("backup", odd.root / "backup").ok()
        odd.gittorrent("remove", "--yes", "project").ok()
    assert json.loads(odd.gittorrent("status", "--json").ok().out)["repositories"] == []
