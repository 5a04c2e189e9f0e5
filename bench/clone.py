"""Cloning over loopback and over a slower link, against git clone from a perfectly packed daemon.

The rival's repository is repacked into one pack with bitmaps; ours is published and tidied. All
clone by turns, each time into nothing and with nothing remembered: gittorrent with the compiled
indexer where it is installed, gittorrent with git's, and git. Bytes are counted in a run of their
own, through a relay. Measured bare, which leaves out what is the same for all, and with a checkout.

The slower link is one on which receiving takes about as long as indexing does: its rate follows
from the time the compiled indexer takes right before, and is the same for both. The kernel's link
joins two network namespaces, which need root; without them it is left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from dataclasses import dataclass
from pathlib import Path
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
from netns import HEADERS, PAYLOAD, built, obstacle
from scene import LOOPBACK, Published, Scene, Server, prepare_perfectly, program, remove, staged

if TYPE_CHECKING:
    from collections.abc import Sequence

GIT_WALL_LIMIT = 1.05
"""Of git clone's wall time, with git's own index-pack on both sides."""

NATIVE_WALL_LIMIT = 0.4
"""Of git clone's wall time, with the compiled indexer on ours."""

PEAK_LIMIT = 300.0
"""MiB of the largest process of a clone with the compiled indexer."""

BYTES_LIMIT = 1.0
"""Of git clone's bytes on the wire."""

SERVER_LIMIT = 0.25
"""Of git daemon's CPU time."""

PACED_LIMIT = 1.15
"""Of the longer of receiving and indexing, on a link where they take about the same."""

HAVE_NATIVE = importlib.util.find_spec("gittorrent_native") is not None


@dataclass(frozen=True, slots=True)
class Cloned:
    """What one clone cost: the client, and the server's CPU seconds."""

    client: Usage
    server: float = 0.0


@dataclass(frozen=True, slots=True)
class Cloner:
    """One way to clone.

    Args:
        name: as shown.
        switch: value of ``GITTORRENT_NATIVE``; None for stock git.
        wall_limit: of stock git's wall time.
    """

    name: str
    switch: str | None
    wall_limit: float | None = None


NATIVE = Cloner("gittorrent, native", "1", NATIVE_WALL_LIMIT)
PLAIN = Cloner("gittorrent, git index-pack", "0", GIT_WALL_LIMIT)
STOCK = Cloner("git", None)
TRUSTING = ("--bare", "-c", "gittorrent.detectCollisions=false")
"""Options of a clone that does not look for collision attacks."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Two servers of the same history, and the scene they are in."""

    scene: Scene
    home: Path
    published: Published
    packed: Path

    def url(self, cloner: Cloner, host: str) -> str:
        """Return the URL somebody clones from; ours names the repository for good."""
        ours = self.published
        if cloner.switch is None:
            return f"git://{host}/{self.packed.name}"
        return f"gittorrent://{ours.repository_id}@{host}/{ours.name}.git"

    def clone(self, cloner: Cloner, host: str, options: Sequence[str] = ("--bare",)) -> Usage:
        """Clone from an address and port into an empty directory, with an empty home."""
        home, target = self.scene.room(), self.scene.room()
        remove(home, target)
        words: list[str | Path] = ["git", "clone", "-q", *options, self.url(cloner, host), target]
        switch = {"GITTORRENT_NATIVE": cloner.switch or "0"}
        used = run(words, self.scene.with_home(home) | switch)
        remove(home, target)
        return used


def measure(arguments: Arguments) -> Report:
    """Prepare both servers and let all clone by turns."""
    kinds: list[tuple[str, tuple[str, ...]]] = [("bare", ("--bare",))]
    if not arguments.quick:
        kinds.append(("with checkout", ()))
    contestants: list[Contestant] = []
    comparisons: list[Comparison] = []
    with staged(arguments.work) as scene:
        say("copying and publishing the repository")
        copy = scene.copy_bare(arguments.repository)
        home = scene.room()
        published, _ = scene.publish(scene.linked_copy(copy), home, "--wait")
        contest = Contest(scene, home, published, prepare_perfectly(scene, copy))
        say("counting bytes")
        counted = _count_bytes(contest)
        with scene.node(published, home) as node, scene.daemon(contest.packed) as daemon:
            # A node imports what it serves with when it is first asked.
            scene.take("parts", f"git://{node.host}/{published.name}.git")
            for kind, options in kinds:
                found = _by_turns(contest, node, daemon, kind, options, arguments.runs)
                contestants += found.values()
                comparisons += _compared(kind, found)
        if not HAVE_NATIVE:
            say("the compiled indexer is not installed: no slower link")
        elif reason := obstacle():
            say(f"no slower link: {reason}")
        else:
            more = _on_a_slower_link(contest, arguments.runs)
            contestants += more[0]
            comparisons += more[1]
    contestants += counted
    comparisons.append(ratio("bare", "bytes", *counted, BYTES_LIMIT))
    method = (
        "Client: the clone command and its children, peak of the largest process. Bytes: both",
        "directions, counted at a relay in one bare clone. The rival's repository is packed by",
        "`git repack -adfb`. Paced: bare, over a link of so many bytes of payload a second (tbf).",
        "The rate is such that the pack takes as long to arrive as to index with the compiled",
        "indexer when all of it is there (without the start of Python). Receiving: a client that",
        "takes all parts over the same link and does nothing with them.",
    )
    return Report("clone", method, tuple(contestants), tuple(comparisons))


def _cloners() -> list[Cloner]:
    return [NATIVE, PLAIN, STOCK] if HAVE_NATIVE else [PLAIN, STOCK]


def _compared(kind: str, found: dict[str, Contestant]) -> list[Comparison]:
    comparisons = []
    stock = found[STOCK.name]
    for cloner in _cloners()[:-1]:
        ours = found[cloner.name]
        limits = {
            "wall s": cloner.wall_limit if kind == "bare" else None,
            "CPU s": None,
            "server CPU s": SERVER_LIMIT,
        }
        what = f"{kind}: {cloner.name} / git"
        comparisons += [ratio(what, metric, ours, stock, limits[metric]) for metric in limits]
        if cloner is NATIVE:
            peak = max(next(f.values for f in ours.figures if f.metric == "peak MiB"))
            comparisons.append(
                Comparison(f"{kind}: {cloner.name}: highest peak", peak, PEAK_LIMIT, " MiB")
            )
    return comparisons


def _by_turns(
    contest: Contest,
    node: Server,
    daemon: Server,
    kind: str,
    options: Sequence[str],
    runs: int,
) -> dict[str, Contestant]:
    """Let all clone by turns, who begins changing too; the contestants by cloner."""
    cloners = _cloners()
    done: dict[str, list[Cloned]] = {cloner.name: [] for cloner in cloners}
    for number in range(runs):
        say(f"{kind}: run {number + 1} of {runs}")
        for cloner in cloners[number % len(cloners) :] + cloners[: number % len(cloners)]:
            server = daemon if cloner.switch is None else node
            before = server.meter.cpu()
            client = contest.clone(cloner, server.host, options)
            done[cloner.name].append(Cloned(client, server.meter.cpu() - before))
    return {name: _contestant(f"{name}, {kind}", made) for name, made in done.items()}


# --- the slower link -----------------------------------------------------------------------------


def _on_a_slower_link(contest: Contest, runs: int) -> tuple[list[Contestant], list[Comparison]]:
    """Clone where receiving takes about as long as indexing does.

    How fast the machine is at the moment decides how fast the link is: each run measures it anew.
    """
    size = max(path.stat().st_size for path in contest.published.path.glob("objects/pack/*.pack"))
    indexing: list[float] = []
    receiving: list[float] = []
    ours: list[Cloned] = []
    trusting: list[Cloned] = []
    theirs: list[Cloned] = []
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(built(2))
        far, near = network.nodes
        scene = contest.scene
        with far.entered():
            node = stack.enter_context(
                scene.node(contest.published, contest.home, address=far.address)
            )
            daemon = stack.enter_context(scene.daemon(contest.packed, address=far.address))
        url = f"git://{node.host}/{contest.published.name}.git"
        stack.enter_context(near.entered())
        scene.take("parts", url)
        for number in range(runs):
            indexing.append(_index(contest))
            rate = size / indexing[-1]
            say(f"run {number + 1} of {runs}: a link of {rate / 1e6:.1f} MB/s")
            network.shape([far], rate * 8 * (PAYLOAD + HEADERS) / PAYLOAD)
            began = time.perf_counter()
            scene.take("parts", url)
            receiving.append(time.perf_counter() - began)
            ours.append(Cloned(contest.clone(NATIVE, node.host)))
            trusting.append(Cloned(contest.clone(NATIVE, node.host, TRUSTING)))
            theirs.append(Cloned(contest.clone(STOCK, daemon.host)))
    slowest, fastest = (size / seconds / 1e6 for seconds in (max(indexing), min(indexing)))
    shown = f"paced to {slowest:.1f}–{fastest:.1f} MB/s"
    alone = Contestant("indexing alone", (Figure("wall s", tuple(indexing)),))
    received = Contestant(f"receiving alone, {shown}", (Figure("wall s", tuple(receiving)),))
    native = _contestant(f"{NATIVE.name}, {shown}", ours)
    without = _contestant(f"the same without detection of collisions, {shown}", trusting)
    stock = _contestant(f"git, {shown}", theirs)
    longer = max(alone, received, key=lambda one: one.median("wall s"))
    return [alone, received, native, without, stock], [
        ratio(f"paced: {NATIVE.name} / {longer.name}", "wall s", native, longer, PACED_LIMIT),
        ratio("paced: without detection / the same", "wall s", without, longer),
        ratio("paced: git / the same", "wall s", stock, longer),
    ]


def _index(contest: Contest) -> float:
    """Index the reel's pack, which is there, and return seconds."""
    reels, out = contest.scene.room(), contest.scene.room()
    words = [*program(), "reel", "show", contest.published.path, "--json"]
    reels.write_bytes(run(words, contest.scene.with_home(contest.home)).output)
    out.mkdir()
    once = Path(__file__).with_name("index_once.py")
    used = run([sys.executable, once, reels, out, "plain"], contest.scene.environ)
    remove(out)
    return float(used.output.split()[0])


def _count_bytes(contest: Contest) -> tuple[Contestant, Contestant]:
    """Clone once from each through a relay that counts; returns ours and the rival.

    The node says that it is reached at the relay, so that nothing goes around it. These runs
    also bring both servers' files into memory.
    """
    with Relay() as relay:
        host = f"{LOOPBACK}:{relay.port}"
        own = f"git://{host}"
        with contest.scene.node(contest.published, contest.home, "--url", own) as node:
            relay.target = node.git
            contest.clone(PLAIN, host)
            ours = _counted("gittorrent", relay)
        with contest.scene.daemon(contest.packed) as daemon:
            relay.target = daemon.git
            contest.clone(STOCK, host)
            return ours, _counted("git", relay)


def _counted(name: str, relay: Relay) -> Contestant:
    down, up = relay.take()
    return Contestant(f"{name}, bare, at the relay", (Figure("bytes", (float(down + up),), 0),))


def _contestant(name: str, runs: Sequence[Cloned]) -> Contestant:
    figures = [
        Figure("wall s", tuple(one.client.wall for one in runs)),
        Figure("user s", tuple(one.client.user for one in runs)),
        Figure("CPU s", tuple(one.client.cpu for one in runs)),
        Figure("peak MiB", tuple(one.client.peak / MIB for one in runs), 0),
    ]
    if any(one.server for one in runs):
        figures.append(Figure("server CPU s", tuple(one.server for one in runs), 3))
    return Contestant(name, tuple(figures))


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=5, quick_runs=2), measure)
