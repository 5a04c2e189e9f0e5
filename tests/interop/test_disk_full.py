"""Full disks: said clearly, nothing half done stays behind, and with room it goes on.

Clones are in test_errors; the disk under partial downloads is in test_store_partial as well.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gittorrent.ids import RepositoryId
from gittorrent.node.options import Options
from gittorrent.repository.carried import MIRROR, Carried
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from support import bulk, gitcmd, killing, nodes
from support.copying import copy_tree
from support.disks import small_disk
from support.nodes import Served
from support.programs import Person, serve, somebody, wait_until
from support.repositories import noise

FULL = 7
"""Exit code for what this machine cannot do."""


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def says_full(said: str) -> bool:
    """Tell whether a user would know what is wrong; git has words of its own for it."""
    return "o space left" in said or "ut of diskspace" in said


def assert_no_litter(person: Person, *repositories: Path) -> None:
    """Nothing is left but verified parts and files that locks are on."""
    left = killing.stale_files(person, *repositories)
    assert not [path for path in left if "/partial" not in str(path)], left


def test_the_disk_of_temporary_files(project_node: Served, tmp_path: Path, person: Person) -> None:
    """Its place is named, since it is seldom the disk that users look at.

    Python takes another one where nothing at all can be written.
    """
    with small_disk(tmp_path / "small", "16k") as disk:
        other = replace(person, variables={"TMPDIR": str(disk.path)})
        done = other.git("ls-remote", url_of(project_node)).failed(128)
        assert says_full(done.err)
        assert f"({disk.path}" in done.err


def test_a_backup(tmp_path: Path, person: Person) -> None:
    """It leaves nothing but the former one, and says where there was no room."""
    origin = tmp_path / "project.git"
    gitcmd.init(origin)
    nodes.add_commit(origin, "refs/heads/main", "file", noise("file", 200_000))
    person.gittorrent("publish", origin, "--new-key", "--wait").ok()
    with small_disk(tmp_path / "disk", "2m") as disk:
        file, others = disk.path / "node.tar", disk.path / "node.tar.repositories"
        words = ("backup", file, "--repositories")
        filler = disk.fill(leave=100_000)
        done = person.gittorrent(*words).failed(FULL)
        assert says_full(done.err)
        assert f"({others}" in done.err
        assert [each.name for each in disk.path.iterdir()] == [filler.name]
        filler.unlink()
        person.gittorrent(*words).ok()
        nodes.add_commit(origin, "refs/heads/main", "more", noise("more", 200_000))
        person.gittorrent("publish", origin, "--wait").ok()
        whole = {each: each.stat().st_ino for each in disk.path.rglob("*")}
        filler = disk.fill(leave=100_000)
        person.gittorrent(*words).failed(FULL)
        filler.unlink()
        assert {each: each.stat().st_ino for each in disk.path.rglob("*")} == whole
        person.gittorrent(*words).ok()


def leave(opened: Database, person: Person, *, in_use: bool) -> None:
    """Leave somebody's open database as it is when it is closed, or when its process is killed."""
    files = [person.node / "node.sqlite", person.node / "node.sqlite-wal"]
    kept = {each: each.read_bytes() for each in files} if in_use else {}
    opened.close()
    for path, data in kept.items():
        path.write_bytes(data)


@pytest.mark.parametrize("in_use", [False, True])
def test_a_backup_from_a_disk_that_is_read_only_now(
    tmp_path: Path, person: Person, in_use: bool
) -> None:
    """That is when one is wanted; also where a process wrote until then."""
    with small_disk(person.node, "10m") as disk:
        person.gittorrent("status").ok()
        opened = Database(person.node / "node.sqlite")
        opened.carry(CarriedRow("p", RepositoryId("a" * 52), "/p", MIRROR, "gittorrent://h/p"))
        leave(opened, person, in_use=in_use)
        disk.protect()
        file = tmp_path / "node.tar"
        done = person.gittorrent("backup", file, "--json").ok()
        assert json.loads(done.out)["mirrors"] == ["p"]
        later = somebody(tmp_path / "later")
        found = json.loads(later.gittorrent("restore", file, "--json").ok().out)
        assert found["mirrors"] == ["p"]


@pytest.mark.parametrize("in_use", [False, True])
def test_what_a_disk_holds_that_is_read_only_now(
    tmp_path: Path, person: Person, in_use: bool
) -> None:
    """It can be looked at: what is carried, and whether that is whole."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    person.variables["TMPDIR"] = str(temporary)
    with small_disk(person.node, "10m") as disk:
        opened = Database(person.node / "node.sqlite")
        made = bulk.make_small(person.node / "repositories" / "project.git")
        person.gittorrent("publish", made, "--new-key", "--wait").ok()
        leave(opened, person, in_use=in_use)
        disk.protect()
        found = json.loads(person.gittorrent("status", "--json").ok().out)
        assert [each["name"] for each in found["repositories"]] == ["project"]
        for command in (["verify"], ["log"], ["reel", "show"], ["mirrors"], ["policy", "show"]):
            person.gittorrent(*command, "project").ok()
        for command in (["publish"], ["tidy"], ["remove", "--yes"]):
            person.gittorrent(*command, "project").failed(FULL, "its file system is read-only")
        changing = person.gittorrent("forget", "gittorrent://host/project")
        database = person.node / "node.sqlite"
        changing.failed(FULL, f"cannot write to {database}: its file system is read-only")
        assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("size", ["13m", pytest.param("24m", marks=pytest.mark.slow)])
def test_publishing(tmp_path: Path, person: Person, size: str) -> None:
    """There is room for the repository, and for none or not all of its reel."""
    made = bulk.make_large(tmp_path / "project.git")
    gitcmd.git(made, "repack", "-adq")
    with small_disk(tmp_path / "disk", size) as disk:
        repository = disk.path / "project.git"
        copy_tree(made, repository)
        words: list[str | Path] = ["gittorrent", "publish", repository, "--new-key", "--wait"]
        done = person.run(*words).failed(FULL)
        assert says_full(done.err), done.err
        assert not killing.logs_of(repository)
        assert_no_litter(person, repository)
        killing.fsck(repository)
        disk.grow("80m")
        person.run(*words).ok()
        killing.examine(person, repository, settled=True)
        # The next one fails before it counts, too: the log is as it was.
        nodes.add_commit(repository, "refs/heads/main", "more", b"more")
        (log,) = killing.logs_of(repository)
        entries = log.read_bytes()
        filler = disk.fill()
        person.run(*words).failed(FULL)
        assert log.read_bytes() == entries
        filler.unlink()
        person.run(*words).ok()
        killing.examine(person, repository, settled=True)


@pytest.mark.parametrize("size", ["6m", pytest.param("14m", marks=pytest.mark.slow)])
def test_mirroring(large: Carried, tmp_path: Path, person: Person, size: str) -> None:
    """No room for the parts; for the parts and perhaps not for the index."""
    with nodes.serving(large, home=nodes.make_home(tmp_path / "h")) as served:
        with small_disk(person.node, size) as disk:
            words = ["gittorrent", "mirror", url_of(served), "--once"]
            done = person.run(*words)
            if done.status:
                done.failed(FULL)
                assert_no_litter(person)
                assert not list((person.node / "repositories").glob("[!.]*.git"))
                disk.grow("80m")
                person.run(*words).ok()
            else:
                assert size != "6m", done.err
            mirror = person.node / "repositories" / "project.git"
            killing.assert_equal(mirror, large)
            killing.examine(person, mirror, settled=True)
            assert not person.partial


def test_a_node_goes_on_serving(large: Carried, tmp_path: Path, person: Person) -> None:
    """What it writes down about itself and others is not what it is there for."""
    owner = Person(tmp_path / "owner")
    owner.root.mkdir()
    with small_disk(owner.node, "2m") as disk:
        with serve(owner, large.layout.git_dir) as daemon:
            disk.fill()
            person.git("clone", "-q", "--mirror", daemon.url(), "c").ok()
            person.gittorrent("mirror", daemon.url(), "--once").ok()
            assert daemon.running.process.poll() is None
        assert "Traceback" not in daemon.running.err
    killing.assert_equal(person.root / "c", large)


def test_a_home_that_is_full_from_the_beginning(large: Carried, tmp_path: Path) -> None:
    owner = Person(tmp_path / "owner")
    owner.root.mkdir()
    with small_disk(owner.node, "64k") as disk:
        filler = disk.fill()
        done = owner.gittorrent("serve", large.layout.git_dir, "--git", "127.0.0.1:0")
        done.failed(FULL)
        filler.unlink()
        disk.grow("2m")
        with serve(owner, large.layout.git_dir) as daemon:
            owner.git("ls-remote", daemon.url()).ok()


def test_seeding(large: Carried, tmp_path: Path, person: Person) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "h")) as served:
        with small_disk(tmp_path / "disk", "18m") as disk:
            clone = disk.path / "c"
            person.git("clone", "-q", "--mirror", f"{served.git}/project.git", clone).ok()
            words: list[str | Path] = ["gittorrent", "seed", clone, url_of(served), "--for", "0"]
            done = person.run(*words).failed(FULL)
            assert says_full(done.err), done.err
            assert_no_litter(person, clone)
            disk.grow("80m")
            person.run(*words).ok()
            killing.examine(person, clone)


def test_a_clone_whose_home_fills_up_on_the_way(
    large: Carried, tmp_path: Path, person: Person
) -> None:
    """What it says of itself for 'status' has no room; that is no reason to fail."""
    total = large.reels.all()[0].manifest.pack_size
    options = Options(git=(("127.0.0.1", 0),), up_limit=6 << 20, announce=False)
    home = nodes.make_home(tmp_path / "h")
    with nodes.serving(large, home=home, options=options) as served:
        with small_disk(person.node, f"{total + (1 << 20)}") as disk:
            running = person.start("git", "clone", "-q", "--mirror", url_of(served), "c")
            try:
                wait_until(lambda: bool(person.partial), "parts come")
                wait_until(lambda: (person.partial[0] / "parts").exists(), "parts come")
                disk.fill()
                running.wait()
            finally:
                running.stop()
            assert "Traceback" not in running.err, running.err
            if running.process.returncode:
                assert says_full(running.err), running.err
                (disk.path / "filler").unlink()
                shutil.rmtree(person.root / "c", ignore_errors=True)
                person.git("clone", "-q", "--mirror", url_of(served), "c").ok()
    killing.assert_equal(person.root / "c", large)
