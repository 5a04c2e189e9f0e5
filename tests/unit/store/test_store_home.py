"""The home is this user's own, or nothing is done with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.ownership import NotOwnError
from gittorrent.store.database import Database
from gittorrent.store.home import VARIABLE, NoHomeError, open_home, usable_home

SOMEBODY_ELSE = 12345

INSIDE = ("run", "keys", "partial", "cache", "repositories", "node.sqlite")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that others may enter."""
    root = tmp_path / "home"
    root.mkdir(mode=0o755)
    monkeypatch.setenv(VARIABLE, str(root))
    Database(open_home().database).close()
    (root / "keys").mkdir(mode=0o700)
    return root


@pytest.fixture
def group_umask() -> Iterator[None]:
    """A umask as where every user has a group of their own."""
    before = os.umask(0o002)
    yield
    os.umask(before)


def test_what_is_made_is_accepted_the_next_time(group_umask: None, root: Path) -> None:
    root.chmod(0o755)
    for name in INSIDE:
        assert not (root / name).stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH), name
    assert open_home().root == root.resolve()


def test_a_new_home_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "new"))
    assert stat.S_IMODE(open_home().root.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_home_that_others_may_write_to_is_refused(mode: int, root: Path) -> None:
    root.chmod(mode)
    with pytest.raises(NotOwnError, match="other users may write") as caught:
        open_home()
    assert VARIABLE in caught.value.hint


@pytest.mark.parametrize("name", INSIDE)
def test_so_is_one_whose_parts_others_may_write_to(name: str, root: Path) -> None:
    (root / name).chmod(0o770)
    with pytest.raises(NotOwnError, match=name):
        open_home()
    root.chmod(0o700)
    open_home()  # nobody else gets there


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", ["", *INSIDE])
def test_a_home_of_somebody_else_is_refused(name: str, root: Path) -> None:
    os.chown(root / name, SOMEBODY_ELSE, -1)
    with pytest.raises(NotOwnError, match=f"belongs to user {SOMEBODY_ELSE}") as caught:
        open_home()
    assert VARIABLE in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_to_somebody_elses_directory_is_no_way_around(root: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", SOMEBODY_ELSE, -1)
    (root / "cache").rmdir()
    (root / "cache").symlink_to(tmp_path / "theirs")
    with pytest.raises(NotOwnError, match="cache"):
        open_home()


def test_a_user_without_a_place_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(NoHomeError) as caught:
        open_home()
    assert VARIABLE in caught.value.hint
    with usable_home(tmp_path) as home:
        assert home.root.parent == tmp_path.resolve()
        assert home.root.stat().st_mode & 0o777 == 0o700
        assert "file" in home.lacking
        Database(home.database).close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file"]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with usable_home(tmp_path) as home:
        assert home == open_home()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_home_of_another_user_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    os.chown(open_home().root, SOMEBODY_ELSE, SOMEBODY_ELSE)
    with pytest.raises(NoHomeError, match=f"belongs to user {SOMEBODY_ELSE}"):
        open_home()
    with usable_home() as home:
        assert not home.root.is_relative_to(tmp_path.resolve())
