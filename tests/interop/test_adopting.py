"""Owners who lost their machine go on from any mirror or clone, with nothing but the key."""

from __future__ import annotations

import contextlib
import json
import shutil
import socketserver
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gittorrent.ids import SHA1
from gittorrent.repository.carried import Carried
from support import bulk, gitcmd
from support.copying import copy_tree
from support.programs import Person, serve, somebody, wait_until
from support.running_servers import running

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")


@pytest.fixture
def people(tmp_path: Path) -> Callable[[str], Person]:
    return lambda name: somebody(tmp_path / name)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The one thing that has to be backed up."""
    return make_key(tmp_path / "backup")


@pytest.fixture
def owner(people: Callable[[str], Person], key: Path) -> Person:
    """Who has published a repository with branches, a tag and notes, and may lose the machine."""
    person = people("owner")
    origin = bulk.make_small(person.root / "project.git")
    gitcmd.git(origin, "branch", "side", "main~1")
    gitcmd.git(origin, "notes", "add", "-m", "a note", "main")
    publish(person, origin, "--key", str(key), "--refs", "refs/notes/*")
    return person


def make_key(path: Path) -> Path:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(words, check=True)
    return path


def said(person: Person, *words: str | Path) -> dict[str, Any]:
    found = json.loads(person.gittorrent(*words, "--json").ok().out)
    assert isinstance(found, dict)
    return found


def publish(person: Person, path: Path, *options: str) -> dict[str, Any]:
    return said(person, "publish", path, "--wait", *options)


def published(git_dir: Path) -> dict[bytes, str]:
    own = gitcmd.refs(git_dir)
    return {name: oid for name, oid in own.items() if not name.startswith(b"refs/gittorrent/")}


def commit(person: Person, work: Path, text: str) -> str:
    person.git("commit", "-q", "--allow-empty", "-m", text, cwd=work).ok()
    return gitcmd.text(work, "rev-parse", "HEAD")


def mirror(owner: Person, person: Person) -> Path:
    """Let somebody mirror the repository while the owner's machine is there."""
    with serve(owner) as daemon:
        found = said(person, "mirror", daemon.url(), "--once")
    return Path(found["path"])


def lose(person: Person) -> None:
    """Let a machine burn down."""
    shutil.rmtree(person.root)


def test_the_key_and_a_mirror_restore_everything_on_another_machine(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    """What the owner's guide says, step by step."""
    before = published(owner.root / "project.git")
    helper, reader, restored = people("helper"), people("reader"), people("restored")
    mirror(owner, helper)
    with serve(helper) as daemon:
        reader.git("clone", "-q", daemon.url(), "project").ok()
    lose(owner)
    with serve(helper) as daemon:
        done = said(restored, "adopt", daemon.url(), "--key", key)
    bare = Path(done["path"])
    assert published(bare) == before
    # What was published first is published on, under the same id, with the same patterns.
    restored.git("clone", "-q", bare, "work").ok()
    work = restored.root / "work"
    tip = commit(restored, work, "after the fire")
    restored.git("push", "-q", "origin", "HEAD:main", cwd=work).ok()
    again = publish(restored, bare)
    assert again["repository_id"] == done["repository_id"]
    assert published(bare) == {**before, b"refs/heads/main": tip}
    assert restored.gittorrent("verify", bare).ok()
    # Mirrors and clones follow, as if nothing had happened.
    with serve(restored) as daemon:
        repository = done["repository_id"]
        updated = said(helper, "mirror", daemon.url(repository=repository), "--once")
        assert updated["push_id"] == again["push_id"]
        assert published(Path(updated["path"])) == published(bare)
        place = reader.root / "project"
        pinned = daemon.url(repository=repository)
        reader.git("remote", "set-url", "origin", pinned, cwd=place).ok()
        reader.git("fetch", "-q", cwd=place).ok()
        assert gitcmd.text(place, "rev-parse", "origin/main") == tip


def test_another_key_is_refused_before_anything_is_downloaded(
    owner: Person, people: Callable[[str], Person], tmp_path: Path
) -> None:
    thief = people("thief")
    wrong = make_key(tmp_path / "wrong")
    with serve(owner) as daemon:
        done = thief.gittorrent("adopt", daemon.url(), "--key", wrong)
        done.failed(2, "project is published with ssh:SHA256:", "not with ssh:", "--key")
    assert list((thief.node / "repositories").iterdir()) == []


def test_a_key_that_cannot_sign_changes_nothing(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    helper = people("helper")
    bare = mirror(owner, helper)
    public = key.with_name("backup.pub")
    key.unlink()
    helper.gittorrent("adopt", "project", "--key", public).failed(7, "ssh-agent")
    assert json.loads((bare / "gittorrent" / "repository.json").read_text())["role"] == "mirror"


def test_a_mirror_on_this_machine_and_who_follows_it(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    """Also one that was copied from another machine; a running `mirror` has nothing left to do."""
    helper, other = people("helper"), people("other")
    bare = mirror(owner, helper)
    copied = other.root / "copied.git"
    copy_tree(bare, copied, symlinks=True)
    with serve(owner) as daemon:
        words = ["mirror", daemon.url(), "--interval", "1"]
        following = helper.start("gittorrent", *words)
        try:
            wait_until(lambda: "up to date" in following.out, "it follows")
            assert said(helper, "adopt", "project", "--key", key)["path"] == str(bare)
            assert following.wait() == 0
            assert "published from" in following.err
        finally:
            following.stop()
        helper.gittorrent("mirror", daemon.url(), "--once").failed(2, "is published from")
    lose(owner)
    done = other.gittorrent("adopt", copied, "--key", key).ok()
    assert "no mirror could be asked" in done.err
    assert publish(other, copied)["path"] == str(copied)
    other.gittorrent("adopt", copied, "--key", key).failed(2, "is published from already")


def test_a_mirror_that_is_behind_takes_what_another_has(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    origin = owner.root / "project.git"
    helper, late, restored = people("helper"), people("late"), people("restored")
    mirror(owner, late)
    gitcmd.git(origin, "branch", "newer", "main")
    newest = publish(owner, origin)["push_id"]
    mirror(owner, helper)
    with serve(helper) as current, serve(late) as behind:
        lose(owner)
        # This machine has met both, so it knows whom to ask for what is newer.
        said(restored, "mirror", current.url(), "--once")
        done = said(restored, "adopt", behind.url(), "--key", key)
        assert done["push_id"] == newest
        assert b"refs/heads/newer" in published(Path(done["path"]))


def test_a_newer_push_that_nobody_has_is_not_forgotten_by_accident(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    origin = owner.root / "project.git"
    late, restored = people("late"), people("restored")
    mirror(owner, late)
    gitcmd.git(origin, "branch", "newer", "main")
    newest = publish(owner, origin)["push_id"]
    shutil.rmtree(mirror(owner, restored))
    lose(owner)
    with serve(late) as behind:
        words: list[str | Path] = ["adopt", behind.url(), "--key", key]
        restored.gittorrent(*words).failed(2, newest, "--allow-behind")
        assert said(restored, *words, "--allow-behind")["push_id"] != newest


def test_a_clone_becomes_the_origin_and_keeps_branches_it_never_had(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    before = published(owner.root / "project.git")
    reader = people("reader")
    with serve(owner) as daemon:
        reader.git("clone", "-q", daemon.url(), "project").ok()
    lose(owner)
    work = reader.root / "project"
    reader.git("fetch", "-q", cwd=work).failed(128)
    reader.gittorrent("publish", work, "--key", key).failed(2, f"gittorrent adopt {work}")
    done = said(reader, "adopt", work, "--key", key)
    bare = Path(done["path"])
    assert published(bare) == before
    reader.git("branch", "mine", cwd=work).ok()
    tip = commit(reader, work, "after the fire")
    again = publish(reader, work)
    assert again["repository_id"] == done["repository_id"]
    mine = gitcmd.text(work, "rev-parse", "mine")
    assert published(bare) == {**before, b"refs/heads/main": tip, b"refs/heads/mine": mine}
    # What the clone had and deleted goes; what it never had stays.
    reader.git("branch", "-q", "-D", "mine", cwd=work).ok()
    publish(reader, work)
    assert published(bare) == {**before, b"refs/heads/main": tip}
    reader.gittorrent("verify", bare).ok()


def test_a_clone_that_is_adopted_gets_the_whole_log_of_a_mirror(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    """A clone's has no pushes that checkpoints took; who pushed what before is not to be lost."""
    reader = people("reader")
    with serve(owner) as daemon:
        reader.git("clone", "-q", daemon.url(), "project").ok()
        done = reader.gittorrent("adopt", reader.root / "project", "--key", key).ok()
    assert "from now on, not" not in done.err
    shown = [
        json.loads(who.gittorrent("log", "project", "--json").ok().out) for who in (owner, reader)
    ]
    assert shown[0] == shown[1]
    assert any(entry["kind"] == "certificate" for entry in shown[1])
    reader.gittorrent("verify", "project").ok()
    commit(reader, reader.root / "project", "goes on")
    publish(reader, reader.root / "project")


@pytest.mark.parametrize("now", ["another", "plain", "babble"])
def test_a_place_that_leads_elsewhere_by_now_stops_no_owner(
    owner: Person, key: Path, people: Callable[[str], Person], now: str
) -> None:
    """Whoever has the address of a mirror that is gone cannot keep a clone from being adopted."""
    reader, stranger = people("reader"), people("stranger")
    with serve(owner) as daemon:
        reader.git("clone", "-q", daemon.url(), "project").ok()
        port = daemon.git.rpartition(":")[2]
    lose(owner)
    with taking_the_place(stranger, now, int(port)):
        done = reader.gittorrent("adopt", reader.root / "project", "--key", key).ok()
    assert "warning: no mirror could be asked" in done.err
    assert f"127.0.0.1:{port}" in done.err, "it is said which place does not help"


@contextlib.contextmanager
def taking_the_place(stranger: Person, what: str, port: int) -> Iterator[None]:
    """Serve something else at the port of a mirror that is gone."""
    at = f"127.0.0.1:{port}"
    if what == "babble":
        with babbling(port):
            yield
        return
    other = bulk.make_small(stranger.root / "project.git")
    words: tuple[str, ...] = ("gittorrent", "serve", "--git", at)
    if what == "another":
        publish(stranger, other, "--new-key")
    else:
        words = ("git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all")
        words += ("--reuseaddr", f"--base-path={stranger.root}")
    node = stranger.start(*words)
    try:
        url = f"git://{at}/project.git"
        wait_until(lambda: stranger.git("ls-remote", url).status == 0, "it is served")
        yield
    finally:
        node.stop()


@contextlib.contextmanager
def babbling(port: int) -> Iterator[None]:
    """Answer whatever is asked with what is no answer."""

    class Babble(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(b"zzzz this is no packet\n")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with running(Server(("127.0.0.1", port), Babble)):
        yield


def test_a_clone_that_is_behind_sets_nothing_back(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    reader = people("reader")
    with serve(owner) as daemon:
        reader.git("clone", "-q", daemon.url(), "project").ok()
    work = reader.root / "project"
    reader.git("reset", "-q", "--hard", "HEAD~1", cwd=work).ok()
    lose(owner)
    path = Path(said(reader, "adopt", work, "--key", key)["path"])
    before = published(path)
    done = reader.gittorrent("publish", work).ok()
    assert "has what others changed, and that stays: refs/heads/main" in done.err
    assert published(path) == before


def test_a_published_repository_that_lost_its_log_goes_on_from_a_mirror(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    """The node's record of the old place does not stand in the way."""
    helper = people("helper")
    mirror(owner, helper)
    shutil.rmtree(owner.root / "project.git" / "gittorrent")
    with serve(helper) as daemon:
        done = said(owner, "adopt", daemon.url(), "--key", key)
    assert publish(owner, Path(done["path"]))["repository_id"] == done["repository_id"]
    assert said(owner, "status")["repositories"][0]["path"] == done["path"]


def test_an_old_backup_is_not_published_by_accident(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    origin, backup = owner.root / "project.git", owner.root / "backup.git"
    copy_tree(origin, backup, symlinks=True)
    gitcmd.git(origin, "branch", "newer", "main")
    newest = publish(owner, origin)["push_id"]
    helper = people("helper")
    mirror(owner, helper)
    shutil.rmtree(origin)
    backup.rename(origin)
    gitcmd.git(origin, "branch", "other", "main")
    before = published(origin)
    done = owner.gittorrent("publish", origin)
    done.failed(2, newest, "gittorrent adopt", "--allow-behind")
    # The way out that the message names.
    away = owner.root / "elsewhere" / "project.git"
    away.parent.mkdir()
    origin.rename(away)
    with serve(helper) as daemon:
        adopted = said(owner, "adopt", daemon.url(), "--key", key)
    assert adopted["push_id"] == newest
    assert publish(owner, away, "--name", "old", "--allow-behind")["push_id"] != newest
    assert published(away) == before


def test_a_log_that_parted_is_called_that(
    owner: Person, key: Path, people: Callable[[str], Person]
) -> None:
    """Two places signed the same checkpoint: followers keep the side they have, and say why."""
    origin = owner.root / "project.git"
    late, reader, restored = people("late"), people("reader"), people("restored")
    mirror(owner, late)
    gitcmd.git(origin, "branch", "newer", "main")
    publish(owner, origin)
    kept = published(mirror(owner, reader))
    lose(owner)
    with serve(late) as behind:
        done = said(restored, "adopt", behind.url(), "--key", key)
    bare = Path(done["path"])
    gitcmd.git(bare, "branch", "other", "main")
    publish(restored, bare)
    with serve(restored) as daemon:
        found = reader.gittorrent("mirror", daemon.url(), "--once").ok()
    for words in ("signed two checkpoints number", "old backup", "guide-owners"):
        assert words in found.err
    log = Carried(reader.node / "repositories" / "project.git", SHA1).log()
    assert log.final_refs == kept
    assert log.refs.keys() - kept.keys() == {b"refs/heads/other"}  # provisional, and not lost
