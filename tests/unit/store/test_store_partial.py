"""Unfinished downloads: shared, resumed, expired, removed, and on disks that are full."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.durable import locked, write_atomically
from gittorrent.ids import SHA1, PushId, RepositoryId
from gittorrent.reel.manifest import Manifest, Segment
from gittorrent.store.partial import EXPIRY_SECONDS, DiskFullError, PartialPack, expire
from support.repositories import noise

PART = 1 << 12
DATA = noise("partial", 5 * PART + 100)
PARTS = [DATA[at : at + PART] for at in range(0, len(DATA), PART)]

MANIFEST = Manifest(
    repository=RepositoryId("a" * 52),
    object_format=SHA1,
    start=None,
    end=PushId("ab" * 20),
    encoder=1,
    target=1 << 30,
    part_size=PART,
    objects=3,
    pack_size=len(DATA),
    pack_checksum="cd" * 20,
    segments=(Segment(12, 3, 100, ()),),
    parts=tuple(hashlib.sha256(part).hexdigest() for part in PARTS),
)
FILE = MANIFEST.text() + b"signature"


def test_a_download_from_beginning_to_end(tmp_path: Path) -> None:
    with PartialPack(tmp_path, MANIFEST, FILE) as partial:
        assert partial.directory == tmp_path / MANIFEST.id
        assert (partial.directory / "manifest").read_bytes() == FILE
        assert list(partial.recover()) == []
        for index in (5, 0, 3, 1, 4, 2):
            assert not partial.marked(index)
            assert partial.store(index, PARTS[index])
            assert partial.marked(index)
        partial.sync()
        assert partial.pack.read_bytes() == DATA
        assert list(partial.recover()) == [0, 1, 2, 3, 4, 5]
        partial.remove()
    assert list(tmp_path.iterdir()) == []


def test_wrong_parts_are_not_taken(tmp_path: Path) -> None:
    with PartialPack(tmp_path, MANIFEST, FILE) as partial:
        for wrong in (b"", PARTS[0][:-1], PARTS[0] + b"x", PARTS[1], bytes(PART)):
            assert not partial.store(0, wrong)
        assert not partial.marked(0)
        assert partial.pack.read_bytes() == bytes(len(DATA))
        assert partial.store(0, memoryview(bytearray(PARTS[0])))


def test_resuming_hashes_what_the_marks_claim(tmp_path: Path) -> None:
    with PartialPack(tmp_path, MANIFEST, FILE) as partial:
        for index in (0, 2, 4):
            partial.store(index, PARTS[index])
    with (tmp_path / MANIFEST.id / "pack").open("r+b") as file:
        file.seek(2 * PART + 7)
        file.write(b"bit rot")
    with (tmp_path / MANIFEST.id / "parts").open("r+b") as file:
        file.seek(5)
        file.write(b"\1")  # a mark whose part never reached the disk
    with PartialPack(tmp_path, MANIFEST, FILE) as partial:
        assert list(partial.recover()) == [0, 4]
        assert [partial.marked(index) for index in range(6)] == [
            True,
            False,
            False,
            False,
            True,
            False,
        ]


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_files_of_another_size_are_made_right(tmp_path: Path, size: int) -> None:
    with PartialPack(tmp_path, MANIFEST, FILE) as partial:
        partial.store(0, PARTS[0])
    for name in ("pack", "parts"):
        os.truncate(tmp_path / MANIFEST.id / name, size)
    with PartialPack(tmp_path, MANIFEST, FILE) as partial:
        assert list(partial.recover()) == ([0] if size == 1 << 20 else [])
        assert partial.pack.stat().st_size == len(DATA)
        assert partial.store(5, PARTS[5])


def test_two_work_on_one_download(tmp_path: Path) -> None:
    with PartialPack(tmp_path, MANIFEST, FILE) as one, PartialPack(tmp_path, MANIFEST, FILE) as two:
        one.store(1, PARTS[1])
        assert two.marked(1)
        assert two.holds(1)
        two.store(2, PARTS[2])
        assert list(one.recover()) == [1, 2]
        one.remove()
        assert two.directory.is_dir(), "it is still in use"
        assert two.store(3, PARTS[3])
        two.remove()
    assert not (tmp_path / MANIFEST.id).exists()


def test_another_process_keeps_a_download_from_being_removed(tmp_path: Path) -> None:
    with PartialPack(tmp_path, MANIFEST, FILE) as partial:
        partial.store(0, PARTS[0])
    lock = tmp_path / MANIFEST.id / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl,sys;f=open(sys.argv[1],'r+');fcntl.flock(f,1);"
         "print('held',flush=True);sys.stdin.read()", str(lock)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with PartialPack(tmp_path, MANIFEST, FILE) as partial:
            partial.remove()
        expire(tmp_path, now=1e12)
        assert (tmp_path / MANIFEST.id / "pack").exists()
        holder.communicate()
    expire(tmp_path, now=1e12)
    assert not (tmp_path / MANIFEST.id).exists()


def test_expiry(tmp_path: Path) -> None:
    other = replace(MANIFEST, end=PushId("cd" * 20))
    for manifest in (MANIFEST, other):
        PartialPack(tmp_path, manifest, FILE).close()
    now = (tmp_path / MANIFEST.id).stat().st_mtime
    os.utime(tmp_path / other.id, (now - EXPIRY_SECONDS - 60,) * 2)
    expire(tmp_path, now=now)
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST.id]
    expire(tmp_path, now=now + EXPIRY_SECONDS + 60)
    assert list(tmp_path.iterdir()) == []
    expire(tmp_path / "nowhere", now=now)


def test_expiry_passes_over_what_is_no_download(tmp_path: Path) -> None:
    (tmp_path / "stray").write_text("")
    os.utime(tmp_path / "stray", (1, 1))
    PartialPack(tmp_path, MANIFEST, FILE).close()
    os.utime(tmp_path / MANIFEST.id, (1, 1))
    expire(tmp_path, now=1e12)
    assert not (tmp_path / MANIFEST.id).exists()


def test_use_counts_as_touching(tmp_path: Path) -> None:
    PartialPack(tmp_path, MANIFEST, FILE).close()
    os.utime(tmp_path / MANIFEST.id, (1, 1))
    PartialPack(tmp_path, MANIFEST, FILE).close()
    expire(tmp_path, now=(tmp_path / MANIFEST.id).stat().st_mtime + 10)
    assert (tmp_path / MANIFEST.id).exists()


# --- full disks ----------------------------------------------------------------------------------


def test_a_pack_larger_than_the_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="MiB are free") as caught:
        PartialPack(tmp_path, replace(MANIFEST, pack_size=1 << 62), FILE)
    assert "GITTORRENT_HOME" in caught.value.hint
    PartialPack(tmp_path, MANIFEST, FILE).close()


def _limited(code: str, tmp_path: Path, limit: int) -> str:
    """Run code in a process whose files may have ``limit`` bytes."""
    setup = (
        "import sys; sys.path[:0] = sys.argv[2:4]\n"
        "from pathlib import Path\n"
        "import test_store_partial as t\n"
        "from gittorrent.store.partial import DiskFullError, PartialPack\n"
        "root = Path(sys.argv[1])\n"
    )
    here = Path(__file__).parent
    done = subprocess.run(
        # -B: a limit on file sizes would cut short the byte code written for everybody.
        [sys.executable, "-B", "-c", setup + code, str(tmp_path), str(here), str(here.parents[1])],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_disk_that_takes_no_file_of_that_size(tmp_path: Path) -> None:
    code = (
        "try:\n    PartialPack(root, t.MANIFEST, t.FILE)\n"
        "except DiskFullError as error:\n    print('full', error.hint)\n"
    )
    assert _limited(code, tmp_path, 2 * PART).startswith("full make room")
    with PartialPack(tmp_path, MANIFEST, FILE) as partial:
        assert partial.store(0, PARTS[0]), "nothing stands in the way later"


def test_a_disk_that_fills_up_meanwhile(tmp_path: Path) -> None:
    PartialPack(tmp_path, MANIFEST, FILE).close()
    code = (
        "partial = PartialPack(root, t.MANIFEST, t.FILE)\n"
        "print(partial.store(0, t.PARTS[0]))\n"
        "try:\n    partial.store(3, t.PARTS[3])\n"
        "except DiskFullError:\n    print('full', partial.marked(3), partial.marked(0))\n"
    )
    assert _limited(code, tmp_path, 2 * PART).split() == ["True", "full", "False", "True"]


# --- durable -------------------------------------------------------------------------------------


def test_writing_atomically(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    for data in (b"first", b"", b"x" * 100_000):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert [entry.name for entry in path.parent.iterdir()] == ["b"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "x").write_text("")
    with pytest.raises(OSError, match="folder"):
        write_atomically(path, b"cannot replace a directory")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_lock_keeps_others_out(tmp_path: Path) -> None:
    import fcntl

    with locked(tmp_path / "sub" / "lock"):
        with (tmp_path / "sub" / "lock").open("ab") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (tmp_path / "sub" / "lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
