"""Publishing and seeding with a git whose deflate is not the one that reels are defined by."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent import native
from gittorrent.native import SWITCH
from gittorrent.repository.carried import Carried
from support import bulk, nodes, other_git
from support.nodes import Served
from support.programs import Person

NEEDS_HELPER = pytest.mark.skipif(
    not native.can_deflate(), reason="gittorrent-native is not installed"
)
WHAT = "compresses differently from stock zlib, by which reels are defined"
REMEDY = "install gittorrent-native 0.2 or newer, which compresses in its place"


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


@pytest.fixture
def other(tmp_path: Path, person: Person) -> Person:
    """Somebody with such a git, and without the helper."""
    person.variables["GITTORRENT_GIT"] = str(other_git.otherwise_deflating(tmp_path / "git9"))
    person.variables[SWITCH] = "0"
    return person


def test_seeding_says_why_nothing_can_be_built(
    large: Carried, tmp_path: Path, other: Person
) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        other.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        done = other.gittorrent("seed", "c", url_of(served), "--for", "0")
    done.failed(1, "1 of the reels cannot be built here", WHAT, REMEDY)


def test_publishing_warns_and_goes_on(other: Person, tmp_path: Path) -> None:
    """The reel works for whoever downloads it, and a clone of it says why it builds none."""
    repository = bulk.make_small(tmp_path / "project.git")
    done = other.gittorrent("publish", repository, "--new-key", "--wait").ok()
    assert WHAT in done.err
    assert f"hint: {REMEDY}" in done.err
    quiet = other.gittorrent("publish", repository, "--quiet").ok()
    assert not quiet.err


@NEEDS_HELPER
def test_with_the_helper_both_go_as_with_any_git(
    large: Carried, tmp_path: Path, other: Person
) -> None:
    other.variables[SWITCH] = "1"
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        other.git("clone", "--mirror", f"{served.git}/project.git", "c").ok()
        done = other.gittorrent("seed", "c", url_of(served), "--for", "0").ok()
    assert "0 reels held, 1 built, 0 not possible" in done.out
    (reel,) = large.reels.all()
    seeded = other.root / "c" / "objects" / "pack" / reel.pack.name
    assert seeded.read_bytes() == reel.pack.read_bytes()
    repository = bulk.make_small(tmp_path / "project.git")
    done = other.gittorrent("publish", repository, "--new-key", "--wait").ok()
    assert "zlib" not in done.err
