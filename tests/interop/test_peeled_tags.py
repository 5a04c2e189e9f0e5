"""What annotated tags lead to, in git's listings through gittorrent:// as through git://."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes, publishing
from support.nodes import Served
from support.programs import GITS, Person, somebody

pytestmark = pytest.mark.git_in_turn


@pytest.fixture(params=["sha1", "sha256"])
def tagged(request: pytest.FixtureRequest, tmp_path: Path, owner_key: Signer) -> Carried:
    """Tags of each kind, a very old one too; one annotated tag is not published."""
    git_dir = tmp_path / "tagged.git"
    publishing.grow(publishing.builder(git_dir, request.param), 3)
    gitcmd.git(git_dir, "tag", "light", "main")
    gitcmd.git(git_dir, "tag", "-m", "one", "v1", "main~1")
    gitcmd.git(git_dir, "tag", "-m", "a tag of a tag", "nested", "v1")
    gitcmd.git(git_dir, "tag", "-m", "a tree", "tree", "main^{tree}")
    old = f"object {gitcmd.text(git_dir, 'rev-parse', 'main')}\ntype commit\ntag v0\n\nno tagger\n"
    form = ("hash-object", "-t", "tag", "-w", "--stdin", "--literally")
    oid = gitcmd.text(git_dir, *form, stdin=old.encode())
    gitcmd.git(git_dir, "update-ref", "refs/tags/v0", oid)
    carried = nodes.publish(git_dir, owner_key, "project")
    gitcmd.git(git_dir, "tag", "-m", "not published", "later", "main")
    return carried


def urls(served: Served) -> dict[str, str]:
    return {
        "stock": f"{served.git}/project.git",
        "git": f"gittorrent://{served.git.removeprefix('git://')}/project.git",
        "http": f"gittorrent::{served.http}/project.git",
    }


def listed(person: Person, *words: str) -> list[str]:
    return sorted(person.git(*words).ok().out.splitlines())


@pytest.mark.parametrize("git_program", GITS)
@pytest.mark.parametrize("way", ["git", "http"])
def test_listings_are_those_of_git(
    tagged: Carried, tmp_path: Path, git_program: str, way: str
) -> None:
    person = somebody(tmp_path / "person", git_program)
    with nodes.serving(tagged, home=nodes.make_home(tmp_path / "node")) as served:
        url = urls(served)[way]
        stock = listed(person, "ls-remote", "--tags", urls(served)["stock"])
        assert sum(line.endswith("^{}") for line in stock) == 4
        assert not any("later" in line for line in stock)
        assert listed(person, "ls-remote", "--tags", url) == stock
        # In a clone that has the tags, and in one that has none of them.
        person.git("clone", "-q", url, "all").ok()
        assert listed(person, "-C", "all", "ls-remote", "--tags") == stock
        person.git("clone", "-q", "--no-tags", urls(served)["stock"], "few").ok()
        assert listed(person, "-C", "few", "ls-remote", "--tags", url) == stock
    assert not person.partial


@pytest.mark.parametrize("git_program", GITS)
def test_a_new_tag_of_an_old_commit_is_followed(
    tagged: Carried, tmp_path: Path, owner_key: Signer, git_program: str
) -> None:
    person = somebody(tmp_path / "person", git_program)
    git_dir = tagged.layout.git_dir
    with nodes.serving(tagged, home=nodes.make_home(tmp_path / "node")) as served:
        person.git("clone", "-q", urls(served)["git"], "c").ok()
        nodes.publish(git_dir, owner_key, None)
        person.git("-C", "c", "fetch", "-q").ok()
    later = gitcmd.text(git_dir, "rev-parse", "later")
    assert gitcmd.text(person.root / "c", "rev-parse", "later") == later
    gitcmd.git(person.root / "c", "fsck", "--strict")
