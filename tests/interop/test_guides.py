"""Guides, typed line by line: their hosts are addresses of this machine, their machines people."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from gittorrent.cli.main import COMMANDS
from support import gitcmd
from support.guides import DOCS, Hosts, run, typed
from support.nodes import add_commit
from support.programs import Person, somebody, wait_until
from support.repositories import noise

GUIDES = ["guide-five-mirrors.md", "guide-replacing-git-daemon.md", "guide-mirror-of-anything.md"]
pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")


@pytest.mark.parametrize("guide", GUIDES)
def test_all_that_is_typed_are_commands_there_are(guide: str) -> None:
    text = (DOCS / guide).read_text(encoding="utf-8")
    named = re.findall(r"(?:^(?: {4})?|`|; do )gittorrent ([a-z-]+)", text, re.MULTILINE)
    assert len(named) >= 4
    assert set(named) <= set(COMMANDS)


def test_five_mirrors(tmp_path: Path) -> None:
    guide, hosts = "guide-five-mirrors.md", Hosts()
    owner, anybody = somebody(tmp_path / "origin"), somebody(tmp_path / "anybody")
    project = owner.root / "project.git"
    gitcmd.init(project)
    add_commit(project, "refs/heads/main", "file", noise("file", 100_000))
    publish, serve = typed(guide, "At the origin")
    said = run(owner, publish)
    found = re.search(r"gittorrent://([a-z0-9]+)@localhost/project\.git", said)
    assert found is not None, said
    serve_mirror, mirror = typed(guide, "At each mirror")
    look, branch, again, listing, clone = typed(guide, "See that it works")
    with ExitStack() as stack:
        origin = stack.enter_context(hosts.serve(owner, "origin.example.org", serve))
        mirrors = [somebody(tmp_path / f"mirror{number}") for number in range(1, 6)]

        def here(line: str) -> str:
            return hosts.here(line.replace("REPOSITORY_ID", str(found and found[1])))

        for number, person in enumerate(mirrors, start=1):
            name = f"mirror{number}.example.org"
            stack.enter_context(hosts.serve(person, name, serve_mirror))
            source = "mirror2.example.org" if number == 5 else "origin.example.org"
            run(person, here(mirror.replace("origin.example.org", source)))
        for number in range(1, 6):
            place = f":{hosts.ports[f'mirror{number}.example.org']}/"
            source = "mirror2.example.org" if number == 5 else "origin.example.org"
            line = here(look.replace("origin.example.org", source))
            wait_until(partial(has, anybody, line, place), "it is listed")
        run(owner, branch)
        run(owner, again)
        for number in range(1, 6):
            line = here(listing.replace("mirror3", f"mirror{number}"))
            wait_until(partial(has, anybody, line, "refs/heads/topic"), "the branch is there")
        for person in mirrors:
            assert "up to date" in run(person, "gittorrent status")
        origin.stop()
        run(anybody, here(clone))
        head = gitcmd.text(anybody.root / "project", "rev-parse", "HEAD")
        assert head == gitcmd.text(project, "rev-parse", "main")


def has(person: Person, line: str, word: str) -> bool:
    return word in person.run("sh", "-c", line).out


@contextmanager
def git_daemon(person: Person, base: Path, port: int) -> Iterator[int]:
    """Run git's own daemon, as the host did before."""
    running = person.start(
        "git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}",
        f"--base-path={base}", str(base),
    )  # fmt: skip
    try:
        wait_until(
            lambda: person.git("ls-remote", f"git://127.0.0.1:{port}/project.git").status == 0,
            "it serves",
        )
        yield port
    finally:
        running.stop()


def test_replacing_git_daemon(tmp_path: Path) -> None:
    if subprocess.run(["git", "daemon", "-h"], capture_output=True, check=False).returncode == 1:
        pytest.skip("git has no daemon here")
    guide, hosts = "guide-replacing-git-daemon.md", Hosts()
    owner, user = somebody(tmp_path / "owner"), somebody(tmp_path / "user")
    base = tmp_path / "srv"
    for name in ("project", "other", "secret"):
        gitcmd.init(base / f"{name}.git")
        add_commit(base / f"{name}.git", "refs/heads/main", name, noise(name, 5000))
        if name != "secret":
            (base / f"{name}.git" / "git-daemon-export-ok").touch()

    def here(line: str) -> str:
        return hosts.here(line.replace("/srv/git", str(base)))

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    hosts.ports["git.example.org"] = port
    url = f"git://127.0.0.1:{port}/project.git"
    with git_daemon(owner, base, port):
        user.git("clone", "-q", url, "before").ok()
    publish, hook = typed(guide, "Publish what is exported")
    run(owner, here(publish))
    run(owner, here(hook))
    stop, serve, listing, clone = typed(guide, "Serve it instead")
    assert stop.startswith("systemctl disable --now git-daemon")
    with hosts.serve(owner, "git.example.org", serve):
        shown = run(user, here(listing)).split()[1::2]
        assert shown == ["HEAD", "refs/heads/main"]
        run(user, here(clone))
        add_commit(base / "project.git", "refs/heads/main", "new", b"new\n")
        new = gitcmd.text(base / "project.git", "rev-parse", "main")
        run(owner, f"gittorrent publish {base}/project.git --wait")
        wait_until(partial(pulled, user, new), "the old clone goes on")
        assert user.git("ls-remote", url.replace("project", "secret")).status
        user.git("ls-remote", url.replace("project", "other")).ok()
    remove, daemon = typed(guide, "Going back")
    run(owner, here(remove))
    assert daemon == "git daemon --base-path=/srv/git /srv/git"
    with git_daemon(owner, base, port):
        user.git("-C", "before", "fetch", "-q").ok()
        user.git("clone", "-q", url, "after").ok()
        assert gitcmd.text(user.root / "after", "rev-parse", "HEAD") == new
    gitcmd.git(base / "project.git", "fsck")


def pulled(user: Person, new: str) -> bool:
    user.git("-C", "before", "pull", "-q").ok()
    return gitcmd.text(user.root / "before", "rev-parse", "HEAD") == new
