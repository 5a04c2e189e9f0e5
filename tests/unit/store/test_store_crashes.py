"""What a crash leaves in the node's home, and how the next process gets along with it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_store_partial import FILE, MANIFEST, PARTS

from gittorrent.ids import PushId, RepositoryId
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from gittorrent.store.home import Home
from gittorrent.store.partial import PartialPack
from gittorrent.store.processes import GivenFigures, MirrorProcess, NodeProcess, SeedProcess
from gittorrent.store.snapshot import STALE_SECONDS, Snapshot, read_snapshots

ID = RepositoryId("a" * 52)


@pytest.mark.parametrize("left", ["", "0123", "\n", "ab" * 19 + "zz\n"])
def test_a_node_id_that_was_cut_short_is_made_anew(tmp_path: Path, left: str) -> None:
    """The file was there and empty: every conversation would have begun with no name at all."""
    (tmp_path / "node-id").write_text(left)
    made = Home(tmp_path).node_id()
    assert len(bytes.fromhex(made)) == 20
    assert Home(tmp_path).node_id() == made


def test_processes_that_begin_together_have_one_node_id(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gittorrent.store.home import Home;"
        "print(Home(Path(sys.argv[1])).node_id())"
    )
    words = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(6)]
    assert len({one.communicate()[0] for one in running}) == 1


def test_snapshots_of_the_dead_are_removed_by_the_living(tmp_path: Path) -> None:
    names = ("download-1.json", "download-1.new", "node-2.json")
    for name in names:
        (tmp_path / name).write_text("{}")
    then = time.time() - STALE_SECONDS - 1
    for name in names[:2]:
        os.utime(tmp_path / name, (then, then))
    snapshot = Snapshot(tmp_path, "download")
    snapshot.write(MirrorProcess(url="git://x/y"))
    own, other = sorted(tmp_path.iterdir())
    assert own.name.startswith(f"download-{os.getpid()}-")
    assert other.name == "node-2.json"
    assert json.loads(own.read_text())["kind"] == "mirror"


def test_a_process_that_died_before_the_clock_was_set_back_says_nothing(tmp_path: Path) -> None:
    Snapshot(tmp_path, "download").write(MirrorProcess(url="git://x/y"))
    assert len(read_snapshots(tmp_path)) == 1
    (path,) = tmp_path.iterdir()
    later = time.time() + 40 * 86400
    os.utime(path, (later, later))
    assert read_snapshots(tmp_path) == []


def test_what_a_process_says_is_read_as_it_was_written(tmp_path: Path) -> None:
    odd = os.fsdecode(b"/srv/caf\xe9")
    given = [GivenFigures("192.0.2.1:9418", 5, True, called_us=True)]
    seed = SeedProcess(
        url=odd,
        repository_id=ID,
        name="x",
        path=odd,
        port=1,
        latest=PushId("12" * 20),
        reels=2,
        impossible=0,
        behind=None,
        giving=given,
    )
    Snapshot(tmp_path, "seed").write(seed)
    Snapshot(tmp_path, "node").write(lambda: NodeProcess(listening=["git://0.0.0.0:9418"]))
    node, read = read_snapshots(tmp_path)
    assert isinstance(node, NodeProcess)
    assert node.listening == ["git://0.0.0.0:9418"]
    assert (node.pid, node.time > 0) == (os.getpid(), True)
    assert isinstance(read, SeedProcess)
    assert (read.path, read.giving) == (odd, given)


def test_what_another_version_says_is_left_out(tmp_path: Path) -> None:
    for number, text in enumerate(
        ('{"kind": "telescope"}', '{"kind": "node"}', "[]", "{", '{"kind": "mirror", "url": 1}')
    ):
        (tmp_path / f"x-{number}.json").write_text(text)
    (tmp_path / "y.json").write_text('{"kind": "mirror", "url": "git://x/y", "mood": "good"}')
    (known,) = read_snapshots(tmp_path)
    assert known == MirrorProcess(url="git://x/y")


def test_a_row_whose_repository_is_gone_gives_its_name_up(tmp_path: Path) -> None:
    database = Database(tmp_path / "node.sqlite")
    database.carry(CarriedRow("project", ID, str(tmp_path / "gone.git"), "mirror"))
    row = CarriedRow("project", ID, str(tmp_path / "here.git"), "mirror")
    database.carry(row)
    assert database.carried() == [row]
    database.close()


def test_a_pack_that_a_repository_has_already_can_still_be_gone_on_with(tmp_path: Path) -> None:
    """Killed after the pack got its second, read-only name in a repository and before the end."""
    with PartialPack(tmp_path, MANIFEST, FILE) as partial:
        for index, part in enumerate(PARTS[:-1]):
            assert partial.store(index, part)
        pack = partial.pack
    installed = tmp_path / "pack-installed.pack"
    installed.hardlink_to(pack)
    installed.chmod(0o444)
    assert _as_ordinary_user(tmp_path) == 0
    assert stat.S_IMODE(installed.stat().st_mode) == 0o444
    assert installed.stat().st_nlink == 1
    with PartialPack(tmp_path, MANIFEST, FILE) as partial:
        assert list(partial.recover()) == list(range(len(PARTS)))


COMPLETE = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from test_store_partial import FILE, MANIFEST, PARTS
from gittorrent.store.partial import PartialPack
if os.geteuid() == 0:
    for path in [Path(), *Path().rglob("*")]:
        os.chown(path, 65534, 65534)
    os.setegid(65534)
    os.seteuid(65534)
with PartialPack(Path(), MANIFEST, FILE) as partial:
    sys.exit(0 if partial.store(len(PARTS) - 1, PARTS[-1]) else 2)
"""


def _as_ordinary_user(root: Path) -> int:
    """Complete the download in a process that file modes apply to; it begins below ``root``."""
    here = Path(__file__).parent
    words = [sys.executable, "-c", COMPLETE, str(here), str(here.parents[1])]
    return subprocess.run(words, cwd=root, check=False).returncode
