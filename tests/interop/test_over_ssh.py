"""Mirrors behind a real sshd: lists, conversations and notices as commands of the user's ssh."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.repository.carried import Carried
from gittorrent.store.database import Database
from gittorrent.store.home import Home
from support import nodes
from support.programs import GITS, Person, serve, somebody, wait_until
from support.sshd import account


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("runs", [False, True], ids=["no node", "node"])
def test_a_clone_and_a_fetch(large: Carried, tmp_path: Path, git: str, runs: bool) -> None:
    operator = somebody(tmp_path / "operator")
    place = large.layout.git_dir
    person = somebody(tmp_path / "person", git)
    with account(tmp_path / "ssh", operator, place) as there:
        friend = there(person)
        url = f"gittorrent::{there.base}/project.git"
        if runs:
            with serve(operator, place):
                friend.git("clone", url, "copy").ok()
        else:
            friend.git("clone", url, "copy").ok()
        copy = person.root / "copy"
        pinned = friend.git("remote", "get-url", "origin", cwd=copy).out.strip()
        assert pinned.startswith(f"gittorrent::ssh://{large.info.repository_id}+")
        friend.git("fetch", cwd=copy).ok()
        friend.git("fsck", "--strict", cwd=copy).ok()


def test_what_is_wrong_is_said(project: Carried, tmp_path: Path, person: Person) -> None:
    operator = somebody(tmp_path / "operator")
    with account(tmp_path / "ssh", operator, project.layout.git_dir) as there:
        friend, url = there(person), f"gittorrent::{there.base}"
        friend.git("clone", f"{url}/other.git", "a").failed(128, "no such repository here")
        another = f"gittorrent::ssh://{'a' * 52}+{there.base.removeprefix('ssh://')}/project.git"
        friend.git("clone", another, "b").failed(128, "carries repository")
        stranger = Person(person.root, "git", {"GIT_SSH_COMMAND": "ssh -F none -o BatchMode=yes"})
        done = stranger.git("clone", f"{url}/project.git", "c").failed(128, "was not let in")
        assert "Traceback" not in done.err
        assert "allowUnverified" not in done.err  # it may be another's host
    absent = Person(person.root, "git", {"GIT_SSH": "/nowhere/ssh"})
    absent.git("clone", f"{url}/project.git", "d").failed(128, "cannot run /nowhere/ssh")


def test_other_mirrors_behind_ssh_take_part(large: Carried, tmp_path: Path, person: Person) -> None:
    """Nobody knows by which address they are reached."""
    operator = somebody(tmp_path / "operator")
    with account(tmp_path / "ssh", operator, large.layout.git_dir) as there:
        friend, url = there(person), f"gittorrent::{there.base}/project.git"
        friend.git("clone", url, "one").ok()
        another = url.replace("127.0.0.1", "localhost")
        done = friend.git("clone", "-v", "-c", "gittorrent.downLimit=1M", another, "two").ok()
        assert "Traceback" not in done.err
        assert "is left out" not in done.err


def test_pushes_travel_as_they_come(tmp_path: Path) -> None:
    """A mirror that knows its source by ssh alone is told, and tells."""
    key = nodes.signer(tmp_path)
    origin = nodes.publish(nodes.make_repository(tmp_path / "project.git"), key, "project")
    mirror = nodes.copy_as_mirror(origin, tmp_path / "mirror.git", "")
    operator, other = somebody(tmp_path / "operator"), somebody(tmp_path / "other")
    place = origin.layout.git_dir
    with account(tmp_path / "ssh", operator, place) as there, serve(operator, place):
        mirror.set_info(replace(mirror.info, source=f"gittorrent::{there.base}/project.git"))
        with serve(there(other), mirror.layout.git_dir):
            first = nodes.push_to_main(mirror, key, b"at the mirror\n")
            wait_until(partial(nodes.shows_on_main, origin, first), "the origin has it")
            second = nodes.push_to_main(origin, key, b"at the origin\n")
            wait_until(partial(nodes.shows_on_main, mirror, second), "the mirror has it")


def test_a_seed_announces_itself(large: Carried, tmp_path: Path, person: Person) -> None:
    operator = somebody(tmp_path / "operator")
    with account(tmp_path / "ssh", operator, large.layout.git_dir) as there:
        friend = there(person)
        url = f"gittorrent::{there.base}/project.git"
        friend.git("clone", url, "copy").ok()
        seed = friend.start("gittorrent", "seed", "copy", "--port", "0")
        try:
            wait_until(lambda: bool(listed(operator.node, large)), "it is listed")
            assert listed(operator.node, large)[0].startswith("git://127.0.0.1:")
        finally:
            seed.stop()


def listed(home: Path, carried: Carried) -> list[str]:
    database = Database(Home(home).database)
    try:
        rows = database.mirrors(carried.info.repository_id, int(time.time()))
        return [row.url for row in rows]
    finally:
        database.close()


def test_learned_urls_start_no_ssh(project: Carried, tmp_path: Path) -> None:
    """What strangers say is no ssh URL, and what a policy says is for ordinary fetches alone."""
    mark = tmp_path / "started"
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    ssh.chmod(0o755)
    home = nodes.make_home(tmp_path / "node")
    nodes.list_mirrors(home, project, "ssh://git@127.0.0.1/project.git")
    person = Person(tmp_path / "person", "git", {"GIT_SSH_COMMAND": str(ssh)})
    person.root.mkdir()
    with nodes.serving(project, home=home) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        person.git("clone", url, "copy").ok()
    assert not mark.exists()


@pytest.mark.parametrize(
    "url",
    [
        "gittorrent::ssh://-oProxyCommand=touch$IFS-x/project.git",
        "gittorrent::ssh://-oProxyCommand=x@host/project.git",
        "gittorrent::ssh://a;b@host/project.git",
        "gittorrent::ssh://us'er@host/project.git",
        "gittorrent::ssh://x+y+z@host/project.git",
    ],
)
def test_options_are_not_injected(person: Person, url: str) -> None:
    mark = person.root / "started"
    ssh = person.root / "ssh"
    ssh.write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    ssh.chmod(0o755)
    curious = Person(person.root, "git", {"GIT_SSH_COMMAND": str(ssh)})
    assert curious.git("clone", url, "copy").status == 128
    assert not mark.exists()


@pytest.mark.parametrize("asked", ["git-mirror-list", "git-mirror-sync"])
def test_no_ssh_outlives_what_asked_a_silent_host(
    project: Carried, tmp_path: Path, person: Person, asked: str
) -> None:
    """The user's command for ssh is a shell's; what the shell started ends with it."""
    client, begun = tmp_path / "client", tmp_path / "begun"
    listing = f"repo {project.info.repository_id}\nlatest {project.log_store.head()}\n"
    packets = "".join(f"{len(line) + 5:04x}{line}\n" for line in listing.splitlines()) + "0000"
    (tmp_path / "list").write_text(packets)
    client.write_text(
        "#!/bin/sh\nfor last; do :; done\n"
        f'case "$last" in {asked}*) ;; *) cat {tmp_path}/list; exit;; esac\n'
        f"echo $$ >{begun}.new\nmv {begun}.new {begun}\nexec sleep 3600\n"
    )
    client.chmod(0o755)
    # With a word behind it no shell replaces itself by it.
    silent = Person(person.root, "git", {"GIT_SSH_COMMAND": f"{client} -q"})
    running = silent.start("gittorrent", "mirror", "--once", "gittorrent::ssh://there/project.git")
    try:
        wait_until(begun.exists, "ssh is asked")
        os.kill(running.pid, signal.SIGINT)
        assert running.wait() == 130
        pid = int(begun.read_text())
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "ssh is gone")
    finally:
        running.stop()
