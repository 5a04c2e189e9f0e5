"""Many cloning at once over slow links, against git daemon and against libtorrent.

Every node has a network namespace of its own and the same rate each way. In one run and on the
same network: N clones from one origin with GitTorrent, N clones from git daemon, N libtorrent
peers that take the same bytes; then the same with peers killed half-way and a mirror that sends
noise; then one clone from four mirrors of unequal rate. Root only.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import random
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

from frame import (
    RESULTS,
    Arguments,
    BenchError,
    Comparison,
    Contestant,
    Figure,
    Report,
    ratio,
    run_benchmark,
    say,
)
from netns import Network, Node, Traffic, built, parse_rate, plain_rate
from scene import START_SECONDS, Published, Scene, prepare_perfectly, program, remove, staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BOUND_LIMIT = 1.25
"""Of the least time that the links allow."""

TORRENT_LIMIT = 1.1
"""Of libtorrent's time for the last."""

COPIES_LIMIT = 1.5
"""Copies of the data that the origin sends."""

DUPLICATES_LIMIT = 2.0
"""Percent of the data that arrive without need, everything that is not data included."""

CHURN_LIMIT = 1.25
"""Of the undisturbed time."""

MIRRORS_LIMIT = round(1 / 0.9, 3)
"""Of the rate that all mirrors have together, over what was achieved."""

KILLED = 0.2
"""Part of the cloners that are killed when half of everything has arrived."""

MIRROR_RATES = ("5mbit", "10mbit", "20mbit", "40mbit")
"""Unequal mirrors of one clone; the first is the origin."""

SEED_SECONDS = 120
"""For how long a finished clone may go on serving; a race is over earlier."""

PORT = 9418
LOOK_SECONDS = 0.05
RIVALS = ("git", "libtorrent")
SCENARIOS = ("plain", "churn", "mirrors")
LAST, MEDIAN = "last s", "median s"
LAST_USABLE, MEDIAN_USABLE = "last usable s", "median usable s"
COPIES, DUPLICATES = "origin copies", "extra %"

TORRENT_SETTINGS = {
    # No search for peers: everybody is told of everybody, as a tracker would.
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    # TCP as all others here; uTP would yield to the other flows of its own swarm.
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    # Defaults spread connecting over seconds, which is kind to home routers and slow to start.
    "connection_speed": 500,
    "smooth_connects": False,
    "min_reconnect_time": 1,
    "alert_mask": 0,
}
"""libtorrent on a LAN; whatever is not named is as libtorrent has it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for beyond what all benchmarks have.

    Args:
        peers: numbers of cloners, one race each.
        rate: of links, as given.
        rivals: to race against.
        scenarios: to play.
    """

    peers: tuple[int, ...]
    rate: str
    rivals: tuple[str, ...]
    scenarios: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Race:
    """How one race went; times in seconds since all began, in the order of arrival.

    Args:
        arrived: when each had received its data.
        usable: when each was done with it.
        sent: by the origin, payload bytes.
        received: by all cloners.
        noise: sent by the node that does not clone.
        busy: part of the machine's processor time that was used.
        rate: bytes a second of the fastest, from its first data to its last.
    """

    arrived: tuple[float, ...]
    usable: tuple[float, ...]
    sent: int
    received: int
    noise: int
    busy: float
    rate: float


class Team(Protocol):
    """Cloners of one kind."""

    size: int
    """Bytes that each of them has to receive."""

    def start(self, node: Node) -> Callable[[], bool]:
        """Start one; returns what tells whether it is done, or raises BenchError if it failed."""
        ...


@dataclass(slots=True)
class Course:
    """The network, its origin, and how fast data can go there.

    Args:
        scene: for files.
        network: of all nodes.
        payload: bytes a second that one connection gets through a link.
        efficiency: that, in parts of the link's rate.
    """

    scene: Scene
    network: Network
    payload: float = 0.0
    efficiency: float = 1.0

    @property
    def origin(self) -> Node:
        """The node that has everything from the beginning."""
        return self.network.nodes[0]

    def cloners(self, count: int) -> list[Node]:
        """Return the nodes that clone."""
        return self.network.nodes[1 : 1 + count]

    @property
    def spare(self) -> Node:
        """A node that never clones."""
        return self.network.nodes[-1]

    def calibrate(self, rate: str) -> None:
        """Shape all links and measure what they carry."""
        nominal = parse_rate(rate)
        self.network.shape(self.network.nodes, nominal)
        size = max(1 << 20, round(nominal / 8 * 2))
        sink = self.cloners(1)[0]
        self.payload = median(plain_rate(self.origin, sink, size) for _ in range(3))
        self.efficiency = self.payload * 8 / nominal
        say(f"links of {rate} carry {self.payload / 1e6:.3f} MB of payload a second")

    def bound(self, size: int, count: int) -> float:
        """Return the least seconds in which all can have it: max(F/u, F/d, NF/(u + Nu))."""
        return max(size / self.payload, count * size / (self.payload * (1 + count)))

    def race(self, team: Team, cloners: Sequence[Node], victims: Sequence[Node] = ()) -> Race:
        """Let cloners start together and wait for all that are not killed.

        Args:
            team: they belong to.
            cloners: where they run.
            victims: those of them to kill when half of everything has arrived.

        Raises:
            BenchError: one failed, or they take too long.
        """
        half = len(cloners) * team.size // 2
        until = 60.0 + 2 * (len(cloners) + 1) * team.size / self.payload
        doomed = set(victims)
        looks: list[tuple[float, dict[Node, Traffic]]] = []
        usable: dict[Node, float] = {}
        before, work = self.network.traffic(), _processor_time()
        began = time.perf_counter()
        running = {node: team.start(node) for node in cloners}
        while running:
            time.sleep(LOOK_SECONDS)
            ended = [node for node, is_done in running.items() if is_done()]
            counted = self.network.traffic()
            now = time.perf_counter() - began
            looks.append((now, {n: counted[n].since(before[n]) for n in self.network.nodes}))
            for node in ended:
                usable[node] = now
                del running[node]
            if doomed and sum(looks[-1][1][node].received for node in cloners) >= half:
                self.network.kill(doomed)
                for node in doomed:
                    running.pop(node, None)
                    usable.pop(node, None)
                doomed.clear()
            if now > until:
                where = ", ".join(node.address for node in running)
                raise BenchError(f"the peers at {where} are not done in {now:.0f} s")
        if doomed:
            raise BenchError("peers were done before any could be killed; use a larger repository")
        idle, total = (after - was for after, was in zip(_processor_time(), work, strict=True))
        ends = looks[-1][1]
        fastest = min(usable, key=lambda node: usable[node])
        return Race(
            tuple(sorted(_arrival(looks, node, at, team.size) for node, at in usable.items())),
            tuple(sorted(usable.values())),
            ends[self.origin].sent,
            sum(ends[node].received for node in cloners),
            ends[self.spare].sent,
            1 - idle / total,
            _rate(looks, fastest, usable[fastest], team.size),
        )


def _arrival(
    looks: Sequence[tuple[float, dict[Node, Traffic]]], node: Node, end: float, size: int
) -> float:
    """Return when a node had its data: at least all bytes of it, and nearly all it ever got.

    The second holds against duplicates, with which it would have the number before the data.
    """
    counts = [(at, counted[node].received) for at, counted in looks if at <= end]
    enough = 0.998 * max(size, counts[-1][1])
    return next((at for at, received in counts if received >= enough), end)


def _rate(
    looks: Sequence[tuple[float, dict[Node, Traffic]]], node: Node, end: float, size: int
) -> float:
    """Return the bytes a second from the first percents of the data to the last."""
    arrived = _arrival(looks, node, end, size)
    counts = [(at, counted[node].received) for at, counted in looks if at <= arrived]
    first, received = next((c for c in counts if c[1] >= 0.02 * size), counts[-1])
    last, total = counts[-1]
    return (total - received) / (last - first) if last > first else 0.0


def _processor_time() -> tuple[float, float]:
    """Return ticks of all processors since the machine started: idle, and all."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return float(fields[3] + fields[4]), float(sum(fields))


class GitClones:
    """Clones by git, of either kind of URL.

    Args:
        course: to run on.
        url: to clone.
        size: of the pack that is expected, bytes.
        refs: the clone must end up with, as `refs_of` gives them.
        options: of git clone.
    """

    def __init__(
        self, course: Course, url: str, size: int, refs: str, options: Sequence[str] = ()
    ) -> None:
        self.size = size
        self._course = course
        self._url = url
        self._refs = refs
        self._options = options
        self._targets: list[Path] = []
        self._rooms: list[Path] = []

    def start(self, node: Node) -> Callable[[], bool]:
        """Start one clone, into nothing and with nothing remembered."""
        scene = self._course.scene
        home, target = scene.room(), scene.room()
        self._rooms += [home, target]
        log = target.with_suffix(".log")
        words: list[str | Path] = ["git", "clone", "--bare", "-q"]
        words += [*self._options, self._url, target]
        with log.open("wb") as said:
            process = self._course.network.start(node, words, scene.with_home(home), said)

        def is_done() -> bool:
            code = process.poll()
            if code:
                raise BenchError(f"a clone of {self._url} failed:\n{_end_of(log)}")
            if code == 0:
                self._targets.append(target)
            return code == 0

        return is_done

    def check_and_remove(self) -> None:
        """Kill what goes on serving, see that clones that ended are whole, and remove all."""
        self._course.network.kill(self._course.network.nodes[1:-1])
        for target in self._targets:
            if refs_of(self._course.scene, target) != self._refs:
                raise BenchError(f"a clone of {self._url} has other refs than the origin")
        remove(*self._rooms)
        self._rooms, self._targets = [], []


def refs_of(scene: Scene, repository: Path) -> str:
    """Return heads and tags with the types of what they name, which are read to know them."""
    form = "--format=%(refname) %(objectname) %(objecttype)"
    return scene.git("-C", repository, "for-each-ref", form, "refs/heads", "refs/tags")


class TorrentPeers:
    """libtorrent sessions, one at each node, all in this process but each in its own network.

    Sessions exist and have their torrent before a race starts; starting means to name the peers
    to each other.

    Args:
        course: to run on.
        pack: to share.
        piece: size of pieces in bytes, 0 for what libtorrent thinks best.
        cloners: where to download.
    """

    def __init__(self, course: Course, pack: Path, piece: int, cloners: Sequence[Node]) -> None:
        self.size = pack.stat().st_size
        self._lt = _libtorrent()
        self._order = [course.origin, *cloners]
        self._rooms = [course.scene.room() for _ in cloners]
        # Hybrid torrents carry a second set of hashes, which costs and brings nothing here.
        made = self._lt.create_torrent(
            [self._lt.create_file_entry(pack.name, self.size)],
            piece,
            self._lt.create_torrent.v1_only,
        )
        self._lt.set_piece_hashes(made, str(pack.parent))
        self._torrent = self._lt.bencode(made.generate())
        self._sessions: list[Any] = []
        self._handles: dict[Node, Any] = {}
        for node, room in zip(self._order, [pack.parent, *self._rooms], strict=True):
            self._join(node, room)
        self._await_ready()

    def _join(self, node: Node, room: Path) -> None:
        lt = self._lt
        room.mkdir(exist_ok=True)
        settings = {**TORRENT_SETTINGS, "listen_interfaces": f"{node.address}:6881"}
        # A session's threads, and so its sockets, belong where it was made.
        with node.entered():
            session = lt.session(settings)
        self._sessions.append(session)
        given = lt.load_torrent_buffer(self._torrent)
        given.save_path = str(room)
        given.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
        if node == self._order[0]:
            given.flags |= lt.torrent_flags.seed_mode
        self._handles[node] = session.add_torrent(given)

    def _await_ready(self) -> None:
        ready = {self._lt.torrent_status.downloading, self._lt.torrent_status.seeding}
        until = time.monotonic() + START_SECONDS
        while any(handle.status().state not in ready for handle in self._handles.values()):
            if time.monotonic() > until:
                raise BenchError("libtorrent does not get ready to download")
            time.sleep(0.02)

    def start(self, node: Node) -> Callable[[], bool]:
        """Let one peer meet all that come before it."""
        handle = self._handles[node]
        for other in self._order[: self._order.index(node)]:
            handle.connect_peer((other.address, 6881))
        return lambda: bool(handle.status().is_seeding)

    def remove(self) -> None:
        """End all sessions and remove what they downloaded."""
        self._handles.clear()
        for session in self._sessions:
            session.pause()
        # The last reference goes, which waits until the session's threads have ended.
        self._sessions.clear()
        remove(*self._rooms)


def _libtorrent() -> Any:
    try:
        return importlib.import_module("libtorrent")
    except ImportError as error:
        raise BenchError("libtorrent is not installed; pip install libtorrent") from error


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


@dataclass(frozen=True, slots=True)
class Ours:
    """The published repository, and what is served of it.

    Args:
        course: to run on.
        published: at the origin.
        pack: of its one reel.
        refs: that clones end up with.
    """

    course: Course
    published: Published
    pack: Path
    refs: str

    def base(self, node: Node) -> str:
        """Return the base of the node's URLs."""
        return f"git://{node.address}:{PORT}"

    @property
    def url(self) -> str:
        """The repository at the origin, named for good."""
        own = self.published
        return (
            f"gittorrent://{own.repository_id}@{self.course.origin.address}:{PORT}/{own.name}.git"
        )

    def team(self) -> GitClones:
        """Return cloners."""
        # A finished clone helps the others, as finished torrents do.
        options = ["-c", f"gittorrent.seedTime={SEED_SECONDS}"]
        return GitClones(self.course, self.url, self.pack.stat().st_size, self.refs, options)

    def serve(self, node: Node, home: Path, *places: Path) -> None:
        """Serve at a node; it tells the origin of itself if it is a mirror."""
        scene = self.course.scene
        words = [*program(), "serve", *places, "--json", "--lan", "--url", self.base(node)]
        words += ["--git", f"{node.address}:{PORT}"]
        log = scene.room()
        with log.open("wb") as said:
            process = self.course.network.start(
                node, words, scene.with_home(home), said, stdout=subprocess.PIPE
            )
        assert process.stdout is not None
        if not process.stdout.readline():
            raise BenchError(f"the node at {node.address} did not start:\n{_end_of(log)}")

    def mirror(self, node: Node, *, noise: bool = False) -> None:
        """Mirror the repository at a node and serve it; the origin has to be served already.

        Args:
            node: at which; its link and the origin's should not be shaped yet.
            noise: whether to overwrite what will be served, so that no byte of it is right.
        """
        home = self.course.scene.room()
        told = json.loads(self._ask(node, home, "mirror", self.url, "--once", "--json"))
        if noise:
            path = Path(told["path"])
            for reel in json.loads(self._ask(node, home, "reel", "show", str(path), "--json")):
                _overwrite(Path(reel["pack"]))
        self.serve(node, home)

    def await_mirrors(self, nodes: Sequence[Node]) -> None:
        """Wait until the origin lists mirrors."""
        until = time.monotonic() + START_SECONDS
        wanted = {node.address for node in nodes}
        home = self.course.scene.room()
        while wanted:
            told = json.loads(self._ask(self.course.origin, home, "mirrors", self.url, "--json"))
            listed = " ".join(entry["url"] for entry in told["mirrors"])
            wanted = {address for address in wanted if f"/{address}/" not in listed}
            if wanted and time.monotonic() > until:
                raise BenchError(f"the origin does not list {', '.join(sorted(wanted))}: {listed}")

    def _ask(self, node: Node, home: Path, *words: str) -> bytes:
        """Run our program at a node and return what it wrote."""
        scene = self.course.scene
        log = scene.room()
        with log.open("wb") as said:
            process = self.course.network.start(
                node, [*program(), *words], scene.with_home(home), said, stdout=subprocess.PIPE
            )
        out, _ = process.communicate()
        if process.returncode != 0:
            raise BenchError(f"gittorrent {' '.join(words)} failed:\n{_end_of(log)}")
        return out


def _overwrite(path: Path) -> None:
    """Fill a file with noise."""
    size = path.stat().st_size
    path.chmod(0o644)
    with path.open("r+b") as file:
        for start in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - start)))


@dataclass(frozen=True, slots=True)
class Field:
    """Everybody who takes part.

    Args:
        ours: our repository.
        packed: the rival's, packed perfectly; None if git does not take part.
        options: what was asked for.
    """

    ours: Ours
    packed: Path | None
    options: Options

    def race_ours(self, cloners: Sequence[Node]) -> Race:
        """Race our clones."""
        course = self.ours.course
        self.ours.serve(course.origin, course.scene.room(), self.ours.published.path)
        team = self.ours.team()
        race = course.race(team, cloners)
        team.check_and_remove()
        course.network.kill([course.origin])
        return race

    def race_disturbed(self, cloners: Sequence[Node], victims: Sequence[Node]) -> Race:
        """Race our clones with some killed half-way and a mirror that sends noise."""
        course, ours = self.ours.course, self.ours
        liar = course.spare
        self._prepare_mirrors([liar], noise=True)
        course.network.shape([course.origin, liar], parse_rate(self.options.rate))
        team = ours.team()
        race = course.race(team, cloners, victims)
        team.check_and_remove()
        course.network.kill([course.origin, liar])
        return race

    def race_mirrors(self) -> Race:
        """Let one clone take from unequal mirrors; its own link is not shaped."""
        course = self.ours.course
        cloner, *mirrors = course.cloners(len(MIRROR_RATES))
        self._prepare_mirrors(mirrors)
        for node, rate in zip([course.origin, *mirrors], MIRROR_RATES, strict=True):
            course.network.shape([node], parse_rate(rate))
        course.network.shape([cloner], None)
        team = self.ours.team()
        race = course.race(team, [cloner])
        team.check_and_remove()
        course.network.kill(course.network.nodes)
        course.network.shape(course.network.nodes, parse_rate(self.options.rate))
        return race

    def _prepare_mirrors(self, mirrors: Sequence[Node], *, noise: bool = False) -> None:
        """Serve at the origin and let mirrors download at full speed and be listed."""
        course, ours = self.ours.course, self.ours
        course.network.shape([course.origin, *mirrors], None)
        ours.serve(course.origin, course.scene.room(), ours.published.path)
        for node in mirrors:
            ours.mirror(node, noise=noise)
        ours.await_mirrors(mirrors)

    def race_git(self, cloners: Sequence[Node]) -> tuple[Race, int]:
        """Race clones from git daemon; returns the size of its pack too."""
        course = self.ours.course
        scene, origin = course.scene, course.origin
        assert self.packed is not None
        (pack,) = (self.packed / "objects" / "pack").glob("*.pack")
        words: list[str | Path] = [Path(scene.git("--exec-path"), "git-daemon")]
        words += [f"--listen={origin.address}"]
        words += [f"--port={PORT}", f"--base-path={self.packed.parent}", "--export-all"]
        words += ["--reuseaddr", "--max-connections=0", "--log-destination=none"]
        with scene.room().open("wb") as said:
            process = course.network.start(origin, words, scene.environ, said)
        _await_port(process, origin)
        url = f"git://{origin.address}:{PORT}/{self.packed.name}"
        team = GitClones(course, url, pack.stat().st_size, self.ours.refs)
        race = course.race(team, cloners)
        team.check_and_remove()
        course.network.kill([origin])
        return race, team.size

    def race_libtorrent(self, piece: int, cloners: Sequence[Node]) -> Race:
        """Race libtorrent with pieces of a size."""
        course = self.ours.course
        team = TorrentPeers(course, self.ours.pack, piece, cloners)
        race = course.race(team, cloners)
        team.remove()
        return race


def _await_port(process: subprocess.Popen[bytes], node: Node) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), node.entered():
            socket.create_connection((node.address, PORT)).close()
            return
        time.sleep(0.02)
    raise BenchError("git daemon did not start; is git's daemon installed?")


def measure(arguments: Arguments, options: Options) -> Report:
    """Prepare everything, race, and compare."""
    if "libtorrent" in options.rivals:
        _libtorrent()
    count = max(*options.peers, len(MIRROR_RATES)) + 2
    with staged(arguments.work) as scene, built(count) as network:
        course = Course(scene, network)
        field = _prepare(arguments, options, course)
        course.calibrate(options.rate)
        contestants: list[Contestant] = []
        comparisons: list[Comparison] = []
        for number in options.peers:
            _play_plain(field, number, arguments.runs, contestants, comparisons)
        if "mirrors" in options.scenarios:
            _play_mirrors(field, arguments.runs, contestants, comparisons)
        size = field.ours.pack.stat().st_size
        return Report(
            "swarm", _method(course, options, size), tuple(contestants), tuple(comparisons)
        )


def _prepare(arguments: Arguments, options: Options, course: Course) -> Field:
    scene = course.scene
    say("copying and publishing the repository")
    copy = scene.copy_bare(arguments.repository)
    published, _ = scene.publish(scene.linked_copy(copy), scene.room(), "--wait")
    shown = [*program(), "reel", "show", published.path, "--json"]
    told = subprocess.run(shown, stdout=subprocess.PIPE, env=scene.environ, check=True).stdout
    reels = json.loads(told)
    if len(reels) != 1 or Path(reels[0]["pack"]).stat().st_size != reels[0]["pack_size"]:
        raise BenchError("the repository was not published as one reel")
    ours = Ours(course, published, Path(reels[0]["pack"]), refs_of(scene, copy))
    races_git = "git" in options.rivals and "plain" in options.scenarios
    return Field(ours, prepare_perfectly(scene, copy) if races_git else None, options)


def _play_plain(
    field: Field,
    number: int,
    runs: int,
    contestants: list[Contestant],
    comparisons: list[Comparison],
) -> None:
    """Race everybody by turns with a number of cloners, undisturbed and disturbed."""
    options, course, size = field.options, field.ours.course, field.ours.pack.stat().st_size
    is_churn = "churn" in options.scenarios and number == max(options.peers)
    if "plain" not in options.scenarios and not is_churn:
        return
    cloners = course.cloners(number)
    victims = random.Random(number).sample(cloners, math.ceil(KILLED * number))
    pieces = {"1 MiB pieces": 1 << 20, "own pieces": 0} if "libtorrent" in options.rivals else {}
    races: dict[str, list[Race]] = {}
    sizes: dict[str, int] = {}

    def add(name: str, race: Race, expected: int = size) -> None:
        races.setdefault(name, []).append(race)
        sizes[name] = expected
        last, usable = race.arrived[-1], race.usable[-1]
        say(f"{number} peers, {name}: all received in {last:.1f} s, usable in {usable:.1f} s")

    for _ in range(runs):
        add("gittorrent", field.race_ours(cloners))
        if is_churn:
            add("gittorrent, disturbed", field.race_disturbed(cloners, victims))
        if "plain" not in options.scenarios:
            continue
        if field.packed is not None:
            add("git", *field.race_git(cloners))
        for shown, piece in pieces.items():
            add(f"libtorrent, {shown}", field.race_libtorrent(piece, cloners))
    found = {
        name: _contestant(name, races[name], number, sizes[name], is_whole="disturbed" not in name)
        for name in races
    }
    contestants += found.values()
    comparisons += _compare(found, number, course.bound(size, number))


def _contestant(
    name: str, races: Sequence[Race], number: int, size: int, *, is_whole: bool
) -> Contestant:
    """Return the figures of races of one kind.

    Args:
        name: whose.
        races: one for each run.
        number: of cloners.
        size: that each had to receive.
        is_whole: whether all of them got to the end, so that there is a sum to compare with.
    """
    figures = [
        Figure(LAST, tuple(race.arrived[-1] for race in races)),
        Figure(MEDIAN, tuple(median(race.arrived) for race in races)),
    ]
    if not name.startswith("libtorrent"):
        figures += [
            Figure(LAST_USABLE, tuple(race.usable[-1] for race in races)),
            Figure(MEDIAN_USABLE, tuple(median(race.usable) for race in races)),
        ]
    figures.append(Figure(COPIES, tuple(race.sent / size for race in races)))
    if is_whole:
        extra = [100 * (race.received / (number * size) - 1) for race in races]
        figures.append(Figure(DUPLICATES, tuple(extra)))
    else:
        figures.append(Figure("noise MB", tuple(race.noise / 1e6 for race in races)))
    figures.append(Figure("CPU %", tuple(100 * race.busy for race in races), 0))
    return Contestant(f"{number}: {name}", tuple(figures))


def _compare(found: dict[str, Contestant], number: int, bound: float) -> Iterator[Comparison]:
    """Compare ours with the bound, with rivals, and disturbed with undisturbed."""
    ours = found["gittorrent"]
    torrents = [found[name] for name in found if name.startswith("libtorrent")]
    best = min(torrents, key=lambda torrent: torrent.median(LAST), default=None)
    yield Comparison(f"{number}: bound", bound, unit=" s")
    for metric in (LAST, LAST_USABLE):
        what = f"{number}: gittorrent"
        yield Comparison(f"{what} / bound: {metric}", ours.median(metric) / bound, BOUND_LIMIT)
        if best is not None:
            value = ours.median(metric) / best.median(LAST)
            yield Comparison(f"{what} / best libtorrent: {metric}", value, TORRENT_LIMIT)
        if "git" in found:
            yield ratio(f"{what} / git", metric, ours, found["git"])
        if "gittorrent, disturbed" in found:
            disturbed = found["gittorrent, disturbed"]
            yield ratio(f"{number}: disturbed / not", metric, disturbed, ours, CHURN_LIMIT)
    yield Comparison(f"{number}: {COPIES}", ours.median(COPIES), COPIES_LIMIT, "")
    yield Comparison(f"{number}: {DUPLICATES}", ours.median(DUPLICATES), DUPLICATES_LIMIT, "%")


def _play_mirrors(
    field: Field, runs: int, contestants: list[Contestant], comparisons: list[Comparison]
) -> None:
    """Clone once from unequal mirrors."""
    course = field.ours.course
    races = [field.race_mirrors() for _ in range(runs)]
    whole = sum(map(parse_rate, MIRROR_RATES)) / 8 * course.efficiency
    rates = tuple(race.rate * 8 / 1e6 for race in races)
    contestants.append(
        Contestant(
            "1 from 4 mirrors",
            (
                Figure(LAST, tuple(race.arrived[-1] for race in races)),
                Figure(LAST_USABLE, tuple(race.usable[-1] for race in races)),
                Figure("payload Mbit/s", rates, 1),
            ),
        )
    )
    value = whole / median(race.rate for race in races)
    say(f"from mirrors of {whole * 8 / 1e6:.1f} Mbit/s in all: {median(rates):.1f} Mbit/s")
    comparisons.append(Comparison("rate of 4 mirrors / achieved", value, MIRRORS_LIMIT))


def _method(course: Course, options: Options, size: int) -> tuple[str, ...]:
    return (
        f"Links of {options.rate} each way, shaped by tbf at both ends with a queue of 50 ms;"
        f" congestion control: {course.origin.congestion_control()}; one"
        f" plain TCP connection gets {course.payload / 1e6:.3f} MB of payload a second through,"
        " which the bound is computed from:",
        f"max(F/u_origin, F/d_min, N·F/(u_origin+Σu_i)) with F = {size:,} bytes. Lines begin with"
        " N. Times are since all began together.",
        "*last* and *median* are when a peer had received its data, judged by the bytes that"
        f" reached it, looked at every {LOOK_SECONDS:g} s; *usable* is when `git clone --bare`"
        " ended, with everything",
        "indexed and checked, which libtorrent has no counterpart of. Origin copies and extra are"
        " payload bytes at the links in parts of the data: retransmissions, duplicates and"
        " all that is said besides.",
        "All nodes share this machine's processors with whatever else runs on it: with CPU near"
        " 100 %, it was them that were slow, not the links.",
        "git: `git daemon`, one pack with bitmaps; its F is the size of that pack. libtorrent: the"
        " reel's pack as a v1 torrent, TCP only, no DHT, LSD or port mapping, connecting at once,"
        " else defaults; sessions run",
        "before the clock does, everybody is told of everybody, and the finished keep seeding.",
        f"Disturbed: {KILLED:.0%} of the cloners are killed when half of all data has arrived, and"
        " a mirror that the origin lists sends noise; how much it got rid of is shown.",
        f"4 mirrors: {', '.join(MIRROR_RATES)}, the first is the origin, and the clone's own link"
        " is not shaped; the rate is that from the first 2 % of the data to the last.",
    )


def _parse_command_line() -> tuple[Arguments, Options]:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path, help="a repository with all its history")
    parser.add_argument("--quick", action="store_true", help="four peers, to see that it works")
    parser.add_argument("--peers", metavar="N,N", help="numbers of cloners; default 8,16")
    parser.add_argument("--rate", default="20mbit", help="of each link, each way; default 20mbit")
    parser.add_argument("--rivals", default=",".join(RIVALS), help=f"of {','.join(RIVALS)}, or ''")
    parser.add_argument("--scenario", default=",".join(SCENARIOS), help=f"of {','.join(SCENARIOS)}")
    parser.add_argument("--runs", type=int, metavar="N", default=1, help="races of each; default 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", default=RESULTS, help="Markdown file to refresh"
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="directory for temporary copies")
    given = parser.parse_args()
    if not given.repository.is_dir():
        parser.error(f"{given.repository} is no repository")
    words = (given.peers or ("4" if given.quick else "8,16")).split(",")
    if given.runs < 1 or not all(word.isdigit() and 1 <= int(word) <= 200 for word in words):
        parser.error("--runs needs a number of 1 or more, --peers numbers from 1 to 200")
    options = Options(
        tuple(int(word) for word in words),
        given.rate,
        _chosen(parser, given.rivals, RIVALS),
        _chosen(parser, given.scenario, SCENARIOS),
    )
    try:
        parse_rate(options.rate)
    except BenchError as error:
        parser.error(str(error))
    arguments = Arguments(
        given.repository, given.runs, given.quick, given.json, given.results, given.work
    )
    return arguments, options


def _chosen(parser: argparse.ArgumentParser, text: str, known: Sequence[str]) -> tuple[str, ...]:
    words = tuple(word for word in text.split(",") if word)
    for word in words:
        if word not in known:
            parser.error(f"{word!r} is none of {', '.join(known)}")
    return words


def main() -> None:
    """Run as a program."""
    arguments, options = _parse_command_line()
    run_benchmark(arguments, lambda given: measure(given, options))


if __name__ == "__main__":
    main()
