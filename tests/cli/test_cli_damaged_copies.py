"""Lists of copied repositories that no backup writes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from gittorrent.cli.backup_repositories import copies_of
from gittorrent.repository.copying import (
    CopiedFile,
    CopiedRepository,
    CopyDamagedError,
    check_copy,
    place_copy,
)
from gittorrent.store.backup import COPIES, Backup, BackupDamagedError, Kind

ID = "a" * 52
COPY = CopiedRepository("project", "sha1", f"{ID}-1")


def backup(copied: CopiedRepository, name: str = ID) -> Backup:
    return Backup(Kind.HOME, 0, {COPIES: msgspec.json.encode({name: copied})})


def test_what_a_backup_writes_is_read() -> None:
    assert list(copies_of(backup(COPY)).values()) == [COPY]


@pytest.mark.parametrize(
    "copied",
    [
        replace(COPY, format="sha3"),
        replace(COPY, directory=f"../{ID}-1"),
        replace(COPY, name="../project"),
    ],
)
def test_what_it_does_not_write_is_called_damaged(copied: CopiedRepository) -> None:
    with pytest.raises(BackupDamagedError, match="list of copied repositories"):
        copies_of(backup(copied))


STRANGE = [
    "/config",
    "../config",
    "objects/../../config",
    "../elsewhere/config",
    "con\0fig",
    "con\0fig/config",
    "",
    "./config",
    "refs",
    "a/" * 3000 + "config",
]


@pytest.mark.parametrize("name", STRANGE)
def test_names_that_no_file_in_a_repository_has(tmp_path: Path, name: str) -> None:
    (tmp_path / COPY.directory).mkdir()
    copied = replace(COPY, files={name: CopiedFile(0, "0" * 64)})
    with pytest.raises(CopyDamagedError):
        check_copy(tmp_path, copied)
    with pytest.raises(CopyDamagedError):
        place_copy(tmp_path, copied, tmp_path / "in" / "project.git")
    assert [each.name for each in tmp_path.iterdir()] == [COPY.directory]  # and nothing was made


def test_a_file_where_another_one_needs_a_folder(tmp_path: Path) -> None:
    nothing = CopiedFile(0, hashlib.sha256().hexdigest())
    copied = replace(COPY, files={"info": nothing, "info/exclude": nothing})
    with pytest.raises(CopyDamagedError, match="no name of a file"):
        check_copy(tmp_path, copied)
