"""Who called a node that is behind a web server, where callers say something of that, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.node.options import Options
from support import nodes
from support.nodes import Served
from support.websockets import calling, request

ONE, OTHER = b"X-Real-IP: 192.0.2.7\r\n", b"x-real-ip: 192.0.2.8\r\n"


@pytest.fixture(scope="module", params=[True, False], ids=["behind", "not-behind"])
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, bool]]:
    root: Path = tmp_path_factory.mktemp("proxied")
    repository = nodes.make_repository(root / "project.git")
    carried = nodes.publish(repository, nodes.signer(root), "project")
    options = Options(http=(("127.0.0.1", 0),), announce=False, behind_proxy=request.param)
    with nodes.serving(carried, home=nodes.make_home(root / "home"), options=options) as served:
        yield served, request.param


@pytest.mark.parametrize("said", [b"", ONE], ids=["nothing", "one"])
def test_one_address_is_who_called(node: tuple[Served, bool], said: bytes) -> None:
    with calling(node[0].http_address, request().removesuffix(b"\r\n") + said + b"\r\n") as caller:
        assert " 101 " in caller.head()


@pytest.mark.parametrize(
    "said",
    [
        ONE + OTHER,
        b"X-Real-IP: 192.0.2.7, 192.0.2.8\r\n",
        b"X-Real-IP: unix:\r\n",
        b"X-Real-IP:\r\n",
    ],
    ids=["two", "list", "unix", "empty"],
)
def test_nobody_passes_for_this_machine_by_saying_too_much(
    node: tuple[Served, bool], said: bytes
) -> None:
    """A web server that adds a header, or puts a list there, leaves what its caller sent."""
    served, is_behind = node
    with calling(served.http_address, request().removesuffix(b"\r\n") + said + b"\r\n") as caller:
        assert (" 400 " if is_behind else " 101 ") in caller.head()
