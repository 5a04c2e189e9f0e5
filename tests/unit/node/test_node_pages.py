"""What web pages may not make a node do, however their requests reach it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.node.catalogue import Catalogue
from gittorrent.node.http_pages import is_from_page, is_misdirected
from gittorrent.node.mirror_table import MirrorTable
from gittorrent.node.notices import Notices
from gittorrent.repository.carried import Carried
from gittorrent.store.database import Database
from gittorrent.wire import notify, pktline
from gittorrent.wire.notify import Notify
from gittorrent.wire.urls import parse_learned_url
from support import nodes
from support.nodes import call, fetch

PATH = "/project.git/mirror-notify"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://evil.example"}, True),
    ],
)
def test_browsers_say_that_a_page_asks(headers: dict[str, str], expected: bool) -> None:
    assert is_from_page(headers) is expected


@pytest.mark.parametrize(
    ("host", "caller", "expected"),
    [
        (None, "127.0.0.1", False),
        ("127.0.0.1:8417", "127.0.0.1", False),
        ("[::1]:8417", "::1", False),
        ("localhost:8417", "127.0.0.1", False),
        ("LOCALHOST.", "127.0.0.1", False),
        ("mirror.example.org", "127.0.0.1", False),
        ("evil.example:8417", "127.0.0.1", True),
        ("localhost.evil.example", "127.0.0.1", True),
        ("", "127.0.0.1", True),
        ("evil.example", "198.51.100.7", False),
    ],
)
def test_names_that_resolve_here_are_not_ours(
    host: str | None, caller: str, expected: bool
) -> None:
    assert is_misdirected(host, caller, {"mirror.example.org"}) is expected


def test_a_page_cannot_send_a_notice(carried: Carried, tmp_path: Path) -> None:
    """Nobody is called back for one, and nobody is listed."""
    with (
        socket.create_server(("127.0.0.1", 0)) as victim,
        nodes.serving(carried, home=nodes.make_home(tmp_path)) as origin,
    ):
        victim.setblocking(False)
        url = f"git://127.0.0.1:{victim.getsockname()[1]}/project.git"
        body = Notify(url, carried.log_store.ids()[-1], 600).encode_text()
        typed = {"Content_Type": notify.CONTENT_TYPE}
        tries: list[tuple[dict[str, str], int]] = [
            ({}, 415),
            ({"Content_Type": "text/plain"}, 415),
            ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
            ({"Content_Type": "multipart/form-data; boundary=x"}, 415),
            ({"Content_Type": f"text/plain; a*{'9' * 5000}=x"}, 415),
            ({**typed, "Origin": "http://evil.example"}, 403),
            ({**typed, "Sec_Fetch_Site": "cross-site"}, 403),
            ({**typed, "Host": "evil.example"}, 421),
        ]
        for headers, status in tries:
            response, text = fetch(origin.http_address, "POST", PATH, body, **headers)
            assert (response.status, text[:4]) == (status, b"ERR "), headers
        response, _ = fetch(
            origin.http_address, "OPTIONS", PATH, Origin="http://evil.example",
            Access_Control_Request_Method="POST", Access_Control_Request_Headers="content-type",
        )  # fmt: skip
        assert response.status >= 400
        assert response.getheader("Access-Control-Allow-Origin") is None
        with pytest.raises(BlockingIOError):
            victim.accept()


def test_a_page_starts_no_git_and_reads_nothing_under_its_own_name(
    carried: Carried, tmp_path: Path
) -> None:
    options = replace(nodes.LOOPBACK, url=parse_learned_url("http://mirror.example.org"))
    with nodes.serving(carried, home=nodes.make_home(tmp_path), options=options) as node:
        refs = "/project.git/info/refs?service=git-upload-pack"
        response, _ = fetch(node.http_address, "GET", refs, Origin="http://evil.example")
        assert response.status == 403
        for path in (refs, "/", "/project.git/mirror-list", "/project.git/pushes/index"):
            response, _ = fetch(node.http_address, "GET", path, Host="evil.example")
            assert response.status == 421
            response, _ = fetch(node.http_address, "GET", path, Host="mirror.example.org")
            assert response.status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_the_git_port_takes_no_http(carried: Carried, tmp_path: Path, method: str) -> None:
    """A page can have a browser send a body of its choice to a port that is no web server's."""
    smuggled = pktline.encode(b"mirror-notify /project.git\0host=x\0")
    with nodes.serving(carried, home=nodes.make_home(tmp_path)) as node:
        words = f"{method} / HTTP/1.1\r\nContent-Type: text/plain\r\n\r\n".encode() + smuggled
        answer = call(node.git_address, words)
        assert answer[4:8] == b"ERR "
        assert b"no request" in answer


def test_names_of_the_net_do_not_lead_back_to_this_machine(
    carried: Carried, tmp_path: Path
) -> None:
    database = Database(tmp_path / "db")
    (served,) = Catalogue([carried])

    async def refusal(host: str, address: str) -> str:
        said = Notify(f"git://{host}:9/project.git", carried.log_store.ids()[-1], 600)
        return (
            await Notices(MirrorTable(database), lambda: True).receive(served, said, address)
        ).refusal

    try:
        assert "localhost" in asyncio.run(refusal("rebound.example", "127.0.0.1"))
        assert "not the address" in asyncio.run(refusal("10.1.2.3", "127.0.0.1"))
        assert "not the address" in asyncio.run(refusal("127.0.0.1", "10.1.2.3"))
    finally:
        database.close()
