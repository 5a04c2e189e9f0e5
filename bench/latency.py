"""What a distant mirror costs: waiting for answers, against git's own protocol.

On a link of a tenth of a second there and back, and on one of none, git and gittorrent list refs,
fetch where nothing is new, fetch one commit, and clone; the difference, in round trips, is how
often each waits for an answer before it can go on. Bandwidth is not limited, so the round trips
that TCP takes to get up to speed are in the clone's. The link joins two network namespaces, which
need root.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
from measure import run
from netns import built, obstacle
from scene import Published, Scene, prepare_perfectly, remove, staged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROUND_TRIP = 0.1
"""Seconds."""

ROUND_TRIPS_LIMIT = 0.5
"""More than git waits for: none, but for what runs differ by."""

TASKS = ("list refs", "fetch nothing", "clone")
"""What everybody does first."""

TASKS_WITH_NEWS = ("fetch one commit",)
"""And after one more commit."""


@dataclass(slots=True)
class Side:
    """One of the two who are compared: where it clones from, and a clone that it fetches into.

    Args:
        name: as shown.
        url: of the repository.
        clone: of it, as it was before the last commit; nobody changes it.
        home: of the program that made the clone.
        walls: seconds, by task and whether the server was far.
    """

    name: str
    url: str
    clone: Path
    home: Path
    walls: dict[tuple[str, bool], list[float]] = field(default_factory=dict)

    def far_from(self, task: str) -> float:
        """Return the median round trips a task took."""
        return self._figure(task, True).median - self._figure(task, False).median

    def contestant(self, task: str) -> Contestant:
        """Return what a task took, near and far."""
        trips = Figure("round trips", (self.far_from(task) / ROUND_TRIP,), 1)
        figures = (self._figure(task, False), self._figure(task, True), trips)
        return Contestant(f"{task}: {self.name}", figures)

    def _figure(self, task: str, is_far: bool) -> Figure:
        metric = f"wall s, {ROUND_TRIP * 1000:.0f} ms away" if is_far else "wall s, near"
        return Figure(metric, tuple(self.walls[task, is_far]))


def measure(arguments: Arguments) -> Report:
    """Let both do everything, near and far, by turns."""
    if reason := obstacle():
        raise BenchError(reason)
    with staged(arguments.work) as scene, contextlib.ExitStack() as stack:
        say("copying and publishing the repository")
        copy = scene.copy_bare(arguments.repository)
        home = scene.room()
        published, _ = scene.publish(scene.linked_copy(copy), home, "--wait")
        packed = prepare_perfectly(scene, copy)
        network = stack.enter_context(built(2))
        far, near = network.nodes
        with far.entered():
            node = stack.enter_context(scene.node(published, home, address=far.address))
            daemon = stack.enter_context(scene.daemon(packed, address=far.address))
        stack.enter_context(near.entered())
        url = f"gittorrent://{published.repository_id}@{node.host}/{published.name}.git"
        sides = [
            _side(scene, "gittorrent", url),
            _side(scene, "git", f"git://{daemon.host}/{packed.name}"),
        ]

        def near_and_far(tasks: Sequence[str]) -> None:
            for is_far in (False, True):
                say(f"{'far' if is_far else 'near'}: {', '.join(tasks)}")
                away = network.distant(far, ROUND_TRIP / 2) if is_far else contextlib.nullcontext()
                with away:
                    _by_turns(scene, sides, tasks, is_far, arguments.runs)

        near_and_far(TASKS)
        _add_a_commit(scene, published, home, packed)
        near_and_far(TASKS_WITH_NEWS)
    tasks = (*TASKS, *TASKS_WITH_NEWS)
    ours, theirs = sides
    comparisons = []
    for task in tasks:
        more = (ours.far_from(task) - theirs.far_from(task)) / ROUND_TRIP
        what = f"{task}: round trips more than git"
        comparisons.append(Comparison(what, more, ROUND_TRIPS_LIMIT, ""))
        metric = ours.contestant(task).figures[1].metric
        both = ours.contestant(task), theirs.contestant(task)
        comparisons.append(ratio(f"{task}: gittorrent / git", metric, *both))
    method = (
        f"Round trip: {ROUND_TRIP * 1000:.0f} ms. Clone: bare. Fetching is into a copy of the same",
        "clone each time. `git repack -adfb` packed the rival's repository.",
    )
    contestants = tuple(side.contestant(task) for task in tasks for side in sides)
    return Report("latency", method, contestants, tuple(comparisons))


def _side(scene: Scene, name: str, url: str) -> Side:
    home, clone = scene.room(), scene.room()
    home.mkdir()
    run(["git", "clone", "-q", "--no-checkout", url, clone], scene.with_home(home))
    return Side(name, url, clone, home)


def _add_a_commit(scene: Scene, published: Published, home: Path, packed: Path) -> None:
    for repository in (published.path, packed):
        scene.commit(repository, "one line more\n")
    scene.publish(published.path, home, "--wait")


def _by_turns(
    scene: Scene, sides: list[Side], tasks: Sequence[str], is_far: bool, runs: int
) -> None:
    for number in range(runs):
        for side in sides if number % 2 else sides[::-1]:
            for task in tasks:
                side.walls.setdefault((task, is_far), []).append(_time(scene, side, task))


def _time(scene: Scene, side: Side, task: str) -> float:
    """Carry out a task with a home and a clone of its own, and return seconds."""
    home, clone = scene.room(), scene.room()
    if task == "clone":
        words: list[str | Path] = ["git", "clone", "-q", "--bare", side.url, clone]
    else:
        shutil.copytree(side.home, home)
        shutil.copytree(side.clone, clone)
        listing = task == "list refs"
        words = ["git", "-C", clone, *(["ls-remote", "-q"] if listing else ["fetch", "-q"])]
    used = run(words, scene.with_home(home))
    remove(home, clone)
    return used.wall


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=5, quick_runs=2), measure)
