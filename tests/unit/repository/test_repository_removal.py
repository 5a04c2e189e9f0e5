"""A repository is deleted under another name, and what a crash leaves of it goes later."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gittorrent.durable import STALE_SECONDS
from gittorrent.errors import LocalError
from gittorrent.repository.removal import delete, set_aside, sweep_removed


def test_it_is_out_of_the_way_at_once(tmp_path: Path) -> None:
    path = tmp_path / "r.git"
    (path / "objects").mkdir(parents=True)
    aside = set_aside(path)
    assert not path.exists()
    assert (aside / "objects").is_dir()
    delete(aside)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LocalError, match="cannot move"):
        set_aside(path)


def test_what_is_left_of_a_crash_goes_when_it_is_old(tmp_path: Path) -> None:
    old, young = tmp_path / "old.git", tmp_path / "young.git"
    for path in (old, young):
        (path / "objects").mkdir(parents=True)
    aside, fresh = set_aside(old), set_aside(young)
    long_ago = fresh.stat().st_mtime - STALE_SECONDS - 1
    os.utime(aside, (long_ago, long_ago))
    sweep_removed(tmp_path)
    assert list(tmp_path.iterdir()) == [fresh]
