"""A node and its git are killed together, in the middle of moving refs: the next one goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support import bulk, gitcmd, nodes
from support.programs import Person, serve, wait_until

ALL_DIE = '#!/bin/sh\n[ "$1" = prepared ] && kill -9 0; exit 0\n'
"""A hook of git's that kills git and all in its process group while refs are locked."""


def tip(git_dir: Path) -> str:
    return gitcmd.text(git_dir, "rev-parse", "refs/heads/main")


def test_a_mirror_goes_on_by_itself(people: Callable[[str], Person]) -> None:
    owner, operator = people("owner"), people("operator")
    project = bulk.make_small(owner.root / "project.git")
    owner.gittorrent("publish", project, "--new-key", "--wait").ok()
    config = operator.node / "node.toml"
    mirror = operator.node / "repositories" / "project.git"
    hook = mirror / "hooks" / "reference-transaction"
    with serve(owner, project) as origin:
        operator.gittorrent("mirror", origin.url(), "--once").ok()
        config.write_text("[carry]\nlook-every = 1\n")
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(ALL_DIE)
        hook.chmod(0o755)
        with serve(operator, "--config", config) as node:
            operator.gittorrent("mirror", origin.url()).ok()
            new = nodes.add_commit(project, "refs/heads/main", "more", b"more\n")
            owner.gittorrent("publish", project, "--wait").ok()
            wait_until(lambda: node.running.process.poll() is not None, "the node is killed")
            node.running.wait_all()
        assert tip(mirror) != new
        left = list((mirror / "refs").rglob("*.lock"))
        assert left
        hook.unlink()
        with serve(operator, "--config", config) as node:
            wait_until(lambda: tip(mirror) == new, "the mirror follows")
            assert f"had left locks in {mirror}" in node.running.err
    assert not list((mirror / "refs").rglob("*.lock"))
