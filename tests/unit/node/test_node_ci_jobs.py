"""Where others on the local network may ask a runner's node."""

from __future__ import annotations

import pytest

from gittorrent.node.ci_jobs import lan_places
from gittorrent.wire.urls import Endpoint


def at(scheme: str, host: str, port: int) -> Endpoint:
    return Endpoint(scheme, host, port, "/")


@pytest.mark.parametrize(
    ("listening", "expected"),
    [
        ([], ((), 0)),
        ([at("git", "10.0.0.1", 9418)], ((), 0)),
        ([at("https", "10.0.0.1", 8417)], ((), 0)),
        ([at("http", "127.0.0.1", 8417), at("http", "::1", 8417)], ((), 0)),
        ([at("http", "10.0.0.1", 81)], ((), 0)),
        ([at("http", "10.0.0.1", 80)], (("10.0.0.1",), 80)),
        ([at("http", "0.0.0.0", 8417)], (("0.0.0.0",), 8417)),
        (
            [at("http", "127.0.0.1", 8000), at("http", "10.0.0.1", 8417), at("http", "::", 8417)],
            (("10.0.0.1", "::"), 8417),
        ),
        ([at("http", "10.0.0.1", 8417), at("http", "10.0.0.2", 8418)], (("10.0.0.1",), 8417)),
    ],
)
def test_where_it_listens_for_others(
    listening: list[Endpoint], expected: tuple[tuple[str, ...], int]
) -> None:
    assert lan_places(listening) == expected
