"""Whose files these are: what is linked, what is copied, and which directories are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gittorrent.ownership import NotOwnError, link_same, require_own, set_mode, share

SOMEBODY_ELSE = 12345
"""A user of no account here."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def fixed(path: Path, data: bytes = b"0123456789") -> Path:
    path.write_bytes(data)
    path.chmod(0o444)
    return path


def test_what_nobody_writes_to_is_linked(tmp_path: Path) -> None:
    source, target = fixed(tmp_path / "a"), tmp_path / "b"
    assert not share(source, target, 10)
    assert target.samefile(source)


def test_a_file_of_the_same_bytes_gives_way_to_a_link(tmp_path: Path) -> None:
    source, made = fixed(tmp_path / "a"), fixed(tmp_path / "b")
    link_same(source, made)
    assert made.samefile(source)


@pytest.mark.parametrize("source", ["other", "longer", "writable", "none", "directory"])
def test_any_other_file_stays(source: str, tmp_path: Path) -> None:
    made = fixed(tmp_path / "made")
    fixed(tmp_path / "other", b"9876543210")
    fixed(tmp_path / "longer", b"01234567890")
    fixed(tmp_path / "writable").chmod(0o644)
    (tmp_path / "directory").mkdir()
    before = sorted(tmp_path.iterdir())
    link_same(tmp_path / source, made)
    assert made.stat().st_nlink == 1
    assert made.read_bytes() == b"0123456789"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("mode", [0o400, 0o444, 0o440])
def test_a_mode_is_one_files_own(mode: int, tmp_path: Path) -> None:
    """What is linked stays linked where the mode is the same, and nobody else's mode changes."""
    source, target = fixed(tmp_path / "a"), tmp_path / "b"
    assert not share(source, target, 10)
    set_mode(target, mode)
    assert source.stat().st_mode & 0o777 == 0o444
    assert target.stat().st_mode & 0o777 == mode
    assert target.samefile(source) == (mode == 0o444)
    assert target.read_bytes() == source.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


@as_root
@pytest.mark.parametrize("mode", [0o440, 0o444])
def test_no_group_reads_what_another_one_is_to_read(mode: int, tmp_path: Path) -> None:
    source, folder = fixed(tmp_path / "a"), tmp_path / "of a team"
    os.chown(source, -1, SOMEBODY_ELSE)
    source.chmod(mode)
    folder.mkdir()
    os.chown(folder, -1, SOMEBODY_ELSE + 1)
    folder.chmod(0o2750)
    target = folder / "b"
    assert not share(source, target, 10)
    set_mode(target, mode)
    assert target.samefile(source) == (mode == 0o444)
    assert source.stat().st_gid == SOMEBODY_ELSE
    if mode == 0o440:
        assert target.stat().st_gid == SOMEBODY_ELSE + 1


@pytest.mark.parametrize("mode", [0o644, 0o464, 0o446])
def test_what_somebody_may_write_to_is_copied(mode: int, tmp_path: Path) -> None:
    source, target = fixed(tmp_path / "a"), tmp_path / "b"
    source.chmod(mode)
    assert share(source, target, 10)
    assert not target.samefile(source)
    assert target.read_bytes() == source.read_bytes()


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    source = fixed(tmp_path / "a")
    (tmp_path / "link").symlink_to(source)
    assert not share(tmp_path / "link", tmp_path / "b", 10)
    assert not (tmp_path / "b").is_symlink()
    assert (tmp_path / "b").samefile(source)


@pytest.mark.parametrize("size", [4, 15])
def test_of_a_file_of_another_size_a_copy_is_made(size: int, tmp_path: Path) -> None:
    source, target = fixed(tmp_path / "a"), tmp_path / "b"
    assert share(source, target, size)
    assert target.read_bytes().rstrip(b"\0") == b"0123456789"[:size]
    assert source.read_bytes() == b"0123456789"


@as_root
def test_what_is_another_users_is_copied(tmp_path: Path) -> None:
    source, target = fixed(tmp_path / "a"), tmp_path / "b"
    os.chown(source, SOMEBODY_ELSE, -1)
    assert share(source, target, 10)
    assert target.stat().st_uid == os.geteuid()


def test_a_pipe_is_no_file_and_nobody_waits_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        share(tmp_path / "pipe", tmp_path / "b", 10)
    assert not (tmp_path / "b").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    fixed(tmp_path / "b", b"other")
    with pytest.raises(FileExistsError):
        share(fixed(tmp_path / "a"), tmp_path / "b", 10)
    assert (tmp_path / "b").read_bytes() == b"other"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(mode: int, tmp_path: Path) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(NotOwnError, match=f"{mode:04o}") as caught:
        require_own(tmp_path, "do this")
    assert "chmod go-w" in caught.value.hint
    assert "do this" in caught.value.hint


def test_the_mode_of_what_others_cannot_reach_does_not_matter(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    inner.chmod(0o777)
    tmp_path.chmod(0o700)
    require_own(inner, "", within=tmp_path)
    tmp_path.chmod(0o711)
    with pytest.raises(NotOwnError):
        require_own(inner, "", within=tmp_path)


@as_root
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, SOMEBODY_ELSE, -1)
    with pytest.raises(NotOwnError, match=f"belongs to user {SOMEBODY_ELSE}"):
        require_own(tmp_path, "")
