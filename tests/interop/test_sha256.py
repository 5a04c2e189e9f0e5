"""SHA-256 repositories, from publishing to fetching, with real programs throughout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support import bulk, gitcmd, nodes
from support.programs import GITS, Person, serve, somebody


@pytest.mark.parametrize("git", GITS)
def test_life_of_a_sha256_repository(tmp_path: Path, git: str) -> None:
    owner, mirror, user = (somebody(tmp_path / n, git) for n in ("owner", "mirror", "user"))
    origin = bulk.make_small(tmp_path / "project.git", "sha256")
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    with serve(owner) as daemon:
        user.git("clone", "--mirror", daemon.url(), "whole").ok()
        assert gitcmd.refs(user.root / "whole") == bulk.published(gitcmd.refs(origin))
        gitcmd.git(user.root / "whole", "fsck", "--strict")
        user.git("clone", daemon.url(), "c").ok()
        web = f"gittorrent::{daemon.http}/project.git"
        user.git("clone", "--bare", web, "web").ok()
        assert bulk.published(gitcmd.refs(user.root / "web")) == bulk.published(gitcmd.refs(origin))
        main = nodes.add_commit(origin, "refs/heads/main", "new", b"new\n")
        owner.gittorrent("publish", origin).ok()
        user.git("pull", cwd=user.root / "c").ok()
        assert gitcmd.text(user.root / "c", "rev-parse", "HEAD") == main
        assert len(main) == 64
        mirror.gittorrent("mirror", daemon.url(), "--once").ok()
    mirrored = mirror.node / "repositories" / "project.git"
    mirror.gittorrent("verify", mirrored).ok()
    with serve(mirror) as daemon:
        user.git("clone", "--mirror", daemon.url(), "second").ok()
        assert gitcmd.refs(user.root / "second") == bulk.published(gitcmd.refs(origin))


def test_sha256_shallow_and_partial(tmp_path: Path, people: Callable[[str], Person]) -> None:
    owner, user = people("owner"), people("user")
    origin = bulk.make_small(tmp_path / "project.git", "sha256")
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    with serve(owner) as daemon:
        user.git("clone", "--depth", "1", daemon.url(), "shallow").ok()
        assert gitcmd.text(user.root / "shallow", "rev-list", "--count", "HEAD") == "1"
        user.git("clone", "--filter=blob:none", daemon.url(), "partial").ok()
        user.git("checkout", "-q", "v1", cwd=user.root / "partial").ok()
        listed = user.git("ls-remote", daemon.url()).ok().out
        assert gitcmd.refs(origin)[b"refs/heads/main"] in listed
