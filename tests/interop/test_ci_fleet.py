"""CI runners that share: one of them asks the server, whoever is gone or not one of them."""

from __future__ import annotations

import http.client
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.wire.ci_fleet import (
    ANOTHER_START,
    ANSWER_PATH,
    ANY_START,
    KEPT_HEADER,
    MEMBER_PATH,
    REQUEST_HEADER,
    Asked,
    Sender,
    encode_body,
    parse_member,
    sign_request,
)
from gittorrent.wire.upload_requests import UploadRequest
from support import bulk, gitcmd
from support.plain_servers import WebServer, git_over_http
from support.ports import free_port
from support.programs import PATIENCE, Daemon, Person, serve, somebody, wait_until

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
        return self.serve(person, number)

    def serve(self, person: Person, number: int) -> Runner:
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


def test_news_of_a_shape_cost_the_difference_whoever_asks(fleet: Fleet, tmp_path: Path) -> None:
    """Who asks the server has not heard of the push: no job of its own has asked since."""
    runners = [fleet.begin(tmp_path, number) for number in range(2)]
    fleet.clone_all("cold", "--filter=blob:none")
    (maker,) = [each for each in runners if each.has_asked()]
    wait_until(lambda: any((maker.person.node / "ci").glob("*/copy-*.git")), "there is a copy")
    (other,) = [each for each in runners if each is not maker]
    commit(fleet.upstream)
    whole, fetched = fleet.server.fetched[0], len(fleet.server.fetched)
    done = other.person.git("clone", "-q", "--filter=blob:none", fleet.url, "news").ok()
    assert GOING not in done.err
    head = gitcmd.text(fleet.upstream, "rev-parse", "HEAD")
    assert gitcmd.text(other.person.root / "news", "rev-parse", "HEAD") == head
    assert sum(fleet.server.fetched[fetched:]) < whole / 4


@pytest.mark.parametrize("more", ["", "share-refs = true\n"], ids=["own refs", "shared refs"])
def test_runners_have_the_tags_of_the_moment(fleet: Fleet, tmp_path: Path, more: str) -> None:
    for number in range(2):
        fleet.begin(tmp_path, number, more=more)
    fleet.clone_all("before", "--depth=1")
    for step in ("one", "two"):
        gitcmd.git(fleet.upstream, "tag", "-f", "-a", "-m", step, "later", "HEAD")
        fleet.clone_all(step, "--depth=1")
        tag = gitcmd.text(fleet.upstream, "rev-parse", "later")
        for each in fleet.runners:
            for name in (f"{step}0", f"{step}1"):
                assert gitcmd.text(each.person.root / name, "rev-parse", "later") == tag


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


class Asker:
    """Another machine, which knows a secret, and what it hears and says again."""

    def __init__(self, fleet: Fleet, key: bytes, number: int = 0) -> None:
        self._key = key
        self._port = fleet.ports[number]
        self._sender = Sender("01" * 20, secrets.token_hex(16), 0)
        self.said: dict[str, str] = {}

    def send(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def headers(
        self, to: str, asked: Asked, body: bytes, at: float | None = None
    ) -> dict[str, str]:
        now = int(time.time() if at is None else at)
        self._sender = replace(self._sender, number=self._sender.number + 1)
        return {REQUEST_HEADER: sign_request(self._key, self._sender, to, now, asked, body)}

    def start(self) -> str:
        headers = self.headers(ANY_START, Asked("GET", MEMBER_PATH), b"")
        return parse_member(self.send("GET", MEMBER_PATH, b"", headers)[1])[1]

    def ask(self, to: str, body: bytes, at: float | None = None) -> tuple[int, str]:
        """Ask until there is an answer."""
        while True:
            self.said = self.headers(to, Asked("POST", ANSWER_PATH), body, at)
            status, found = self.send("POST", ANSWER_PATH, body, self.said)
            if status != 202:
                return status, found.decode(errors="replace")


def test_only_runners_are_answered_and_of_what_is_public(fleet: Fleet, tmp_path: Path) -> None:
    runner = fleet.begin(tmp_path, 0)
    head = gitcmd.text(fleet.upstream, "rev-parse", "HEAD")
    request = UploadRequest((head.encode(),))
    body = encode_body(fleet.url, request)
    asker = Asker(fleet, fleet.secret.read_bytes())
    to = asker.start()
    assert asker.send("POST", ANSWER_PATH, body, {})[0] == 403
    assert Asker(fleet, b"x" * 32).ask(to, body)[0] == 403
    assert asker.ask(to, body, time.time() - 3600)[0] == 403
    assert fleet.server.fetched == []
    # The operator's list counts for what others ask, too.
    assert asker.ask(to, encode_body("http://127.0.0.2/x", request))[0] == 404
    fleet.server.password = "secret"
    status, why = asker.ask(to, body)
    assert status == 502
    assert re.search("could not read|Authentication", why)
    assert fleet.server.fetched == []
    fleet.server.password = ""
    assert asker.ask(to, body)[0] == 200
    assert runner.has_asked() == 1


def test_what_was_heard_of_a_request_is_of_no_use(fleet: Fleet, tmp_path: Path) -> None:
    for number in range(2):
        fleet.begin(tmp_path, number)
    head = gitcmd.text(fleet.upstream, "rev-parse", "HEAD")
    body = encode_body(fleet.url, UploadRequest((head.encode(),)))
    asker, other = (Asker(fleet, fleet.secret.read_bytes(), number) for number in range(2))
    to = asker.start()
    assert asker.ask(to, body)[0] == 200
    heard = asker.said
    assert asker.send("POST", ANSWER_PATH, body, heard) == (
        403,
        b"this request was made before\n",
    )
    assert asker.send("POST", ANSWER_PATH, body, {**heard, KEPT_HEADER: "1"})[0] == 403
    assert other.send("POST", ANSWER_PATH, body, heard)[0] == ANOTHER_START
    # Nor is one that never arrived, with another body.
    missed = asker.headers(to, Asked("POST", ANSWER_PATH), body)
    beyond = encode_body(fleet.url, UploadRequest((b"1" * 40,)))
    assert asker.send("POST", ANSWER_PATH, beyond, missed)[0] == 403
    former = {REQUEST_HEADER: f"{'01' * 20} {int(time.time())} {'02' * 32}"}
    status, why = asker.send("POST", ANSWER_PATH, body, former)
    assert status == 403
    assert b"upgrade it" in why


def test_strangers_are_refused_before_they_send_anything(fleet: Fleet, tmp_path: Path) -> None:
    fleet.begin(tmp_path, 0)
    head = f"POST {ANSWER_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", fleet.ports[0]), timeout=PATIENCE) as sock:
        sock.sendall(head.encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 403 ")


def test_what_turns_private_is_given_to_no_runner(fleet: Fleet, tmp_path: Path) -> None:
    """Others hear of it from the server within some seconds, whatever is kept here."""
    fleet.begin(tmp_path, 0)
    head = gitcmd.text(fleet.upstream, "rev-parse", "HEAD")
    body = encode_body(fleet.url, UploadRequest((head.encode(),)))
    asker = Asker(fleet, fleet.secret.read_bytes())
    to = asker.start()
    assert asker.ask(to, body)[0] == 200
    fleet.server.password = "secret"
    wait_until(lambda: asker.ask(to, body)[0] == 502, "it is given no more")
    fleet.server.password = ""
    assert asker.ask(to, body)[0] == 200


def test_one_that_was_started_anew_is_asked_at_once(fleet: Fleet, tmp_path: Path) -> None:
    for number in range(3):
        fleet.begin(tmp_path, number)
    fleet.clone_all("cold", "--depth=1")
    number = next(n for n, each in enumerate(fleet.runners) if each.has_asked())
    gone = fleet.runners.pop(number)
    gone.node.running.stop()
    others = list(fleet.runners)
    again = fleet.serve(gone.person, number)
    fleet.runners = others
    commit(fleet.upstream)
    fleet.clone_all("after", "--depth=1")
    assert again.has_asked() == 1
    assert len(fleet.server.fetched) == 2
    assert not any("gives nothing" in each.log() for each in others)


def test_private_answers_stay_on_their_runner(fleet: Fleet, tmp_path: Path) -> None:
    fleet.server.password = "secret"
    runner = fleet.begin(tmp_path, 0)
    helper = "credential.helper=!f() { echo username=me; echo password=secret; }; f"
    done = runner.person.git("-c", helper, "clone", "--depth=1", fleet.url, "copy").ok()
    assert GOING not in done.err
    # It has a name when all that read it are served, which may be after git has ended.
    kept = (runner.person.node / "ci").glob
    wait_until(lambda: len(list(kept("*/answers/*"))) == 1, "the answer is kept")
    head = gitcmd.text(fleet.upstream, "rev-parse", "HEAD")
    asker = Asker(fleet, fleet.secret.read_bytes())
    to = asker.start()
    # What git asked for just now, by another machine that knows the secret.
    for switches in ((), (b"ofs-delta",), (b"ofs-delta", b"thin-pack"), INCLUDED):
        request = UploadRequest((head.encode(),), shape=(b"deepen 1",), switches=switches)
        body = encode_body(fleet.url, request)
        assert asker.ask(to, body)[0] == 502
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
