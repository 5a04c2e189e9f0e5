"""When something may be taken: reserves, their two marks, claims, and what is said of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gittorrent.disk_space import (
    DEFAULT_RESERVE,
    NO_RESERVE,
    UNBOUNDED,
    Reserve,
    SystemDisk,
    Watermarks,
    bytes_below,
)
from gittorrent.errors import NoRoomError
from support.disks import FakeDisk

HOME, ELSEWHERE = Path("/home"), Path("/elsewhere")
TENTH = Reserve(percent=10)


def marks(disk: FakeDisk, reserve: Reserve = TENTH) -> Watermarks:
    return Watermarks(reserve, [HOME], disk)


def test_of_a_size_and_a_percentage_the_smaller_counts() -> None:
    assert Reserve(bytes=10, percent=5).of(100) == 5
    assert Reserve(bytes=10, percent=5).of(1000) == 10
    assert Reserve(percent=2.5).of(1000) == 25
    assert Reserve(bytes=10).of(5) == 10
    assert NO_RESERVE.of(1000) == 0
    assert DEFAULT_RESERVE.of(1 << 50) == 1 << 30


def test_inodes_stay_free_too() -> None:
    assert DEFAULT_RESERVE.files_of(1000) == 50
    assert DEFAULT_RESERVE.files_of(1 << 40) == 10_000
    assert NO_RESERVE.files_of(1000) == 0
    disk = FakeDisk(files=1000)
    space = marks(disk)
    space.require()
    disk.free[HOME], disk.free_files[HOME] = 1000, 49
    with pytest.raises(NoRoomError, match="49 files can be made at /home, and 50 stay free"):
        space.require()


def test_it_is_taken_again_with_some_more_room(caplog: pytest.LogCaptureFixture) -> None:
    disk = FakeDisk()
    space = marks(disk)
    for free, is_short in [(100, False), (99, True), (100, True), (124, True), (125, False),
                           (100, False), (99, True)]:  # fmt: skip
        disk.free[HOME] = free
        space.look()
        assert bool(space.short()) == is_short, free
        assert (space.room() <= 0) == (is_short or free == 100)
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(" ")[0] for text in said] == ["99", "there", "99"]
    assert said[0].startswith("99 bytes are free at /home, and 100 bytes stay free")


def test_a_reserve_of_nearly_all_can_be_met_again() -> None:
    disk = FakeDisk()
    space = marks(disk, Reserve(percent=90))
    disk.free[HOME] = 100
    space.look()
    disk.free[HOME] = 950
    space.look()
    assert not space.short()


def test_each_file_system_counts_for_what_is_put_there() -> None:
    disk = FakeDisk()
    disk.free |= {HOME: 1000, ELSEWHERE: 50}
    space = marks(disk)
    space.require(HOME / "repositories")
    with pytest.raises(NoRoomError, match="at /elsewhere"):
        space.require(ELSEWHERE / "project.git")
    assert [each.path for each in space.short()] == ["/elsewhere/project.git"]
    assert space.room(HOME) == 900
    assert space.room(ELSEWHERE) == 0
    space.require(HOME)


def test_what_would_cross_the_mark_is_refused_before_it_begins() -> None:
    disk = FakeDisk()
    disk.free[HOME] = 500
    space = marks(disk)
    space.require(HOME, size=400)
    with pytest.raises(NoRoomError, match="no space left for 401 bytes") as caught:
        space.require(HOME, size=401)
    assert "node.toml" in caught.value.hint
    assert not space.short(), "what is smaller may be taken"


def test_claims_count_for_other_claims() -> None:
    disk = FakeDisk()
    disk.free |= {HOME: 500, ELSEWHERE: 500}
    space = marks(disk)
    with space.claim(300, HOME, HOME / "same"):
        with pytest.raises(NoRoomError), space.claim(101, HOME):
            raise AssertionError("there is no room for both")
        with space.claim(100, HOME), space.claim(400, ELSEWHERE):
            space.require(HOME, size=400)  # what comes at once is not kept waiting
    with space.claim(400, HOME):
        pass


def test_another_reserve_counts_at_once() -> None:
    disk = FakeDisk()
    disk.free[HOME] = 50
    space = marks(disk)
    space.look()
    assert space.short()
    space.change(NO_RESERVE)
    space.require()
    assert not space.short()


def test_what_people_do_is_not_held_by_it() -> None:
    UNBOUNDED.require(HOME, size=1 << 60)
    assert UNBOUNDED.room(HOME) > 1 << 60
    assert not UNBOUNDED.short()
    with UNBOUNDED.claim(1 << 60, HOME):
        pass


def test_the_system_is_asked_of_what_is_not_there_yet(tmp_path: Path) -> None:
    found = SystemDisk().look(tmp_path / "a" / "b")
    assert found.device == tmp_path.stat().st_dev
    assert found.total == shutil.disk_usage(tmp_path).total
    (tmp_path / "file").touch()
    assert SystemDisk().look(tmp_path / "file" / "below").device == found.device


def test_what_goes_while_it_is_looked_at_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git removes directories of loose objects, and files, whenever it likes."""
    for name in ("a/one", "b/two", "c/three"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x" * 10)
    assert bytes_below(tmp_path) == 30
    scandir = os.scandir

    def removing(path: str | int) -> object:
        if isinstance(path, str) and Path(path).name == "b":
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", removing)
    assert bytes_below(tmp_path) == 20
    assert bytes_below(tmp_path / "gone") == 0
