"""What writers leave behind when they are killed, and what takes it away."""

from __future__ import annotations

import os
import time
from pathlib import Path

from gittorrent.durable import ROOM_SECONDS, STALE_SECONDS, room, sweep
from gittorrent.git.packs import tidy
from gittorrent.git.runner import Git
from gittorrent.ids import PushId
from gittorrent.repository.layout import Layout
from gittorrent.repository.litter import clear_litter
from support import gitcmd

LISTED, UNLISTED = PushId("ab" * 20), PushId("cd" * 20)


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def made(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    age(path, seconds)
    return path


def test_sweeping_takes_what_is_old(tmp_path: Path) -> None:
    old, new = made(tmp_path / "old.new", 100), made(tmp_path / "new.new", 10)
    other = made(tmp_path / "old", 100)
    folder = tmp_path / "folder.new"
    made(folder / "file", 0)
    age(folder, 100)
    target = made(tmp_path / "target" / "file", 100)
    link = tmp_path / "link.new"
    link.symlink_to(target.parent)
    os.utime(link, (1, 1), follow_symlinks=False)
    sweep(tmp_path, "*.new", 50)
    assert [p.exists() for p in (old, new, other, folder, target)] == [
        False,
        True,
        True,
        False,
        True,
    ]
    assert not link.is_symlink()
    sweep(tmp_path / "absent", "*")


def test_rooms_of_the_dead_go_when_another_is_made(tmp_path: Path) -> None:
    kept: list[Path] = []
    with room("test") as first:
        made(first / "file", 0)
        age(first, ROOM_SECONDS + 10)
        mine = first.with_name("gittorrent-test-with-another-name")
        mine.mkdir()
        age(mine, ROOM_SECONDS + 10)
        with room("test") as second:
            kept = [first, mine, second]
            assert [path.exists() for path in kept] == [False, True, True]
    assert not second.exists()
    mine.rmdir()


def test_litter_of_a_repository(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "r.git")
    gone = [
        made(layout.incoming / "incoming-1" / "pack", 0),
        made(layout.own / ".log.1.2.new", STALE_SECONDS + 10),
        made(layout.pushes / f".{LISTED}.1.2.new", STALE_SECONDS + 10),
        made(layout.reels / ".x.manifest.1.2.new", STALE_SECONDS + 10),
        made(layout.push(UNLISTED), STALE_SECONDS + 10),
    ]
    stays = [
        made(layout.push(LISTED), STALE_SECONDS + 10),
        # Somebody may be listing refs right now, and lock the repository later.
        made(layout.pushes / f".{UNLISTED}.3.4.new", 10),
        made(layout.push(PushId("ef" * 20)), 10),
        made(layout.log, STALE_SECONDS + 10),
    ]
    clear_litter(layout, [LISTED])
    assert not [path for path in gone if path.exists()]
    assert all(path.exists() for path in stays)


def test_housekeeping_takes_packs_that_were_never_finished(tmp_path: Path) -> None:
    git_dir = gitcmd.init(tmp_path / "r.git")
    gitcmd.git(git_dir, "hash-object", "-w", "--stdin", stdin=b"x")
    folder = git_dir / "objects" / "pack"
    old = [made(folder / name, STALE_SECONDS + 10) for name in (".tmp-1-pack-x.pack", "tmp_pack_y")]
    new = made(folder / "tmp_pack_z", 10)
    tidy(Git(git_dir), None)
    assert not [path for path in old if path.exists()]
    assert new.exists()
