"""A node that reads its configuration again, by command and by signal, and drops nobody."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from support import nodes
from support.programs import PATIENCE, Person, Running, wait_until

GIT, HTTP = '[listen]\ngit = "127.0.0.1:0"\n', '[listen]\nhttp = "127.0.0.1:0"\n'


@pytest.fixture
def operator(people: Callable[[str], Person]) -> Person:
    return people("operator")


@pytest.fixture
def node(operator: Person, project: Carried) -> Iterator[Running]:
    """A node that listens for git:// and logs what it does."""
    configure(operator, GIT)
    running = operator.start("gittorrent", "serve", "-v", project.layout.git_dir)
    try:
        wait_until(lambda: bool(ports(running, "git")), "it listens")
        yield running
    finally:
        running.stop()


def configure(person: Person, text: str) -> None:
    person.node.mkdir(exist_ok=True)
    (person.node / "node.toml").write_text(text)


def ports(running: Running, scheme: str) -> list[int]:
    return [int(port) for port in re.findall(rf"listening at {scheme}://\S+:(\d+)", running.err)]


def begin(port: int) -> socket.socket:
    """Begin a conversation."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.sendall(nodes.request("mirror-sync", b"/project.git"))
    heard = b""
    while b"have checkpoint" not in heard:
        more = sock.recv(65536)
        assert more, heard
        heard += more
    return sock


def goes_on(sock: socket.socket) -> bool:
    """Tell whether the other end has not hung up."""
    sock.setblocking(False)
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_other_addresses_by_command(node: Running, operator: Person) -> None:
    (old,) = ports(node, "git")
    with begin(old) as sock:
        configure(operator, HTTP)
        said = operator.gittorrent("reload").ok().out
        assert said == "the node goes by its configuration as it is now\n"
        assert refused(old)
        (http,) = ports(node, "http")
        assert operator.git("ls-remote", f"http://127.0.0.1:{http}/project.git").ok().out
        assert goes_on(sock)


def test_by_signal(node: Running, operator: Person) -> None:
    configure(operator, HTTP)
    os.kill(node.pid, signal.SIGHUP)
    wait_until(lambda: "goes by" in node.err, "it has read it")
    assert ports(node, "http")
    node.process.terminate()
    assert node.wait() == 0


def test_one_that_is_wrong_changes_nothing(node: Running, operator: Person) -> None:
    (old,) = ports(node, "git")
    configure(operator, HTTP + "[limits]\nup = 0\nx = 1\n")
    path = operator.node / "node.toml"
    done = operator.gittorrent("reload").failed(2, f"{path}:4: [limits] up: 0 is no rate", ":5: ")
    assert done.out == ""
    wait_until(lambda: node.err.count("goes on as before") == 2, "the log says so")
    os.kill(node.pid, signal.SIGHUP)
    wait_until(lambda: node.err.count("goes on as before") == 4, "the log says so again")
    assert not ports(node, "http")
    begin(old).close()


def test_an_address_that_is_taken_changes_nothing(node: Running, operator: Person) -> None:
    (old,) = ports(node, "git")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        configure(operator, f'[listen]\nhttp = "{place}"\n[log]\nlevel = "error"\n')
        operator.gittorrent("reload").failed(7, place)
    begin(old).close()
    configure(operator, HTTP)
    operator.gittorrent("reload").ok()


def test_https_without_a_certificate_changes_nothing(node: Running, operator: Person) -> None:
    """A node that needed no certificate until then."""
    (port,) = ports(node, "git")
    configure(operator, GIT + 'https = "127.0.0.1:0"\n')
    operator.gittorrent("reload").failed(2, "for HTTPS the node needs a certificate")
    assert not ports(node, "https")
    begin(port).close()


def test_limits_hold_at_once_and_at_their_times(node: Running, operator: Person) -> None:
    configure(operator, GIT + '[limits]\nup = "1M"\n[[limits.at]]\nup = "2M"\npeer-up = 4096\n')
    operator.gittorrent("reload").ok()
    wait_until(lambda: "sends at most 2097152, to one address 4096" in node.err, "the limits hold")


def test_fewer_callers_are_let_in_and_nobody_is_cut_off(node: Running, operator: Person) -> None:
    """Of those who are in, one that asks for nothing makes room when somebody else comes."""
    (port,) = ports(node, "git")
    with begin(port) as first:
        configure(operator, GIT + "[limits]\nconnections = 1\n")
        operator.gittorrent("reload").ok()
        assert goes_on(first)
        with begin(port) as second:
            first.setblocking(True)
            heard = b""
            while more := first.recv(65536):
                heard += more
            assert b"idle connection closed to serve others" in heard
            assert goes_on(second)
    configure(operator, GIT + "[limits]\nconnections = 2\n")
    operator.gittorrent("reload").ok()
    with begin(port) as first, begin(port):
        assert goes_on(first)


def test_pushes_over_git_are_taken_and_not_taken(node: Running, operator: Person) -> None:
    (port,) = ports(node, "git")

    def takes() -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            sock.sendall(nodes.request("git-receive-pack", b"/project.git"))
            return b"refs/" in sock.recv(65536)

    assert not takes()
    configure(operator, GIT + "[push]\ngit = true\n")
    operator.gittorrent("reload").ok()
    assert takes()
    configure(operator, GIT)
    operator.gittorrent("reload").ok()
    assert not takes()


def test_without_a_node_there_is_nothing_to_reload(operator: Person) -> None:
    operator.gittorrent("reload").failed(2, "no node runs here")


def test_what_the_configuration_names_comes_and_is_let_go(
    project: Carried, people: Callable[[str], Person], operator: Person
) -> None:
    owner = people("owner")
    configure(owner, HTTP)
    origin = owner.start("gittorrent", "serve", "-v", project.layout.git_dir)
    configure(operator, GIT)
    running = operator.start("gittorrent", "serve", "-v")
    try:
        wait_until(lambda: bool(ports(origin, "http") and ports(running, "git")), "they listen")
        url = f"http://127.0.0.1:{ports(origin, 'http')[0]}/project.git"
        configure(operator, GIT + f'[[carry.repository]]\nurl = "{url}"\n')
        operator.gittorrent("reload").ok()
        listing = ("ls-remote", f"git://127.0.0.1:{ports(running, 'git')[0]}/project.git")
        wait_until(lambda: operator.git(*listing).status == 0, "it is here")
        configure(operator, GIT)
        operator.gittorrent("reload").ok()
        wait_until(lambda: "by the configuration no more" in running.err, "the log says so")
        assert operator.git(*listing).ok().out
        assert Path(operator.node / "repositories" / "project.git").is_dir()
    finally:
        origin.stop()
        running.stop()
