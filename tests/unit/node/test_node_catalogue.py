"""Which repositories are served, and under which paths."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.node.access import STRANGER, Access
from gittorrent.node.carried_here import (
    SCAN_SECONDS,
    catalogue_of_database,
    catalogue_of_paths,
)
from gittorrent.node.catalogue import RELOAD_SECONDS, Catalogue, Listing, NameTakenError
from gittorrent.repository.carried import CACHE, CLONE, MIRROR, Carried, NotCarriedError
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.readers import encode_readers
from support import gitcmd, nodes
from support.copying import copy_tree


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
        for slashes in ("", "/", "//"):
            found = catalogue.find(f"/{path}{slashes}".encode())
            assert found is not None
            assert found.carried is carried
    for other in (b"", b"/", b"project.git", b"//project.git", b"/other.git", b"/Project.git"):
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
        copy_tree(carried.layout.git_dir, target)
    gitcmd.init(tmp_path / "root" / "plain.git")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    (served,) = catalogue_of_paths([tmp_path / "root"])
    assert served.carried.layout.git_dir == deep


def test_clones_that_seed_are_served_by_name_only(carried: Carried, tmp_path: Path) -> None:
    for name in ("one.git", "two.git", "mirror.git"):
        place = tmp_path / "root" / name
        copy_tree(carried.layout.git_dir, place)
        copy = Carried(place, carried.object_format)
        copy.set_info(replace(copy.info, role=MIRROR if name == "mirror.git" else CLONE))
    (served,) = catalogue_of_paths([tmp_path / "root"])
    assert served.carried.layout.git_dir.name == "mirror.git"
    (served,) = catalogue_of_paths([tmp_path / "root" / "one.git"])
    assert served.carried.layout.git_dir.name == "one.git"


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
    copy_tree(carried.layout.git_dir, copy)
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


def test_what_was_carried_just_now_is_waited_for(
    carried: Carried, other: Carried, tmp_path: Path
) -> None:
    """Whoever is told that something is published asks for it at once."""
    database, clock = Database(tmp_path / "db"), Clock()
    catalogue = catalogue_of_database(database, clock)
    database.carry(row(other))

    async def work() -> None:
        waiting = asyncio.create_task(catalogue.await_path(b"/other.git"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        clock.now += RELOAD_SECONDS
        await catalogue.look()
        assert await waiting is not None
        clock.now += RELOAD_SECONDS
        assert await catalogue.await_path(b"/missing.git") is None

    asyncio.run(work())
    database.close()


def test_whoever_asks_while_another_looks_sees_what_that_finds(
    carried: Carried, other: Carried
) -> None:
    clock = Clock()
    looking, go_on = threading.Event(), threading.Event()

    def reload(_known: set[Path]) -> Listing:
        looking.set()
        go_on.wait()
        return Listing([other])

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


# --- what becomes of repositories while a node runs -----------------------------------------------


def copy_of(carried: Carried, target: Path) -> Carried:
    copy_tree(carried.layout.git_dir, target)
    return Carried(target, carried.object_format)


def seek(catalogue: Catalogue, path: str) -> Carried | None:
    found = asyncio.run(catalogue.seek(path.encode()))
    return None if found is None else found.carried


def test_what_is_not_carried_any_more_is_dropped_at_the_next_look(
    carried: Carried, other: Carried, tmp_path: Path
) -> None:
    database, clock = Database(tmp_path / "db"), Clock()
    database.carry(row(carried))
    database.carry(row(other))
    catalogue = catalogue_of_database(database, clock)
    database.uncarry(row(carried))
    clock.now += RELOAD_SECONDS
    asyncio.run(catalogue.look())
    assert [served.info.name for served in catalogue] == ["other"]
    for path in ("/project.git", f"/{carried.info.repository_id}"):
        assert seek(catalogue, path) is None
    assert seek(catalogue, "/other.git") is not None
    database.close()


def test_a_repository_that_was_moved_and_published_again_is_found(
    carried: Carried, tmp_path: Path
) -> None:
    database, clock = Database(tmp_path / "db"), Clock()
    moved = copy_of(carried, tmp_path / "old.git")
    database.carry(row(moved))
    catalogue = catalogue_of_database(database, clock)
    new = moved.layout.git_dir.rename(tmp_path / "new.git")
    database.carry(row(Carried(new, carried.object_format)))
    found = seek(catalogue, "/project.git")
    assert found is not None, "at once, whenever the last look was"
    assert found.layout.git_dir == new
    assert found.log_store.ids() == carried.log_store.ids()
    database.close()


def test_a_name_that_another_repository_has_by_now(carried: Carried, tmp_path: Path) -> None:
    """The one that was there under this name has gone, and nobody asked for it since."""
    database, clock = Database(tmp_path / "db"), Clock()
    old, new = copy_of(carried, tmp_path / "old.git"), copy_of(carried, tmp_path / "new.git")
    database.carry(row(old))
    catalogue = catalogue_of_database(database, clock)
    shutil.rmtree(old.layout.git_dir)
    database.carry(row(new))
    clock.now += RELOAD_SECONDS
    asyncio.run(catalogue.look())
    (served,) = catalogue
    assert served.carried.layout.git_dir == new.layout.git_dir
    database.close()


def test_another_repository_at_the_same_place(
    carried: Carried, other: Carried, tmp_path: Path
) -> None:
    place = tmp_path / "r.git"
    catalogue = Catalogue([copy_of(carried, place)])
    shutil.rmtree(place)
    copy_of(other, place)
    assert seek(catalogue, "/project.git") is None
    found = seek(catalogue, "/other.git")
    assert found is not None
    assert found.log_store.ids() == other.log_store.ids()


def test_what_comes_back_is_served_again(
    carried: Carried, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database, clock = Database(tmp_path / "db"), Clock()
    place = copy_of(carried, tmp_path / "r.git").layout.git_dir
    database.carry(row(Carried(place, carried.object_format)))
    catalogue = catalogue_of_database(database, clock)
    away = tmp_path / "away"
    away.mkdir()
    for _ in range(2):
        caplog.clear()
        place.rename(away / "r.git")
        asyncio.run(catalogue.check())
        assert len(catalogue) == 0
        for _ in range(3):
            clock.now += RELOAD_SECONDS
            assert seek(catalogue, "/project.git") is None
        said = [r for r in caplog.records if r.levelname == "WARNING"]
        assert len(said) == 1, "once, with the way out"
        assert "'gittorrent remove project'" in said[0].getMessage()
        (away / "r.git").rename(place)
        clock.now += RELOAD_SECONDS
        assert seek(catalogue, "/project.git") is not None
    database.close()


def test_directories_are_looked_through_again(
    carried: Carried, other: Carried, tmp_path: Path
) -> None:
    root, clock = tmp_path / "root", Clock()
    place = copy_of(carried, root / "a.git").layout.git_dir
    catalogue = catalogue_of_paths([root], clock)
    place.rename(root / "b.git")
    found = seek(catalogue, "/project.git")
    assert found is not None
    assert found.layout.git_dir == root / "b.git"
    copy_of(other, root / "c.git")
    assert seek(catalogue, "/other.git") is None
    clock.now += SCAN_SECONDS
    assert seek(catalogue, "/other.git") is not None


def test_what_was_named_is_there_again_within_a_moment(carried: Carried, tmp_path: Path) -> None:
    """Whoever moves it and publishes it there does not wait for the next scan of directories."""
    clock = Clock()
    place = copy_of(carried, tmp_path / "a.git").layout.git_dir
    catalogue = catalogue_of_paths([place], clock)
    place.rename(tmp_path / "b.git")
    asyncio.run(catalogue.check())
    assert seek(catalogue, "/project.git") is None
    (tmp_path / "b.git").rename(place)
    clock.now += RELOAD_SECONDS
    assert seek(catalogue, "/project.git") is not None


def test_a_name_that_stays_taken_is_complained_of_once(
    carried: Carried, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    copy = copy_of(carried, tmp_path / "copy.git")
    catalogue = Catalogue([carried], lambda _known: Listing([copy]), clock)
    for _ in range(3):
        clock.now += RELOAD_SECONDS
        asyncio.run(catalogue.look())
    said = [r for r in caplog.records if r.levelname == "WARNING"]
    assert len(said) == 1
    assert str(copy.layout.git_dir) in said[0].getMessage()


def test_nothing_goes_on_when_following_fails() -> None:
    def mistaken(known: set[Path]) -> Listing:
        raise ZeroDivisionError(f"among {len(known)}")

    async def work() -> set[asyncio.Task[None]]:
        with pytest.raises(ExceptionGroup):
            await Catalogue([], mistaken, reload_seconds=0.0).follow()
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(work()) == set()


class CountingDatabase(Database):
    """Counts how often all that is carried is read."""

    reads = 0

    def carried(self) -> list[CarriedRow]:
        """Return it, and count."""
        self.reads += 1
        return super().carried()


def test_a_look_without_changes_reads_nothing_of_what_is_carried(
    carried: Carried, tmp_path: Path
) -> None:
    async def scene() -> None:
        database = CountingDatabase(tmp_path / "node.sqlite")
        database.carry(row(carried))
        clock = Clock()
        catalogue = catalogue_of_database(database, clock)
        await catalogue.look(at_once=True)
        before = database.reads
        for _ in range(5):
            database.check_failed(carried.info.repository_id, "no", 1)
            await catalogue.look(at_once=True)
        assert database.reads == before
        other = nodes.copy_as_mirror(carried, tmp_path / "copy.git", "git://example.org/x.git")
        other.set_info(other.info.renamed("other"))
        database.carry(row(other))
        await catalogue.look(at_once=True)
        assert sorted(served.info.name for served in catalogue) == ["other", "project"]
        database.uncarry(row(other))
        await catalogue.look(at_once=True)
        assert [served.info.name for served in catalogue] == ["project"]
        database.close()

    asyncio.run(scene())


def test_what_is_known_is_not_listed_again_for_a_look_without_changes(
    carried: Carried, other: Carried
) -> None:
    clock = Clock()
    asked: list[set[Path]] = []

    def reload(known: set[Path]) -> Listing:
        asked.append(known)
        return Listing([other] if len(asked) == 3 else [])

    catalogue = Catalogue([carried], reload, clock)
    for _ in range(5):
        asyncio.run(catalogue.look(at_once=True))
    assert asked[0] is asked[1] is asked[2]
    assert asked[3] is asked[4]
    assert asked[3] == {carried.layout.git_dir, other.layout.git_dir}


def test_what_is_private_is_looked_for_in_vain_as_what_is_missing(
    carried: Carried, tmp_path: Path
) -> None:
    """For strangers the same is done, and nothing on the private repository's disk."""
    copy = nodes.copy_as_mirror(carried, tmp_path / "copy.git", "git://example.org/x.git")
    key = KeyRef.parse("ssh:SHA256:" + "A" * 42 + "E")
    repository = copy.info.repository_id
    copy.layout.readers(repository).write_bytes(encode_readers(frozenset({key})))
    clock, looks = Clock(), 0

    def reload(known: set[Path]) -> Listing:
        nonlocal looks
        looks += 1
        return Listing()

    async def scene() -> None:
        catalogue = Catalogue([copy], reload, clock)
        (served,) = catalogue
        reader, other = Access(frozenset({key})), Access(frozenset({KeyRef.parse(OTHER)}))
        for path in (b"/project.git", f"/{repository}".encode(), b"/missing.git"):
            for access in (STRANGER, other):
                before = looks
                clock.now += 2 * RELOAD_SECONDS
                assert await catalogue.await_path(path, access) is None
                assert looks == before + 1, "it is looked for as if it came lately"
        assert await catalogue.seek(b"/project.git", reader) is served
        assert await catalogue.carried(repository) is served
        copy.layout.readers(repository).write_bytes(b"damaged")
        assert await catalogue.seek(b"/project.git", reader) is None

    asyncio.run(scene())


def test_what_was_kept_while_it_was_public_gives_way_to_what_is_private(
    carried: Carried, tmp_path: Path
) -> None:
    copy = nodes.copy_as_mirror(carried, tmp_path / "copy.git", "git://example.org/x.git")
    kept = nodes.copy_as_mirror(carried, tmp_path / "kept.git", "git://example.org/x.git")
    kept.set_info(replace(kept.info, role=CACHE))
    key = KeyRef.parse(OTHER)
    repository = copy.info.repository_id
    copy.layout.readers(repository).write_bytes(encode_readers(frozenset({key})))

    async def scene() -> None:
        catalogue = Catalogue([copy])
        (served,) = catalogue
        await catalogue.add_cached(kept)
        path = f"/{repository}".encode()
        assert await catalogue.seek(path) is None
        assert await catalogue.seek(path, Access(frozenset({key}))) is served
        assert await catalogue.carried(repository) is served

    asyncio.run(scene())


OTHER = "ssh:SHA256:" + "B" * 42 + "E"
