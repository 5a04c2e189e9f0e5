"""A repository is published before it has a branch: HEAD leads to what is pushed then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import gitcmd
from support.programs import Daemon, Person, serve, somebody, wait_until


@dataclass(frozen=True)
class Place:
    """An owner's node, a mirror's that follows it, and a bare repository without a branch."""

    owner: Person
    origin: Daemon
    mirror: Daemon
    git_dir: Path
    work: Path

    def push(self, branch: str) -> None:
        """Commit something and push it, signed, at the owner's node."""
        gitcmd.git(self.work, "commit", "-q", "--allow-empty", "-m", branch)
        settings = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={self.owner.root / 'id'}")
        place = (f"{self.origin.http}/project.git", f"HEAD:refs/heads/{branch}")
        self.owner.git(*settings, "push", "--signed", *place, cwd=self.work).ok()

    def heads(self) -> set[str]:
        """Return the branches that are HEAD for git's own clients and for ours."""
        bases = (self.origin.git, self.origin.http, self.mirror.git, self.mirror.http)
        places = [f"{base}/project.git" for base in bases] + [self.origin.url(), self.mirror.url()]
        said = [self.owner.git("ls-remote", "--symref", place, "HEAD").ok().out for place in places]
        return {each.partition("\t")[0].removeprefix("ref: ") for each in said}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    owner, operator = somebody(tmp_path / "owner"), somebody(tmp_path / "operator")
    key = owner.root / "id"
    owner.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).ok()
    git_dir, work = owner.root / "project.git", owner.root / "work"
    gitcmd.git(owner.root, "init", "-q", "--bare", "-b", "unborn", git_dir)
    gitcmd.git(owner.root, "init", "-q", work)
    owner.gittorrent("publish", git_dir, "--key", key, "--name", "project").ok()
    with serve(owner) as origin:
        owner.gittorrent("keeper", "here", "project").ok()
        operator.gittorrent("mirror", origin.url(), "--once").ok()
        with serve(operator) as mirror:
            yield Place(owner, origin, mirror, git_dir, work)


def test_the_first_branch_is_checked_out_wherever_it_is_cloned(place: Place) -> None:
    assert place.heads() == {""}
    place.push("topic")
    wait_until(lambda: place.heads() == {"refs/heads/topic"}, "the only branch is HEAD")
    place.push("main")
    wait_until(lambda: place.heads() == {"refs/heads/main"}, "the likelier branch is HEAD")
    place.owner.git("clone", "-q", f"{place.mirror.git}/project.git", "c").ok()
    assert gitcmd.text(place.owner.root / "c", "rev-parse", "--abbrev-ref", "HEAD") == "main"
    place.push("unborn")
    wait_until(lambda: place.heads() == {"refs/heads/unborn"}, "HEAD names a branch")


def test_who_publishes_lets_head_name_it(place: Place) -> None:
    gitcmd.git(place.work, "commit", "-q", "--allow-empty", "-m", "first")
    gitcmd.git(place.work, "push", "-q", place.git_dir, "HEAD:refs/heads/topic")
    said = place.owner.gittorrent("publish", place.git_dir, "--wait").ok().out
    assert "HEAD names refs/heads/topic now, for everybody" in said
    place.push("main")
    wait_until(lambda: place.heads() == {"refs/heads/topic"}, "HEAD stays")
