"""Clones at once from files: one front end and three over one export, beside a node and git daemon.

Each server has a link of its own of the same rate, in a network namespace. The front ends are
nginx, which knows nothing of git, over one exported directory; clones name the first one, whose
list tells of the others. The node and git daemon serve the same repository from one link. What is
compared is what an operator pays for: processor time of the servers, and time until the last clone
is there, which the links decide. Cloners share nothing with each other where there is no node to
tell them of one another.

Needs root, for the namespaces, and nginx.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from frame import (
    Arguments,
    BenchError,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import ServerMeter, Usage, run
from netns import Network, Node, built, parse_rate
from scene import Published, Scene, prepare_perfectly, program, remove, staged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RATE = "20mbit"
"""Of each server's link: low enough that two processors index what comes through three of them."""

FRONT_ENDS = 3

CLONES, QUICK_CLONES = 8, 4
"""Clones at once."""

PORT = 8080


@dataclass(slots=True)
class Way:
    """One way to clone, and what it cost so far.

    Args:
        name: as shown.
        url: of the repository.
        meters: of the servers that may be asked.
        servers: where these are in the network.
    """

    name: str
    url: str
    meters: Sequence[ServerMeter]
    servers: Sequence[Node]
    walls: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)

    def crowd(self, scene: Scene, network: Network, clients: Sequence[Node]) -> None:
        """Clone once at each client, all at once, and note what that cost."""
        before, cpu = network.traffic(), self._cpu()
        began = time.perf_counter()
        with ThreadPoolExecutor(len(clients)) as pool:
            used = list(pool.map(lambda client: self._clone(scene, client), clients))
        self.walls.append(time.perf_counter() - began)
        after = network.traffic()
        self.cpu.append((self._cpu() - cpu) / len(clients))
        self.client.append(sum(one.cpu for one in used) / len(clients))
        sent = sum(after[node].since(before[node]).sent for node in self.servers)
        self.sent.append(sent / len(clients))

    def _cpu(self) -> float:
        return sum(meter.cpu() for meter in self.meters)

    def _clone(self, scene: Scene, client: Node) -> Usage:
        home, target = scene.room(), scene.room()
        with client.entered():
            used = run(["git", "clone", "-q", "--bare", self.url, target], scene.with_home(home))
        remove(home, target)
        return used

    def result(self) -> Contestant:
        """Return the figures."""
        return Contestant(
            self.name,
            (
                Figure("last clone s", tuple(self.walls)),
                Figure("server CPU s", tuple(self.cpu), 4),
                Figure("server bytes", tuple(self.sent), 0),
                Figure("client CPU s", tuple(self.client)),
            ),
        )


@contextlib.contextmanager
def front_end(scene: Scene, node: Node, root: Path) -> Iterator[ServerMeter]:
    """Run nginx over a directory at one machine of the network while the block runs."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if nginx is None:
        raise BenchError("nginx is not installed (Debian, Ubuntu: apt install nginx-light)")
    folder = scene.room()
    folder.mkdir()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"user root; daemon off; master_process off; pid {folder}/pid; events {{}}\n"
        f"http {{ access_log off; sendfile on; {places}\n"
        f"  server {{ listen {node.address}:{PORT}; root {root}; }} }}\n"
    )
    words = [nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "errors"]
    with node.entered():
        process = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL)
    try:
        yield ServerMeter(process.pid)
    finally:
        process.terminate()
        process.wait()


def export(scene: Scene, published: Published, home: Path, fronts: Sequence[Node]) -> Path:
    """Export a repository twice: alone, and as one that several front ends serve."""
    www = scene.room()
    several = [f"--url=http://{node.address}:{PORT}/several" for node in fronts]
    for name, urls in (("alone", several[:0]), ("several", several)):
        words = [*program(), "export", published.path, www / name, *urls]
        run(words, scene.with_home(home))
    return www


def measure(arguments: Arguments) -> Report:
    """Clone by turns, over the same links."""
    crowd = QUICK_CLONES if arguments.quick else CLONES
    with staged(arguments.work) as scene, built(FRONT_ENDS + 2 + crowd) as network:
        servers, clients = network.nodes[: FRONT_ENDS + 2], network.nodes[FRONT_ENDS + 2 :]
        fronts, (at_node, at_daemon) = servers[:FRONT_ENDS], servers[FRONT_ENDS:]
        say("copying, publishing and exporting the repository")
        home, copy = scene.room(), scene.copy_bare(arguments.repository)
        packed = prepare_perfectly(scene, copy)
        published, _ = scene.publish(copy, home, "--wait")
        www = export(scene, published, home, fronts)
        with contextlib.ExitStack() as stack:
            meters = [stack.enter_context(front_end(scene, node, www)) for node in fronts]
            with at_node.entered():
                node = stack.enter_context(scene.node(published, home, address=at_node.address))
            with at_daemon.entered():
                daemon = stack.enter_context(scene.daemon(packed, address=at_daemon.address))
            network.shape(servers, parse_rate(RATE))
            first = f"gittorrent::http://{fronts[0].address}:{PORT}"
            ways = (
                Way(
                    "git daemon", f"git://{daemon.host}/{packed.name}", [daemon.meter], [at_daemon]
                ),
                Way(
                    "node",
                    f"gittorrent://{node.host}/{published.name}.git",
                    [node.meter],
                    [at_node],
                ),
                Way("1 front end", f"{first}/alone", meters[:1], fronts[:1]),
                Way("3 front ends", f"{first}/several", meters, fronts),
            )
            for number in range(arguments.runs):
                say(f"run {number + 1} of {arguments.runs}")
                for way in ways:
                    way.crowd(scene, network, clients)
    results = {way.name: way.result() for way in ways}
    one, three, stock = results["1 front end"], results["3 front ends"], results["git daemon"]
    compared = (
        ratio("3 front ends to 1", "last clone s", three, one),
        ratio("1 front end to git daemon", "server CPU s", one, stock),
        ratio("3 front ends to git daemon", "server CPU s", three, stock),
        ratio("3 front ends to git daemon", "last clone s", three, stock),
        ratio("node to git daemon", "last clone s", results["node"], stock),
    )
    notes = (
        f"{crowd} clones at once, links of servers of {RATE}; server figures for one clone.",
        "git daemon serves one pack with bitmaps.",
    )
    return Report("static", notes, tuple(results.values()), compared)


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
