"""Clones that help others: seeds without a download, reels taken from the same machine."""

from __future__ import annotations

from pathlib import Path

from gittorrent.repository.carried import Carried
from support import bulk, gitcmd, nodes
from support.nodes import Served
from support.programs import Person, somebody


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def test_any_clone_becomes_a_seed(large: Carried, tmp_path: Path, person: Person) -> None:
    """The clone comes by stock git, so its packs are others; the reel is built from objects."""
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        done = person.gittorrent("seed", "c", url_of(served), "--for", "0").ok()
    assert "0 reels held, 1 built, 0 not possible" in done.out
    (reel,) = large.reels.all()
    seeded = person.root / "c" / "objects" / "pack" / reel.pack.name
    assert seeded.read_bytes() == reel.pack.read_bytes()
    assert not person.partial


def test_clone_takes_what_its_node_carries(large: Carried, tmp_path: Path) -> None:
    user = somebody(tmp_path / "user")
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        user.gittorrent("mirror", url_of(served), "--once").ok()
        said = user.git("clone", "--mirror", url_of(served), "c").ok().err
    assert "without a download" in said
    (reel,) = large.reels.all()
    pack = user.root / "c" / "objects" / "pack" / reel.pack.name
    assert pack.stat().st_nlink == 2
    assert gitcmd.refs(user.root / "c") == bulk.published(gitcmd.refs(large.layout.git_dir))
