"""What a service manager is told, at a socket of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.node.readiness import SHORT, Phase, Readiness
from gittorrent.node.service_manager import ServiceManager
from support.programs import PATIENCE


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """A socket as systemd has one."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.bind(str(Path(folder) / "notify"))
        sock.settimeout(PATIENCE)
        yield sock


def test_it_is_told_what_it_wants_to_know(manager: socket.socket) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "30000", "WATCHDOG_PID": "7",
        "PATH": "/bin",
    }  # fmt: skip
    node = ServiceManager.of(environ, 7)
    assert environ == {"PATH": "/bin"}, "others have nothing to say"
    node.ready()
    assert manager.recv(1000) == b"READY=1"
    words = ["ready"]

    async def run() -> None:
        loop = asyncio.get_running_loop()
        telling = loop.create_task(node.follow(lambda: words[0]))
        assert await asyncio.to_thread(manager.recv, 1000) == b"WATCHDOG=1\nSTATUS=ready"
        assert await asyncio.to_thread(manager.recv, 1000) == b"WATCHDOG=1"
        words[0] = "stopping"
        said = b""
        while b"STATUS" not in said:
            said = await asyncio.to_thread(manager.recv, 1000)
        assert said == b"WATCHDOG=1\nSTATUS=stopping"
        telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await telling

    asyncio.run(run())
    node.stopping()
    while (said := manager.recv(1000)) == b"WATCHDOG=1":
        pass
    assert said == b"STOPPING=1"


@pytest.mark.parametrize(
    "environ", [{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "8"}, {"WATCHDOG_USEC": "x"}, {}]
)
def test_signs_of_life_are_for_who_asked_for_them(
    environ: dict[str, str], manager: socket.socket
) -> None:
    node = ServiceManager.of(environ | {"NOTIFY_SOCKET": manager.getsockname()}, 7)

    async def run() -> None:
        telling = asyncio.get_running_loop().create_task(node.follow(lambda: "ready"))
        assert await asyncio.to_thread(manager.recv, 1000) == b"STATUS=ready"
        telling.cancel()

    asyncio.run(run())


def test_without_one_nothing_is_said() -> None:
    node = ServiceManager.of({}, 7)
    node.ready()
    asyncio.run(node.follow(lambda: "ready"))
    node.stopping()


def test_one_that_is_gone_is_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = ServiceManager(str(tmp_path / "gone"))
    node.ready()
    node.stopping()
    assert len(caplog.records) == 1
    assert "service manager cannot be told" in caplog.records[0].getMessage()


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("")  # the kernel chooses an abstract address
        sock.settimeout(PATIENCE)
        name = sock.getsockname()
        ServiceManager("@" + name[1:].decode()).ready()
        assert sock.recv(1000) == b"READY=1"


def test_a_node_is_ready_while_it_runs_and_has_room() -> None:
    short = False
    readiness = Readiness(lambda: short)
    assert readiness.lacks == "starting"
    readiness.phase = Phase.RUNNING
    assert readiness.lacks == ""
    short = True
    assert readiness.lacks == SHORT
    readiness.phase = Phase.STOPPING
    assert readiness.lacks == "stopping"
