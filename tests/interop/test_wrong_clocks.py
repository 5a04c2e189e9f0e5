"""Real nodes whose clocks are 40 days off for a while: what is pushed becomes final."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import bulk
from support.clocks import DAY, Clock, make_clock
from support.programs import Daemon, Person, serve, somebody, wait_until

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")


@dataclass
class Pair:
    """An origin whose clock is set, a mirror of it, and somebody who pushes."""

    owner: Person
    clock: Clock
    mirror: Person
    origin: Path
    key: Path
    stack: ExitStack
    daemon: Daemon
    pushed: int = 0

    @property
    def url(self) -> str:
        return self.daemon.url()

    def push(self) -> str:
        """Push a branch at the origin with stock git; return its name."""
        self.pushed += 1
        ref, work = f"refs/heads/pushed-{self.pushed}", self.mirror.root / "work"
        if not work.is_dir():
            self.mirror.git("clone", "-q", f"{self.daemon.http}/project.git", "work").ok()
        self.mirror.git("commit", "-q", "--allow-empty", "-m", ref, cwd=work).ok()
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={self.key}")
        self.mirror.git(*signing, "push", "--signed", "origin", f"HEAD:{ref}", cwd=work).ok()
        return ref

    def log(self) -> list[dict[str, Any]]:
        """Return the mirror's log."""
        found: list[dict[str, Any]] = json.loads(
            self.mirror.gittorrent("log", "project", "--json").ok().out
        )
        return found

    def is_final(self, ref: str) -> bool:
        """Tell whether a pushed branch is final at the mirror."""
        pushes = [each for each in self.log() if each["kind"] == "certificate"]
        return any(each["final"] and each["changes"][0]["ref"] == ref for each in pushes)

    def wait_until_final(self, ref: str) -> None:
        wait_until(lambda: self.is_final(ref), f"{ref} is final at the mirror")


@pytest.fixture
def pair(tmp_path: Path, people: Callable[[str], Person]) -> Iterator[Pair]:
    clock = make_clock(tmp_path)
    owner = somebody(tmp_path / "owner", variables=clock.variables)
    key = tmp_path / "pusher"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    origin = bulk.make_small(tmp_path / "project.git")
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    owner.gittorrent("policy", "add", f"{key}.pub", "refs/heads/*", "-r", origin).ok()
    owner.gittorrent("keeper", "here", origin).ok()
    with ExitStack() as stack:
        daemon = stack.enter_context(serve(owner, origin))
        mirror = people("mirror")
        mirror.gittorrent("mirror", daemon.url(), "--once").ok()
        stack.enter_context(serve(mirror))
        yield Pair(owner, clock, mirror, origin, key, stack, daemon)


def test_a_keeper_whose_clock_leaps_ahead_goes_on(pair: Pair) -> None:
    begun = time.time()
    pair.wait_until_final(pair.push())
    pair.clock.set(40 * DAY)
    pair.wait_until_final(pair.push())
    said = pair.owner.gittorrent("keeper", "clock")
    assert said.status == 1
    # What it can be grows with the time that the test takes.
    assert re.search(r"the clock is (39|40) days ahead of what it can be", said.out)
    # A command that signs goes by the same.
    tree = pair.owner.git("-C", pair.origin, "rev-parse", "main").ok().out.strip()
    pair.owner.git("-C", pair.origin, "update-ref", "refs/heads/owned", tree).ok()
    done = pair.owner.gittorrent("publish", pair.origin).ok()
    assert "ahead of what it can be" in done.err
    pair.wait_until_final("refs/heads/owned")
    pair.clock.set(0)
    assert pair.owner.gittorrent("keeper", "clock").status == 0
    pair.wait_until_final(pair.push())
    newest = json.loads(pair.owner.gittorrent("keeper", "show", pair.origin, "--json").ok().out)
    assert newest["age"] <= time.time() - begun + 1
    assert newest["ahead"] == 0


def test_a_mirror_whose_clock_was_behind_has_all_when_it_is_right(tmp_path: Path) -> None:
    """It looked meanwhile, and was told of pushes on checkpoints that it could not take in yet."""
    clock = make_clock(tmp_path)
    owner = somebody(tmp_path / "owner")
    mirror = somebody(tmp_path / "mirror", variables=clock.variables)
    key = tmp_path / "pusher"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    origin = bulk.make_small(tmp_path / "project.git")
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    words = ("policy", "add", f"{key}.pub", "refs/heads/*", "--force", "-r", origin)
    owner.gittorrent(*words).ok()
    owner.gittorrent("keeper", "here", origin).ok()
    with ExitStack() as stack:
        daemon = stack.enter_context(serve(owner, origin))
        mirror.gittorrent("mirror", daemon.url(), "--once").ok()
        pair = Pair(owner, clock, mirror, origin, key, stack, daemon)
        clock.set(-40 * DAY)
        for _ in range(3):
            pair.push()
            wait_until(lambda: _waiting(owner, origin) == 0, "the origin has signed")
            said = mirror.gittorrent("mirror", daemon.url(), "--once").ok()
            assert "ahead of this machine's clock" in said.err
        assert not pair.is_final("refs/heads/pushed-1")
        clock.set(0)
        stack.enter_context(serve(mirror))
        for ref in (*(f"refs/heads/pushed-{number}" for number in (1, 2, 3)), pair.push()):
            pair.wait_until_final(ref)
        place = mirror.node / "repositories" / "project.git"
        mirror.git("-C", place, "fsck", "--no-dangling").ok()


def _waiting(owner: Person, origin: Path) -> int:
    said = owner.gittorrent("keeper", "show", origin, "--json").ok()
    return int(json.loads(said.out)["waiting"])


def test_the_roots_go_on_from_before_a_wrong_date(
    pair: Pair, people: Callable[[str], Person]
) -> None:
    """The operator said that the clock was right, and it was not."""
    first = pair.push()
    pair.wait_until_final(first)
    pair.clock.set(40 * DAY)
    pair.owner.gittorrent("keeper", "clock", "--right").ok()
    second = pair.push()

    def shown() -> dict[str, Any]:
        said = pair.owner.gittorrent("keeper", "show", pair.origin, "--json").ok()
        found: dict[str, Any] = json.loads(said.out)
        return found

    wait_until(lambda: shown()["waiting"] == 0, "the origin has signed")
    pair.clock.set(0)
    found = shown()
    assert found["ahead"] > 39 * DAY
    (trouble,) = found["trouble"]
    third = pair.push()
    wait_until(lambda: shown()["waiting"] == 0, "the origin has signed again")
    assert not pair.is_final(second)
    doctor = pair.owner.gittorrent("doctor")
    assert "dated 39 days ahead" in doctor.out
    # What it says is typed as it stands.
    words = trouble.rpartition("'gittorrent ")[2].rstrip("'").split()
    pair.owner.gittorrent(*words, pair.origin).ok()
    for ref in (first, second, third, pair.push()):
        pair.wait_until_final(ref)
    assert shown()["ahead"] == 0
    newcomer = people("newcomer")
    newcomer.gittorrent("mirror", pair.url, "--once").ok()
    for person in (pair.mirror, newcomer):
        place = person.node / "repositories" / "project.git"
        person.git("-C", place, "fsck", "--no-dangling").ok()
        person.gittorrent("verify", "project").ok()
