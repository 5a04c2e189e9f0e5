"""CI runners that share: one of them asks the server, whoever is gone or not one of them."""

from __future__ import annotations

import http.client
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gittorrent.wire.ci_fleet import ANSWER_PATH, REQUEST_HEADER, encode_body, sign_request
from gittorrent.wire.upload_requests import UploadRequest
from support import bulk, gitcmd
from support.plain_servers import WebServer, git_over_http
from support.ports import free_port
from support.programs import Daemon, Person, serve, somebody, wait_until

GOING = "going to "
INCLUDED = (b"include-tag", b"ofs-delta", b"thin-pack")
"""Switches of a clone, in order."""


@dataclass
class Runner:
    person: Person
    node: Daemon

    def log(self) -> str:
        return self.node.running.err

    def has_asked(self) -> int:
        return self.log().count("the upstream sent")


@dataclass
class Fleet:
    server: WebServer
    upstream: Path
    secret: Path
    ports: list[int]
    stack: ExitStack
    runners: list[Runner] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.server.base}/x/project.git"

    def begin(self, root: Path, number: int, secret: Path | None = None, more: str = "") -> Runner:
        person = somebody(root / f"runner{number}")
        person.gittorrent("ci", "setup", "--for", self.server.base).ok()
        person.node.mkdir(mode=0o700, exist_ok=True)
        peers = ", ".join(f'"http://127.0.0.1:{port}"' for port in self.ports)
        (person.node / "node.toml").write_text(
            f'[ci]\nallow = ["{self.server.base}/"]\npeers = [{peers}]\n'
            f'secret = "{secret or self.secret}"\n{more}'
        )
        listen = ("--http", f"127.0.0.1:{self.ports[number]}", "--log-level", "info")
        node = self.stack.enter_context(serve(person, *listen))
        self.runners.append(Runner(person, node))
        return self.runners[-1]

    def clone_all(self, name: str, *words: str) -> None:
        jobs = [
            each.person.start("git", "clone", "-q", *words, self.url, f"{name}{n}")
            for each in self.runners
            for n in range(2)
        ]
        for job in jobs:
            assert job.wait() == 0, job.err
            assert GOING not in job.err
        head = gitcmd.text(self.upstream, "rev-parse", "HEAD")
        for each in self.runners:
            assert gitcmd.text(each.person.root / f"{name}0", "rev-parse", "HEAD") == head


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    upstream = bulk.make_small(tmp_path / "upstreams" / "x" / "project.git")
    gitcmd.git(upstream, "config", "uploadpack.allowFilter", "true")
    secret = tmp_path / "secret"
    secret.write_text(secrets.token_hex(32))
    with ExitStack() as stack:
        server = stack.enter_context(git_over_http(upstream.parents[1]))
        yield Fleet(server, upstream, secret, [free_port() for _ in range(3)], stack)


def commit(upstream: Path) -> None:
    made = gitcmd.text(upstream, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "news")
    gitcmd.git(upstream, "update-ref", "HEAD", made)


def test_one_of_all_asks_the_server(fleet: Fleet, tmp_path: Path) -> None:
    for number in range(3):
        fleet.begin(tmp_path, number)
    fleet.clone_all("cold")
    assert len(fleet.server.fetched) == 1
    fleet.clone_all("warm")
    assert len(fleet.server.fetched) == 1
    makers = [each for each in fleet.runners if each.has_asked()]
    assert len(makers) == 1
    wait_until(lambda: any((makers[0].person.node / "ci").glob("*/copy.git")), "there is a copy")
    commit(fleet.upstream)
    fleet.clone_all("news", "--depth=1")
    assert len(fleet.server.fetched) == 2
    assert fleet.server.fetched[1] < fleet.server.fetched[0] / 2


def test_runners_that_share_refs_are_never_stale(fleet: Fleet, tmp_path: Path) -> None:
    for number in range(3):
        fleet.begin(tmp_path, number, more="share-refs = true\n")
    fleet.clone_all("cold", "--depth=1")
    for number in range(2):
        commit(fleet.upstream)
        head = gitcmd.text(fleet.upstream, "rev-parse", "HEAD")
        for each in fleet.runners:
            listed = each.person.git("ls-remote", fleet.url, "HEAD").ok()
            assert listed.out.split()[0] == head, number
    commit(fleet.upstream)
    fetched = len(fleet.server.fetched)
    fleet.clone_all("news", "--depth=1")
    assert len(fleet.server.fetched) == fetched + 1


def test_runners_believe_nobody_about_refs_unless_told(fleet: Fleet, tmp_path: Path) -> None:
    runners = [fleet.begin(tmp_path, number) for number in range(2)]
    for each in runners:
        fleet.server.requests.clear()
        each.person.git("ls-remote", fleet.url, "HEAD").ok()
        assert fleet.server.requests


def test_one_that_is_gone_is_passed_over(fleet: Fleet, tmp_path: Path) -> None:
    for number in range(3):
        fleet.begin(tmp_path, number)
    fleet.clone_all("cold", "--depth=1")
    maker = next(each for each in fleet.runners if each.has_asked())
    maker.node.running.stop()
    fleet.runners.remove(maker)
    commit(fleet.upstream)
    fleet.clone_all("after", "--depth=1")
    assert len(fleet.server.fetched) == 2


def test_who_has_another_secret_is_alone(fleet: Fleet, tmp_path: Path) -> None:
    other = tmp_path / "other secret"
    other.write_text(secrets.token_hex(32))
    for number in range(3):
        fleet.begin(tmp_path, number, other if number == 2 else None)
    fleet.clone_all("cold")
    assert len(fleet.server.fetched) == 2
    assert "gives nothing to this runner: status 403: the secret is another one" in (
        fleet.runners[2].log()
    )
    assert fleet.runners[2].has_asked() == 1


def ask(fleet: Fleet, header: str, body: bytes) -> tuple[int, str]:
    said = urlsplit(f"http://127.0.0.1:{fleet.ports[0]}")
    connection = http.client.HTTPConnection(str(said.hostname), said.port)
    connection.request("POST", ANSWER_PATH, body, {REQUEST_HEADER: header} if header else {})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(errors="replace")
    connection.close()
    return found


def test_only_runners_are_answered_and_of_what_is_public(fleet: Fleet, tmp_path: Path) -> None:
    runner = fleet.begin(tmp_path, 0)
    head = gitcmd.text(fleet.upstream, "rev-parse", "HEAD")
    request = UploadRequest((head.encode(),))
    body = encode_body(fleet.url, request)
    now, secret = int(time.time()), fleet.secret.read_bytes()

    def signed(key: bytes, at: int, what: bytes) -> str:
        return sign_request(key, "01" * 20, at, ANSWER_PATH, what)

    assert ask(fleet, "", body)[0] == 403
    assert ask(fleet, signed(b"x" * 32, now, body), body)[0] == 403
    assert ask(fleet, signed(secret, now - 3600, body), body)[0] == 403
    assert fleet.server.fetched == []
    # The operator's list counts for what others ask, too.
    beyond = encode_body("http://127.0.0.2/x", request)
    assert ask(fleet, signed(secret, now, beyond), beyond)[0] == 404
    fleet.server.password = "secret"
    status, why = ask(fleet, signed(secret, now, body), body)
    while status == 202:
        status, why = ask(fleet, signed(secret, now, body), body)
    assert status == 502
    assert re.search("could not read|Authentication", why)
    assert fleet.server.fetched == []
    fleet.server.password = ""
    status, _ = ask(fleet, signed(secret, now, body), body)
    while status == 202:
        status, _ = ask(fleet, signed(secret, now, body), body)
    assert status == 200
    assert runner.has_asked() == 1


def test_private_answers_stay_on_their_runner(fleet: Fleet, tmp_path: Path) -> None:
    fleet.server.password = "secret"
    runner = fleet.begin(tmp_path, 0)
    helper = "credential.helper=!f() { echo username=me; echo password=secret; }; f"
    done = runner.person.git("-c", helper, "clone", "--depth=1", fleet.url, "copy").ok()
    assert GOING not in done.err
    kept = list((runner.person.node / "ci").glob("*/answers/*"))
    assert len(kept) == 1
    head = gitcmd.text(fleet.upstream, "rev-parse", "HEAD")
    # What git asked for just now, by another machine that knows the secret.
    for switches in ((), (b"ofs-delta",), (b"ofs-delta", b"thin-pack"), INCLUDED):
        request = UploadRequest((head.encode(),), shape=(b"deepen 1",), switches=switches)
        body = encode_body(fleet.url, request)
        secret, now = fleet.secret.read_bytes(), int(time.time())
        status = 202
        while status == 202:
            header = sign_request(secret, "01" * 20, now, ANSWER_PATH, body)
            status, _ = ask(fleet, header, body)
        assert status == 502
    assert len(fleet.server.fetched) == 1


def test_a_secret_that_can_be_guessed_is_none(fleet: Fleet, tmp_path: Path) -> None:
    fleet.secret.write_text("short")
    runner = fleet.begin(tmp_path, 0)
    wait_until(lambda: "holds no secret of 32 characters" in runner.log(), "it says so")


def test_a_secret_is_taken_anew_when_the_node_reloads(fleet: Fleet, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(secrets.token_hex(32))
    fleet.begin(tmp_path, 0)
    late = fleet.begin(tmp_path, 1, other).person
    other.write_text("short")
    assert "holds no secret of 32 characters" in late.gittorrent("reload").err
    other.write_text(fleet.secret.read_text())
    late.gittorrent("reload").ok()
    fleet.clone_all("cold")
    assert len(fleet.server.fetched) == 1
