"""A fleet of CI machines that all clone one commit at once, against the same clones by git alone.

Every machine has a network namespace of its own and the same rate each way, and so has the
upstream: ``git http-backend`` behind nginx and fcgiwrap, with one perfectly packed repository that
allows filters. Each machine runs several jobs, which clone with checkout into nothing, by shape:
one commit by its id, as GitHub's action does; a clone with ``--depth 1``; one without blobs; one of
all the history. By turns in one run: git alone; through our nodes, which know nothing yet (cold);
once more (warm); and after one more commit upstream. What the upstream sends is counted at its
link, in copies: what one clone by git alone made it send. Root only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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
from netns import Network, Node, built, parse_rate, pids_in
from scene import START_SECONDS, Scene, prepare_perfectly, program, remove, staged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLD_LIMIT = 1.05
"""Copies that the upstream may send when nobody has anything."""

WARM_LIMIT = 0.01
"""Copies that it may send when all have what is asked for."""

WALL_LIMIT = 0.4
"""Of git's time until the last clone is there."""

SHAPES = {
    "action": "git init -q {target} && cd {target} && git remote add origin {url} &&"
    " git -c protocol.version=2 fetch -q --no-tags --prune --no-recurse-submodules --depth=1 origin"
    " +{commit}:refs/remotes/origin/main && git checkout -q -f -B main refs/remotes/origin/main",
    "depth 1": "git clone -q --depth=1 {url} {target}",
    "blobless": "git clone -q --filter=blob:none {url} {target}",
    "full": "git clone -q {url} {target}",
}
"""What a job runs; the first is what GitHub's own action for it has git do."""

HTTP, FLEET = 80, 8417
"""Ports of the upstream and of our nodes; each is alone in its namespace."""

PATIENCE_SECONDS = 1800.0
"""After which a crowd of clones is given up."""

_LAST, _COPIES, _CPU, _FAILED, _BUSY = "last, s", "copies", "upstream CPU s", "failed", "busy %"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for beyond what all benchmarks have.

    Args:
        machines: of the fleet.
        jobs: of each machine.
        rate: of links, as given.
        shapes: to clone.
        share_refs: whether one machine lists the upstream's refs for all.
    """

    machines: int
    jobs: int
    rate: str
    shapes: tuple[str, ...]
    share_refs: bool


@dataclass(frozen=True, slots=True)
class Crowd:
    """How all jobs together went.

    Args:
        last: seconds until the last clone was there.
        sent: by the upstream, payload bytes.
        cpu: that the upstream used, seconds.
        failed: jobs that have not got their commit.
        busy: part of the machine's processor time that was used.
    """

    last: float
    sent: int
    cpu: float
    failed: int
    busy: float


@dataclass
class Machine:
    """One machine of the fleet: where it is, and the home that its node and jobs have."""

    node: Node
    home: Path
    environ: dict[str, str]


@dataclass
class Fleet:
    """The network, the upstream and the machines.

    Args:
        scene: for files.
        network: of all; the first node is the upstream.
        upstream: bare repository.
        options: of this run.
        times: what the upstream's CGI programs used, as bash says it.
    """

    scene: Scene
    network: Network
    upstream: Path
    options: Options
    times: Path
    _rooms: list[Path] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of the upstream's repository."""
        return f"{self.base}{self.upstream.name}"

    @property
    def base(self) -> str:
        """What all URLs of the upstream begin with."""
        return f"http://{self.network.nodes[0].address}/"

    def machines(self) -> list[Machine]:
        """Return all machines, with empty homes."""
        made = []
        for node in self.network.nodes[1:]:
            home = self._room()
            home.mkdir()
            environ = self.scene.with_home(home / "node") | {"HOME": str(home)}
            made.append(Machine(node, home, environ))
        return made

    def crowd(self, machines: Sequence[Machine], shape: str, jobs: int) -> Crowd:
        """Clone on all machines at once, and look at what that cost.

        Raises:
            BenchError: it takes too long.
        """
        wanted = self.scene.git("-C", self.upstream, "rev-parse", "HEAD")
        sent, cpu, work = self._sent(), self._cpu(), _processor_time()
        began = time.monotonic()
        running: dict[Path, subprocess.Popen[bytes]] = {}
        for machine in machines:
            for _ in range(jobs):
                target = self._room()
                line = SHAPES[shape].format(target=target, url=self.url, commit=wanted)
                words = ["sh", "-c", line]
                with target.with_suffix(".log").open("wb") as said:
                    process = self.network.start(machine.node, words, machine.environ, said)
                    running[target] = process
        for target, process in running.items():
            try:
                process.wait(max(0.0, began + PATIENCE_SECONDS - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise BenchError(f"{target} is not cloned in {PATIENCE_SECONDS:.0f} s") from None
        last = time.monotonic() - began
        idle, total = (after - was for after, was in zip(_processor_time(), work, strict=True))
        failed = sum(not self._is_there(target, wanted) for target in running)
        for target in running:
            shutil.rmtree(target, ignore_errors=True)
        return Crowd(last, self._sent() - sent, self._cpu() - cpu, failed, 1 - idle / total)

    def forget(self) -> None:
        """Remove what machines and clones have left."""
        remove(*self._rooms)
        self._rooms.clear()

    def _room(self) -> Path:
        self._rooms.append(self.scene.room())
        return self._rooms[-1]

    def _is_there(self, target: Path, commit: str) -> bool:
        """Tell whether a clone has what was wanted; say why not."""
        try:
            found = self.scene.git("-C", target, "rev-parse", "HEAD")
        except BenchError:
            found = ""
        if found != commit:
            say(f"a clone failed: {target.with_suffix('.log').read_text(errors='replace')[-500:]}")
        return found == commit

    def _sent(self) -> int:
        return self.network.traffic()[self.network.nodes[0]].sent

    def _cpu(self) -> float:
        """Return what all processes of the upstream used."""
        ticks = 0
        for pid in pids_in(self.network.nodes[:1]):
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
                # Fields 14 and 15 of proc(5); those after the name begin with the third.
                ticks += sum(int(word) for word in stat[11:13])
        # Of a line for the shell and one for its children, the second counts.
        used = self.times.read_text().splitlines()[1::2] if self.times.exists() else []
        words = [word.removesuffix("s").split("m") for line in used for word in line.split()]
        children = sum(60 * int(minutes) + float(seconds) for minutes, seconds in words)
        return ticks / os.sysconf("SC_CLK_TCK") + children


def _processor_time() -> tuple[float, float]:
    """Return ticks of all processors since the machine started: idle, and all."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return float(fields[3] + fields[4]), float(sum(fields))


def serve_upstream(scene: Scene, network: Network, root: Path) -> Path:
    """Start nginx and fcgiwrap at the first node; what they serve lies in ``root``.

    Returns:
        The file that gathers what the CGI programs used: fcgiwrap lets the kernel reap them, so
        that they are in nobody's account.
    """
    nginx = _program("nginx", "apt install nginx")
    wrapper = _program("fcgiwrap", "apt install fcgiwrap")
    node, room = network.nodes[0], scene.room()
    room.mkdir()
    times, backend = room / "times", room / "backend"
    served = Path(scene.git("--exec-path"), "git-http-backend")
    backend.write_text(f"#!/bin/bash\n{served}\ntimes >>{times}\n")
    backend.chmod(0o755)
    params = {
        "SCRIPT_FILENAME": str(backend),
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "HTTP_GIT_PROTOCOL": "$http_git_protocol",
        "HTTP_CONTENT_ENCODING": "$http_content_encoding",
        "PATH_INFO": "$uri",
        "QUERY_STRING": "$query_string",
        "REQUEST_METHOD": "$request_method",
        "CONTENT_TYPE": "$content_type",
        "CONTENT_LENGTH": "$content_length",
    }
    lines = "".join(f"      fastcgi_param {name} {value};\n" for name, value in params.items())
    places = "".join(
        f"  {kind}_temp_path {room}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (room / "nginx.conf").write_text(
        f"user root;\ndaemon off;\nworker_processes 1;\npid {room}/pid;\n"
        "events { worker_connections 1024; }\n"
        f"http {{\n  access_log off;\n{places}  server {{\n"
        f"    listen {node.address}:{HTTP};\n    client_max_body_size 0;\n    location / {{\n"
        f"      fastcgi_pass unix:{room}/socket;\n      fastcgi_buffering off;\n"
        f"      fastcgi_read_timeout 1h;\n{lines}    }}\n  }}\n}}\n"
    )
    with (room / "said").open("wb") as said:
        words: list[str | Path] = [wrapper, "-c", "100", "-s", f"unix:{room}/socket"]
        network.start(node, words, scene.environ, said)
        words = [nginx, "-p", room, "-c", room / "nginx.conf", "-e", room / "errors"]
        network.start(node, words, scene.environ, said)
    until = time.monotonic() + START_SECONDS
    while not (room / "pid").exists() or not (room / "socket").exists():
        if time.monotonic() > until:
            raise BenchError(f"the upstream did not start: {(room / 'said').read_text()}")
        time.sleep(0.02)
    return times


def _program(name: str, remedy: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise BenchError(f"{name} is not installed ({remedy})")
    return found


@contextlib.contextmanager
def our_nodes(fleet: Fleet) -> Iterator[list[Machine]]:
    """Run our node on all machines, and have their git use it."""
    machines = fleet.machines()
    secret = fleet.scene.room()
    secret.write_bytes(os.urandom(32))
    peers = ", ".join(f'"http://{one.node.address}:{FLEET}"' for one in machines)
    table = f'[ci]\nallow = ["{fleet.base}"]\npeers = [{peers}]\nsecret = "{secret}"\n'
    table += f"share-refs = {str(fleet.options.share_refs).lower()}\n"
    starting = []
    for machine in machines:
        (machine.home / "node").mkdir()
        (machine.home / "node" / "node.toml").write_text(table)
        _run(fleet, machine, "ci", "setup", "--for", fleet.base)
        listen = f"{machine.node.address}:{FLEET}"
        words = [*program(), "serve", "--json", "--no-announce", "--http", listen]
        with (machine.home / "said").open("wb") as said:
            starting.append(
                fleet.network.start(
                    machine.node, words, machine.environ, said, stdout=subprocess.PIPE
                )
            )
    try:
        for machine, process in zip(machines, starting, strict=True):
            assert process.stdout is not None
            if not process.stdout.readline():
                said_last = (machine.home / "said").read_text(errors="replace")[-2000:]
                raise BenchError(f"a node did not start:\n{said_last}")
        yield machines
    finally:
        fleet.network.kill(machine.node for machine in machines)


def _run(fleet: Fleet, machine: Machine, *words: str) -> None:
    with (machine.home / "said").open("wb") as said:
        command = [*program(), *words]
        if fleet.network.start(machine.node, command, machine.environ, said).wait(60):
            raise BenchError(f"{words} failed: {(machine.home / 'said').read_text()}")


def _contestant(name: str, crowds: Sequence[Crowd], copy: int) -> Contestant:
    """Return the figures of some crowds of one kind."""
    return Contestant(
        name,
        (
            Figure(_LAST, tuple(one.last for one in crowds)),
            Figure(_COPIES, tuple(one.sent / copy for one in crowds), 3),
            Figure(_CPU, tuple(one.cpu for one in crowds)),
            Figure(_FAILED, tuple(float(one.failed) for one in crowds), 0),
            Figure(_BUSY, tuple(100 * one.busy for one in crowds), 0),
        ),
    )


def measure(arguments: Arguments, options: Options) -> Report:
    """Let the fleet clone by turns."""
    contestants: list[Contestant] = []
    comparisons: list[Comparison] = []
    with staged(arguments.work) as scene, built(options.machines + 1) as network:
        upstream = prepare_perfectly(scene, scene.copy_bare(arguments.repository))
        for name in ("allowFilter", "allowAnySHA1InWant"):
            scene.git("-C", upstream, "config", f"uploadpack.{name}", "true")
        times = serve_upstream(scene, network, upstream.parent)
        network.shape(network.nodes, parse_rate(options.rate))
        fleet = Fleet(scene, network, upstream, options, times)
        for shape in options.shapes:
            found = _play(fleet, shape, arguments.runs)
            contestants += found
            comparisons += _compared(shape, *found)
    count = options.machines * options.jobs
    method = (
        f"{options.machines} machines with {options.jobs} jobs each, {count} clones at once; links"
        f" of {options.rate} each way, shaped by tbf at both ends with a queue of 50 ms;"
        f" {'one machine lists refs for all' if options.share_refs else 'each lists refs itself'}.",
        "Upstream: nginx, fcgiwrap and git http-backend, one pack with bitmaps. A copy is what it"
        " sends for one clone of that shape by git alone, all of HTTP included. All machines and"
        " the upstream share this machine's processors; busy near 100 % means that these were slow,"
        " not the links.",
    )
    return Report("ci", method, tuple(contestants), tuple(comparisons))


def _play(fleet: Fleet, shape: str, runs: int) -> list[Contestant]:
    """Return git's figures, ours cold, warm, and after one more commit."""
    jobs = fleet.options.jobs
    say(f"{shape}: one clone by git alone")
    copy = fleet.crowd(fleet.machines()[:1], shape, 1).sent
    found: dict[str, list[Crowd]] = {name: [] for name in ("git", "cold", "warm", "a commit later")}
    for number in range(runs):
        say(f"{shape}: run {number + 1} of {runs}: git")
        found["git"].append(fleet.crowd(fleet.machines(), shape, jobs))
        fleet.forget()
        with our_nodes(fleet) as machines:
            for name in ("cold", "warm", "a commit later"):
                if name == "a commit later":
                    fleet.scene.commit(fleet.upstream, f"one more line for {shape}, {number}\n")
                say(f"{shape}: run {number + 1} of {runs}: through our nodes, {name}")
                found[name].append(fleet.crowd(machines, shape, jobs))
        fleet.forget()
    return [_contestant(f"{shape}: {name}", crowds, copy) for name, crowds in found.items()]


def _compared(
    shape: str, git: Contestant, cold: Contestant, warm: Contestant, later: Contestant
) -> list[Comparison]:
    return [
        Comparison(f"{shape}, cold: {_COPIES}", cold.median(_COPIES), COLD_LIMIT, ""),
        Comparison(f"{shape}, warm: {_COPIES}", warm.median(_COPIES), WARM_LIMIT, ""),
        ratio(f"{shape}, cold / git", _LAST, cold, git, WALL_LIMIT),
        ratio(f"{shape}, warm / git", _LAST, warm, git, WALL_LIMIT),
        ratio(f"{shape}, a commit later / git", _LAST, later, git, WALL_LIMIT),
        ratio(f"{shape}, cold / git", _CPU, cold, git),
        ratio(f"{shape}, warm / git", _CPU, warm, git),
    ]


def _parse_command_line() -> tuple[Arguments, Options]:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path, help="a repository with all its history")
    parser.add_argument("--quick", action="store_true", help="three machines with two jobs each")
    parser.add_argument("--machines", type=int, metavar="N", help="default 10")
    parser.add_argument("--jobs", type=int, metavar="N", help="of each machine; default 5")
    parser.add_argument("--rate", default="50mbit", help="of each link, each way; default 50mbit")
    parser.add_argument("--shapes", default=",".join(SHAPES), help=f"of {','.join(SHAPES)}")
    parser.add_argument(
        "--own-refs", action="store_true", help="let each machine list the upstream's refs itself"
    )
    parser.add_argument("--runs", type=int, metavar="N", default=1, help="of each; default 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", default=RESULTS, help="Markdown file to refresh"
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="directory for temporary copies")
    given = parser.parse_args()
    if not given.repository.is_dir():
        parser.error(f"{given.repository} is no repository")
    shapes = tuple(given.shapes.split(","))
    if unknown := set(shapes) - set(SHAPES):
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(SHAPES)}")
    machines = given.machines or (3 if given.quick else 10)
    jobs = given.jobs or (2 if given.quick else 5)
    if not (1 <= machines <= 100 and 1 <= jobs <= 100 and given.runs >= 1):
        parser.error("--machines and --jobs need numbers from 1 to 100, --runs 1 or more")
    try:
        parse_rate(given.rate)
    except BenchError as error:
        parser.error(str(error))
    arguments = Arguments(
        given.repository, given.runs, given.quick, given.json, given.results, given.work
    )
    return arguments, Options(machines, jobs, given.rate, shapes, not given.own_refs)


def main() -> None:
    """Run as a program."""
    arguments, options = _parse_command_line()
    run_benchmark(arguments, lambda given: measure(given, options))


if __name__ == "__main__":
    main()
