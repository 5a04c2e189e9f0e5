"""What is kept for CI jobs: whole files, the newest of them, and not too many."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gittorrent.disk_space import Reserve, Watermarks
from gittorrent.errors import NoRoomError
from gittorrent.node.ci_options import CiConfig
from gittorrent.node.ci_store import LOOK_BYTES, CiStore, TooMuchError
from support.disks import FakeDisk

URL, OTHER = "https://git.example.org/x", "https://git.example.org/y"
REQUEST = "01" * 32


def opened(root: Path, config: CiConfig | None = None) -> CiStore:
    made = CiStore(root / "ci", config or CiConfig())
    made.open()
    return made


@pytest.fixture
def store(tmp_path: Path) -> CiStore:
    return opened(tmp_path)


def keep(store: CiStore, url: str = URL, request: str = REQUEST, data: bytes = b"answer") -> None:
    with store.spool() as spool:
        spool.write(data)
        store.keep(url, request, spool)


def kept(store: CiStore, url: str = URL, request: str = REQUEST) -> bytes | None:
    found = store.find(url, request)
    if found is None:
        return None
    with os.fdopen(found, "rb") as file:
        return file.read()


def age(store: CiStore, seconds: float, url: str = URL) -> None:
    for path in (store.place(url) / "answers").iterdir():
        then = time.time() - seconds
        os.utime(path, (then, then))


def test_what_is_kept_is_found_after_a_start(store: CiStore, tmp_path: Path) -> None:
    keep(store)
    assert kept(store) == b"answer"
    assert kept(store, OTHER) is None
    assert kept(store, request="02" * 32) is None
    assert kept(opened(tmp_path)) == b"answer"


def test_what_is_to_stay_free_of_the_disk_does(tmp_path: Path) -> None:
    """Nobody knows beforehand how large an answer is."""
    disk = FakeDisk(total=100 * LOOK_BYTES)
    disk.free[tmp_path] = 20 * LOOK_BYTES
    store = CiStore(tmp_path / "ci", CiConfig(), Watermarks(Reserve(percent=10), [tmp_path], disk))
    store.open()
    written = 0

    def fill() -> None:
        nonlocal written
        with store.spool() as spool:
            while True:
                spool.write(bytes(1 << 16))
                written += 1 << 16
                disk.free[tmp_path] -= 1 << 16

    with pytest.raises(NoRoomError, match="stay free"):
        fill()
    assert 9 * LOOK_BYTES <= written <= 10 * LOOK_BYTES
    assert disk.free[tmp_path] >= 10 * LOOK_BYTES
    assert not list((tmp_path / "ci" / "tmp").iterdir())


def hold(store: CiStore, data: bytes) -> Path:
    with store.spool() as spool:
        spool.write(data)
        return store.hold(REQUEST, spool)


def test_what_is_held_is_given_until_it_is_settled(store: CiStore, tmp_path: Path) -> None:
    held = hold(store, b"bad")
    assert kept(store) == b"bad"
    store.settle(URL, REQUEST, held, is_good=False)
    assert kept(store) is None
    held = hold(store, b"good")
    store.settle(URL, REQUEST, held, is_good=True)
    assert kept(store) == b"good"
    assert kept(opened(tmp_path)) == b"good"


def test_what_is_held_at_a_crash_is_asked_for_anew(store: CiStore, tmp_path: Path) -> None:
    hold(store, b"unknown")
    assert kept(opened(tmp_path)) is None


def test_one_that_is_held_takes_the_place_of_another(store: CiStore, tmp_path: Path) -> None:
    first = hold(store, b"first")
    second = hold(store, b"second")
    store.settle(URL, REQUEST, first, is_good=False)
    assert kept(store) == b"second"
    store.settle(URL, REQUEST, second, is_good=True)
    assert kept(store) == b"second"
    assert list((tmp_path / "ci" / "tmp").iterdir()) == []


def test_what_is_not_kept_is_gone(store: CiStore, tmp_path: Path) -> None:
    with store.spool() as spool:
        spool.write(b"half")
    assert list((tmp_path / "ci" / "tmp").iterdir()) == []
    left = tmp_path / "ci" / "tmp" / "left by a crash"
    left.mkdir()
    opened(tmp_path)
    assert not left.exists()


def test_damage_is_noticed_after_a_start(store: CiStore, tmp_path: Path) -> None:
    keep(store)
    path = next((store.place(URL) / "answers").iterdir())
    path.write_bytes(b"anSwer")
    again = opened(tmp_path)
    assert kept(again) is None
    assert not path.exists()


def test_more_than_is_kept_of_one_is_not_taken(tmp_path: Path) -> None:
    store = opened(tmp_path, CiConfig(max_repository=10))
    with store.spool() as spool:
        spool.write(b"0123456789")
        with pytest.raises(TooMuchError):
            spool.write(b"x")


def test_what_was_used_least_lately_goes_first(tmp_path: Path) -> None:
    store = opened(tmp_path, CiConfig(max_size=12))
    keep(store)
    age(store, 1000)
    keep(store, OTHER)
    age(store, 500, OTHER)
    keep(store, request="02" * 32)
    assert kept(store) == b"answer"  # used now
    gone = store.expire()
    assert [item.size for item in gone] == [6]
    assert kept(store, OTHER) is None
    assert kept(store) == b"answer"


def test_one_upstream_has_its_own_bound(tmp_path: Path) -> None:
    store = opened(tmp_path, CiConfig(max_repository=10))
    keep(store)
    age(store, 1000)
    keep(store, request="02" * 32)
    keep(store, OTHER)
    store.expire()
    assert kept(store) is None
    assert kept(store, OTHER) == b"answer"


def test_what_nobody_used_goes_with_its_directory(store: CiStore, tmp_path: Path) -> None:
    keep(store)
    keep(store, OTHER)
    age(store, store.config.keep_for + 60)
    store.expire()
    assert kept(store) is None
    names = {path.name for path in (tmp_path / "ci").iterdir()}
    assert names == {"tmp", store.place(OTHER).name}


def test_a_reader_keeps_what_goes(store: CiStore) -> None:
    keep(store)
    found = store.find(URL, REQUEST)
    assert found is not None
    age(store, store.config.keep_for + 60)
    store.expire()
    with os.fdopen(found, "rb") as file:
        assert file.read() == b"answer"


def test_a_copy_is_kept_whole_or_not(store: CiStore) -> None:
    assert store.copy_of(URL) is None
    for text in ("one", "two"):
        made = store.new_directory()
        made.mkdir()
        (made / "HEAD").write_text(text)
        store.keep_copy(URL, made)
    found = store.copy_of(URL)
    assert found is not None
    assert (found / "HEAD").read_text() == "two"
    then = time.time() - store.config.keep_for - 60
    os.utime(found, (then, then))
    assert [item.path for item in store.expire()] == [found]


def test_copies_of_each_shape_lie_beside_each_other(store: CiStore, tmp_path: Path) -> None:
    shapes: list[tuple[bytes, ...]] = [(), (b"deepen 1",), (b"filter blob:none",)]
    for shape in shapes:
        made = store.new_directory()
        made.mkdir()
        (made / "of").write_bytes(b" ".join(shape))
        store.keep_copy(URL, made, shape)
    for shape in shapes:
        found = store.copy_of(URL, shape)
        assert found is not None
        assert (found / "of").read_bytes() == b" ".join(shape)
    assert store.copy_of(URL, (b"deepen 2",)) is None
    assert len(store.items()) == len(shapes)
    store.config = CiConfig(max_size=0)
    store.expire()
    assert all(store.copy_of(URL, shape) is None for shape in shapes)
    assert not store.items()


def test_what_is_written_or_held_takes_room_as_well(tmp_path: Path) -> None:
    store = opened(tmp_path, CiConfig(max_size=100))
    keep(store, data=b"k" * 60)
    age(store, 60)
    other = "02" * 32
    keep(store, OTHER, other, b"l" * 10)
    assert store.expire() == []
    with store.spool() as spool:
        spool.write(b"s" * 30)
        assert store.expire() == []
        held = hold(store, b"h" * 30)
        assert [item.size for item in store.expire()] == [60]
        assert kept(store, OTHER, other) == b"l" * 10
    store.settle(URL, REQUEST, held, is_good=True)
    assert kept(store) == b"h" * 30
    assert store.expire() == []
    copy = store.new_directory()
    copy.mkdir()
    (copy / "pack").write_bytes(b"p" * 95)
    assert sum(item.size for item in store.expire()) == 40
