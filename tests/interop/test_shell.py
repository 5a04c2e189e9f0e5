"""Pushes and fetches over ssh, as sshd would have them carried out."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from gittorrent.cli.shell import parse_command
from gittorrent.errors import UsageError
from gittorrent.repository.carried import Carried, open_carried
from gittorrent.trust.policy import Rule
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.sshkey import parse_key_line
from support import depots
from support.gitcmd import git, text
from support.nodes import copy_as_mirror
from support.programs import BIN, GITS, Done, Person
from support.publishing import builder, grow, publish

SSH = """\
#!/bin/sh
# ssh [options] host command: runs what sshd would, as a forced command or as a login shell
while [ $# -gt 1 ]; do shift; done
if [ -n "$LOGIN_SHELL" ]; then exec {bin}/gittorrent shell -c "$1" {mirror}; fi
SSH_ORIGINAL_COMMAND="$1" exec {bin}/gittorrent shell {mirror}
"""


@dataclass(frozen=True)
class Place:
    """A mirror that is reached by ssh, and somebody who pushes to it."""

    person: Person
    mirror: Carried
    work: Path
    ssh: Path
    key: Path

    def git(self, *words: str, login_shell: bool = False) -> Done:
        """Run git with ssh and a signing key."""
        extra = {"GIT_SSH_COMMAND": str(self.ssh)} | ({"LOGIN_SHELL": "1"} if login_shell else {})
        person = Person(self.person.root, self.person.git_program, extra)
        settings = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={self.key}")
        return person.git(*settings, *words, cwd=self.work)


@pytest.fixture(params=GITS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = Path(f"{key}.pub")
    origin = tmp_path / "project.git"
    grow(builder(origin), 3)
    publish(origin, name="project")
    depots.let_in(origin, Rule(RefPattern(b"refs/heads/*"), parse_key_line(public.read_text()).key))
    carried = open_carried(origin)
    mirror = copy_as_mirror(carried, tmp_path / "mirror.git", "git://origin.example.org/project")
    git(mirror.layout.git_dir, "update-ref", "refs/private/x", "refs/heads/main")
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(origin), str(work))
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH.format(bin=BIN, mirror=mirror.layout.git_dir))
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    return Place(Person(tmp_path / "p", str(request.param)), mirror, work, ssh, public)


@pytest.mark.parametrize("login_shell", [False, True])
def test_push_and_fetch(place: Place, login_shell: bool) -> None:
    git(place.work, "commit", "-q", "--allow-empty", "-m", "new")
    new = text(place.work, "rev-parse", "HEAD")
    url = "ssh://git@mirror.example.org/project.git"
    done = place.git("push", "--signed", "--progress", url, "main", login_shell=login_shell).ok()
    assert "remote: accepted as push " in done.err
    assert place.mirror.log().refs[b"refs/heads/main"] == new  # type: ignore[index]
    place.git("clone", "-q", "git@mirror.example.org:project", "again", login_shell=login_shell)
    again = place.work / "again"
    assert text(again, "rev-parse", "HEAD") == new
    listed = place.git("ls-remote", url, login_shell=login_shell).ok().out
    assert "refs/heads/main" in listed
    assert "refs/private/x" not in listed
    shutil.rmtree(again)


def test_a_push_by_a_url_of_this_program(place: Place) -> None:
    git(place.work, "commit", "-q", "--allow-empty", "-m", "new")
    new = text(place.work, "rev-parse", "HEAD")
    url = "gittorrent::ssh://git@mirror.example.org/project.git"
    place.git("push", url, "main").failed(1, "not signed")
    place.git("push", "--signed", "--dry-run", url, "main").ok()
    done = place.git("push", "--signed", "--progress", url, "main").ok()
    assert "remote: accepted as push " in done.err
    assert place.mirror.log().refs[b"refs/heads/main"] == new  # type: ignore[index]
    where = "gittorrent::ssh://git@mirror.example.org/other.git"
    place.git("push", "--signed", where, "main").failed(128, "no such repository here")


def test_refusals(place: Place) -> None:
    git(place.work, "commit", "-q", "--allow-empty", "-m", "new")
    url = "ssh://git@mirror.example.org/project.git"
    place.git("push", url, "main").failed(1, "not signed")
    for path in ("other.git", "../project.git", f"..{place.mirror.layout.git_dir}", "private/x"):
        where = f"ssh://git@mirror.example.org/{path}"
        place.git("ls-remote", where).failed(128, "no such repository here")
        place.git("push", "--signed", where, "main").failed(128, "no such repository here")
    done = place.person.run("gittorrent", "shell", str(place.mirror.layout.git_dir))
    done.failed(2, "nothing else")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("git-receive-pack 'project.git'", ("git-receive-pack", b"/project.git")),
        ("git-receive-pack '/project.git'", ("git-receive-pack", b"/project.git")),
        ("git upload-pack '/a b/c.git'", ("git-upload-pack", b"/a b/c.git")),
    ],
)
def test_what_is_asked_for(asked: str, found: tuple[str, bytes]) -> None:
    assert parse_command(asked) == found


@pytest.mark.parametrize(
    "asked",
    [
        "", "ls", "git-shell", "git-receive-pack", "git-receive-pack 'a' 'b'",
        "git-receive-pack 'a'; ls", "git-upload-archive 'a'", "git-receive-pack 'a",
        "git upload-archive 'a'", "sh -c 'git-receive-pack a'", "git-receive-pack " + "a" * 5000,
    ],
)  # fmt: skip
def test_everything_else_is_refused(asked: str) -> None:
    with pytest.raises(UsageError, match="nothing else"):
        parse_command(asked)


def test_stays_out_of_the_shell(place: Place, tmp_path: Path) -> None:
    for text_ in ("$(touch {0})", "`touch {0}`", "--help", "-u"):
        marker = tmp_path / "marker"
        asked = "git-upload-pack '" + text_.format(marker) + "'"
        person = Person(place.person.root, "git", {"SSH_ORIGINAL_COMMAND": asked})
        person.run("gittorrent", "shell", place.mirror.layout.git_dir)
        assert not marker.exists()
    assert "SSH_ORIGINAL_COMMAND" not in os.environ


@pytest.mark.parametrize("way", ["option", "configuration"])
def test_only_what_is_final(place: Place, way: str) -> None:
    before = text(place.mirror.layout.git_dir, "rev-parse", "refs/heads/main")
    url = "ssh://git@mirror.example.org/project.git"
    assert place.git("ls-remote", url, "refs/heads/main").ok().out.startswith(before)
    if way == "option":
        words = place.ssh.read_text().replace("gittorrent shell", "gittorrent shell --final-only")
        place.ssh.write_text(words)
    else:
        place.person.node.mkdir(exist_ok=True)
        (place.person.node / "node.toml").write_text("[push]\nfinal-only = true\n")
    git(place.work, "commit", "-q", "--allow-empty", "-m", "more")
    place.git("push", "--signed", url, "HEAD:refs/heads/main").ok()
    pushed = text(place.work, "rev-parse", "HEAD")
    assert place.mirror.log().refs[b"refs/heads/main"] == pushed  # type: ignore[index]
    assert place.git("ls-remote", url, "refs/heads/main").ok().out.startswith(before)
