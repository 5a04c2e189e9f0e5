"""Packs that come with pushes: made once, thin, and not too large."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.ids import Oid, PushId, RefName
from gittorrent.push.certificate import Line
from gittorrent.repository.carried import Carried
from gittorrent.repository.push_packs import KEEP_SECONDS, PackMemory, PushPacks
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.wire.limits import MAX_PUSH_PACK_BYTES
from support.gitcmd import text
from support.publishing import builder, carried, grow, publish, push_elsewhere
from support.repositories import noise
from support.signing import TestSigner

MAIN = RefName(b"refs/heads/main")


@pytest.fixture
def repository(tmp_path: Path) -> Carried:
    git_dir = tmp_path / "project.git"
    grow(builder(git_dir), 5)
    publish(git_dir, name="project")
    return carried(git_dir)


def push(repository: Carried, data: bytes, ref: RefName = MAIN) -> PushId:
    """Push a commit with one file on top of the branch."""
    git_dir, refs = repository.layout.git_dir, repository.log().refs
    blob = text(git_dir, "hash-object", "-w", "--stdin", stdin=data)
    tree = text(git_dir, "mktree", stdin=f"100644 blob {blob}\tnew\n".encode())
    new = Oid(text(git_dir, "commit-tree", tree, "-p", refs[MAIN], "-m", "new"))
    (made,) = push_elsewhere(git_dir, [Line(refs.get(ref), new, ref)], TestSigner())
    return made


def objects_in(pack: bytes | None) -> int:
    assert pack is not None
    return int.from_bytes(pack[8:12], "big")


@pytest.mark.parametrize("ref", [MAIN, RefName(b"refs/heads/new")])
def test_only_what_is_new(repository: Carried, ref: RefName) -> None:
    made = push(repository, b"new\n", ref)
    content = RepositoryContent(repository)
    assert objects_in(content.push_pack(made)) == 3
    assert content.push_packs.known(made) == content.push_pack(made)


def test_what_is_too_large_comes_otherwise(repository: Carried) -> None:
    made = push(repository, noise("large", MAX_PUSH_PACK_BYTES))
    assert RepositoryContent(repository).push_pack(made) is None


def test_nothing_of_what_is_no_push(repository: Carried) -> None:
    content = RepositoryContent(repository)
    head = repository.log().head
    assert head is not None
    assert content.push_pack(head) is None
    assert content.push_pack(PushId("1" * 40)) is None


def test_memory_of_all_repositories_is_bounded(repository: Carried) -> None:
    memory = PackMemory(100)
    one, other = (PushPacks(repository.git, repository.object_format, memory) for _ in range(2))
    first, second = PushId("1" * 40), PushId("2" * 40)
    one.add(first, b"x" * 40)
    one.add(first, b"y" * 40, b"push")
    assert (one.known(first), one.whole(first)) == (b"y" * 40, (b"push", b"y" * 40))
    assert other.known(first) is None, "that is another repository's"
    other.add(first, b"z" * 40)
    other.add(second, b"z" * 40)
    assert (one.known(first), other.known(first)) == (None, b"z" * 40)
    other.add(second, b"z" * 101)
    assert memory.size == 0, "what is too large for it is not kept"


def test_what_was_added_long_ago_goes_though_there_is_room() -> None:
    now = 0.0
    memory = PackMemory(1000, lambda: now)
    for number in range(20):
        memory.add("one", PushId(f"{number:040x}"), b"pack", b"push")
        now += KEEP_SECONDS / 4
    assert len(memory) == 5
    assert memory.size == 5 * 8
    assert memory.get("one", PushId(f"{14:040x}")) is None
