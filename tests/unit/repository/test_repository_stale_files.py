"""What writers leave behind when they are killed, and what takes it away."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from gittorrent import durable
from gittorrent.durable import (
    DIRECTORY_SECONDS,
    STALE_SECONDS,
    SWEEP_SECONDS,
    TEMPORARY_DIRECTORIES,
    sweep,
    temporary_directory,
)
from gittorrent.git.packs import adopt_pack, tidy
from gittorrent.git.runner import Git
from gittorrent.git.scratch import receiving
from gittorrent.ids import SHA1, SHA256, ObjectFormat, PushId, RepositoryId
from gittorrent.repository.layout import Layout
from gittorrent.repository.stale_files import remove_stale_files
from support import gitcmd

REPOSITORY = RepositoryId("a" * 52)
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
    sweep(tmp_path, "*.new", age=50)
    assert [p.exists() for p in (old, new, other, folder, target)] == [
        False,
        True,
        True,
        False,
        True,
    ]
    assert not link.is_symlink()
    sweep(tmp_path / "absent", "*")
    sweep(tmp_path, age=0)
    assert new.exists(), "no pattern matches nothing"


def test_rooms_of_the_dead_go_with_the_first_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they were for: who only fetches sweeps what publishing left, and vice versa."""
    with contextlib.ExitStack() as stack:
        dead = [stack.enter_context(temporary_directory(name)) for name in TEMPORARY_DIRECTORIES]
        mine = dead[0].with_name("gittorrent-hash-with-another-name")
        others = dead[0].with_name("gittorrent-notours-abcdefgh")
        for path in (mine, others):
            path.mkdir()
        for path in (*dead, mine, others):
            made(path / "file", 0)
            age(path, DIRECTORY_SECONDS + 10)
        with temporary_directory("hash"):
            assert all(path.exists() for path in dead), "this process has looked already"
        later = time.monotonic() + SWEEP_SECONDS
        monkeypatch.setattr(time, "monotonic", lambda: later)
        with temporary_directory("hash") as living:
            assert not [path for path in dead if path.exists()]
            assert all(path.exists() for path in (living, mine, others))
        for path in (mine, others):
            shutil.rmtree(path)
    assert not living.exists()


def test_every_temporary_directory_has_a_known_name() -> None:
    used = set()
    for path in Path(durable.__file__).parent.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        used |= set(re.findall(r"\btemporary_directory\(\"([\w-]+)\"\)", source))
    assert used == set(TEMPORARY_DIRECTORIES)


def made_many(path: Path, *pushes: str) -> Path:
    """Make an old file of empty push objects."""
    made(path, 0)
    lines = [f"gittorrent pushes 1 {len(pushes)}", *(f"{push} 0" for push in pushes)]
    path.write_text("".join(f"{line}\n" for line in lines))
    age(path, STALE_SECONDS + 10)
    return path


def test_stale_files_of_a_repository(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "r.git")
    gone = [
        made(layout.incoming / "incoming-1" / "pack", 0),
        made(layout.own / ".repository.json.1.2.new", STALE_SECONDS + 10),
        made(layout.log(REPOSITORY).with_name(".log.1.2.new"), STALE_SECONDS + 10),
        made(layout.pushes / f".{LISTED}.1.2.new", STALE_SECONDS + 10),
        made(layout.reels / ".x.manifest.1.2.new", STALE_SECONDS + 10),
        made(layout.push(UNLISTED), STALE_SECONDS + 10),
        made_many(layout.push_packs / "a", UNLISTED),
        made(layout.push_packs / "damaged", STALE_SECONDS + 10),
    ]
    stays = [
        made(layout.push(LISTED), STALE_SECONDS + 10),
        # Somebody may be listing refs right now, and lock the repository later.
        made(layout.pushes / f".{UNLISTED}.3.4.new", 10),
        made(layout.push(PushId("ef" * 20)), 10),
        made(layout.log(REPOSITORY), STALE_SECONDS + 10),
        made_many(layout.push_packs / "b", UNLISTED, LISTED),
        made(layout.push_packs / "lately", 10),
    ]
    remove_stale_files(layout, [LISTED])
    assert not [path for path in gone if path.exists()]
    assert all(path.exists() for path in stays)


class Dies:
    """Ends this process right before the n-th change of a name or mode."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, event: str, _arguments: tuple[object, ...]) -> None:
        if event in ("os.rename", "os.chmod"):
            self.left -= 1
            if self.left < 0:
                os._exit(9)


@pytest.mark.parametrize("object_format", [SHA1, SHA256])
def test_a_pack_without_its_index_goes_with_the_room_it_came_from(
    tmp_path: Path, object_format: ObjectFormat
) -> None:
    """Adopting is killed at each step in turn; what is left is a whole pack or none."""
    source = gitcmd.init(tmp_path / "source.git", object_format.name)
    gitcmd.git(source, "hash-object", "-w", "--stdin", stdin=b"x")
    gitcmd.git(source, "config", "pack.writeReverseIndex", "true")
    blob = gitcmd.text(source, "hash-object", "--stdin", stdin=b"x")
    base = source / "objects" / "pack" / "pack"
    name = gitcmd.text(source, "pack-objects", "-q", str(base), stdin=f"{blob}\n".encode())
    layout = Layout(tmp_path / "r.git")
    folder = layout.objects / "pack"
    gitcmd.init(layout.git_dir, object_format.name)
    somebodys = made(folder / f"pack-{'ab' * object_format.raw_size}.pack", STALE_SECONDS + 10)
    outcomes = []
    for step in range(10):
        pid = os.fork()
        if pid == 0:
            with receiving(layout.incoming, object_format) as temporary_directory:
                pack = temporary_directory.directory / "objects" / "pack" / "x.pack"
                for path in source.glob(f"objects/pack/pack-{name}.*"):
                    shutil.copyfile(path, pack.with_suffix(path.suffix))
                checksum = pack.read_bytes()[-object_format.raw_size :].hex()
                sys.addaudithook(Dies(step))
                adopt_pack(pack, layout.pack(checksum), keep="for a reason")
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        remove_stale_files(layout, [])
        found = {path.suffix for path in folder.iterdir() if path != somebodys}
        outcomes.append(found)
        assert found in (set(), {".pack", ".idx", ".rev", ".keep"}), (step, found)
        assert not list(layout.incoming.iterdir())
        if os.waitstatus_to_exitcode(status) == 0:
            break
    assert len(outcomes) > 4
    assert outcomes[-1]
    assert not outcomes[-2]
    assert somebodys.exists()


def test_housekeeping_takes_packs_that_were_never_finished(tmp_path: Path) -> None:
    git_dir = gitcmd.init(tmp_path / "r.git")
    gitcmd.git(git_dir, "hash-object", "-w", "--stdin", stdin=b"x")
    folder = git_dir / "objects" / "pack"
    old = [made(folder / name, STALE_SECONDS + 10) for name in (".tmp-1-pack-x.pack", "tmp_pack_y")]
    new = made(folder / "tmp_pack_z", 10)
    tidy(Git(git_dir), None)
    assert not [path for path in old if path.exists()]
    assert new.exists()
