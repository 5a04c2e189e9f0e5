"""Addresses, listeners, ranges of HTTP, and versions of git's protocol."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from gittorrent.node.connections import CannotListenError, open_listeners
from gittorrent.node.http_static import RangeNotSatisfiable, parse_range
from gittorrent.node.options import Options
from gittorrent.node.upload_pack import protocol_of
from gittorrent.repository.carried import Carried
from gittorrent.transfer.addresses import caller_group, is_wildcard, plain_address, show_address
from support import nodes
from support.nodes import call, request


def test_addresses() -> None:
    assert plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert caller_group("2001:db8:0:1:2::3") == "2001:db8:0:1::/64"
    assert show_address("::1", 80) == "[::1]:80"
    assert show_address("127.0.0.1", 80) == "127.0.0.1:80"
    assert [is_wildcard(a) for a in ("0.0.0.0", "::", "::1", "10.0.0.1")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_taken_port_is_an_error_that_names_it() -> None:
    async def work() -> None:
        (first,) = await open_listeners("127.0.0.1", 0)
        port = first.getsockname()[1]
        with first, pytest.raises(CannotListenError, match=str(port)):
            await open_listeners("127.0.0.1", port)

    asyncio.run(work())


def test_all_addresses_share_one_port() -> None:
    async def work() -> None:
        listeners = await open_listeners("", 0)
        assert len({sock.getsockname()[1] for sock in listeners}) == 1
        for sock in listeners:
            sock.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 10)),
        ("bytes=10-", (10, 90)),
        ("bytes=-10", (90, 10)),
        ("bytes=-1000", (0, 100)),
        ("bytes=90-1000", (90, 10)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("bytes=+1-2", None),
        ("items=0-1", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_ranges(header: str | None, wanted: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == wanted


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=500-600", "bytes=-0"])
def test_ranges_beyond_the_end(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 100)


def test_only_plain_versions_reach_git() -> None:
    assert protocol_of((b"version=2",)) == "version=2"
    assert protocol_of((b"x=1", b"version=1")) == "version=1"
    for odd in (b"version=3", b"version=2:x", b"version=2\n", b"version=", b"v"):
        assert protocol_of((odd,)) is None


def test_ipv6_listener(carried: Carried, tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    options = Options(git=(("::1", 0),), announce=False)
    with nodes.serving(carried, home=nodes.make_home(tmp_path), options=options) as served:
        assert served.git.startswith("git://[::1]:")
        answer = call(served.git_address, request("mirror-list", b"/project.git"))
        assert f"try {served.git}/project.git".encode() in answer
