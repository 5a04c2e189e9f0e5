"""Backups with what is published: made while pushes come in, killed, and brought back elsewhere."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from gittorrent.repository.carried import open_carried
from support import gitcmd, killing
from support.nodes import add_commit
from support.programs import Person, serve, somebody, wait_until
from support.repositories import noise

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")

MAIN = b"refs/heads/main"


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    """Somebody who publishes a bare repository that has a branch of its own besides."""
    person = somebody(tmp_path / "owner")
    origin = tmp_path / "project.git"
    gitcmd.init(origin)
    for number in range(3):
        add_commit(origin, "refs/heads/main", f"file{number}", noise(f"{number}", 20_000))
    add_commit(origin, "refs/private/notes", "notes", b"mine\n")
    person.gittorrent("publish", origin, "--new-key", "--wait").ok()
    return person


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return tmp_path / "project.git"


def publish_more(person: Person, origin: Path, name: str) -> str:
    new = add_commit(origin, "refs/heads/main", name, name.encode())
    person.gittorrent("publish", origin, "--wait", "-q").ok()
    return new


def back_up(person: Person, file: Path) -> dict[str, list[str]]:
    found = json.loads(person.gittorrent("backup", file, "--repositories", "--json").ok().out)
    assert isinstance(found, dict)
    return found


def restored(origin: Path, folder: Path, file: Path) -> Path:
    """Restore a backup to a home of its own, with the origin gone; returns the repository."""
    person, aside = somebody(folder), origin.with_name("aside.git")
    origin.rename(aside)
    try:
        done = json.loads(person.gittorrent("restore", file, "--json").ok().out)
    finally:
        aside.rename(origin)
    assert (done["restored"], done["missing"]) == (["project"], [])
    repository = person.node / "repositories" / "project.git"
    killing.fsck(repository)
    return repository


def main_of(repository: Path) -> str:
    """Return what the log says of the branch, whose commit is here."""
    refs = {bytes(ref): value for ref, value in open_carried(repository).log().refs.items()}
    return refs[MAIN]


def test_it_comes_back_and_is_published_again(owner: Person, origin: Path, tmp_path: Path) -> None:
    """What was published after the backup comes from the mirror; nothing forks."""
    file, keys = tmp_path / "node.tar", tmp_path / "keys.tar"
    owner.gittorrent("backup", file, "--keys", keys).ok()
    assert back_up(owner, file)["repositories"] == ["project"]
    private = gitcmd.refs(origin)[b"refs/private/notes"]
    new = publish_more(owner, origin, "after the backup")
    mirror = somebody(tmp_path / "mirror")
    with serve(owner, origin) as daemon:
        mirror.gittorrent("mirror", daemon.url(), "--once", "-q").ok()
    for path in (owner.node, origin):
        shutil.rmtree(path)
    with serve(mirror) as daemon:
        later = somebody(tmp_path / "later")
        said = later.gittorrent("restore", file, "--keys", keys).ok().out
        assert "as a mirror: project" in " ".join(said.split())
        assert "1 ref that no mirror has: now refs/gittorrent/restored/..." in said
        repository = later.node / "repositories" / "project.git"
        assert gitcmd.refs(repository)[b"refs/gittorrent/restored/private/notes"] == private
        later.gittorrent("publish", repository).failed(2)
        later.gittorrent("mirror", daemon.url(), "--once", "-q").ok()
        key = later.node / "keys" / "publish"
        later.gittorrent("adopt", "project", "--key", key).ok()
        assert gitcmd.refs(repository)[MAIN] == new
        assert gitcmd.refs(repository)[b"refs/gittorrent/restored/private/notes"] == private
        publish_more(later, repository, "after it was restored")
    with serve(later) as daemon:
        mirror.gittorrent("mirror", daemon.url(), "--once", "-q").ok()
    copy = mirror.node / "repositories" / "project.git"
    assert gitcmd.refs(copy)[MAIN] == gitcmd.refs(repository)[MAIN]
    said = json.loads(mirror.gittorrent("keeper", "show", copy, "--json").ok().out)
    assert said["twins"] == []


def test_without_copies_the_node_brings_it_from_its_mirrors(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    file, mirror = tmp_path / "node.tar", somebody(tmp_path / "mirror")
    with serve(owner, origin) as daemon, serve(mirror) as other:
        mirror.gittorrent("mirror", daemon.url(), "-q").ok()
        listing = ("mirrors", daemon.url(), "--json")
        wait_until(lambda: other.git in owner.gittorrent(*listing).out, "it is listed")
        owner.gittorrent("backup", file).ok()
    head = gitcmd.refs(origin)[MAIN]
    for path in (owner.node, origin):
        shutil.rmtree(path)
    port = other.git.rpartition(":")[2]
    with_port = ("--git", f"127.0.0.1:{port}")
    running = mirror.start("gittorrent", "serve", *with_port)
    try:
        wait_until(lambda: "listening" in running.out, "it listens")
        later = somebody(tmp_path / "later")
        done = json.loads(later.gittorrent("restore", file, "--json").ok().out)
        assert (done["restored"], done["missing"]) == ([], [str(origin)])
        brought = later.node / "repositories" / "project.git"
        with serve(later):
            wait_until(brought.exists, "the node brings it")
        assert gitcmd.refs(brought)[MAIN] == head
    finally:
        running.stop()


def test_a_backup_while_pushes_and_housekeeping_go_on(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    """Each is whole, and as new as what was published before it began."""
    stop = threading.Event()

    def disturb() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            publish_more(owner, origin, f"commit {number}")
            if number % 3 == 0:
                gitcmd.git(origin, "repack", "-a", "-d", "-q")
                gitcmd.git(origin, "pack-refs", "--all")

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    made = []
    try:
        for number in range(3):
            known = main_of(origin)
            back_up(owner, tmp_path / f"{number}.tar")
            made.append((tmp_path / f"{number}.tar", known))
    finally:
        stop.set()
        disturbing.join()
    for file, known in made:
        repository = restored(origin, tmp_path / f"restored-{file.stem}", file)
        words = ["merge-base", "--is-ancestor", known, main_of(repository)]
        gitcmd.git(repository, *words)


def test_what_does_not_change_is_shared_with_the_backup_before(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    file = tmp_path / "node.tar"
    back_up(owner, file)
    publish_more(owner, origin, "more")
    back_up(owner, file)
    (copy,) = (tmp_path / "node.tar.repositories").iterdir()
    assert [path for path in copy.rglob("*") if path.stat().st_nlink == 1 and path.is_file()]
    restored(origin, tmp_path / "later", file)


def test_killed_at_any_point_there_is_a_whole_backup(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    """Before there is a file there is no backup; the one before stays good until the next is."""
    chance = random.Random(7)
    file = tmp_path / "node.tar"
    back_up(owner, file)
    place = tmp_path / "node.tar.repositories"
    for number in range(4):
        published = publish_more(owner, origin, f"round {number}")
        at = chance.randrange(1, 120)
        running = owner.start("gittorrent", "backup", file, "--repositories")
        kill_when(partial(has_more, place, at), running.process.poll)
        running.stop()
        owner.gittorrent("restore", "--check", file).ok()
        repository = restored(origin, tmp_path / f"later{number}", file)
        known = main_of(repository)
        gitcmd.git(origin, "merge-base", "--is-ancestor", known, published)
    back_up(owner, file)
    assert len([*place.iterdir()]) == 1
    repository = restored(origin, tmp_path / "last", file)
    assert main_of(repository) == published


def has_more(place: Path, count: int) -> bool:
    return sum(len(names) for _, _, names in os.walk(place)) > count


def kill_when(condition: Callable[[], bool], poll: Callable[[], int | None]) -> None:
    wait_until(lambda: condition() or poll() is not None, "it is at work")


def test_an_interrupted_restore_begins_again(owner: Person, origin: Path, tmp_path: Path) -> None:
    file = tmp_path / "node.tar"
    back_up(owner, file)
    shutil.rmtree(origin)
    later = somebody(tmp_path / "later")
    left = later.node / "repositories" / "project.git"
    left.mkdir(parents=True)
    (left / "HEAD").write_text("cut short")
    later.gittorrent("restore", file).failed(2, "is in use")
    (later.node / ".restoring").mkdir()  # whose are they, then
    later.gittorrent("status").ok()  # makes a database
    later.gittorrent("restore", file).ok()
    assert "project" in later.gittorrent("status").ok().out
    killing.fsck(left)
    assert not (later.node / ".restoring").exists()


@pytest.mark.parametrize("kind", ["changed", "missing"])
def test_damage_is_found(owner: Person, origin: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "node.tar"
    back_up(owner, file)
    shutil.rmtree(origin)
    (pack, *_) = (tmp_path / "node.tar.repositories").rglob("*.pack")
    data = pack.read_bytes()
    pack.unlink()
    if kind == "changed":
        pack.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    word = "damaged" if kind == "changed" else "missing"
    later = somebody(tmp_path / "later")
    later.gittorrent("restore", "--check", file).failed(1, word, "another backup")
    later.gittorrent("restore", file).failed(1, word)
    pack.unlink(missing_ok=True)
    pack.write_bytes(data)
    later.gittorrent("restore", file).ok()


@pytest.mark.parametrize("kind", ["fifo", "endless", "elsewhere", "longer"])
def test_what_lies_in_the_place_of_a_file_is_not_followed(
    owner: Person, origin: Path, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "node.tar"
    back_up(owner, file)
    shutil.rmtree(origin)
    (pack, *_) = (tmp_path / "node.tar.repositories").rglob("*.pack")
    data = pack.read_bytes()
    pack.unlink()
    if kind == "fifo":
        os.mkfifo(pack)
    elif kind == "endless":
        pack.symlink_to("/dev/zero")
    elif kind == "elsewhere":
        (tmp_path / "secret").write_bytes(data)
        pack.symlink_to(tmp_path / "secret")
    else:
        with pack.open("wb") as into:
            into.write(data)
            into.truncate(1 << 40)
    word = "damaged" if kind == "longer" else "no regular file"
    later = somebody(tmp_path / "later")
    later.gittorrent("restore", "--check", file).failed(1, word, "another backup")
    later.gittorrent("restore", file).failed(1, word)
    pack.unlink()
    pack.write_bytes(data)
    later.gittorrent("restore", file).ok()


def test_a_repository_that_borrows_is_not_copied(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    (origin / "objects" / "info").mkdir(exist_ok=True)
    (origin / "objects" / "info" / "alternates").write_text(f"{tmp_path}\n")
    file = tmp_path / "node.tar"
    owner.gittorrent("backup", file, "--repositories").failed(7, "borrows objects", "repack -a -d")
    assert not file.exists()


def test_a_backup_is_named_from_where_one_is(owner: Person, tmp_path: Path) -> None:
    here = tmp_path / "backups"
    here.mkdir()
    owner.gittorrent("backup", "node.tar", "--repositories", cwd=here).ok()
    somebody(tmp_path / "new").gittorrent("restore", "node.tar", cwd=here).ok()
    person = somebody(tmp_path / "newer")
    said = person.gittorrent("restore", "--check", "node.tar", cwd=here).ok()
    assert "1 published repository in place" in said.out
