"""Less than everything: shallow and partial clones, whose refs are verified all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.nodes import Served
from support.programs import GITS, Person, somebody

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org")


def places(served: Served, name: str = "project") -> dict[str, str]:
    git = f"gittorrent://{served.git.removeprefix('git://')}/{name}.git"
    return {"git": git, "http": f"gittorrent::{served.http}/{name}.git"}


def count(clone: Path, *revisions: str) -> int:
    return int(gitcmd.text(clone, "rev-list", "--count", *revisions))


def missing(clone: Path) -> list[str]:
    listed = gitcmd.text(clone, "rev-list", "--all", "--objects", "--missing=print")
    return [line for line in listed.splitlines() if line.startswith("?")]


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", ["git", "http"])
def test_shallow(
    project_node: Served, project: Carried, tmp_path: Path, git: str, way: str
) -> None:
    user = somebody(tmp_path / "user", git)
    url = places(project_node)[way]
    done = user.git("clone", "--depth", "1", url, "c").ok()
    clone = user.root / "c"
    assert "first contact" in done.err
    assert count(clone, "HEAD") == 1
    head = gitcmd.refs(project.layout.git_dir)[b"refs/heads/main"]
    assert gitcmd.text(clone, "rev-parse", "HEAD") == head
    user.git("fetch", "--deepen", "5", cwd=clone).ok()
    assert count(clone, "HEAD") == 6
    user.git("fetch", "--depth", "2", cwd=clone).ok()
    assert count(clone, "HEAD") == 2
    user.git("fetch", "--unshallow", cwd=clone).ok()
    assert not (clone / ".git" / "shallow").exists()
    assert count(clone, "HEAD") == count(project.layout.git_dir, "main")
    gitcmd.git(clone, "fsck", "--strict")


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", ["git", "http"])
@pytest.mark.parametrize(
    "words",
    [
        ("--tags",),
        ("--prune", "--tags", "--force"),
        ("origin", "old"),
        ("origin", "+refs/tags/light:refs/tags/light"),
    ],
    ids=["tags", "prune", "branch", "tag"],
)
def test_all_of_the_history_comes_whatever_is_named(
    project_node: Served,
    project: Carried,
    tmp_path: Path,
    git: str,
    way: str,
    words: tuple[str, ...],
) -> None:
    """Git asks for what is new alone, and the mirror makes all that was cut off whole."""
    user = somebody(tmp_path / "user", git)
    user.git("clone", "--depth", "1", places(project_node)[way], "c").ok()
    clone = user.root / "c"
    user.git("fetch", "--depth", "1", "origin", "topic/one", cwd=clone).ok()
    gitcmd.git(clone, "update-ref", "refs/heads/topic", "FETCH_HEAD")
    user.git("fetch", "--unshallow", *words, cwd=clone).ok()
    assert not (clone / ".git" / "shallow").exists()
    for branch in ("main", "topic"):
        published = {"main": "main", "topic": "topic/one"}[branch]
        assert count(clone, branch) == count(project.layout.git_dir, published)
    gitcmd.git(clone, "fsck", "--strict")


@pytest.mark.parametrize("way", ["git", "http"])
def test_other_bounds(project_node: Served, project: Carried, person: Person, way: str) -> None:
    url = places(project_node)[way]
    person.git("clone", "--shallow-exclude", "v1", url, "a").ok()
    assert count(person.root / "a", "HEAD") == count(project.layout.git_dir, "v1..main")
    person.git("clone", "--depth", "3", "--no-single-branch", url, "b").ok()
    assert b"refs/remotes/origin/topic/one" in gitcmd.refs(person.root / "b")
    person.git("clone", "--depth", "1", "--branch", "v1", url, "c").ok()
    assert count(person.root / "c", "HEAD") == 1
    since = gitcmd.text(project.layout.git_dir, "log", "-1", "--format=%ct", "main~10")
    person.git("clone", f"--shallow-since={since}", url, "d").ok()
    assert count(person.root / "d", "HEAD") == 11


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", ["git", "http"])
def test_partial(
    project_node: Served, project: Carried, tmp_path: Path, git: str, way: str
) -> None:
    user = somebody(tmp_path / "user", git)
    user.git("clone", "--filter=blob:none", places(project_node)[way], "c").ok()
    clone = user.root / "c"
    absent = len(missing(clone))
    assert absent > 30
    # Git fetches blobs as it needs them, through the same helper.
    user.git("checkout", "-q", "v1", cwd=clone).ok()
    assert user.git("status", "--porcelain", cwd=clone).ok().out == ""
    assert len(missing(clone)) < absent
    user.git("log", "-p", "-3", "main", cwd=clone).ok()


def test_partial_trees_and_no_checkout(project_node: Served, person: Person) -> None:
    url = places(project_node)["git"]
    person.git("clone", "-n", "--filter=tree:0", "--depth=1", url, "c").ok()
    assert len(missing(person.root / "c")) > 0
    person.git("checkout", "main", cwd=person.root / "c").ok()
    assert (person.root / "c" / "src" / "d0" / "f0.c").exists()


@pytest.fixture
def live(tmp_path: Path, owner_key: Signer) -> Iterator[tuple[Carried, Served]]:
    carried = nodes.publish(bulk.make_small(tmp_path / "r.git"), owner_key, "project")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        yield carried, served


@pytest.mark.parametrize("option", ["--depth=1", "--filter=blob:none"])
def test_fetching_goes_on_as_it_began(
    live: tuple[Carried, Served], owner_key: Signer, person: Person, option: str
) -> None:
    carried, served = live
    person.git("clone", option, places(served)["git"], "c").ok()
    clone = person.root / "c"
    for number in range(2):
        main = nodes.add_commit(
            carried.layout.git_dir, "refs/heads/main", f"n{number}", b"%d\n" % number
        )
        gitcmd.git(carried.layout.git_dir, "tag", f"t{number}", main)
        nodes.publish(carried.layout.git_dir, owner_key, None)
        person.git("pull", cwd=clone).ok()
        assert gitcmd.text(clone, "rev-parse", "HEAD") == main
    if option == "--depth=1":
        assert (clone / ".git" / "shallow").exists()
        assert count(clone, "HEAD") == 3
    else:
        assert missing(clone)
    assert (clone / "n1").read_text() == "1\n"


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", ["git", "http"])
@pytest.mark.parametrize("extent", ["--depth=1", "--filter=blob:none", "foreign"])
def test_annotated_tags_are_followed_without_reels(
    live: tuple[Carried, Served],
    owner_key: Signer,
    tmp_path: Path,
    git: str,
    way: str,
    extent: str,
) -> None:
    """As git does by itself: of what was fetched, and of nothing else."""
    carried, served = live
    source, url = carried.layout.git_dir, places(served)[way]
    user = somebody(tmp_path / "user", git)
    clone = user.root / "c"
    if extent == "foreign":
        gitcmd.git(tmp_path, "init", "-q", str(clone))
        gitcmd.git(clone, *IDENTITY, "commit", "-q", "--allow-empty", "-m", "own history")
        user.git("remote", "add", "-t", "main", "origin", url, cwd=clone).ok()
    else:
        user.git("clone", "-q", extent, "--single-branch", url, "c").ok()
    main = nodes.add_commit(source, "refs/heads/main", "released", b"1")
    side = nodes.add_commit(source, "refs/heads/side", "aside", b"2")
    gitcmd.git(source, *IDENTITY, "tag", "-a", "-m", "release", "v9", main)
    gitcmd.git(source, *IDENTITY, "tag", "-a", "-m", "other", "aside", side)
    nodes.publish(source, owner_key, None)
    user.git("fetch", cwd=clone).ok()
    refs = gitcmd.refs(clone)
    assert refs[b"refs/tags/v9"] == gitcmd.refs(source)[b"refs/tags/v9"]
    assert b"refs/tags/aside" not in refs
    gitcmd.git(clone, "fsck", "--strict")


def test_forged_tip_is_refused_in_a_shallow_clone(
    live: tuple[Carried, Served], person: Person
) -> None:
    """Upload-pack shows a commit nobody signed: what the log says is fetched, not that."""
    carried, served = live
    signed = gitcmd.refs(carried.layout.git_dir)[b"refs/heads/main"]
    forged = nodes.add_commit(carried.layout.git_dir, "refs/heads/main", "evil", b"evil\n")
    gitcmd.git(carried.layout.git_dir, "update-ref", "refs/heads/evil", forged)
    person.git("clone", "--depth", "1", places(served)["git"], "c").ok()
    assert gitcmd.text(person.root / "c", "rev-parse", "HEAD") == signed
    listed = person.git("ls-remote", places(served)["git"]).ok().out
    assert forged not in listed
