"""What a node announces, where, and what it says to commands that look for mirrors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from gittorrent.discovery.pacing import Pacing
from gittorrent.discovery.port_mapping import Mapped
from gittorrent.ids import RepositoryId
from gittorrent.node.catalogue import Catalogue, Served
from gittorrent.node.discovering import Discovering, DiscoveryOptions, may_be_announced
from gittorrent.node.services import Reachable
from gittorrent.transfer.off_loop import Threads
from gittorrent.wire.control import Answer, Done, Find
from gittorrent.wire.urls import Endpoint

REPOSITORY = RepositoryId("a" * 52)


class Nothing:
    """A catalogue that serves nothing."""

    threads = Threads()
    changes = 0

    def __iter__(self) -> object:
        return iter(())

    async def carried(self, repository: RepositoryId) -> None:
        """Return what is carried."""


def at(host: str, port: int = 9418, scheme: str = "git") -> Endpoint:
    return Endpoint(scheme, host, port, "/")


def port(
    tmp_path: Path, public: Endpoint | None, *listening: Endpoint, dht: bool = True
) -> tuple[int | None, bool]:
    """Return the port that a node would announce, and whether it made a session for it."""
    reachable = Reachable(public, is_given=public is not None)
    options = DiscoveryOptions(dht=dht, bootstrap=("127.0.0.1:1",), dht_listen=("127.0.0.1:0",))
    table = tmp_path / "dht"
    node = Discovering(cast(Catalogue, Nothing()), reachable, options, table, Pacing())

    async def work() -> int | None:
        running = asyncio.ensure_future(node.run(listening))
        await asyncio.sleep(0)
        running.cancel()
        found = node.announced_port
        await node.stop()
        return found

    return asyncio.run(work()), table.exists()


@pytest.mark.parametrize(
    ("public", "listening", "expected"),
    [
        (at("mirror.example.org", 9419), [at("127.0.0.1")], 9419),
        (at("93.184.216.34"), [], 9418),
        (None, [at("93.184.216.34", 2000), at("127.0.0.1")], 2000),
        # Others speak no git:// there, or do not get there.
        (at("mirror.example.org", 443, "https"), [at("93.184.216.34")], None),
        (at("localhost"), [at("93.184.216.34")], None),
        (at("192.168.1.2"), [], None),
        (None, [at("127.0.0.1"), at("192.168.1.2"), at("::1")], None),
        (None, [at("0.0.0.0"), at("::")], None),
        (None, [at("93.184.216.34", 80, "http")], None),
    ],
)
def test_where_strangers_reach_it(
    tmp_path: Path, public: Endpoint | None, listening: list[Endpoint], expected: int | None
) -> None:
    found, has_session = port(tmp_path, public, *listening)
    assert found == expected
    assert not has_session, "nothing is served, so nobody is told anything"


@pytest.mark.parametrize(
    ("address", "is_told"),
    [
        ("93.184.216.34", True),
        ("192.168.1.2", False),
        ("100.64.0.7", False),
        ("127.0.0.1", False),
        ("169.254.1.1", False),
        ("0.0.0.0", False),
        ("::ffff:10.0.0.1", False),
        ("203.0.113.5", False),
    ],
)
def test_a_router_may_call_us_by_public_addresses_only(
    tmp_path: Path, address: str, is_told: bool
) -> None:
    reachable = Reachable(None, is_given=False)
    table = tmp_path / "dht"
    node = Discovering(
        cast(Catalogue, Nothing()), reachable, DiscoveryOptions(dht=False), table, Pacing()
    )
    node._mapped(Mapped(9419, address))
    assert reachable.public == (at(address, 9419) if is_told else None)


def test_what_clones_of_this_machine_had_downloaded_is_not_announced() -> None:
    class Cached:
        is_cached = True
        is_private = False

    class Carried:
        is_cached = False
        is_private = False

    class Private:
        is_cached = False
        is_private = True

    assert not may_be_announced(cast(Served, Cached()))
    assert not may_be_announced(cast(Served, Private()))
    assert may_be_announced(cast(Served, Carried()))


def test_a_node_that_looks_nowhere_says_that_nothing_was_found(tmp_path: Path) -> None:
    options = DiscoveryOptions(dht=False, lan=False)
    node = Discovering(cast(Catalogue, Nothing()), Reachable(), options, tmp_path / "dht")
    told: list[Answer] = []
    assert asyncio.run(node.find(Find(REPOSITORY), told.append)) == [Done(0)]
    assert told == []


def test_no_node_to_begin_with_turns_the_dht_off() -> None:
    assert not DiscoveryOptions(dht=True, bootstrap=()).uses_dht
    assert not DiscoveryOptions(dht=False).uses_dht
    assert DiscoveryOptions(dht=True).uses_dht


def test_a_session_outlives_its_look_ups_and_no_more(tmp_path: Path) -> None:
    pytest.importorskip("libtorrent")
    on = DiscoveryOptions(dht=True, bootstrap=("127.0.0.1:1",), dht_listen=("127.0.0.1:0",))
    off = DiscoveryOptions(dht=False)

    async def work() -> None:
        node = Discovering(cast(Catalogue, Nothing()), Reachable(), on, tmp_path / "dht")
        looking = asyncio.ensure_future(node.find(Find(REPOSITORY), lambda _: None))
        while not node._uses:
            await asyncio.sleep(0)
        session = node._session
        assert session is not None
        await node.change(off, [])
        assert session.raw is not None
        assert await node.find(Find(REPOSITORY), lambda _: None) == [Done(0)]
        looking.cancel()
        await asyncio.wait([looking])
        await node.stop()
        assert session.raw is None
        assert not node._uses

    asyncio.run(work())


def test_a_change_of_nothing_changes_nothing(tmp_path: Path) -> None:
    options = DiscoveryOptions(dht=False, map_port=True, bootstrap=())

    async def work() -> None:
        reachable = Reachable(None, is_given=False)
        node = Discovering(cast(Catalogue, Nothing()), reachable, options, tmp_path / "dht")
        reachable.public = at("93.184.216.34")
        await node.change(options, [])
        assert reachable.public is not None

    asyncio.run(work())
