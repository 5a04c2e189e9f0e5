"""Pushes a second at one depot, against ``git daemon`` with a hook that checks certificates.

Several people push at once, each to a branch of their own, one commit after another. Commits are
made before. The depot's node is the keeper, so what it takes becomes final meanwhile.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from depots import cloud
from frame import BenchError, Comparison, Contestant, Figure, say
from measure import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scene import Scene

PEOPLE = 4
PUSHES = 15
"""Of each of them, in a round."""

ROUNDS = 3

RATE_LIMIT = 1.0
"""Of the rival's time for the same pushes."""

_HOOK = """#!/bin/sh
test "$GIT_PUSH_CERT_STATUS" = G || { echo "bad certificate" >&2; exit 1; }
test "$GIT_PUSH_CERT_NONCE_STATUS" = OK || { echo "bad nonce" >&2; exit 1; }
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who pushes: a clone, and a number that names their branch."""

    work: Path
    number: int

    def commits(self, scene: Scene, count: int) -> list[str]:
        """Make commits on top of each other; return their ids."""
        made = []
        for _ in range(count):
            scene.git("-C", self.work, "commit", "-q", "--allow-empty", "-m", f"{time.time()}")
            made.append(scene.git("-C", self.work, "rev-parse", "HEAD"))
        return made


def rates(scene: Scene, repository: Path, quick: bool) -> tuple[list[Contestant], list[Comparison]]:
    """Let both take the same pushes by turns."""
    pushes, rounds = (3, 1) if quick else (PUSHES, ROUNDS)
    ours: list[float] = []
    theirs: list[float] = []
    with contextlib.contextmanager(cloud)(scene, repository, 0) as made:
        key = made.key
        rival = _rival(scene, made.work, key)
        people = [_person(scene, made.work, number) for number in range(PEOPLE)]
        url = f"{made.depots[0].urls['git']}/project.git"
        with scene.daemon(rival, "--enable=receive-pack") as daemon:
            urls = (url, f"git://{daemon.host}/{rival.name}")
            for number in range(rounds):
                say(f"{PEOPLE * pushes} pushes, round {number + 1} of {rounds}")
                work = [(person, person.commits(scene, pushes)) for person in people]
                for place, found in zip(urls, (ours, theirs), strict=True):
                    found.append(PEOPLE * pushes / _all_at_once(scene, key, place, work))
    metric = "pushes a second"
    mine = Contestant(f"gittorrent, {PEOPLE} at once", (Figure(metric, tuple(ours)),))
    other = Contestant("git daemon with a hook", (Figure(metric, tuple(theirs)),))
    compared = Comparison(
        "time of a push at one depot, gittorrent / git daemon",
        other.median(metric) / mine.median(metric),
        RATE_LIMIT,
    )
    return [mine, other], [compared]


def _rival(scene: Scene, work: Path, key: Path) -> Path:
    """Make a bare repository whose receive-pack wants certificates by that key."""
    rival = scene.room()
    scene.git("clone", "-q", "--bare", work, rival)
    signers = scene.room()
    kind, blob, *_ = key.read_text().split()
    signers.write_text(f'* namespaces="git" {kind} {blob}\n')
    for name, value in (
        ("receive.certNonceSeed", "seed"),
        ("receive.certNonceSlop", "60"),
        ("gpg.ssh.allowedSignersFile", str(signers)),
    ):
        scene.git("-C", rival, "config", name, value)
    hook = rival / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(_HOOK)
    hook.chmod(0o755)
    return rival


def _person(scene: Scene, work: Path, number: int) -> Person:
    place = scene.room()
    scene.git("clone", "-q", work, place)
    return Person(place, number)


def _all_at_once(
    scene: Scene, key: Path, url: str, work: Sequence[tuple[Person, list[str]]]
) -> float:
    """Have all push their commits, each one after another; return the seconds it took."""
    faults: list[BenchError | subprocess.SubprocessError] = []

    def push(person: Person, commits: list[str]) -> None:
        words: list[str | Path] = ["git", "-C", person.work, "-c", "gpg.format=ssh"]
        words += ["-c", f"user.signingKey={key}", "push", "-q", "--signed", url]
        try:
            for commit in commits:
                run([*words, f"{commit}:refs/heads/person-{person.number}"], scene.environ)
        except BenchError as error:
            faults.append(error)

    threads = [threading.Thread(target=push, args=item) for item in work]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return time.monotonic() - began
