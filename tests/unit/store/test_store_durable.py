"""Files that become durable together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.durable import Batch, sync_all, write_atomically
from gittorrent.gtp.messages import BEGINNING, BlockName, ReelName
from gittorrent.gtp.node.blockstore import BlockStore
from gittorrent.store.backup import write_private
from gittorrent.store.processes import MirrorProcess
from gittorrent.store.snapshot import Snapshot


def test_many_files_at_once(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "folder"
    files = {f"f{number}": b"%d" % number for number in range(100)}
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode())
    with Batch() as batch:
        for name, data in files.items():
            batch.write(directory / name, data)
        batch.move(tmp_path / "one", tmp_path / "three")
        assert {path.name.startswith(".") for path in directory.iterdir()} == {True}
        assert (tmp_path / "one").exists()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == files
    assert not (tmp_path / "one").exists()
    assert (tmp_path / "three").read_bytes() == b"one"
    with Batch() as batch:
        batch.write(directory / "f0", b"anew")
    assert (directory / "f0").read_bytes() == b"anew"
    assert len(list(directory.iterdir())) == len(files)


def write(directory: Path, *names: str) -> None:
    with Batch() as batch:
        for name in names:
            if not name:
                raise ValueError("no name")
            batch.write(directory / name, b"")


def test_one_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        write(tmp_path, "a", "x" * 300, "b")
    assert not list(tmp_path.iterdir())


def write_block(folder: Path) -> Path:
    """Store an empty block of GTP's; returns where that is."""
    name = BlockName(ReelName(BEGINNING, b"x" * 20), 7, 0)
    BlockStore(folder).put(name, 0, b"")
    return next(folder.glob("*/7"))


def write_plainly(folder: Path) -> Path:
    write_atomically(folder / "plain", b"x")
    return folder / "plain"


def write_for_oneself(folder: Path) -> Path:
    write_private(folder / "private", b"x")
    return folder / "private"


@pytest.mark.parametrize("write", [write_block, write_plainly, write_for_oneself])
def test_what_cannot_get_its_name_leaves_nothing(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    place = write(tmp_path)
    place.unlink()
    (place / "somebody's").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write(tmp_path)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_a_description_that_cannot_get_its_name_leaves_nothing(tmp_path: Path) -> None:
    Snapshot(tmp_path, "mirror").write(MirrorProcess(url="git://x/y"))
    (first,) = tmp_path.iterdir()
    name, _, number = first.stem.rpartition("-")
    following = first.with_name(f"{name}-{int(number) + 1}.json")
    (following / "somebody's").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        Snapshot(tmp_path, "mirror").write(MirrorProcess(url="git://x/y"))
    assert sorted(tmp_path.iterdir()) == sorted([first, following])


def test_what_fails_in_between_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no name"):
        write(tmp_path, "a", "")
    assert not list(tmp_path.iterdir())


def test_nobody_has_to_wait_for_threads_that_sync(tmp_path: Path) -> None:
    """The remote helper waits for all threads at its end that are no daemons."""
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"x")
    sync_all(paths)
    sync_all([])
    assert all(t.daemon for t in threading.enumerate() if t.name == "sync")
    with pytest.raises(FileNotFoundError):
        sync_all([tmp_path / "missing", *paths])


def test_a_process_that_was_forked_syncs_too(tmp_path: Path) -> None:
    """It has none of the threads that its parent had begun to sync with."""
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"x")
    sync_all(paths)
    pid = os.fork()
    if pid == 0:
        sync_all(paths)
        os._exit(7)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 7
