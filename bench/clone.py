"""Cloning over loopback and over a slower link, against git clone from a perfectly packed daemon.

The rival's repository is repacked into one pack with bitmaps; ours is published and tidied. All
clone by turns, each time into nothing and with nothing remembered: gittorrent with the compiled
indexer where it is installed, gittorrent with git's, and git. Bytes are counted in a run of their
own, through a relay. Measured bare, which leaves out what is the same for all, and with a checkout.

Slower links are those on which receiving takes about as long as indexing does, with the compiled
indexer or with git's: their rates follow from the time it takes right before, and are the same for
all. The kernel's link joins two network namespaces, which need root; without them it is left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from dataclasses import dataclass, field
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
    from collections.abc import Callable, Sequence

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
            say("the compiled indexer is not installed: no slower links")
        elif reason := obstacle():
            say(f"no slower links: {reason}")
        else:
            more = _on_slower_links(contest, arguments.runs)
            contestants += more[0]
            comparisons += more[1]
    contestants += counted
    comparisons.append(ratio("bare", "bytes", *counted, BYTES_LIMIT))
    method = (
        "Client: the clone command and its children, peak of the largest process. Bytes: both",
        "directions, counted at a relay in one bare clone. The rival's repository is packed by",
        "`git repack -adfb`. At a pace: bare, over a link of so many bytes of payload a second",
        "(tbf), on which the pack takes as long to arrive as to index when all of it is there,",
        "with the compiled indexer (without the start of Python) or with git's. Receiving: a",
        "client that takes all parts over the same link and does nothing with them.",
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


# --- slower links ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a slower link is: the pack takes as long to arrive as an indexer takes for it.

    Args:
        name: whose pace it is.
        index: runs the indexer on the reel's pack, which is there, and returns seconds.
    """

    name: str
    index: Callable[[Contest], float]


@dataclass(slots=True)
class Race:
    """What was measured at one pace."""

    pace: Pace
    indexing: list[float] = field(default_factory=list)
    receiving: list[float] = field(default_factory=list)
    clones: dict[str, list[Cloned]] = field(default_factory=lambda: {name: [] for name in WAYS})


WAYS: dict[str, tuple[Cloner, tuple[str, ...]]] = {
    NATIVE.name: (NATIVE, ("--bare",)),
    "the same without detection of collisions": (NATIVE, TRUSTING),
    STOCK.name: (STOCK, ("--bare",)),
}
"""Who clones over slower links, and with which options."""


def _on_slower_links(contest: Contest, runs: int) -> tuple[list[Contestant], list[Comparison]]:
    """Clone where receiving takes about as long as indexing does, with either indexer.

    How fast the machine is at the moment decides how fast the links are: each run measures it anew.
    """
    size = _pack(contest).stat().st_size
    paces = (Pace("native's pace", _index_natively), Pace("git's pace", _index_with_git))
    races = [Race(pace) for pace in paces]
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
            for race in races:
                race.indexing.append(race.pace.index(contest))
                rate = size / race.indexing[-1]
                say(f"{race.pace.name}: run {number + 1} of {runs}: {rate / 1e6:.1f} MB/s")
                network.shape([far], rate * 8 * (PAYLOAD + HEADERS) / PAYLOAD)
                began = time.perf_counter()
                scene.take("parts", url)
                race.receiving.append(time.perf_counter() - began)
                for name, (cloner, options) in WAYS.items():
                    host = daemon.host if cloner.switch is None else node.host
                    race.clones[name].append(Cloned(contest.clone(cloner, host, options)))
                network.shape([far], None)
    found = [_judged(race, size) for race in races]
    return [c for contestants, _ in found for c in contestants], [c for _, cs in found for c in cs]


def _judged(race: Race, size: int) -> tuple[list[Contestant], list[Comparison]]:
    """Compare clones with what takes longer there: indexing alone or receiving alone."""
    name = race.pace.name
    slowest, fastest = (size / s / 1e6 for s in (max(race.indexing), min(race.indexing)))
    shown = f"{name}, {slowest:.1f}–{fastest:.1f} MB/s"
    alone = Contestant(f"indexing alone, {name}", (Figure("wall s", tuple(race.indexing)),))
    received = Contestant(f"receiving alone, {shown}", (Figure("wall s", tuple(race.receiving)),))
    clones = {way: _contestant(f"{way}, {name}", made) for way, made in race.clones.items()}
    longer = max(alone, received, key=lambda one: one.median("wall s"))
    which = "indexing" if longer is alone else "receiving"
    return [alone, received, *clones.values()], [
        ratio(
            f"{name}: {way} / {which} alone",
            "wall s",
            clone,
            longer,
            PACED_LIMIT if way == NATIVE.name else None,
        )
        for way, clone in clones.items()
    ]


def _pack(contest: Contest) -> Path:
    """Return the published repository's largest pack, which is the reel's."""
    packs = contest.published.path.glob("objects/pack/*.pack")
    return max(packs, key=lambda path: path.stat().st_size)


def _index_natively(contest: Contest) -> float:
    reels, out = contest.scene.room(), contest.scene.room()
    words = [*program(), "reel", "show", contest.published.path, "--json"]
    reels.write_bytes(run(words, contest.scene.with_home(contest.home)).output)
    out.mkdir()
    once = Path(__file__).with_name("index_once.py")
    used = run([sys.executable, once, reels, out, "plain"], contest.scene.environ)
    remove(out)
    return float(used.output.split()[0])


def _index_with_git(contest: Contest) -> float:
    """Index as a clone does: objects are not held to fsck's rules, links are followed."""
    scene, room = contest.scene, contest.scene.room()
    scene.git("init", "-q", "--bare", room)
    copy = room / "reel.pack"
    copy.hardlink_to(_pack(contest))
    check = "--check-self-contained-and-connected"
    used = run(["git", "-C", room, "index-pack", check, copy], scene.environ)
    remove(room)
    return used.wall


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
