"""What is said of files that this user may not use."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import gittorrent
from gittorrent.errors import LocalError
from gittorrent.git.repository import NotARepositoryError, find_repository
from gittorrent.git.runner import GitError
from gittorrent.ownership import user_name
from gittorrent.permissions import denied_at, denied_in_repository, explain_local_error
from gittorrent.store.database import Database
from support import gitcmd
from support.users import SOMEBODY, as_root, being, open_folder

MIGRATIONS = Path(gittorrent.__file__).parent / "store" / "migrations"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of a user who is not root, as that user; root may use everything."""
    # Imports what it needs while this process may read its own modules.
    Database(tmp_path / "node.sqlite").close()
    with open_folder() as place:
        own = place / "own"
        with being(SOMEBODY) if os.geteuid() == 0 else contextlib.nullcontext():
            if not os.access(MIGRATIONS, os.R_OK, effective_ids=True):
                pytest.skip("other users cannot read this program's files here")
            own.mkdir()
            yield own
            own.chmod(0o700)


def test_a_file_that_is_read_only(folder: Path) -> None:
    (folder / "file").touch(0o400)
    denied = denied_at(folder / "file", reading=False)
    assert denied is not None
    me = user_name(os.geteuid())
    assert str(denied) == (
        f"cannot write to {folder / 'file'}: it belongs to {me} (mode 0400), and this program"
        f" runs as {me}"
    )
    assert denied.hint == f"'chmod u+rwX {folder / 'file'}' gives you the right"
    assert denied_at(folder / "file", reading=True) is None


def test_what_is_in_the_way_is_named(folder: Path) -> None:
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    assert denied_at(inner / "none" / "file", reading=False) is None
    inner.chmod(0o500)
    for name in ("none", "none/file", "file"):  # files are replaced in their directory
        assert f": {inner} belongs to" in str(denied_at(inner / name, reading=False))
        assert denied_at(inner / name, reading=True) is None
    inner.parent.chmod(0o600)
    for reading in (True, False):
        assert f": {inner.parent} belongs to" in str(denied_at(inner / "file", reading=reading))
    inner.parent.chmod(0o700)
    inner.chmod(0o700)


@as_root
def test_whose_it_is_and_who_we_are() -> None:
    with open_folder() as place:
        (place / "file").touch(0o644)
        place.chmod(0o755)
        with being(SOMEBODY):
            denied = denied_at(place / "file", reading=False)
    assert "it belongs to user root (mode 0644), and this program runs as user" in str(denied)
    assert denied is not None
    assert denied.hint.startswith("run this as user root, or let user")
    assert "core.sharedRepository" in denied.hint


def test_errors_of_the_system(folder: Path) -> None:
    (folder / "file").touch(0o000)
    for mode in ("rb", "ab"):
        with pytest.raises(PermissionError) as caught, (folder / "file").open(mode):
            pass
        assert "(mode 0000)" in str(explain_local_error(caught.value))
    # Where nothing is in the way any more, and where no file is named, the system's words do.
    gone = PermissionError(errno.EACCES, "Permission denied", str(folder))
    assert str(explain_local_error(gone)) == f"Permission denied ({folder})"
    assert str(explain_local_error(OSError(errno.EPERM, "No"))) == "No"
    full = explain_local_error(OSError(errno.ENOSPC, "Full", "x"))
    assert full is not None
    assert "make room" in full.hint
    assert explain_local_error(OSError(errno.ENOENT, "None", "x")) is None


def test_what_git_may_not_use(folder: Path) -> None:
    git_dir = gitcmd.init(folder / "r.git")
    words = ("hash-object", "-w")
    said = b"error: insufficient permission for adding an object to repository database"
    (git_dir / "objects").chmod(0o500)
    error = GitError(words, 128, said, str(git_dir))
    assert error.is_own_trouble
    assert f"cannot write to {git_dir / 'objects'}: it belongs to" in error.hint
    assert "chmod" in error.hint
    (git_dir / "objects").chmod(0o700)
    assert GitError(words, 128, said, str(git_dir)).hint == ""
    assert "make room" in GitError(words, 128, b"No space left on device", str(git_dir)).hint
    (git_dir / "objects").chmod(0o000)
    assert "cannot read" in str(denied_in_repository(git_dir, reading=True))
    with pytest.raises(NotARepositoryError, match=r"cannot read .*objects") as caught:
        find_repository(git_dir)
    assert "chmod" in caught.value.hint
    (git_dir / "objects").chmod(0o700)


def test_a_database_that_cannot_be_written(folder: Path) -> None:
    Database(folder / "node.sqlite").close()
    (folder / "node.sqlite").chmod(0o400)
    with pytest.raises(LocalError, match=r"cannot write to .*node.sqlite: it belongs") as caught:
        Database(folder / "node.sqlite")
    assert "chmod" in caught.value.hint


def test_a_system_that_starts_no_threads_is_named() -> None:
    """As in a container with a small limit of pids."""
    found = explain_local_error(RuntimeError("can't start new thread"))
    assert isinstance(found, LocalError)
    assert "limit of pids" in found.hint
    assert explain_local_error(RuntimeError("something else")) is None


def test_memory_that_the_system_does_not_give() -> None:
    found = explain_local_error(MemoryError())
    assert found is not None
    assert found.exit_code == 7
    assert "ulimit -v" in found.hint
