"""Cloning over loopback, against git clone from a perfectly packed git daemon.

The rival's repository is repacked into one pack with bitmaps; ours is published and tidied. The
two clone by turns, each time into nothing and with nothing remembered. Bytes are counted in a
run of their own, through a relay. Measured bare, which leaves out what is the same for both, and
with a checkout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from frame import (
    Arguments,
    Comparison,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import MIB, Relay, Usage, run
from scene import Published, Scene, Server, prepare_perfectly, remove, staged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WALL_LIMIT = 1.05
"""Of git clone's wall time, both with git's own index-pack."""

BYTES_LIMIT = 1.0
"""Of git clone's bytes on the wire."""

SERVER_LIMIT = 0.25
"""Of git daemon's CPU time."""


@dataclass(frozen=True, slots=True)
class Cloned:
    """What one clone cost: the client, and the server's CPU seconds."""

    client: Usage
    server: float


@dataclass(frozen=True, slots=True)
class Contest:
    """Two servers of the same history, and the scene they are in."""

    scene: Scene
    published: Published
    packed: Path

    def our_url(self, port: int) -> str:
        """Return the URL of our repository, which names it for good."""
        ours = self.published
        return f"gittorrent://{ours.repository_id}@127.0.0.1:{port}/{ours.name}.git"

    def their_url(self, port: int) -> str:
        """Return the URL of git daemon's repository."""
        return f"git://127.0.0.1:{port}/{self.packed.name}"

    def clone(self, url: str, options: Sequence[str]) -> Usage:
        """Clone a URL into an empty directory, with an empty home."""
        home, target = self.scene.room(), self.scene.room()
        remove(home, target)
        words: list[str | Path] = ["git", "clone", "-q", *options, url, target]
        used = run(words, self.scene.with_home(home))
        remove(home, target)
        return used


def measure(arguments: Arguments) -> Report:
    """Prepare both servers and let the two clone by turns."""
    kinds: list[tuple[str, list[str]]] = [("bare", ["--bare"])]
    if not arguments.quick:
        kinds.append(("with checkout", []))
    contestants: list[Contestant] = []
    comparisons: list[Comparison] = []
    with staged(arguments.work) as scene:
        say("copying and publishing the repository")
        copy = scene.copy_bare(arguments.repository)
        home = scene.room()
        published, _ = scene.publish(scene.linked_copy(copy), home, "--wait")
        contest = Contest(scene, published, prepare_perfectly(scene, copy))
        say("counting bytes")
        counted = _count_bytes(contest, home)
        with scene.node(published, home) as node, scene.daemon(contest.packed) as daemon:
            # A node imports what it serves with when it is first asked.
            scene.take("parts", f"git://127.0.0.1:{node.git}/{published.name}.git")
            for kind, options in kinds:
                runs = _by_turns(contest, node, daemon, kind, options, arguments.runs)
                ours = _contestant(f"gittorrent, {kind}", runs[0])
                theirs = _contestant(f"git, {kind}", runs[1])
                contestants += [ours, theirs]
                comparisons += _compared(kind, ours, theirs)
    contestants += counted
    comparisons.append(ratio("bare", "bytes", *counted, BYTES_LIMIT))
    method = (
        "Client: the clone command and its children, peak of the largest process. Bytes: both",
        "directions, counted at a relay in one bare clone. The rival's repository is packed by",
        "`git repack -adfb`.",
    )
    return Report("clone", method, tuple(contestants), tuple(comparisons))


def _compared(kind: str, ours: Contestant, theirs: Contestant) -> list[Comparison]:
    limits = {
        "wall s": WALL_LIMIT,
        "user s": None,
        "CPU s": None,
        "server CPU s": SERVER_LIMIT,
    }
    return [ratio(kind, metric, ours, theirs, limit) for metric, limit in limits.items()]


def _by_turns(
    contest: Contest,
    node: Server,
    daemon: Server,
    kind: str,
    options: Sequence[str],
    runs: int,
) -> tuple[list[Cloned], list[Cloned]]:
    """Clone from both by turns; who begins changes too."""
    ours: list[Cloned] = []
    theirs: list[Cloned] = []
    turns = [
        (ours, node, contest.our_url(node.git)),
        (theirs, daemon, contest.their_url(daemon.git)),
    ]
    for number in range(runs):
        say(f"{kind}: run {number + 1} of {runs}")
        for runs_of, server, url in turns:
            before = server.meter.cpu()
            client = contest.clone(url, options)
            runs_of.append(Cloned(client, server.meter.cpu() - before))
        turns.reverse()
    return ours, theirs


def _count_bytes(contest: Contest, home: Path) -> tuple[Contestant, Contestant]:
    """Clone once from each through a relay that counts; returns ours and the rival.

    The node says that it is reached at the relay, so that nothing goes around it. These runs
    also bring both servers' files into memory.
    """
    with Relay() as relay:
        own = f"git://127.0.0.1:{relay.port}"
        with contest.scene.node(contest.published, home, "--url", own) as node:
            relay.target = node.git
            contest.clone(contest.our_url(relay.port), ["--bare"])
            ours = _counted("gittorrent", relay)
        with contest.scene.daemon(contest.packed) as daemon:
            relay.target = daemon.git
            contest.clone(contest.their_url(relay.port), ["--bare"])
            return ours, _counted("git", relay)


def _counted(name: str, relay: Relay) -> Contestant:
    down, up = relay.take()
    return Contestant(f"{name}, bare, at the relay", (Figure("bytes", (float(down + up),), 0),))


def _contestant(name: str, runs: Sequence[Cloned]) -> Contestant:
    return Contestant(
        name,
        (
            Figure("wall s", tuple(one.client.wall for one in runs)),
            Figure("user s", tuple(one.client.user for one in runs)),
            Figure("CPU s", tuple(one.client.cpu for one in runs)),
            Figure("peak MiB", tuple(one.client.peak / MIB for one in runs), 0),
            Figure("server CPU s", tuple(one.server for one in runs), 3),
        ),
    )


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=5, quick_runs=2), measure)
