"""In which ways a command looks for mirrors, and whom it asks first."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

import pytest

from gittorrent.discovery.lan import Lan
from gittorrent.discovery.ports import Place, Way
from gittorrent.discovery.session import BOOTSTRAP
from gittorrent.errors import UsageError
from gittorrent.ids import RepositoryId
from gittorrent.store.home import Home
from gittorrent.transfer.local_node import LocalNode
from gittorrent.transfer.lookups import (
    BOOTSTRAP_VARIABLE,
    NOWHERE,
    Discovery,
    NodeFirst,
    lookups_of,
    parse_bootstrap,
)
from gittorrent.transfer.settings import read_discovery
from support.notes import Notes

REPOSITORY = RepositoryId("a" * 52)
ELSEWHERE = [Place("93.184.216.34", 9418, Way.DHT)]


class Elsewhere:
    """Finds one mirror."""

    async def find(self, repository: RepositoryId) -> AsyncGenerator[Sequence[Place], None]:
        assert repository == REPOSITORY
        yield ELSEWHERE


@contextlib.contextmanager
def a_node(control: Path, *answers: bytes) -> Iterator[None]:
    """Answer one program at the control socket with some bytes, and hang up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(control))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                sock, _ = listener.accept()
                with sock:
                    sock.sendall(answers[0])
                    sock.recv(1000)
                    sock.sendall(b"".join(answers[1:]))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def found(control: Path) -> list[Place]:
    async def work() -> list[Place]:
        lookup = NodeFirst(LocalNode(control, Notes()), Elsewhere())
        return [place async for places in lookup.find(REPOSITORY) for place in places]

    return asyncio.run(work())


HELLO = b"gittorrent-control 1\n"


def test_what_the_node_finds_is_all(tmp_path: Path) -> None:
    control = tmp_path / "control"
    places = b"alive\nplace dht 93.184.216.35 1234\nsomething new\nplace lan 10.0.0.1 9418\n"
    with a_node(control, HELLO, places, b"done 0\n"):
        assert found(control) == [
            Place("93.184.216.35", 1234, Way.DHT),
            Place("10.0.0.1", 9418, Way.LAN),
        ]


def test_a_node_that_finds_nothing_is_believed(tmp_path: Path) -> None:
    control = tmp_path / "control"
    with a_node(control, HELLO, b"done 0\n"):
        assert found(control) == []


@pytest.mark.parametrize(
    "answers",
    [
        (HELLO, b"no unknown request find\n"),
        (b"gittorrent-control 2\n", b""),
        (b"", b""),
        (HELLO, b""),
        (HELLO, b"place dht example.org 9418\n"),
        (HELLO, b"place dht 93.184.216.34 0\n"),
    ],
)
def test_without_a_node_that_can_others_are_asked(tmp_path: Path, answers: tuple[bytes]) -> None:
    control = tmp_path / "control"
    with a_node(control, *answers):
        assert found(control) == ELSEWHERE


def test_without_a_node_others_are_asked(tmp_path: Path) -> None:
    assert found(tmp_path / "control") == ELSEWHERE


def test_a_node_says_of_nobody_that_the_user_named_them(tmp_path: Path) -> None:
    control = tmp_path / "control"
    with a_node(control, HELLO, b"place named 10.0.0.1 9418\ndone 0\n"):
        assert found(control) == []


def test_settings() -> None:
    assert read_discovery({}) == Discovery(bootstrap=read_discovery({}).bootstrap)
    off = read_discovery({"gittorrent.dht": "false", "gittorrent.lan": "off"})
    assert (off.dht, off.lan) == (False, False)


def test_nodes_of_the_dht() -> None:
    assert parse_bootstrap("dht.example.org:6881, 10.0.0.1:2 [fd00::1]:3", "here") == (
        "dht.example.org:6881",
        "10.0.0.1:2",
        "[fd00::1]:3",
    )
    assert parse_bootstrap("", "here") == ()
    for wrong in (
        "dht.example.org/x",
        "a:b",
        "dht.example.org",
        "[fd00::1]",
        "user@host:1",
        "127.1:1",
    ):
        with pytest.raises(UsageError, match="here"):
            parse_bootstrap(wrong, "here")


def test_what_is_turned_off_is_no_way(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert lookups_of(NOWHERE, home, Notes()) == []
    assert [type(each) for each in lookups_of(Discovery(dht=False), home, Notes())] == [Lan]
    assert len(lookups_of(Discovery(bootstrap=BOOTSTRAP), home, Notes())) == 2
    assert BOOTSTRAP_VARIABLE == "GITTORRENT_DHT_BOOTSTRAP"
