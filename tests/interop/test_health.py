"""Whether a node is ready and alive, as containers, load balancers and service managers ask."""

from __future__ import annotations

import json
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from gittorrent.node.http_pages import FROM_PAGE
from gittorrent.node.readiness import LIVE_PATH, READY_PATH, SHORT
from support import nodes
from support.programs import PATIENCE, Person, serve, somebody, wait_until


def ask(http: str, path: str, method: str = "GET", /, **headers: str) -> tuple[int, str]:
    host, _, port = http.removeprefix("http://").rpartition(":")
    response, body = nodes.fetch((host, int(port)), method, path, **headers)
    return response.status, body.decode()


def says_ready(person: Person) -> bool:
    return person.gittorrent("status", "--check").status == 0


def test_a_node_from_its_start_to_its_end(person: Person) -> None:
    assert "none runs here" in person.gittorrent("status", "--check").failed(1).err
    with serve(person) as daemon:
        assert ask(daemon.http, READY_PATH) == (200, "ok\n")
        assert ask(daemon.http, LIVE_PATH) == (200, "ok\n")
        assert ask(daemon.http, LIVE_PATH, "HEAD") == (200, "")
        assert ask(daemon.http, LIVE_PATH, "POST")[0] == 404
        wait_until(lambda: says_ready(person), "it has written down how it is")
        person.gittorrent("status", "--check-alive").ok()
        found = json.loads(person.gittorrent("status", "--check", "--json").ok().out)
        assert found == {"is_alive": True, "lacks": ""}
    person.gittorrent("status", "--check").failed(1)
    person.gittorrent("status", "--check-alive").failed(1)


def test_who_looks_whether_a_node_answers_is_refused_nothing(person: Person) -> None:
    with serve(person, "--log-level", "debug") as daemon:
        wait_until(lambda: says_ready(person), "it has written down how it is")
        for option in ("--check", "--check-alive"):
            person.gittorrent("status", option).ok()
    assert "refused" not in daemon.running.err


def test_a_second_node_of_a_home_is_told_of_the_first(person: Person) -> None:
    with serve(person) as daemon:
        wait_until(lambda: says_ready(person), "it has written down how it is")
        place = daemon.git.removeprefix("git://")
        done = person.gittorrent("serve", "--git", place)
        done.failed(
            7, place, f"as process {daemon.running.pid}", daemon.http, "'gittorrent reload'"
        )
        other = somebody(person.root.parent / "other")
        done = other.gittorrent("serve", "--git", place).failed(7, place, "choose another port")
        assert "runs already" not in done.err


def test_web_pages_learn_nothing(person: Person) -> None:
    with serve(person) as daemon:
        for path in (READY_PATH, LIVE_PATH):
            status, body = ask(daemon.http, path, Origin="http://evil.example")
            assert status == 403
            assert FROM_PAGE in body
            assert ask(daemon.http, path, Host="evil.example")[0] == 421


def test_it_is_alive_and_not_ready_below_the_mark(person: Person) -> None:
    person.node.mkdir()
    config = person.node / "node.toml"
    config.write_text('[listen]\nbehind-proxy = true\n[disk]\nreserve = "1000000G"\n')
    with serve(person) as daemon:
        wait_until(lambda: ask(daemon.http, READY_PATH)[0] == 503, "it has looked at its disk")
        assert ask(daemon.http, READY_PATH) == (503, f"not ready: {SHORT}\n")
        assert ask(daemon.http, LIVE_PATH)[0] == 200
        wait_until(lambda: not says_ready(person), "it has written down how it is")
        assert SHORT in person.gittorrent("status", "--check").failed(1).err
        person.gittorrent("status", "--check-alive").ok()
        config.write_text('[disk]\nreserve = "none"\n')
        person.gittorrent("reload").ok()
        wait_until(lambda: ask(daemon.http, READY_PATH)[0] == 200, "it has looked again")


def test_a_node_that_hangs_is_not_alive(person: Person) -> None:
    with serve(person) as daemon:
        wait_until(lambda: says_ready(person), "it has written down how it is")
        daemon.running.signal_group(signal.SIGSTOP)
        try:
            person.gittorrent("status", "--check-alive").failed(1, "does not answer")
            person.gittorrent("status", "--check").failed(1)
        finally:
            daemon.running.signal_group(signal.SIGCONT)
        wait_until(lambda: says_ready(person), "it goes on")


@pytest.fixture
def manager() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def test_a_service_manager_hears_of_it(person: Person, manager: socket.socket) -> None:
    """It is told of the beginning once the node listens, then that it goes on, then of the end."""
    with tempfile.TemporaryDirectory() as folder, manager:
        path = str(Path(folder) / "notify")
        manager.bind(path)
        manager.settimeout(PATIENCE)
        variables = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "300000"}
        service = Person(person.root, variables=variables)
        with serve(service) as daemon:
            assert manager.recv(1000) == b"READY=1"
            assert ask(daemon.http, READY_PATH)[0] == 200
            said = [manager.recv(1000) for _ in range(3)]
            assert all(each.startswith(b"WATCHDOG=1") for each in said)
            assert said[0].endswith(b"\nSTATUS=ready")
            daemon.running.process.terminate()
            while (last := manager.recv(1000)) == b"WATCHDOG=1":
                pass
            assert last == b"STOPPING=1"
            assert daemon.running.wait() == 0
