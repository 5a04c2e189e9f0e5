"""``gittorrent doctor``: what it finds, what it says to do, and that it leaves all as it was."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from gittorrent.cli.doctor_home import judge_open_files
from gittorrent.cli.doctor_online import OFF_SECONDS, TRIAL_SECONDS, judge_clock
from gittorrent.cli.findings import Verdict
from gittorrent.ids import PushId
from gittorrent.node.connections import callers_with
from gittorrent.push.fresh import MAX_AHEAD
from gittorrent.repository.layout import Layout
from gittorrent.store.copied_home import KEEPER_KEY
from gittorrent.store.database import Database
from gittorrent.store.database_file import look_at_carried
from gittorrent.wire.messages import FreshLine
from support import bulk
from support.disks import small_disk
from support.programs import PATIENCE, Person, serve, somebody, wait_until

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def published(owner: Person, tmp_path: Path) -> Path:
    origin = bulk.make_small(tmp_path / "project.git")
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    return origin


Found = dict[str, list[tuple[str, str, str]]]


def online(person: Person, status: int = 0) -> Found:
    return look(person, status, "--online")


def look(person: Person, status: int = 0, *options: str) -> Found:
    """Return (verdict, text, remedy) of each finding, by subject."""
    done = person.gittorrent("doctor", "--json", *options)
    assert done.status == status, done
    said = json.loads(done.out)
    assert said["ok"] is (status == 0)
    found: Found = {}
    for each in said["findings"]:
        line = (each["verdict"], each["text"], each["remedy"])
        found.setdefault(each["subject"], []).append(line)
        assert bool(each["remedy"]) is (each["verdict"] != "ok")
    return found


def files(root: Path) -> dict[str, tuple[int, int, int]]:
    """Return mode, time and size of everything below a directory."""
    return {
        str(path.relative_to(root)): (info.st_mode, info.st_mtime_ns, info.st_size)
        for path in (root, *root.rglob("*"))
        for info in (path.lstat(),)
    }


def test_a_home_that_is_not_there_is_not_made(owner: Person) -> None:
    found = look(owner)
    assert [verdict for verdict, _, _ in found["home"]] == ["ok"]
    assert "is not there yet" in found["home"][0][1]
    assert not owner.node.exists()
    assert "0 problems" in owner.gittorrent("doctor").ok().out


def test_nothing_is_changed(owner: Person, published: Path) -> None:
    stale = owner.node / "run" / "download-1-1.json"
    stale.write_text("{}")
    os.utime(stale, (1, 1))
    before = files(owner.node), files(published)
    found = look(owner)
    assert (files(owner.node), files(published)) == before
    assert found["node"][0][:2] == ("warning", "none runs here")
    assert found["repositories"] == [("ok", "1 repository, all in their places", "")]
    assert found["keys"][0][0] == "ok"
    assert {line[0] for line in found["disk"]} <= {"ok", "warning"}


def test_the_node_that_runs(owner: Person, published: Path) -> None:
    with serve(owner, published) as daemon:
        wait_until(lambda: any(owner.node.glob("run/node-*.json")), "it says what it does")
        found = look(owner)
        assert found["node"] == [("ok", f"node {daemon.pid} answers", "")]
        verdict, text, remedy = found["listening"][0]
        assert verdict == "warning"
        assert "nobody is told" in text
        assert "--url" in remedy


def test_a_node_that_does_not_answer(owner: Person, published: Path) -> None:
    with serve(owner, published) as daemon:
        wait_until(lambda: any(owner.node.glob("run/node-*.json")), "it says what it does")
        (owner.node / "run" / "control").unlink()
        verdict, text, _ = look(owner, 1)["node"][0]
        assert verdict == "problem"
        assert f"node {daemon.pid} is here and does not answer" in text


def test_open_files_and_missing_repositories(owner: Person, published: Path) -> None:
    (key,) = (path for path in (owner.node / "keys").iterdir() if path.suffix != ".pub")
    key.chmod(0o644)
    shutil.move(published, published.with_name("moved.git"))
    found = look(owner, 1)
    assert found["keys"][0][0] == "problem"
    assert f"chmod 600 {key}" in found["keys"][0][2]
    assert found["repositories"][0][0] == "problem"
    assert str(published) in found["repositories"][0][1]
    lines = owner.gittorrent("doctor").failed(1).out.splitlines()
    assert sum(line.startswith("problem  ") for line in lines) == 2
    assert lines[-1].startswith("2 problems")


def test_a_key_that_is_gone(owner: Person, published: Path) -> None:
    (key,) = (path for path in (owner.node / "keys").iterdir() if path.suffix != ".pub")
    owner.git(f"--git-dir={published}", "config", KEEPER_KEY, key).ok()
    assert look(owner)["keys"][0][0] == "ok"
    away = key.rename(owner.root / "copy")
    gone = [each for each in look(owner, 1)["keys"] if each[0] == "problem"]
    assert [text for _, text, _ in gone] == [
        f"the key that publishes project is not at {key}",
        f"the key that signs checkpoints of project is not at {key}",
    ]
    away.rename(key)
    assert look(owner)["keys"][0][0] == "ok"


def test_a_home_others_may_write_to_is_not_looked_into(owner: Person, published: Path) -> None:
    assert published.exists()
    owner.node.chmod(0o777)
    found = look(owner, 1)
    assert found["home"][0][0] == "problem"
    assert "chmod go-w" in found["home"][0][2]
    assert not {"repositories", "node"} & set(found)


def test_a_configuration_and_a_database_that_cannot_be_read(owner: Person) -> None:
    owner.gittorrent("status").ok()
    (owner.node / "node.toml").write_text("[listen]\nurk = 1\n")
    for path in owner.node.glob("node.sqlite*"):
        path.unlink()
    (owner.node / "node.sqlite").write_bytes(b"this is no database" * 1000)
    found = look(owner, 1)
    assert "node.toml:2" in found["configuration"][0][1]
    assert "cannot be read as database" in found["database"][0][1]


def test_a_database_of_a_newer_program_and_one_that_is_not_made_yet(owner: Person) -> None:
    owner.gittorrent("status").ok()
    path = owner.node / "node.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 99")
    verdict, text, _ = look(owner, 1)["database"][0]
    assert verdict == "problem"
    assert "newer gittorrent" in text
    for each in owner.node.glob("node.sqlite*"):
        each.unlink()
    path.touch(0o600)
    assert "database" not in look(owner, 0)


def test_a_clock_that_went_back(owner: Person, published: Path) -> None:
    (row,) = look_at_carried(owner.node / "node.sqlite")
    later = int(time.time()) + MAX_AHEAD + 3600
    fresh = Layout(published).fresh(row.repository_id)
    fresh.write_bytes(FreshLine(PushId("1" * 40), later, b"signature").encode())
    verdict, text, remedy = look(owner, 1)["clock"][0]
    assert verdict == "problem"
    assert "behind the keeper of project" in text
    assert "NTP" in remedy


def test_a_git_that_is_too_old_or_missing(owner: Person, tmp_path: Path) -> None:
    old = tmp_path / "old-git"
    old.write_text("#!/bin/sh\necho git version 2.20.1\n")
    old.chmod(0o755)
    for name, words in ((old, "at least 2.39"), (tmp_path / "none", "cannot find")):
        person = Person(owner.root, variables={"GITTORRENT_GIT": str(name)})
        verdict, text, remedy = look(person, 1)["git"][0]
        assert verdict == "problem"
        assert words in text
        assert "GITTORRENT_GIT" in remedy


def mirror_of(person: Person, url: str) -> None:
    person.gittorrent("mirror", url, "--once", "-q").ok()


def test_others_call_back_and_tell_the_time(owner: Person, published: Path, tmp_path: Path) -> None:
    mirror = somebody(tmp_path / "mirror")
    with serve(owner, published) as origin:
        mirror_of(mirror, f"gittorrent::{origin.http}/project.git")
        found = look(mirror)
        assert "reach" not in found, "nobody is asked unless that is wanted"
        before = online(mirror)
        assert before["clock"][-1][:2] == ("ok", f"as at {origin.http}/project.git")
        assert "reach" not in before, "no node runs here"
        with serve(mirror, "--no-announce") as served:
            wait_until(lambda: any(mirror.node.glob("run/node-*.json")), "it says what it does")
            verdict, text, _ = online(mirror)["reach"][0]
            assert verdict == "ok"
            assert text.endswith(f"/project.git called {served.git}/project.git back")
    (row,) = look_at_carried(owner.node / "node.sqlite")
    database = Database(owner.node / "node.sqlite")
    (listed,) = database.mirrors(row.repository_id, -1)
    database.close()
    assert listed.expires - listed.verified == TRIAL_SECONDS, "a trial lists nobody for long"


def test_a_node_that_others_do_not_reach(owner: Person, published: Path, tmp_path: Path) -> None:
    mirror = somebody(tmp_path / "mirror")
    with serve(owner, published) as origin:
        mirror_of(mirror, origin.url())
        with serve(mirror, "--url", "git://127.0.0.1:1", "--no-announce"):
            wait_until(lambda: any(mirror.node.glob("run/node-*.json")), "it says what it does")
            verdict, text, remedy = online(mirror, 1)["reach"][0]
            assert verdict == "problem"
            assert "git://127.0.0.1:1/project.git cannot be reached" in text
            assert "firewalls" in remedy
        listed = owner.gittorrent("mirrors", origin.url(), "--json").ok().out
        urls = [each["url"] for each in json.loads(listed)["mirrors"]]
        assert "git://127.0.0.1:1/project.git" not in urls


def test_servers_that_are_gone(owner: Person, published: Path, tmp_path: Path) -> None:
    mirror = somebody(tmp_path / "mirror")
    with serve(owner, published) as origin:
        mirror_of(mirror, f"gittorrent::{origin.http}/project.git")
    verdict, _, remedy = online(mirror)["online"][0]
    assert verdict == "warning"
    assert remedy
    assert online(owner)["online"][0][0] == "ok", "an origin has nobody to ask"


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [(0, "ok"), (-OFF_SECONDS, "ok"), (61, "warning"), (-500, "warning"), (601, "problem")],
)
def test_clocks_are_compared(ahead: int, verdict: str) -> None:
    assert judge_clock("https://mirror.example.org", ahead).verdict.value == verdict


def test_too_few_files_that_a_node_may_open() -> None:
    """Each caller may take three; a node that runs out of them could not even accept anybody."""
    found = judge_open_files(1024)
    assert found.verdict is Verdict.WARNING
    assert "1024 files" in found.text
    assert "at most 256 callers" in found.text
    assert "LimitNOFILE=" in found.remedy
    assert judge_open_files(8192).verdict is Verdict.OK
    assert callers_with(16) == 1
    found = judge_open_files(8192, 10_000)
    assert "at most 2645 callers instead of 10000" in found.text
    assert "LimitNOFILE=30256" in found.remedy
    assert judge_open_files(1024, 256).verdict is Verdict.OK


def test_a_node_that_may_open_few_files_says_so(owner: Person, published: Path) -> None:
    """It starts, and says what follows from it."""
    words = ["gittorrent", "serve", str(published), "--json", "--git", "127.0.0.1:0"]
    shell = ["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh", *words]
    with subprocess.Popen(
        shell, env=owner.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as node:
        assert node.stdout is not None
        assert node.stdout.readline()
        node.terminate()
        _, said = node.communicate(timeout=PATIENCE)
    assert b"at most 256 callers are let in instead of 1024" in said


@pytest.mark.parametrize("place", ["", "not/made"])
def test_a_home_that_cannot_be_written_to_is_a_problem(tmp_path: Path, place: str) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        home_there = {"GITTORRENT_HOME": str(disk.path / place)}
        person = somebody(tmp_path / "person", variables=home_there)
        disk.protect()
        (home,) = look(person, 1)["home"]
        assert home[0] == "problem"
        assert "its file system is read-only" in home[1]
