"""Programs that are killed at random, and what has to be true of what they leave behind.

A `Mortal` starts a person's commands so that they die at a step (`support.dying`), or at a moment
with whatever they started; `Loop.examine` looks at repositories and stores after each death.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from gittorrent.repository.carried import Carried
from gittorrent.repository.verify import Verifier
from support import bulk, gitcmd
from support.programs import PATIENCE, Person, Running, processes, wait_until
from support.publishing import carried as open_repository

DYING = Path(__file__).with_name("dying.py")

LITTER = re.compile(
    r"\.new$|/tmp_|/\.tmp-|/incoming-|/gittorrent-(list|scratch)-|/run/|\.lock$|/partial/"
)
"""What unfinished work leaves behind; some of it is there for good, but not growing."""

LASTING = re.compile(
    r"/(housekeeping|node-id|packed-refs|config|HEAD|index|mirror-[a-z2-7]{52})\.lock$"
    r"|/gittorrent/((building|making|unchecked)\.)?lock$"
)
"""Lock files that stay, because the lock on them is what counts; git's own are cleared by hand."""

REPAIRED = re.compile(r"^refs/|^reel \w+: it belongs to another log")
"""What the next writer sees to: refs that do not follow the log yet, a reel that came before it."""

AGE = 30 * 24 * 3600
"""Seconds after which litter may no longer be taken for somebody's work."""


@dataclass
class Died:
    """How a command ended: whether it was killed, and where."""

    killed: bool
    place: str
    running: Running


@dataclass
class Mortal:
    """A person whose commands can be told to die."""

    person: Person
    draw: random.Random
    steps: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def rehearsed(self, name: str, *words: str | Path, cwd: Path | None = None) -> None:
        """Run a command to its end once, to learn how many steps it takes and how long."""
        count = self.person.root / "steps"
        count.unlink(missing_ok=True)
        began = time.monotonic()
        self._as_mortal(DIE_AT="0", DIE_COUNT=str(count)).run(*words, cwd=cwd).ok()
        self.seconds[name] = time.monotonic() - began
        self.steps[name] = max(map(int, count.read_text().split()))

    def run(self, name: str, *words: str | Path, cwd: Path | None = None) -> Died:
        """Run a command that was rehearsed under ``name``, and kill it somewhere."""
        running, place = self.start(name, *words, cwd=cwd)
        try:
            place += self.strike(running, self.draw.uniform(0, self.seconds[name]), place)
            status = running.wait()
            # Whoever is left notices by itself.
            running.wait_all()
        finally:
            running.stop()
        assert "Traceback" not in running.err, f"{place}\n{running.err}"
        return Died(status != 0, f"{name} {place}", running)

    def start(self, name: str, *words: str | Path, cwd: Path | None = None) -> tuple[Running, str]:
        """Start a command that dies at a step by itself, or, in one of three, does not."""
        if self.draw.randrange(3):
            step = self.draw.randint(1, self.steps[name])
            whom = self.draw.choice(["self", "group"])
            mortal = self._as_mortal(DIE_AT=str(step), DIE_WITH=whom)
            return mortal.start(*words, cwd=cwd), f"step {step} ({whom})"
        return self.person.start(*words, cwd=cwd), ""

    def strike(self, running: Running, seconds: float, place: str) -> str:
        """After some time kill one process of a command, or all, unless it dies by itself."""
        if place:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(seconds)
            return "lived"
        alive = running.group()
        victims = alive if self.draw.randrange(2) else alive and [self.draw.choice(alive)]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return f"after {seconds:.3f} s ({len(victims)} of {len(alive)})"

    def _as_mortal(self, **variables: str) -> Person:
        folder = self.person.root / "mortal"
        if not folder.is_dir():
            folder.mkdir()
            for name in ("gittorrent", "git-remote-gittorrent"):
                script = folder / name
                script.write_text(f'#!/bin/sh\nexec {sys.executable} {DYING} {name} "$@"\n')
                script.chmod(0o755)
        path = f"{folder}{os.pathsep}{self.person.environ()['PATH']}"
        return replace(
            self.person,
            variables={
                **self.person.variables, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **variables
            },
        )  # fmt: skip


def background_of(person: Person) -> list[int]:
    """Return processes that work on what is the person's, wherever they were started."""
    return [pid for pid, _, line in processes() if f"{person.root}/" in line]


def wait_for_background(person: Person) -> None:
    """Wait until nothing works on what is the person's any more."""
    wait_until(lambda: not background_of(person), "the background is quiet", PATIENCE)


def examine(person: Person, *repositories: Path, settled: bool = False) -> None:
    """Fail unless the person's store and repositories are sound, whatever was killed.

    The log's file is what counts; unless ``settled`` other things may still have to follow it
    (docs/decisions/0006-the-log-file-is-the-commit-point.md).
    """
    if person.node.joinpath("node.sqlite").exists():
        with contextlib.closing(sqlite3.connect(person.node / "node.sqlite")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    for git_dir in repositories:
        if is_repository(git_dir):
            fsck(git_dir)
            if logs_of(git_dir) and (git_dir / "gittorrent" / "repository.json").exists():
                found = Verifier(open_repository(git_dir)).run().findings
                bad = [f"{f.subject}: {f.problem}" for f in found]
                assert not [f for f in bad if settled or not REPAIRED.search(f)], bad


def logs_of(git_dir: Path) -> list[Path]:
    """Return the lists of the logs that a git directory keeps."""
    return sorted(git_dir.glob("gittorrent/logs/*/log"))


def is_repository(git_dir: Path) -> bool:
    """Tell whether git takes a directory for a repository."""
    return all((git_dir / name).exists() for name in ("HEAD", "objects", "refs", "config"))


def fsck(git_dir: Path) -> None:
    """Fail unless all objects are sound and every ref has all it reaches."""
    words = ["git", f"--git-dir={git_dir}", "fsck", "--full", "--no-dangling", "--no-progress"]
    done = subprocess.run(words, capture_output=True, env=gitcmd.ENVIRONMENT, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    # A clone in the making has a HEAD of its own kind in newer gits.
    bad = [line for line in said if "error" in line or "missing" in line or "broken" in line]
    assert not [line for line in bad if "HEAD" not in line], said


def stale_files(person: Person, *repositories: Path) -> set[Path]:
    """Return what unfinished work has left of the person's."""
    found = set()
    for folder in (person.node, person.root / "tmp", *repositories):
        for path in folder.rglob("*") if folder.is_dir() else ():
            there = f"/{path.relative_to(folder)}"
            if LITTER.search(there) and not LASTING.search(there):
                found.add(path)
    return found


def grow_old(paths: set[Path]) -> None:
    """Make files look as if nobody had touched them for days."""
    then = time.time() - AGE
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (then, then))


def clear_git_locks(git_dir: Path) -> None:
    """Do what git tells its users to do when it was killed."""
    for name in ("packed-refs.lock", "config.lock", "HEAD.lock", "index.lock", "shallow.lock"):
        (git_dir / name).unlink(missing_ok=True)
    for path in (git_dir / "refs").rglob("*.lock") if (git_dir / "refs").is_dir() else ():
        path.unlink()


def assert_equal(mirror: Path, origin: Carried) -> None:
    """Fail unless a mirror clone has the refs, HEAD and objects of the origin."""
    refs = bulk.published(gitcmd.refs(mirror))
    assert refs == bulk.published(gitcmd.refs(origin.layout.git_dir))
    assert (mirror / "HEAD").read_text() == (origin.layout.git_dir / "HEAD").read_text()
    fsck(mirror)


def remove(path: Path) -> None:
    """Remove a directory, which may not be there."""
    shutil.rmtree(path, ignore_errors=True)
