"""Publishing against repacking: size, processor time, and the price of one more commit.

Both start from the same copy of the repository with its heads and tags. ``git repack -adf``
computes all deltas anew, as publishing does. What publishing leaves to a background process is
waited for and shown by itself. Growth: commits that change one file, each published at once.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from frame import (
    Arguments,
    BenchError,
    Comparison,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import Usage, children_of, contestant_of, run
from scene import Published, Scene, pack_bytes, program, remove, staged

from gittorrent.native import is_available
from gittorrent.reel.selftest import find_encoder

SIZE_LIMIT = 0.97
"""Of the pack that git repack -adf makes."""

GROWTH_LIMIT = 1.0
"""Seconds to publish one commit."""

GROWTH_RUNS = 5

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(slots=True)
class Contest:
    """The runs of both so far.

    Args:
        scene: they are made in.
        copy: the repository both start from.
        home: of the last publication.
        published: the last publication.
        repacked: the rival's last repository.
        publishing: what publishing used.
        tidying: seconds and CPU seconds of what it left running.
        repacking: what the rival used.
    """

    scene: Scene
    copy: Path
    home: Path | None = None
    published: Published | None = None
    repacked: Path | None = None
    publishing: list[Usage] = field(default_factory=list)
    tidying: list[tuple[float, float]] = field(default_factory=list)
    repacking: list[Usage] = field(default_factory=list)

    def publish(self) -> None:
        """Publish a fresh copy; the one before goes."""
        if self.published is not None and self.home is not None:
            remove(self.home, self.published.path)
        self.home, target = self.scene.room(), self.scene.linked_copy(self.copy)
        remove()
        self.published, used = self.scene.publish(target, self.home)
        self.publishing.append(used)
        self.tidying.append(_await_orphans())

    def repack(self) -> None:
        """Repack a fresh copy; the one before goes."""
        if self.repacked is not None:
            remove(self.repacked)
        self.repacked = self.scene.linked_copy(self.copy)
        remove()
        words: list[str | Path] = ["git", "-C", self.repacked, "repack", "-adfq"]
        self.repacking.append(run(words, self.scene.environ))


def measure(arguments: Arguments) -> Report:
    """Publish and repack by turns, then publish commits one by one."""
    _adopt_orphans()
    with staged(arguments.work) as scene:
        say("copying the repository")
        contest = Contest(scene, scene.copy_bare(arguments.repository))
        turns = [("publish", contest.publish), ("git repack -adf", contest.repack)]
        for number in range(arguments.runs):
            for name, turn in turns:
                say(f"run {number + 1} of {arguments.runs}: {name}")
                turn()
            turns.reverse()
        assert contest.published is not None
        assert contest.repacked is not None
        assert contest.home is not None
        size, objects = _reels(scene, contest.published, contest.home)
        _check_objects(scene, contest.repacked, objects)
        ours = _contestant("gittorrent publish", contest.publishing, size)
        rival = _contestant("git repack -adf", contest.repacking, pack_bytes(contest.repacked))
        say("growth")
        grown = _growth(scene, contest.published, contest.home)
    tidying = Contestant(
        "tidying after publish",
        (
            Figure("wall s", tuple(wall for wall, _ in contest.tidying)),
            Figure("CPU s", tuple(cpu for _, cpu in contest.tidying)),
        ),
    )
    indexer = "gittorrent-native" if is_available() else "git index-pack"
    deflater = "gittorrent-native" if find_encoder().deflates else "git"
    method = (
        f"{objects} objects. The reel's pack is deflated by {deflater} and indexed by {indexer}.",
        "Peak: largest process of each command. `git repack -adf` writes a",
        "bitmap too, which publishing leaves to the tidying that follows it in the background.",
    )
    comparisons = (
        ratio("publish / repack", "pack bytes", ours, rival, SIZE_LIMIT),
        ratio("publish / repack", "CPU s", ours, rival),
        ratio("publish / repack", "wall s", ours, rival),
        Comparison("publish one commit: wall", grown.median("wall s"), GROWTH_LIMIT, " s"),
    )
    return Report("publish", method, (ours, rival, tidying, grown), comparisons)


def _contestant(name: str, used: list[Usage], *sizes: int) -> Contestant:
    return contestant_of(name, used, Figure("pack bytes", tuple(map(float, sizes)), 0))


def _adopt_orphans() -> None:
    """Become the parent of what our children leave running, so that it can be waited for."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise BenchError(f"cannot adopt orphans: {os.strerror(ctypes.get_errno())}")


def _await_orphans() -> tuple[float, float]:
    """Wait for all processes left behind; returns seconds that took and CPU seconds they used."""
    began, cpu = time.perf_counter(), 0.0
    while children_of(os.getpid()):
        _, _, usage = os.wait4(-1, 0)
        cpu += usage.ru_utime + usage.ru_stime
    return time.perf_counter() - began, cpu


def _reels(scene: Scene, published: Published, home: Path) -> tuple[int, int]:
    """Return bytes and objects of all reels of a repository."""
    words = [*program(), "reel", "show", published.path, "--json"]
    reels = json.loads(run(words, scene.with_home(home)).output)
    return sum(reel["pack_size"] for reel in reels), sum(reel["objects"] for reel in reels)


def _check_objects(scene: Scene, repacked: Path, objects: int) -> None:
    lines = scene.git("-C", repacked, "count-objects", "-v").splitlines()
    packed = next(int(line.split()[1]) for line in lines if line.startswith("in-pack:"))
    if packed != objects:
        say(f"the rival's pack has {packed} objects and the reel {objects}: sizes do not compare")


def _growth(scene: Scene, published: Published, home: Path) -> Contestant:
    """Change one file on the main branch and publish that, several times."""
    used: list[Usage] = []
    sizes: list[int] = []
    for number in range(GROWTH_RUNS):
        before, _ = _reels(scene, published, home)
        scene.commit(published.path, f"change {number}\n")
        used.append(scene.publish(published.path, home)[1])
        _await_orphans()
        sizes.append(_reels(scene, published, home)[0] - before)
        if sizes[-1] <= 0:
            raise BenchError("publishing a commit made no reel")
    return _contestant("publish one commit", used, *sizes)


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
