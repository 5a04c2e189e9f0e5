"""A push at one of twenty mirrors: when do all show it, and one that was away what it missed?

All nodes are on loopback, and each knows the origin alone when it is made: mirrors learn of each
other. One is ended, pushes are made, some of which the keeper takes in meanwhile, and it is started
again; it has caught up when its refs have the last of them.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from depots import LOOK_SECONDS, PUSH_SECONDS, cloud, commit, push_to, serve, stop
from frame import (
    Arguments,
    BenchError,
    Comparison,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    run_benchmark,
    say,
)
from scene import staged

if TYPE_CHECKING:
    from depots import Cloud, Pushed

MIRRORS = 20

MISSED = 5
"""Pushes that one misses while it is away."""

SEEN_LIMIT = 2.0
"""Seconds until all mirrors and the origin have a push."""

CAUGHT_UP_LIMIT = 2.0
"""Seconds after a node listens until it has what it missed: its first conversations bring all."""

_cloud = contextlib.contextmanager(cloud)


def measure(arguments: Arguments) -> Report:
    """Push at one after the other; then let some miss pushes."""
    with staged(arguments.work) as scene, _cloud(scene, arguments.repository, MIRRORS) as made:
        pushes = [made.push(1 + number % MIRRORS) for number in range(arguments.runs)]
        away = []
        for number in range(arguments.runs):
            say(f"one is away, {number + 1} of {arguments.runs}")
            away.append(_miss(made, 1 + (number + 2) % MIRRORS))
    contestant = Contestant(
        f"gittorrent, {MIRRORS} mirrors",
        (
            Figure("half have it s", tuple(sorted(p.seen)[len(p.seen) // 2] for p in pushes)),
            Figure("all have it s", tuple(max(p.seen) for p in pushes)),
            Figure("final s", tuple(p.final for p in pushes)),
            Figure("caught up s", tuple(away)),
        ),
    )
    return Report(
        "many mirrors",
        (
            "A push of one commit that changes one file, over HTTP at a mirror; times are from the",
            "start of `git push` to when a file of each other node has the new value. Then a node",
            f"misses {MISSED} pushes; times are from when it listens again. All nodes are on this",
            "machine.",
        ),
        (contestant,),
        (
            Comparison(f"on all of {MIRRORS} others, worst push", _worst(pushes), SEEN_LIMIT, " s"),
            Comparison("caught up, worst", max(away), CAUGHT_UP_LIMIT, " s"),
        ),
    )


def _worst(pushes: list[Pushed]) -> float:
    return max(max(push.seen) for push in pushes)


def _miss(made: Cloud, number: int) -> float:
    """End a node, push elsewhere, and start it again; return how long it then took to catch up."""
    gone = made.depots[number]
    stop(gone)
    value = b""
    for _ in range(MISSED):
        value = commit(made.scene, made.work)
        push_to(made, 1 if number != 1 else 2)
    made.depots[number] = back = serve(made.scene, gone.home, gone.repository)
    began = time.monotonic()
    while not back.has(value):
        if time.monotonic() - began > PUSH_SECONDS:
            raise BenchError(f"a node did not catch up in {PUSH_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=5, quick_runs=2), measure)
