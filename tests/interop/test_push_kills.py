"""A depot that is killed at any step of taking a push: nothing is half done, nothing is lost.

The push is one by unmodified git, of a new commit and a new tag at once. For each step a copy of
the repository is pushed to; the depot dies right before that step, alone or with the git programs
that it started. Then what is there is looked at, and the same is pushed again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gittorrent.repository.carried import open_carried
from gittorrent.trust.policy import Rule
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.sshkey import parse_key_line
from support import depots, gitcmd
from support.copying import copy_tree
from support.publishing import builder, grow, publish

REFS = (b"refs/heads/main", b"refs/heads/topic")

LIST = "steps"
"""File beside a repository: what the depot did, up to the step it died at."""

LOG_REPLACED = re.compile(r"os\.rename \(.*/gittorrent/logs/[a-z2-7]{52}/log', -1, -1\)$")
"""The step after which a push has happened."""


@dataclass(frozen=True)
class Scene:
    """A published repository, and a clone of it with something to push."""

    depot: Path
    work: Path
    key: Path
    receive: Path

    def push(self, target: Path, step: int = 0, died_with: str = "") -> tuple[int, str]:
        """Push both refs, to a depot that dies at a step; return git's status and what it said.

        The depot is in a process group with git, which is told to stay alive or not.
        """
        words = ["git", "-c", "gpg.format=ssh", "-c", f"user.signingKey={self.key}"]
        words += ["push", "--signed", "--atomic", "-o", "atomic", f"--receive-pack={self.receive}"]
        done = subprocess.run(
            [*words, str(target), "main", "main:topic"],
            cwd=self.work, capture_output=True, check=False, start_new_session=True,
            env=gitcmd.ENVIRONMENT
            | {"DIE_AT": str(step), "DIE_WITH": died_with, "DIE_LIST": str(target.parent / LIST)},
        )  # fmt: skip
        return done.returncode, done.stderr.decode()

    @property
    def new(self) -> str:
        return gitcmd.text(self.work, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    root = tmp_path_factory.mktemp("kills")
    depot = root / "project.git"
    grow(builder(depot), 3)
    publish(depot, name="project")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", root / "id"], check=True)
    key = root / "id.pub"
    signer = parse_key_line(key.read_text()).key
    depots.let_in(depot, Rule(RefPattern(b"refs/heads/*"), signer))
    work = root / "work"
    gitcmd.git(root, "clone", "-q", str(depot), str(work))
    (work / "file").write_text("new\n" * 50)
    gitcmd.git(work, "add", "file")
    gitcmd.git(work, "commit", "-q", "-m", "new")
    return Scene(depot, work, key, depots.carried_program(root))


def steps(
    scene: Scene, root: Path, died_with: str, every: int
) -> Iterator[tuple[int, Path, int, str]]:
    """Push to a copy for each step, or some of them, until the depot lives through it."""
    step = 1 - every if not died_with else 2 - every
    while True:
        step += every
        target = root / f"step{step}" / "project.git"
        copy_tree(scene.depot, target, symlinks=True)
        status, said = scene.push(target, step, died_with)
        yield step, target, status, said
        if status == 0:
            return
        shutil.rmtree(target.parent)


def check(scene: Scene, target: Path, where: str) -> bool:
    """Look at what a killed depot left; tell whether the push is in its log."""
    before = open_carried(scene.depot).log().refs
    log = open_carried(target).log()
    after = dict(before) | dict.fromkeys(REFS, scene.new)
    assert log.refs in (before, after), where
    has_it = log.refs == after
    # Whatever the log or a ref says is there, with everything below it.
    words = ("rev-list", "--objects", "--quiet", "--all", *([scene.new] if has_it else []))
    gitcmd.git(target, *words)
    return has_it


@pytest.mark.slow
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("died_with", ["", "group"])
def test_killed_at_every_step(scene: Scene, tmp_path: Path, died_with: str, every: int) -> None:
    outcomes = []
    for step, target, status, said in steps(scene, tmp_path, died_with, every):
        done = (target.parent / LIST).read_text().splitlines()
        where = f"step {step}, {done[-1]}, {status}: {said}"
        has_it = check(scene, target, where)
        # It happens at one step, before which nothing and after which everything is there.
        assert has_it == any(map(LOG_REPLACED.search, done[: step - 1])), where
        assert has_it or status != 0, where
        again, said_again = scene.push(target)
        assert again == 0, f"{where}; then {said_again}"
        assert check(scene, target, where), where
        for ref in REFS:
            assert gitcmd.text(target, "rev-parse", ref.decode()) == scene.new, where
        outcomes.append(has_it)
    assert outcomes.count(False) > 10 // every
    assert outcomes.count(True) > 3 // every
    print(f"{len(outcomes)} steps, {outcomes.count(True)} after the commit point")


def test_the_push_itself(scene: Scene, tmp_path: Path) -> None:
    """What the other test repeats works at all."""
    target = tmp_path / "project.git"
    copy_tree(scene.depot, target, symlinks=True)
    status, said = scene.push(target)
    assert status == 0, said
    assert check(scene, target, said)
