"""The order of a reel's objects, found with git: complete, dependencies first, the same twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gittorrent.errors import UsageError
from gittorrent.git import history, scratch
from gittorrent.gtp.blocks import Block, ReelIndex
from gittorrent.gtp.messages import BEGINNING, BlockName, Kind, ReelName
from gittorrent.gtp.node.assembling import Assembler
from gittorrent.gtp.node.authoring import published_refs
from gittorrent.gtp.node.blockstore import BlockStore
from gittorrent.gtp.node.listing import list_reel
from gittorrent.gtp.node.packing import pack_block
from gittorrent.gtp.profile import PERL_2008, RFC, Profile
from gittorrent.ids import SHA1, Oid
from support import gitcmd
from support.repositories import Made

RECIPES = ("one", "linear", "merges", "times", "negative", "tags", "names", "pushes")
PROFILES = pytest.mark.parametrize("profile", [RFC, PERL_2008], ids=lambda p: p.name)


def listed(made: Made, profile: Profile, start: Sequence[str], end: Sequence[str]) -> ReelIndex:
    with scratch.borrowing(made.objects, SHA1) as git:
        return list_reel(git, [Oid(o) for o in start], [Oid(o) for o in end], profile)


def needs(git_dir: Path, oid: str, kind: Kind) -> set[str]:
    """Ask plain git what an object contains or points at."""
    if kind is Kind.TREE:
        words = [line.split() for line in gitcmd.git(git_dir, "ls-tree", oid).splitlines()]
        return {word[2].decode("ascii") for word in words if word[1] != b"commit"}
    if kind is Kind.COMMIT:
        lines = gitcmd.text(git_dir, "log", "-1", "--no-walk", "--format=%T %P", oid).split()
        return set(lines)
    if kind is Kind.TAG:
        return {gitcmd.text(git_dir, "cat-file", "tag", oid).split()[1]}
    return set()


@pytest.mark.parametrize("recipe", RECIPES)
def test_everything_is_there_after_what_it_needs(recipe: str, made: Callable[[str], Made]) -> None:
    repository = made(recipe)
    tips = repository.states[-1]
    index = listed(repository, RFC, [], tips)
    place = {item.oid: at for at, item in enumerate(index.objects)}
    assert len(place) == len(index.objects)
    everything = gitcmd.git(repository.git_dir, "rev-list", "--objects", *tips).splitlines()
    assert set(place) == {Oid(line[:40].decode("ascii")) for line in everything}
    for item in index.objects:
        needed = needs(repository.git_dir, item.oid, item.kind)
        assert all(place[Oid(other)] < place[item.oid] for other in needed)
    assert index.size == sum(item.size for item in index.objects)


@pytest.mark.parametrize("recipe", RECIPES)
def test_commits_of_2008_are_one_a_block_with_parents_first(
    recipe: str, made: Callable[[str], Made]
) -> None:
    repository = made(recipe)
    tips = repository.states[-1]
    index = listed(repository, PERL_2008, [], tips)
    blocks = [index.block(at, 0) for at in range(index.count(0))]
    commits = [block.objects[0].oid for block in blocks]
    count = gitcmd.text(repository.git_dir, "rev-list", "--count", *tips)
    assert len(commits) == int(count)
    place = {oid: at for at, oid in enumerate(commits)}
    for commit in commits:
        parents = gitcmd.text(repository.git_dir, "log", "-1", "--format=%P", commit).split()
        assert all(place[Oid(parent)] < place[commit] for parent in parents)
    rest = listed(repository, RFC, [], tips)
    assert {o.oid for o in index.objects} == {o.oid for o in rest.objects}


@PROFILES
@pytest.mark.parametrize("recipe", ["pushes", "merges", "tags", "linear"])
def test_a_step_holds_exactly_what_is_new(
    recipe: str, profile: Profile, made: Callable[[str], Made]
) -> None:
    repository = made(recipe)
    for before, after in itertools.pairwise(repository.states):
        index = listed(repository, profile, before, after)
        with scratch.borrowing(repository.objects, SHA1) as git:
            old = set(history.reachable_objects(git, [Oid(o) for o in before]))
            new = set(history.reachable_objects(git, [Oid(o) for o in after]))
        assert {item.oid for item in index.objects} == new - old


@PROFILES
@pytest.mark.parametrize("recipe", ["linear", "pushes", "merges", "tags", "names"])
def test_blocks_become_the_repository_again(
    recipe: str, profile: Profile, made: Callable[[str], Made], tmp_path: Path
) -> None:
    repository = made(recipe)
    tips = [Oid(o) for o in repository.states[-1]]
    index = listed(repository, profile, [], tips)
    size = 0 if profile is PERL_2008 else 4096
    store = BlockStore(tmp_path / "blocks")
    reel = ReelName(BEGINNING, b"e" * 20)
    with scratch.borrowing(repository.objects, SHA1) as git:
        for at in reversed(range(index.count(size))):
            block = index.block(at, size)
            store.put(BlockName(reel, at, size), block.offset, pack_block(git, block))
    with scratch.receiving(tmp_path / "staging", SHA1) as staging:
        assembler = Assembler(staging, store, tmp_path / "work")
        assert assembler.lacking(tips, []) != []
        assembler.take_reel(reel, size)
        assert assembler.lacking(tips, []) == []
    assert store.sizes(reel) == [size]
    again = BlockStore(tmp_path / "blocks")
    assert len(again.have(reel, size)) == index.count(size)
    again.remove_reel(reel)
    assert again.have(reel, size) == set()


def test_an_empty_block_is_no_pack(made: Callable[[str], Made]) -> None:
    with scratch.borrowing(made("one").objects, SHA1) as git:
        assert pack_block(git, Block(0, (), ())) == b""


def test_other_object_formats_are_refused(tmp_path: Path) -> None:
    gitcmd.init(tmp_path / "new.git", "sha256")
    with pytest.raises(UsageError, match="SHA-1 only"):
        published_refs(tmp_path / "new.git")


def test_refs_that_no_ref_may_be_named_are_refused(
    copied: Callable[[str], Made],
) -> None:
    repository = copied("one").git_dir
    tip = gitcmd.text(repository, "rev-parse", "refs/heads/main")
    name = "refs/heads/" + "x" * 251
    (repository / "packed-refs").write_text(f"{tip} {name}\n")
    with pytest.raises(UsageError, match="cannot publish"):
        published_refs(repository)
