"""The guide to a CI fleet, typed line by line."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import gitcmd, nodes
from support.ci_machines import LARGE
from support.guides import block, run, typed
from support.plain_servers import WebServer, git_over_http
from support.ports import free_port
from support.programs import Person, Running, somebody, wait_until

GUIDE = "guide-ci-fleet.md"


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    return nodes.make_repository(tmp_path / "upstreams" / "team" / "project.git", LARGE)


@pytest.fixture
def server(upstream: Path) -> Iterator[WebServer]:
    with git_over_http(upstream.parents[1]) as made:
        yield made


@contextlib.contextmanager
def serving(person: Person, line: str) -> Iterator[Running]:
    """Run the line that serves, until the block ends."""
    words = "--no-dht --no-announce"
    running = person.start("sh", "-c", f"exec {line.removesuffix('&')} {words}")
    try:
        wait_until(
            lambda: "listening at" in running.out or running.process.poll() is not None,
            "it listens",
        )
        assert running.process.poll() is None, running.err
        yield running
    finally:
        running.stop()


def configure(person: Person, text: str) -> None:
    """Write the lines of a guide below the tables of node.toml that they name."""
    config = person.node / "node.toml"
    for part in text.split("\n\n"):
        header, _, lines = part.strip().partition("\n")
        before, found, after = config.read_text().partition(f"{header}\n")
        assert found, header
        config.write_text(f"{before}{found}{lines}\n{after}")


def words_here(server: WebServer) -> Callable[[str], str]:
    """Return what makes a line of the guide one for this machine."""

    def here(line: str) -> str:
        return line.replace("https://github.com", server.base)

    return here


def test_one_machine(tmp_path: Path, server: WebServer, upstream: Path) -> None:
    person = somebody(tmp_path / "machine")
    here = words_here(server)
    init, serve, setup, clone = typed(GUIDE, "One machine")
    run(person, init)
    configure(person, f'[listen]\ngit = "127.0.0.1:{free_port()}"\n')
    configure(person, here(block(GUIDE, "One machine", "toml")))
    with serving(person, serve) as node:
        wait_until(lambda: "answering CI jobs at " in node.out, "it says so")
        assert "nothing to serve yet" not in node.err
        run(person, here(setup))
        assert "node" in run(person, "gittorrent ci status")
        run(person, here(clone))
        server.begin_again()
        run(person, f"{here(clone)} again")
        assert server.sent < LARGE // 5
    run(person, f"{here(clone)} without-the-node")
    run(person, "gittorrent ci undo")
    for name in ("project", "again", "without-the-node"):
        head = gitcmd.text(person.root / name, "rev-parse", "HEAD")
        assert head == gitcmd.text(upstream, "rev-parse", "main")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl missing")
def test_a_fleet(tmp_path: Path, server: WebServer) -> None:
    people = [somebody(tmp_path / f"machine{number}") for number in range(1, 4)]
    ports = {f"10.0.0.{number}:8417": free_port() for number in range(1, 4)}
    (secret,) = typed(GUIDE, "A fleet")
    run(people[0], secret)
    init, serve, setup, clone = typed(GUIDE, "One machine")
    with contextlib.ExitStack() as stack:
        for person, port in zip(people, ports.values(), strict=True):
            here = words_here(server)
            table = here(block(GUIDE, "A fleet", "toml"))
            table = table.replace('http = "10.0.0.1:8417"', f'http = "127.0.0.1:{port}"')
            for name, other in ports.items():
                table = table.replace(name, f"127.0.0.1:{other}")
            table = table.replace("/etc/gittorrent", str(people[0].root))
            run(person, init)
            configure(person, table)
            stack.enter_context(serving(person, serve))
            run(person, here(setup))
        for person in people:
            run(person, words_here(server)(clone))
        assert LARGE < server.sent < 2 * LARGE


def test_a_longer_rule_leads_past_the_node(tmp_path: Path, server: WebServer) -> None:
    person = somebody(tmp_path / "machine")
    here = words_here(server)
    url = f"{server.base}/team/project.git"
    git_only, rule = typed(GUIDE, "What else reads the setting")
    for number, setup in enumerate([git_only, typed(GUIDE, "One machine")[2]]):
        run(person, here(setup))
        assert "gittorrent" in person.git("clone", url, f"led{number}").ok().err
    run(person, here(rule).replace("team/large", "team/project"))
    assert "gittorrent" not in person.git("clone", url, "past").ok().err


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs missing")
def test_git_lfs_goes_past_the_node_by_that_rule(tmp_path: Path, server: WebServer) -> None:
    person = somebody(tmp_path / "machine")
    here = words_here(server)
    run(person, here(typed(GUIDE, "One machine")[2]))
    _, rule = typed(GUIDE, "What else reads the setting")
    run(person, here(rule))
    person.git("init", "-q", "large").ok()
    person.git("-C", "large", "remote", "add", "origin", f"{server.base}/team/large.git").ok()
    said = person.git("-C", "large", "lfs", "env").ok().out
    assert f"Endpoint={server.base}/team/large.git/info/lfs" in said
