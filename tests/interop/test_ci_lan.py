"""CI runners that find each other on the local network, whoever else is there.

Machines are network namespaces with real multicast; nothing is said of addresses to the nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gittorrent.discovery.lan_runners import SERVICE, LanRunners
from gittorrent.store.home import Home
from gittorrent.wire.ci_labels import RunnerLabel, write_label
from support import bulk, gitcmd, networks
from support.networks import Loop, Machine
from support.plain_servers import WebServer, git_over_http
from support.programs import Daemon, Person, serve, somebody, wait_until

pytest.importorskip("zeroconf", reason="the Python package zeroconf is not here")

pytestmark = [
    pytest.mark.skipif(bool(networks.obstacle()), reason=networks.obstacle() or "-"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen missing"),
]

PORT = 8417


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Machine]]:
    """A server, three runners and somebody else."""
    with networks.machines(5) as made:
        yield made


@dataclass
class Runner:
    machine: Machine
    person: Person
    node: Daemon

    @property
    def url(self) -> str:
        return f"http://{self.machine.private}:{PORT}"

    def others(self) -> dict[str, bool]:
        """Return which runners this one knows, and whether they have proved that they are such."""
        shown = json.loads(self.person.gittorrent("ci", "status", "--json").ok().out)
        assert all(each["found"] for each in shown["runners"])
        return {each["url"]: each["there"] for each in shown["runners"]}

    def there(self) -> set[str]:
        return {url for url, is_there in self.others().items() if is_there}

    def finds(self, *runners: Runner) -> None:
        wanted = {each.url for each in runners}
        wait_until(lambda: self.there() == wanted, "the others are found")

    def has_asked(self) -> int:
        return self.node.running.err.count("the upstream sent")


@dataclass
class Fleet:
    root: Path
    server: WebServer
    upstream: Path
    secret: Path
    stack: ExitStack
    runners: list[Runner] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def begin(self, machine: Machine, *, http: str = "", level: str = "info") -> Runner:
        person = somebody(self.root / f"runner{next(self.numbers)}")
        person.gittorrent("ci", "setup", "--for", self.server.base).ok()
        person.node.mkdir(mode=0o700, exist_ok=True)
        (person.node / "node.toml").write_text(
            f'[ci]\nallow = ["{self.server.base}/"]\nlan = true\nsecret = "{self.secret}"\n'
        )
        listen = ("--http", http or f"{machine.private}:{PORT}", "--log-level", level)
        with machine.node.entered():
            node = self.stack.enter_context(serve(person, *listen))
        self.runners.append(Runner(machine, person, node))
        return self.runners[-1]

    def clone(self, runner: Runner, name: str) -> None:
        url = f"{self.server.base}/x/project.git"
        done = runner.machine.run(runner.person, "git", "clone", "-q", url, name).ok()
        assert "going to" not in done.err

    def commit(self) -> None:
        made = gitcmd.text(
            self.upstream, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", secrets.token_hex(4)
        )
        gitcmd.git(self.upstream, "update-ref", "HEAD", made)


@pytest.fixture
def fleet(machines: list[Machine], tmp_path: Path) -> Iterator[Fleet]:
    upstream = bulk.make_small(tmp_path / "upstreams" / "x" / "project.git")
    secret = tmp_path / "secret"
    secret.write_text(secrets.token_hex(32))
    first = machines[0]
    with ExitStack() as stack:
        with first.node.entered():
            server = stack.enter_context(git_over_http(upstream.parents[1], address=first.private))
        yield Fleet(tmp_path, server, upstream, secret, stack)


def test_runners_find_each_other_and_one_asks_the_server(
    machines: list[Machine], fleet: Fleet
) -> None:
    first, second, third = (fleet.begin(each) for each in machines[1:4])
    first.finds(second, third)
    third.finds(first, second)
    second.finds(first, third)
    for runner in fleet.runners:
        fleet.clone(runner, "cold")
    assert len(fleet.server.fetched) == 1
    shown = first.person.gittorrent("ci", "status").ok().out
    assert f"runner at {second.url}: there, found on the local network" in shown
    told = first.person.gittorrent("doctor").out
    assert "other runners there: 2" in told
    # One that is gone is passed over.
    second.node.running.stop()
    fleet.runners.remove(second)
    fleet.commit()
    for runner in fleet.runners:
        fleet.clone(runner, "news")
    assert len(fleet.server.fetched) == 2
    # One that comes back under another name is found again.
    again = fleet.begin(second.machine)
    first.finds(again, third)


@contextlib.contextmanager
def announcing(machine: Machine, names: list[tuple[str, str, int]]) -> Iterator[None]:
    """Make services known from a machine: under a name each, at an address and port."""
    from zeroconf import IPVersion
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    loop = Loop(machine)
    network: list[AsyncZeroconf] = []

    async def begin() -> None:
        network.append(AsyncZeroconf(ip_version=IPVersion.V4Only))
        for name, host, port in names:
            info = AsyncServiceInfo(
                SERVICE, f"{name}.{SERVICE}", port=port, server=f"{name}.local.",
                parsed_addresses=[host],
            )  # fmt: skip
            await network[0].async_register_service(info, cooperating_responders=True)

    async def end() -> None:
        await network[0].async_close()

    try:
        loop.do(begin)
        yield
        loop.do(end)
    finally:
        loop.stop()


class Listener:
    """Counts who calls, and says nothing."""

    def __init__(self, machine: Machine, ports: list[int]) -> None:
        self.machine = machine
        self.ports = ports
        self.heard: list[bytes] = []
        self._loop = Loop(machine)
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Listener:
        async def begin() -> None:
            for port in self.ports:
                server = await asyncio.start_server(self._hear, self.machine.private, port)
                self._servers.append(server)

        self._loop.do(begin)
        return self

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n" + b"01" * 20 + b"\n")
        writer.close()

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            for server in self._servers:
                server.close()

        self._loop.do(end)
        self._loop.stop()


def test_a_flood_of_false_names_displaces_nobody_and_nobody_is_asked(
    machines: list[Machine], fleet: Fleet
) -> None:
    """Names that nobody of the fleet wrote are not even looked at; not one connection is made."""
    _, one, two, _, liar = machines
    other, now = b"x" * 32, int(time.time())
    false = [
        (write_label(other, RunnerLabel(liar.private, 2000 + n, now)), liar.private, 2000 + n)
        for n in range(300)
    ]
    false += [(f"runner{n}", liar.private, 2000) for n in range(100)]
    with Listener(liar, [2000, 2001]) as listener, announcing(liar, false):
        first, second = fleet.begin(one, level="debug"), fleet.begin(two)
        first.finds(second)
        second.finds(first)
        wait_until(
            lambda: first.node.running.err.count("on the local network: ") >= len(false),
            "all of the false names were heard",
        )
        for runner in fleet.runners:
            fleet.clone(runner, "cold")
        assert len(fleet.server.fetched) == 1
        assert listener.heard == []


def test_a_name_that_was_recorded_leads_to_nobody_who_cannot_prove_it(
    machines: list[Machine], fleet: Fleet
) -> None:
    """Somebody has the address of a machine of the fleet, and repeats its name."""
    _, one, two, _, liar = machines
    secret, now = fleet.secret.read_bytes(), int(time.time())
    repeated = [
        (write_label(secret.strip(), RunnerLabel(host, port, now)), liar.private, port)
        for host, port in ((liar.private, PORT), ("127.0.0.1", PORT), (liar.private, 22))
    ]
    with Listener(liar, [PORT]) as listener, announcing(liar, repeated):
        first, second = fleet.begin(one, level="debug"), fleet.begin(two)
        first.finds(second)
        wait_until(lambda: len(listener.heard) >= 2, "whoever may be one is asked")
        assert first.others() == {second.url: True, f"http://{liar.private}:{PORT}": False}
        for runner in fleet.runners:
            fleet.clone(runner, "cold")
        assert len(fleet.server.fetched) == 1
    # It was told nothing but that somebody knows the secret: no name, no server.
    names = [Home(each.person.node).node_id() for each in fleet.runners]
    for heard in listener.heard:
        assert heard.startswith(b"GET /.gittorrent/ci/member ")
        assert not any(name.encode() in heard for name in names)
    for reason in ("127.0.0.1 is not contacted", "port 22 is not asked"):
        assert reason in first.node.running.err


def test_a_runner_that_others_cannot_ask_says_so(machines: list[Machine], fleet: Fleet) -> None:
    runner = fleet.begin(machines[1], http="127.0.0.1:8417")
    wait_until(lambda: "other runners do not find this one" in runner.node.running.err, "it says")
    told = runner.person.gittorrent("doctor").out
    assert "other runners do not find this one on the local network" in told
    # It finds others all the same.
    other = fleet.begin(machines[2])
    runner.finds(other)
    assert other.there() == set()


def test_a_machine_that_gets_another_address_is_found_there(machines: list[Machine]) -> None:
    secret, heard = b"s" * 32, set[str]()
    loops = [Loop(machines[1]), Loop(machines[2])]
    nodes = [
        LanRunners(secret, ["0.0.0.0"], PORT, lambda label: None, look=0.05),
        LanRunners(secret, [], 0, lambda label: heard.add(label.host), look=0.05),
    ]
    tasks: list[asyncio.Task[None]] = []

    def begin(number: int) -> None:
        async def work() -> None:
            tasks.append(asyncio.get_running_loop().create_task(nodes[number].run()))

        loops[number].do(work)

    def end(number: int) -> None:
        async def work() -> None:
            tasks[number].cancel()
            for _ in range(4):
                await asyncio.sleep(0)
            tasks[number].cancel()  # it says goodbye by now, which is not cut short
            await asyncio.wait([tasks[number]])

        loops[number].do(work)
        loops[number].stop()

    for number in range(2):
        begin(number)
    try:
        wait_until(lambda: heard >= {machines[1].private, machines[1].public}, "both are heard")
        with machines[1].node.entered():
            subprocess.run(["ip", "addr", "add", "10.77.99.9/16", "dev", "eth0"], check=True)
        wait_until(lambda: "10.77.99.9" in heard, "the new one is heard")
    finally:
        with machines[1].node.entered():
            subprocess.run(["ip", "addr", "del", "10.77.99.9/16", "dev", "eth0"], check=True)
        for number in range(2):
            end(number)
