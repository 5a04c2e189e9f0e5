"""Which repositories are served, and under which paths."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest

from gittorrent.node.catalogue import (
    RELOAD_SECONDS,
    Catalogue,
    NameTakenError,
    catalogue_of_database,
    catalogue_of_paths,
)
from gittorrent.repository.carried import Carried, NotCarriedError
from gittorrent.store.database import CarriedRow, Database
from support import gitcmd, nodes


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def row(carried: Carried) -> CarriedRow:
    info = carried.info
    return CarriedRow(
        info.name, info.repository_id, str(carried.layout.git_dir), info.role, info.source
    )


def test_every_path_of_a_repository(carried: Carried) -> None:
    catalogue = Catalogue([carried])
    repository = carried.info.repository_id
    for path in ("project.git", "project", repository, f"{repository}/project.git"):
        found = catalogue.find(f"/{path}".encode())
        assert found is not None
        assert found.carried is carried
    for other in (b"", b"/", b"project.git", b"/project.git/", b"/other.git", b"/Project.git"):
        assert catalogue.find(other) is None
    assert [served.path for served in catalogue] == ["/project.git"]


def test_two_of_one_name_are_an_error_that_names_both(carried: Carried, tmp_path: Path) -> None:
    copy = nodes.copy_as_mirror(carried, tmp_path / "copy.git", "git://example.org/project.git")
    with pytest.raises(NameTakenError) as caught:
        Catalogue([carried, copy])
    assert str(carried.layout.git_dir) in str(caught.value)
    assert str(copy.layout.git_dir) in str(caught.value)


def test_the_same_repository_twice_is_once(carried: Carried) -> None:
    path = carried.layout.git_dir
    assert len(catalogue_of_paths([path, path, path.parent])) == 1


def test_directories_are_searched_to_a_depth(carried: Carried, tmp_path: Path) -> None:
    deep, deeper = tmp_path / "root/a/b/c.git", tmp_path / "root/a/b/x/d.git"
    for target in (deep, deeper):
        shutil.copytree(carried.layout.git_dir, target)
    gitcmd.init(tmp_path / "root" / "plain.git")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    (served,) = catalogue_of_paths([tmp_path / "root"])
    assert served.carried.layout.git_dir == deep


def test_what_is_not_carried_is_refused(tmp_path: Path) -> None:
    plain = gitcmd.init(tmp_path / "plain.git")
    with pytest.raises(NotCarriedError):
        catalogue_of_paths([plain])
    with pytest.raises(NotCarriedError, match="no published or mirrored repository"):
        catalogue_of_paths([tmp_path])
    with pytest.raises(NotCarriedError, match="cannot look into"):
        catalogue_of_paths([tmp_path / "absent"])


def test_a_directory_inside_a_repository_is_not_that_repository(
    carried: Carried, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.git"
    shutil.copytree(carried.layout.git_dir, copy)
    with pytest.raises(NotCarriedError):
        catalogue_of_paths([copy / "refs"])


def test_the_database_is_asked_again_for_unknown_paths(
    carried: Carried, other: Carried, tmp_path: Path
) -> None:
    database = Database(tmp_path / "db")
    database.carry(row(carried))
    database.carry(CarriedRow("gone", other.info.repository_id, "/nonexistent", "origin"))
    clock = Clock()
    catalogue = catalogue_of_database(database, clock)
    assert [served.info.name for served in catalogue] == ["project"]
    database.carry(row(other))
    assert asyncio.run(catalogue.seek(b"/other.git")) is None
    clock.now += RELOAD_SECONDS
    assert asyncio.run(catalogue.seek(b"/other.git")) is not None
    database.close()


def test_whoever_asks_while_another_looks_sees_what_that_finds(
    carried: Carried, other: Carried
) -> None:
    clock = Clock()
    looking, go_on = threading.Event(), threading.Event()

    def reload(_known: set[Path]) -> list[Carried]:
        looking.set()
        go_on.wait()
        return [other]

    catalogue = Catalogue([carried], reload, clock)
    clock.now += RELOAD_SECONDS

    async def work() -> None:
        first = asyncio.create_task(catalogue.seek(b"/other.git"))
        while not looking.is_set():
            await asyncio.sleep(0)
        second = asyncio.create_task(catalogue.seek(b"/other"))
        known = await catalogue.seek(b"/project.git")
        assert known is not None, "and what is known is found meanwhile"
        assert not first.done()
        assert not second.done()
        go_on.set()
        assert await first is not None
        assert await second is await first

    asyncio.run(work())
