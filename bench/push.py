"""Pushing at one node: when it returns, when others show it, when it is final; against Radicle.

Ours: stock git pushes, signed with an SSH key, at a mirror of an origin whose node is the keeper;
watched are the refs of all other nodes. Radicle: ``git push rad``, with seeds connected to the
pusher's node; watched is the pusher's branch in each seed's storage. Both on loopback, by turns.

Then pushes at one depot by several people at once, against ``git daemon`` whose receive-pack checks
the certificate in a hook; and what a push and a clone's check cost when the log is long.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from depots import Pushed, cloud, commit, watched, work_tree
from frame import (
    Arguments,
    Comparison,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    run_benchmark,
    say,
)
from push_growth import growth
from push_rate import rates
from radicle import Radicle, obstacle, radicle_network
from scene import Scene, staged

if TYPE_CHECKING:
    from collections.abc import Callable

FEW = 3
"""Other nodes that a push has to reach."""

MANY = 10

SEEN_LIMIT = 1.0
"""Of Radicle's time until three others have it."""

RETURN_LIMIT = 2.0
"""Of the time that ``git push rad`` takes."""

MANY_MEDIAN_LIMIT = 0.5
"""Seconds until half of ten others have it."""

MANY_WORST_LIMIT = 1.5

FINAL_LIMIT = 1.5
"""Seconds until the keeper's checkpoint is back at the depot."""

_cloud = contextlib.contextmanager(cloud)


def measure(arguments: Arguments) -> Report:
    """Push by turns, then a lot, then with a long log."""
    runs = arguments.runs
    contestants: list[Contestant] = []
    comparisons: list[Comparison] = []
    with staged(arguments.work) as scene:
        few, theirs = _spread(scene, arguments.repository, runs)
        contestants += [_contestant(f"gittorrent, {FEW} others", few)]
        if theirs:
            rival = _contestant(f"radicle, {FEW} seeds", theirs)
            contestants.append(rival)
            comparisons += _against(contestants[0], rival)
        say(f"{MANY} others")
        with _cloud(scene, arguments.repository, MANY) as made:
            many = _pushes(runs, lambda n: made.push(1 + n % MANY))
        contestants.append(_contestant(f"gittorrent, {MANY} others", many))
        comparisons += _alone(contestants[-1])
        say("pushes a second at one depot")
        found, compared = rates(scene, arguments.repository, arguments.quick)
        contestants += found
        comparisons += compared
        say("long logs")
        found, compared = growth(scene, arguments.quick)
        contestants += found
        comparisons += compared
    method = (
        "A push of one commit that changes one file; times from the start of `git push`, to the",
        "moment when a file of the other node has the new value. Ours is pushed over HTTP at a",
        "mirror; the keeper is the origin's node. All nodes of a side run on this machine.",
    )
    return Report("push", method, tuple(contestants), tuple(comparisons))


def _spread(scene: Scene, repository: Path, runs: int) -> tuple[list[Pushed], list[Pushed]]:
    """Push by turns at ours and at the rival's, each with three others."""
    ours: list[Pushed] = []
    theirs: list[Pushed] = []
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(_cloud(scene, repository, FEW))
        network: Radicle | None = None
        if reason := obstacle():
            say(f"no rival: {reason}")
        else:
            work = work_tree(scene, repository)
            network = radicle_network(scene.room(), scene.environ, FEW, work)
            stack.callback(network.stop)
        for number in range(runs):
            say(f"push {number + 1} of {runs}")
            ours.append(made.push(1))
            if network is not None:
                theirs.append(_radicle_push(scene, network))
    return ours, theirs


def _radicle_push(scene: Scene, network: Radicle) -> Pushed:
    value = commit(scene, network.work)
    nodes = [partial(network.has, seed, value) for seed in network.seeds]
    words = ["git", "push", "-q", "rad", "main"]
    return watched(words, network.work, network.pusher.environ, nodes)


def _pushes(runs: int, push: Callable[[int], Pushed]) -> list[Pushed]:
    return [push(number) for number in range(runs)]


def _contestant(name: str, pushes: list[Pushed]) -> Contestant:
    figures = [
        Figure("push returns s", tuple(p.returned for p in pushes)),
        Figure("half have it s", tuple(sorted(p.seen)[len(p.seen) // 2] for p in pushes)),
        Figure("all have it s", tuple(max(p.seen) for p in pushes)),
    ]
    if pushes[0].final:
        figures.append(Figure("final s", tuple(p.final for p in pushes)))
    return Contestant(name, tuple(figures))


def _against(ours: Contestant, theirs: Contestant) -> list[Comparison]:
    seen = ours.median("all have it s") / theirs.median("all have it s")
    returned = ours.median("push returns s") / theirs.median("push returns s")
    return [
        Comparison(f"on {FEW} others, gittorrent / radicle", seen, SEEN_LIMIT),
        Comparison("push returns, gittorrent / radicle", returned, RETURN_LIMIT),
    ]


def _alone(ours: Contestant) -> list[Comparison]:
    worst = max(next(f.values for f in ours.figures if f.metric == "all have it s"))
    return [
        Comparison(
            f"on half of {MANY} others", ours.median("half have it s"), MANY_MEDIAN_LIMIT, " s"
        ),
        Comparison(f"on all of {MANY} others, worst push", worst, MANY_WORST_LIMIT, " s"),
        Comparison("final", ours.median("final s"), FINAL_LIMIT, " s"),
    ]


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=10, quick_runs=2), measure)
