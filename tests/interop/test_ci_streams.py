"""Answers flow to CI jobs and other runners while the server sends them, and break off cleanly."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gittorrent.store.home import Home
from gittorrent.wire.ci import Coming, FetchLine, Open, Ready, parse_answer
from gittorrent.wire.ci_fleet import in_order
from gittorrent.wire.upload_requests import UploadRequest
from support import gitcmd, nodes
from support.plain_servers import WebServer, git_over_http
from support.ports import free_port
from support.programs import PATIENCE, Daemon, Person, Running, serve, somebody, wait_until

GOING = "going to "
LARGE = 600_000
"""Bytes that do not compress: more than a pipe, and what goes to few runners at once."""


@dataclass
class Halfway:
    """Holds a server in the middle of its answers until somebody says how they go on."""

    reached: int = 0
    may_go_on: threading.Event = field(default_factory=threading.Event)
    goes_on: bool = True

    def __call__(self) -> bool:
        self.reached += 1
        assert self.may_go_on.wait(PATIENCE)
        return self.goes_on

    def end(self, *, goes_on: bool) -> None:
        self.goes_on = goes_on
        self.may_go_on.set()


@dataclass
class Runner:
    person: Person
    node: Daemon

    @property
    def socket(self) -> Path:
        return self.person.node / "run" / "ci.sock"

    def name(self) -> str:
        return Home(self.person.node).node_id()

    def keeps_nothing(self) -> bool:
        """Tell whether nothing is kept, and nothing half there."""
        home = self.person.node / "ci"
        return not [*(home / "tmp").iterdir(), *home.glob("*/answers/*")]


@dataclass
class Site:
    server: WebServer
    upstream: Path
    halfway: Halfway
    stack: ExitStack
    root: Path
    runners: list[Runner] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.server.base}/x/project.git"

    @property
    def head(self) -> str:
        return gitcmd.text(self.upstream, "rev-parse", "HEAD")

    def begin(self, count: int) -> None:
        ports = [free_port() for _ in range(count)]
        secret = self.root / "secret"
        secret.write_text(secrets.token_hex(32))
        peers = ", ".join(f'"http://127.0.0.1:{port}"' for port in ports)
        for number, port in enumerate(ports):
            person = somebody(self.root / f"runner{number}")
            person.gittorrent("ci", "setup", "--for", self.server.base).ok()
            person.node.mkdir(mode=0o700)
            lines = f'[ci]\nallow = ["{self.server.base}/"]\n'
            if count > 1:
                lines += f'peers = [{peers}]\nsecret = "{secret}"\n'
            (person.node / "node.toml").write_text(lines)
            listen = ("--http", f"127.0.0.1:{port}", "--log-level", "info")
            self.runners.append(Runner(person, self.stack.enter_context(serve(person, *listen))))

    def start(self, runner: Runner, name: str) -> Running:
        return runner.person.start("git", "clone", "-q", "--depth=1", self.url, name)

    def has(self, runner: Runner, name: str) -> bool:
        folder = runner.person.root / name
        runner.person.git("fsck", cwd=folder).ok()
        return gitcmd.text(folder, "rev-parse", "HEAD") == self.head


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    upstream = nodes.make_repository(tmp_path / "upstreams" / "x" / "project.git", LARGE)
    halfway = Halfway()
    with ExitStack() as stack:
        server = stack.enter_context(git_over_http(tmp_path / "upstreams"))
        server.halfway = halfway
        # Nothing is to hang where a test fails.
        stack.callback(halfway.may_go_on.set)
        yield Site(server, upstream, halfway, stack, tmp_path)


class Reading:
    """A job that asks for what ``git clone --depth=1`` asks for, and reads what comes of it."""

    def __init__(self, runner: Runner, site: Site) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        folder = os.open(runner.socket.parent, os.O_PATH)
        self._sock.connect(f"/proc/self/fd/{folder}/{runner.socket.name}")
        os.close(folder)
        self._sock.settimeout(PATIENCE)
        shape, switches = (b"deepen 1",), (b"include-tag", b"ofs-delta", b"thin-pack")
        request = UploadRequest((site.head.encode(),), shape=shape, switches=switches).encode()
        self._sock.sendall(Open(site.url).encode() + FetchLine(len(request)).encode() + request)
        self._said = bytearray()
        self._files: list[int] = []
        self.pipe = -1

    def line(self) -> bytes:
        while b"\n" not in self._said:
            data, files, _, _ = socket.recv_fds(self._sock, 4096, 1)
            assert data
            self._said += data
            self._files += files
        line, _, rest = bytes(self._said).partition(b"\n")
        self._said[:] = rest
        return line + b"\n"

    def until_coming(self) -> None:
        """Read to where the answer begins."""
        while True:
            answer = parse_answer(self.line())
            if isinstance(answer, Ready):
                while len(self._said) < answer.size:
                    self._said += self._sock.recv(4096)
                del self._said[: answer.size]
            if isinstance(answer, Coming):
                self.pipe = self._files.pop()
                return

    def close(self) -> None:
        os.close(self.pipe)
        self._sock.close()


def test_bytes_come_through_the_fleet_before_the_server_has_sent_all(site: Site) -> None:
    site.begin(3)
    readings = [Reading(each, site) for each in site.runners]
    for each in readings:
        each.until_coming()
        assert os.read(each.pipe, 1000)
    wait_until(lambda: site.halfway.reached > 0, "the server is in the middle")
    assert site.halfway.reached == 1
    assert len(site.server.fetched) == 1
    jobs = [site.start(each, "copy") for each in site.runners]
    site.halfway.end(goes_on=True)
    for job, runner in zip(jobs, site.runners, strict=True):
        assert job.wait() == 0, job.err
        assert GOING not in job.err
        assert site.has(runner, "copy")
    # The first ones never read on, and kept nobody.
    assert len(site.server.fetched) == 1
    for each in readings:
        each.close()


def test_a_server_that_breaks_off_is_asked_by_the_jobs(site: Site) -> None:
    site.begin(2)
    jobs = [site.start(each, "copy") for each in site.runners]
    wait_until(lambda: site.halfway.reached > 0, "the server is in the middle")
    site.halfway.end(goes_on=False)
    for job in jobs:
        job.wait()
    # As with git alone, such a server fails the job; nothing of it is kept.
    for runner, job in zip(site.runners, jobs, strict=True):
        assert GOING in job.err
        wait_until(runner.keeps_nothing, "nothing is left")
    site.halfway.goes_on = True
    for runner in site.runners:
        job = site.start(runner, "again")
        assert job.wait() == 0, job.err
        assert GOING not in job.err
        assert site.has(runner, "again")


def test_a_node_that_is_killed_in_the_middle_fails_no_job(site: Site) -> None:
    site.begin(1)
    (runner,) = site.runners
    job = site.start(runner, "copy")
    wait_until(lambda: site.halfway.reached > 0, "the server is in the middle")
    runner.node.running.signal_group(signal.SIGKILL)
    runner.node.running.wait()
    site.halfway.end(goes_on=True)
    assert job.wait() == 0, job.err
    assert GOING in job.err
    assert site.has(runner, "copy")
    with serve(runner.person):
        assert runner.keeps_nothing()
        assert site.start(runner, "after").wait() == 0
        assert site.has(runner, "after")


def test_a_runner_that_is_killed_in_the_middle_fails_no_job(site: Site) -> None:
    site.begin(2)
    order = in_order([each.name() for each in site.runners], site.url)
    maker, other = sorted(site.runners, key=lambda each: order.index(each.name()))
    reading = Reading(other, site)
    reading.until_coming()
    assert os.read(reading.pipe, 1000)
    job = site.start(other, "copy")
    maker.node.running.signal_group(signal.SIGKILL)
    maker.node.running.wait()
    site.halfway.end(goes_on=True)
    assert job.wait() == 0, job.err
    assert GOING not in job.err  # its own node has asked the server
    assert site.has(other, "copy")
    reading.close()
