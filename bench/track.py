"""What it costs to follow a plain git server: looks without news, and a busy history.

Contestants: a look as a node makes it (`gittorrent.transfer.tracking`, in this process, so that no
program begins anew), and what stands in many a crontab, `git remote update` in a mirror clone. The
server is git daemon. A busy history is replayed: the default branch goes along its own first
parents, some commits at a time, and each step is followed by both. Ours signs, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

from frame import (
    Arguments,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import run
from scene import Scene, staged

from gittorrent.git.runner import Git
from gittorrent.store.database import Database
from gittorrent.store.home import open_home
from gittorrent.store.tracks import Track, TrackTable
from gittorrent.terminal import TerminalReporter
from gittorrent.transfer.context import Context
from gittorrent.transfer.track_places import own_key
from gittorrent.transfer.tracking import Tracking

STEP = 5
"""Commits of a step: what a busy project gets in some minutes."""


@dataclass
class Course:
    """One way to follow, and what it cost."""

    name: str
    idle_cpu: list[float] = field(default_factory=list)
    idle_wall: list[float] = field(default_factory=list)
    busy_cpu: list[float] = field(default_factory=list)
    busy_wall: list[float] = field(default_factory=list)

    def note(self, wall: float, cpu: float, *, is_busy: bool) -> None:
        """Take note of what one look cost, in seconds."""
        (self.busy_wall if is_busy else self.idle_wall).append(wall)
        (self.busy_cpu if is_busy else self.idle_cpu).append(cpu)

    def result(self) -> Contestant:
        """Return the figures."""
        return Contestant(
            self.name,
            (
                Figure("no news, wall s", tuple(self.idle_wall), 3),
                Figure("no news, CPU s", tuple(self.idle_cpu), 3),
                Figure(f"{STEP} commits, wall s", tuple(self.busy_wall), 3),
                Figure(f"{STEP} commits, CPU s", tuple(self.busy_cpu), 3),
            ),
        )


class Ours:
    """A node's looks."""

    def __init__(self, url: str) -> None:
        self._home = open_home()
        self._database = Database(self._home.database)
        key = own_key(self._home, lambda _: None)
        self._track = Track("project", url, 300, key=key)
        TrackTable(self._database).put(self._track)

    def look(self) -> tuple[float, float]:
        """Look once; returns wall and CPU seconds."""
        began, before = time.perf_counter(), _cpu()
        with contextlib.closing(TerminalReporter(quiet=True)) as reporter:
            context = Context(self._database, self._home, Git(self._home.root), reporter)
            asyncio.run(Tracking(self._track, context, makes_reels=False).look())
        return time.perf_counter() - began, _cpu() - before


def _cpu() -> float:
    own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def _theirs(scene: Scene, mirror: Path) -> tuple[float, float]:
    used = run(["git", "-C", mirror, "remote", "update"], scene.environ)
    return used.wall, used.cpu


def measure(arguments: Arguments) -> Report:
    """Follow a history by both."""
    steps = 5 if arguments.quick else 10 * arguments.runs
    with staged(arguments.work) as scene:
        os.environ.update(scene.environ)
        os.environ["GITTORRENT_HOME"] = str(scene.room())
        # Projects about git have trees of that kind as test data.
        scene.git("config", "--global", "fetch.fsck.hasDotgit", "ignore")
        upstream = scene.copy_bare(arguments.repository)
        branch = scene.git("-C", upstream, "symbolic-ref", "HEAD")
        words = ("rev-list", "--first-parent", f"--max-count={steps * STEP + 1}", branch)
        line = scene.git("-C", upstream, *words).splitlines()[::-STEP]
        scene.git("-C", upstream, "update-ref", branch, line[0])
        ours, theirs = Course("node"), Course("git remote update")
        with scene.daemon(upstream) as server:
            url = f"git://127.0.0.1:{server.git}/{upstream.name}"
            say("following it for the first time")
            node, mirror = Ours(url), scene.room()
            node.look()
            scene.git("clone", "-q", "--mirror", url, mirror)
            for number, commit in enumerate(line[1:], start=1):
                say(f"step {number} of {len(line) - 1}")
                scene.git("-C", upstream, "update-ref", branch, commit)
                for is_busy in (True, False):
                    ours.note(*node.look(), is_busy=is_busy)
                    theirs.note(*_theirs(scene, mirror), is_busy=is_busy)
    results = (ours.result(), theirs.result())
    method = (
        f"{len(line) - 1} steps of {STEP} commits, each followed by a look with news and one"
        " without.",
    )
    metrics = [figure.metric for figure in results[0].figures]
    return Report(
        "track", method, results, tuple(ratio("node to git", m, *results) for m in metrics)
    )


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
