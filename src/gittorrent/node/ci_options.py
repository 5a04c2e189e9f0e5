"""How a node serves CI jobs: what ``[ci]`` in its configuration says. Pure."""

from __future__ import annotations

from msgspec import Struct

MAX_SIZE = 20 << 30
"""Bytes of all that is kept for CI jobs, unless the operator says otherwise."""

MAX_REPOSITORY = 5 << 30
"""Bytes kept of one upstream; likewise."""

KEEP_FOR = 14 * 24 * 3600
"""Seconds after its last use that something is kept; likewise: two weeks without a job."""

WAIT_SECONDS = 120
"""Seconds that another runner may take for an answer before the upstream is asked; likewise."""


class CiConfig(Struct, frozen=True):
    """What is done for CI jobs; nothing without ``allow``.

    Args:
        allow: beginnings of the upstreams' URLs, as `gittorrent.wire.ci_urls` writes them.
        socket: path of the socket; None for the home's own.
        is_for_all: whether other users of this machine, and containers, may ask.
        max_size: bytes of all that is kept.
        max_repository: bytes kept of one upstream.
        keep_for: seconds after its last use that something is kept.
        peers: base URLs of the other runners' nodes.
        lan: whether others are found on the local network, and find this one.
        secret: file with the secret that the runners share; None for none.
        wait: seconds that another runner may take.
        share_refs: whether other runners are believed what refs public upstreams have.
    """

    allow: tuple[str, ...] = ()
    socket: str | None = None
    is_for_all: bool = False
    max_size: int = MAX_SIZE
    max_repository: int = MAX_REPOSITORY
    keep_for: int = KEEP_FOR
    peers: tuple[str, ...] = ()
    lan: bool = False
    secret: str | None = None
    wait: int = WAIT_SECONDS
    share_refs: bool = False

    @property
    def is_fleet(self) -> bool:
        """Tell whether there are other runners to share with."""
        return bool(self.peers) or self.lan
