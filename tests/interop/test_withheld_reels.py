"""Mirrors that show true manifests of reels which nobody else has, and do not give the reels."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import replace

from gittorrent.ids import ManifestId
from gittorrent.repository.carried import Carried
from gittorrent.repository.layout import Layout
from gittorrent.repository.reelstore import StoredReel
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database
from gittorrent.store.withheld import withheld_lately
from gittorrent.transfer.content_source import ServedPack
from gittorrent.transfer.repository_content import RepositoryContent
from support import bulk, gitcmd, hostile, nodes, signed_indexes
from support.nodes import Served
from support.programs import Person


class Withholds(RepositoryContent):
    """Says of every pack that it has it, and is silent from when it is asked for a part."""

    ended: ClassVar[threading.Event] = threading.Event()

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        found = super().pack(manifest)
        return None if found is None else replace(found, has=lambda _part: self.ended.wait())


class WithholdsIndexes(RepositoryContent):
    """Gives packs, and of their indexes nothing that it says it has."""

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        is_index = any(index.id == manifest for index in self.indexes())
        return None if is_index else super().pack(manifest)


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def same_refs(person: Person, origin: Carried) -> None:
    refs = gitcmd.refs(person.root / "c")
    assert refs == bulk.published(gitcmd.refs(origin.layout.git_dir))
    gitcmd.git(person.root / "c", "fsck", "--strict")
    assert not person.partial


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    git_dir = bulk.make_small(tmp_path / "r.git")
    nodes.publish(git_dir, owner_key, "project")
    nodes.add_commit(git_dir, "refs/heads/main", "new", b"new\n")
    return nodes.publish(git_dir, owner_key, None)


def newest(carried: Carried) -> StoredReel:
    """Return the reel that ends at the newest checkpoint."""
    head = carried.log().head
    (found,) = (reel for reel in carried.reels.all() if reel.manifest.end == head)
    return found


@contextlib.contextmanager
def beside_a_liar(
    origin: Carried, tmp_path: Path, kind: type[RepositoryContent] = hostile.LacksEverything
) -> Iterator[tuple[Served, Served]]:
    """Serve what lacks the newest reel, and list a mirror that says it has that and gives none.

    Yields:
        Both, the mirror that is named first.
    """
    keeps = nodes.copy_as_mirror(origin, tmp_path / "keeps.git", "git://127.0.0.1:1/project.git")
    origin.layout.manifest(newest(origin).id).unlink()
    home = nodes.make_home(tmp_path / "h")
    with (
        hostile.lying(keeps, nodes.make_home(tmp_path / "l"), kind) as liar,
        nodes.serving(origin, home=home) as served,
    ):
        nodes.list_mirrors(home, origin, f"{liar.git}/project.git")
        yield served, liar


def is_said(words: str, person: Person, url: str) -> bool:
    """Tell whether a clone says something; on a slow machine it may be too late for one or two."""
    clones = (person.git("clone", "-v", "--mirror", url, f"a{number}") for number in range(20))
    return any(words in done.ok().err for done in clones)


@pytest.mark.parametrize("kind", [hostile.LacksEverything, Withholds])
def test_a_reel_that_a_stranger_withholds_comes_otherwise(
    origin: Carried, person: Person, tmp_path: Path, kind: type[RepositoryContent]
) -> None:
    Withholds.ended.clear()
    with beside_a_liar(origin, tmp_path, kind) as (served, _):
        try:
            person.git("clone", "--mirror", url_of(served), "c").ok()
        finally:
            Withholds.ended.set()
    same_refs(person, origin)


def test_who_withheld_a_reel_is_not_waited_for_again(
    origin: Carried, person: Person, tmp_path: Path
) -> None:
    """It is known by its URL, and others do."""
    excluded = "is excluded from this download"
    with beside_a_liar(origin, tmp_path) as (served, liar):
        assert is_said(excluded, person, url_of(served))
        assert excluded not in person.git("clone", "-v", "--mirror", url_of(served), "b").ok().err
        gitcmd.git(person.root / "b", "fsck", "--strict")
    with contextlib.closing(Database(person.node / "node.sqlite")) as database:
        repository = origin.log().repository
        row = f"{liar.git}/project.git"
        assert withheld_lately(database, repository, int(time.time())) == {row}


def test_who_cannot_write_down_who_withheld_a_reel_has_a_clone_all_the_same(
    origin: Carried, person: Person, tmp_path: Path
) -> None:
    """As where the clone itself fills the disk."""
    person.gittorrent("status").ok()
    with contextlib.closing(sqlite3.connect(person.node / "node.sqlite")) as database:
        database.execute("DROP TABLE withheld")
        empty = "SELECT '' AS repository_id, '' AS url, 0 AS moment WHERE 0"
        database.execute(f"CREATE VIEW withheld AS {empty}")  # it can be read, and not written to
    with beside_a_liar(origin, tmp_path) as (served, _):
        assert is_said("is not remembered for later", person, url_of(served))


def test_a_signed_index_that_is_withheld_is_made_here(
    person: Person, tmp_path: Path, owner_key: Signer
) -> None:
    """By the mirror that the user named; nobody else has one."""
    origin = signed_indexes.published(tmp_path / "r.git", owner_key)
    with_index = nodes.copy_as_mirror(origin, tmp_path / "i.git", "git://127.0.0.1:1/project.git")
    (index,) = origin.indexes.all()
    origin.indexes.drop(index.id)
    home = nodes.make_home(tmp_path / "l")
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "h")) as honest:
        nodes.list_mirrors(home, with_index, f"{honest.git}/project.git")
        with hostile.lying(with_index, home, WithholdsIndexes) as liar:
            words = (*signed_indexes.SETTING, "clone", "--mirror", url_of(liar), "c")
            done = person.git(*words).ok()
    assert "nobody gives the signed index" in done.err
    assert not Layout(person.root / "c").unchecked.exists()
    same_refs(person, origin)
