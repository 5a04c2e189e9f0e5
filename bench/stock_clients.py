"""What clones by unmodified git cost a server that many of them ask the same.

Runners of a CI clone one commit, or history without files, thousands of times a day. The rival is a
git daemon whose repository is one pack with bitmaps. Our node is asked over git:// and over HTTP: a
first time after its start, again, and by crowds that come right after its start. Counted is the
CPU time of the server with its processes, for each clone; the view that a node serves from is made
before, and what that costs is told apart.

What is asked is what git asks: refs, one commit; or refs, all of history without files, and then
the files of a checkout; or refs and everything. The answers are counted and thrown away here: what
clones do with them would take most of the machine.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from concurrent.futures import ThreadPoolExecutor
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
from scene import Published, Scene, Server, prepare_perfectly, ready_node, staged

from gittorrent.wire import pktline
from gittorrent.wire.service import UPLOAD_PACK, ServiceRequest, encode_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CROWDS = (16, 50)
"""Clones at once."""

DAEMON_CROWD = 16
"""Of a crowd, how many call git daemon at once: its queue of connections has five places, and on a
busy machine more of them are reset."""

SERVER_LIMIT = 0.05
"""Of git daemon's CPU time, for each clone of a crowd."""

FIRST_LIMIT = 1.1
"""Of git daemon's CPU time, for the first clone."""

ANSWER_SECONDS = 600.0
"""Silence of a server after which a caller gives up."""

_VERSION = "version=2"
_TYPE = "application/x-git-upload-pack-request"


def _command(name: str, *arguments: str) -> bytes:
    """Return a request of version 2, as git words it."""
    said = [f"command={name}", "agent=git/2.47.3", "object-format=sha1"]
    head = b"".join(pktline.encode(word.encode("ascii")) for word in said)
    lines = [argument.encode("ascii") + b"\n" for argument in arguments]
    return head + pktline.encode_special(pktline.DELIM) + pktline.encode_lines(lines)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a clone asks, one request after the other.

    Args:
        name: as shown.
        requests: of version 2.
    """

    name: str
    requests: tuple[bytes, ...]


def _shapes(scene: Scene, copy: Path) -> list[Shape]:
    """Return what clones of a repository ask."""
    at: tuple[str | Path, ...] = ("-C", copy)
    head = scene.git(*at, "rev-parse", "HEAD")
    refs = scene.git(*at, "for-each-ref", "--format=%(objectname)", "refs/heads", "refs/tags")
    every = [f"want {oid}" for oid in dict.fromkeys(refs.split())]
    tree = scene.git(*at, "ls-tree", "-r", "--format=%(objecttype) %(objectname)", "HEAD")
    files = [line[5:] for line in tree.splitlines() if line.startswith("blob ")]
    blobs = [f"want {oid}" for oid in dict.fromkeys(files)]
    prefixes = [f"ref-prefix {word}" for word in ("HEAD", "refs/heads/", "refs/tags/")]
    listing = _command("ls-refs", "peel", "symrefs", *prefixes)
    usual = ("thin-pack", "no-progress", "include-tag", "ofs-delta")
    bare = ("thin-pack", "no-progress", "ofs-delta")
    none = "filter blob:none"
    return [
        Shape(
            "--depth=1", (listing, _command("fetch", *usual, "deepen 1", f"want {head}", "done"))
        ),
        Shape(
            "--filter=blob:none",
            (
                listing,
                _command("fetch", *usual, none, *every, "done"),
                _command("fetch", *bare, none, *blobs, "done"),
            ),
        ),
        Shape("everything", (listing, _command("fetch", *usual, *every, "done"))),
    ]


def _ask_git(server: Server, path: str, shape: Shape) -> int:
    """Ask over git://; returns the bytes that came."""
    count = 0
    with socket.create_connection((server.address, server.git), timeout=ANSWER_SECONDS) as sock:
        host = server.host.encode("ascii")
        hello = ServiceRequest(UPLOAD_PACK, path.encode("ascii"), host, (_VERSION.encode(),))
        sock.sendall(pktline.encode(encode_request(hello)))
        with sock.makefile("rb", buffering=1 << 18) as stream:
            count += _until_flush(stream.read)
            for request in shape.requests:
                sock.sendall(request)
                count += _until_flush(stream.read)
            sock.sendall(pktline.encode_special(pktline.FLUSH))
    return count


def _until_flush(read: Callable[[int], bytes]) -> int:
    """Read an answer to its end; returns its bytes."""
    count = 0
    while True:
        size = pktline.parse_length(read(pktline.HEADER_SIZE))
        if size is pktline.FLUSH:
            return count
        if isinstance(size, int):
            said = read(size)
            if said.startswith(b"ERR "):
                raise BenchError(said.decode("utf-8", "replace"))
            count += len(said)


def _ask_http(server: Server, path: str, shape: Shape) -> int:
    """Ask over HTTP; returns the bytes that came."""
    count = 0
    place = (server.address, server.http)
    with contextlib.closing(http.client.HTTPConnection(*place, timeout=ANSWER_SECONDS)) as web:
        headers = {"Git-Protocol": _VERSION, "Content-Type": _TYPE}
        for request in (b"", *shape.requests):
            if request:
                web.request("POST", f"{path}/git-upload-pack", request, headers)
            else:
                web.request("GET", f"{path}/info/refs?service=git-upload-pack", None, headers)
            answer = web.getresponse()
            if answer.status != 200:
                raise BenchError(f"status {answer.status}")
            while data := answer.read(1 << 18):
                count += len(data)
    return count


@dataclass(slots=True)
class Way:
    """One way to clone, and what it cost so far.

    Args:
        name: as shown.
        ask: asks a server all that a clone asks.
        figures: by metric.
    """

    name: str
    ask: Callable[[Server, str, Shape], int]
    figures: dict[str, list[float]] = field(default_factory=dict)

    def once(self, server: Server, path: str, shape: Shape, when: str) -> None:
        """Clone once and note what that cost."""
        before, began = server.meter.cpu(), time.perf_counter()
        count = self.ask(server, path, shape)
        if when == "again":
            self._note("MB", count / 1e6)
        self._note(f"{when}, wall s", time.perf_counter() - began)
        self._note(f"{when}, server CPU s", server.meter.cpu() - before)

    def crowd(
        self, server: Server, path: str, shape: Shape, count: int, at_once: int, metric: str
    ) -> None:
        """Clone many times at once and note what each cost."""
        before = server.meter.cpu()
        with ThreadPoolExecutor(min(count, at_once)) as pool:
            list(pool.map(lambda _: self.ask(server, path, shape), range(count)))
        self._note(metric, (server.meter.cpu() - before) / count)

    def _note(self, metric: str, value: float) -> None:
        self.figures.setdefault(metric, []).append(value)

    def result(self, shape: Shape) -> Contestant:
        """Return the figures."""
        figures = (
            Figure(metric, tuple(values), 4 if "CPU" in metric else 2)
            for metric, values in sorted(self.figures.items())
        )
        return Contestant(f"{self.name}, {shape.name}", tuple(figures))


def _each(count: int) -> str:
    return f"server CPU s, each of {count}"


def measure(arguments: Arguments) -> Report:
    """Prepare the servers and ask them by turns."""
    with staged(arguments.work) as scene:
        say("copying and publishing the repository")
        copy, home = scene.copy_bare(arguments.repository), scene.room()
        own = scene.linked_copy(copy)
        scene.git("-C", own, "config", "gittorrent.shapes", "never")  # nobody here asks for them
        published, _ = scene.publish(own, home, "--wait")
        packed = prepare_perfectly(scene, copy)
        return compare(scene, published, home, packed, arguments.runs)


def compare(scene: Scene, published: Published, home: Path, packed: Path, runs: int) -> Report:
    """Compare a node that serves what is published with a git daemon that has it well packed."""
    for name in ("allowFilter", "allowAnySHA1InWant"):
        scene.git("-C", packed, "config", f"uploadpack.{name}", "true")
    shapes = _shapes(scene, packed)
    contestants = [_make_view(scene, published, home, shapes[0])]
    comparisons: list[Comparison] = []
    for shape in shapes:
        ways = Way("git daemon", _ask_git), Way("git://", _ask_git), Way("HTTP", _ask_http)
        for number in range(runs):
            say(f"{shape.name}: run {number + 1} of {runs}")
            _run(scene, ways, shape, published, home, packed)
        found = [way.result(shape) for way in ways]
        contestants += found
        comparisons += _compared(*found)
    method = (
        "Server CPU: the server and its processes, divided by the clones. The first ones come to a",
        "node that was just started and has answered nothing but one request of another kind. The",
        f"rival's repository is packed by `git repack -adfb`; at most {DAEMON_CROWD} call at once.",
    )
    return Report("stock clients", method, tuple(contestants), tuple(comparisons))


def _make_view(scene: Scene, published: Published, home: Path, shape: Shape) -> Contestant:
    """Have the view made and packed; returns what that cost, with a start and a clone."""
    way = Way("making the view", _ask_git)
    with ready_node(scene, published, home) as node:
        way.ask(node, f"/{published.name}.git", shape)
        way.figures["first, server CPU s"] = [node.meter.cpu()]
    return way.result(shape)


def _run(
    scene: Scene,
    ways: tuple[Way, Way, Way],
    shape: Shape,
    published: Published,
    home: Path,
    packed: Path,
) -> None:
    """Let a first one clone from each server, then another one, then crowds."""
    daemon_way, *node_ways = ways
    path = f"/{packed.name}"
    with scene.daemon(packed, f"--max-connections={2 * max(CROWDS)}") as daemon:
        daemon_way.ask(daemon, path, shape)
        daemon_way.once(daemon, path, shape, "again")
        for many in CROWDS:
            daemon_way.crowd(daemon, path, shape, many, DAEMON_CROWD, _each(many))
    path = f"/{published.name}.git"
    for way in node_ways:
        with ready_node(scene, published, home) as node:
            way.once(node, path, shape, "first")
            way.once(node, path, shape, "again")
            for many in CROWDS:
                way.crowd(node, path, shape, many, many, _each(many))
        for many in CROWDS:
            with ready_node(scene, published, home) as node:
                way.crowd(node, path, shape, many, many, f"server CPU s, each of the first {many}")


def _compared(rival: Contestant, *nodes: Contestant) -> list[Comparison]:
    """Return how nodes did beside the rival."""
    found = []
    for ours in nodes:
        for metric in map(_each, CROWDS):
            found.append(ratio(ours.name, metric, ours, rival, SERVER_LIMIT))
        first = ours.median("first, server CPU s") / rival.median("again, server CPU s")
        found.append(Comparison(f"{ours.name}: first clone, server CPU s", first, FIRST_LIMIT))
    return found


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
