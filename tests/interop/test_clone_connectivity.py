"""What is proved once is not walked again by git, however many packs a clone came as."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.repository.layout import Layout
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.programs import GITS, Person, somebody
from support.signed_indexes import published, serving, url_of

_WALKED = re.compile(r"Checking connectivity: (\d+)")


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    return published(tmp_path / "r.git", owner_key)


def add_reel(origin: Carried, key: Signer, objects: int) -> None:
    """Publish so many commits more as a reel of their own, with a tag that is an object."""
    git_dir = origin.layout.git_dir
    for number in range(objects // 3):
        nodes.add_commit(git_dir, "refs/heads/main", f"more {number}", b"more\n" * number)
    gitcmd.git(git_dir, "tag", "-a", "-m", "a tag", f"of-{objects}", "main")
    before = len(origin.reels.all())
    nodes.publish(git_dir, key, "project")
    assert len(origin.reels.all()) == before + 1


def clone(person: Person, url: str, *options: str) -> int:
    """Clone, and return how many objects git walked by itself."""
    person.variables["GIT_PROGRESS_DELAY"] = "0"
    done = person.git(*options, "clone", "--progress", "--bare", url, "clone").ok()
    return max((int(found) for found in _WALKED.findall(done.err)), default=0)


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("index", ["own", "signed"])
def test_git_walks_nothing_of_a_chain_of_reels(
    origin: Carried, owner_key: Signer, tmp_path: Path, git: str, index: str
) -> None:
    """One large reel and one whose objects are unpacked, on top of the first."""
    add_reel(origin, owner_key, 150)
    add_reel(origin, owner_key, 6)
    person = somebody(tmp_path / "person", git)
    with serving(origin, tmp_path / "h") as served:
        assert clone(person, url_of(served), "-c", f"gittorrent.index={index}") == 0
    place = Layout(person.root / "clone")
    assert gitcmd.refs(place.git_dir) == bulk.published(gitcmd.refs(origin.layout.git_dir))
    gitcmd.git(place.git_dir, "fsck", "--strict")
    assert list(place.incoming.iterdir()) == []
    if index == "own":
        assert list(place.objects.glob("pack/*.keep")) == []


@pytest.mark.parametrize("git", GITS)
def test_nor_of_what_came_by_an_ordinary_fetch(origin: Carried, tmp_path: Path, git: str) -> None:
    for reel in origin.reels.all():
        origin.layout.manifest(reel.id).unlink()
    person = somebody(tmp_path / "person", git)
    with serving(origin, tmp_path / "h") as served:
        assert clone(person, url_of(served)) == 0
    place = Layout(person.root / "clone")
    gitcmd.git(place.git_dir, "fsck", "--strict")
    assert list(place.incoming.iterdir()) == []
