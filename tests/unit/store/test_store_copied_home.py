"""Homes that were copied, and what their databases say of the first home's repositories."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gittorrent.errors import LocalError
from gittorrent.git.alternates import alternates_file, borrow, lenders
from gittorrent.ids import RepositoryId
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.copied_home import other_home_of
from gittorrent.store.database import Database
from gittorrent.store.home import Home
from support.copying import copy_tree

A, B, C = (RepositoryId(letter * 52) for letter in "abc")


def make(root: Path, rows: dict[str, tuple[RepositoryId, Path]]) -> Home:
    home = Home(root)
    home.repositories.mkdir(parents=True)
    with closing(Database(home.database)) as database:
        for name, (repository, path) in rows.items():
            path.mkdir(parents=True, exist_ok=True)
            database.carry(CarriedRow(name, repository, str(path), "mirror", f"git://x/{name}"))
    return home


def paths_in(home: Home) -> dict[str, str]:
    with closing(Database(home.database)) as database:
        return {row.name: row.path for row in database.carried()}


@pytest.fixture
def first(tmp_path: Path) -> Home:
    own = tmp_path / "first" / "repositories"
    places = {
        "a": (A, own / "a.git"),
        "b": (B, own / "b.git"),
        "c": (C, tmp_path / "git" / "c.git"),
    }
    return make(tmp_path / "first", places)


def test_a_copy_names_its_own_files(first: Home, tmp_path: Path) -> None:
    copy_tree(first.root, tmp_path / "second")
    second = Home(tmp_path / "second")
    (second.repositories / "b.git").rmdir()
    before = paths_in(first)
    assert paths_in(second) == {
        "a": str(second.repositories / "a.git"),
        "b": str(second.repositories / "b.git"),  # missing, and not the first home's
        "c": str(tmp_path / "git" / "c.git"),
    }
    assert paths_in(first) == before


def test_what_the_copy_brought_itself_stays(first: Home, tmp_path: Path) -> None:
    copy_tree(first.root, tmp_path / "second")
    second = Home(tmp_path / "second")
    with closing(Database(second.database, as_it_is=True)) as database:
        own = CarriedRow("other", A, str(second.repositories / "a.git"), "mirror", "git://x/a")
        database.carry(own)
        assert len(database.carried()) == 4
    with closing(Database(second.database)) as database:
        assert own in database.carried()
        assert len(database.carried()) == 3


def test_a_copy_borrows_from_its_own_files(first: Home, tmp_path: Path) -> None:
    objects = [first.repositories / name / "objects" for name in ("a.git", "b.git")]
    elsewhere = tmp_path / "git" / "c.git" / "objects"
    for each in (*objects, elsewhere):
        (each / "info").mkdir(parents=True)
    borrow(objects[0], [objects[1], elsewhere])
    kept = alternates_file(objects[0]).read_bytes()
    copy_tree(first.root, tmp_path / "second")
    second = Home(tmp_path / "second")
    paths_in(second)
    own = second.repositories
    assert list(lenders(own / "a.git" / "objects")) == [own / "b.git" / "objects", elsewhere]
    assert alternates_file(objects[0]).read_bytes() == kept
    assert not alternates_file(own / "b.git" / "objects").exists()


def test_a_home_that_was_moved_or_is_of_no_use_owns_nothing(first: Home, tmp_path: Path) -> None:
    copy_tree(first.root, tmp_path / "second")
    second = Home(tmp_path / "second")
    path = first.repositories / "a.git"
    assert other_home_of(path, second) == first
    assert other_home_of(path, first) is None
    assert other_home_of(tmp_path / "git" / "c.git", second) is None
    with closing(Database(first.database)) as database:
        database.uncarry(next(row for row in database.carried() if row.name == "a"))
    assert other_home_of(path, second) is None
    assert other_home_of(first.repositories / "b.git", second) == first
    first.database.write_bytes(b"no database")
    assert other_home_of(first.repositories / "b.git", second) is None
    first.database.unlink()
    assert other_home_of(first.repositories / "b.git", second) is None
    assert paths_in(second)["b"] == str(first.repositories / "b.git")


def test_a_home_under_another_name_is_the_same(first: Home, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(first.root)
    assert other_home_of(first.repositories / "a.git", Home(tmp_path / "link")) is None


def test_thousands_of_repositories_are_looked_at_once(
    first: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Home] = []

    def look(_paths: object, home: Home, _is_mirror: object) -> dict[str, str]:
        asked.append(home)
        return {}

    paths_in(first)
    monkeypatch.setattr("gittorrent.store.database.own_places", look)
    paths_in(first)
    assert asked == []
    copy_tree(first.root, tmp_path / "second")
    paths_in(Home(tmp_path / "second"))
    first.root.rename(tmp_path / "moved")
    paths_in(Home(tmp_path / "moved"))
    paths_in(Home(tmp_path / "moved"))
    assert asked == [Home(tmp_path / "second"), Home(tmp_path / "moved")]


@contextmanager
def no_room(_database: Database) -> Iterator[None]:
    raise LocalError("cannot write: database or disk is full")
    yield


def test_a_full_disk_keeps_nobody_from_reading(
    first: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = paths_in(first)
    first.root.rename(tmp_path / "moved")
    copy_tree(tmp_path / "moved", tmp_path / "second")
    with monkeypatch.context() as patch:
        patch.setattr(Database, "_writing", no_room)
        assert paths_in(Home(tmp_path / "moved")) == before
    (tmp_path / "moved").rename(first.root)
    with monkeypatch.context() as patch:
        # What would be another home's is another matter.
        patch.setattr(Database, "_writing", no_room)
        with pytest.raises(LocalError, match="full"):
            paths_in(Home(tmp_path / "second"))
    assert paths_in(Home(tmp_path / "second")) != before
