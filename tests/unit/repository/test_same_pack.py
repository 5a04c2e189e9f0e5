"""Where a fork's pack is found on this machine, and how few repositories git is asked about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.git.repository import FoundRepository, find_repository
from gittorrent.ids import RepositoryId
from gittorrent.repository import same_pack
from gittorrent.repository.carried import Carried
from gittorrent.repository.layout import Layout
from gittorrent.repository.receive import SignedManifest
from gittorrent.repository.same_pack import same_packs
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return nodes.signer(tmp_path_factory.mktemp("key"))


@pytest.fixture
def reel(tmp_path: Path, key: Signer) -> SignedManifest:
    path = nodes.make_repository(tmp_path / "project.git", 1 << 12)
    (found,) = nodes.publish(path, key, "project").reels.all()
    return SignedManifest(found.manifest, found.signature, key.key)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where git was asked."""
    places: list[Path] = []

    def find(path: Path) -> FoundRepository:
        places.append(path)
        return find_repository(path)

    monkeypatch.setattr(same_pack, "find_repository", find)
    return places


@pytest.fixture
def add(tmp_path: Path, reel: SignedManifest) -> Callable[..., tuple[Path, RepositoryId]]:
    """Makes a repository with some bytes in the place of the pack."""

    def make(name: str, size: int | None) -> tuple[Path, RepositoryId]:
        git_dir = gitcmd.init(tmp_path / f"{name}.git")
        if size is not None:
            Layout(git_dir).pack(reel.manifest.pack_checksum).write_bytes(bytes(size))
        return git_dir, RepositoryId(name * 52)

    return make


def test_git_is_asked_about_those_alone_that_have_such_a_file(
    reel: SignedManifest, add: Callable[..., tuple[Path, RepositoryId]], asked: list[Path]
) -> None:
    size = reel.manifest.pack_size
    has = add("a", size)
    gone = (Path("/gone"), RepositoryId("d" * 52))
    more = add("e", size)
    found = same_packs(reel, [add("b", None), add("c", size - 1), gone, has, more])
    assert next(found).pack.parents[2] == has[0]
    assert asked == [has[0]]
    assert [each.pack.parents[2] for each in found] == [more[0]]


def test_what_not_everybody_may_read_gives_nothing(
    reel: SignedManifest, add: Callable[..., tuple[Path, RepositoryId]]
) -> None:
    git_dir, repository = add("a", reel.manifest.pack_size)
    readers = Layout(git_dir).readers(repository)
    readers.parent.mkdir(parents=True)
    readers.touch()
    assert list(same_packs(reel, [(git_dir, repository)])) == []


def test_a_reel_on_top_of_another_is_in_no_other_place(
    tmp_path: Path, reel: SignedManifest, key: Signer, asked: list[Path]
) -> None:
    path = tmp_path / "project.git"
    nodes.add_commit(path, "refs/heads/main", "more", b"more")
    last = nodes.publish(path, key, None)
    (above,) = [each for each in last.reels.all() if each.manifest.id != reel.manifest.id]
    signed = SignedManifest(above.manifest, above.signature, key.key)
    place = (path, Carried(path, last.object_format).info.repository_id)
    assert list(same_packs(signed, [place])) == []
    assert asked == []
