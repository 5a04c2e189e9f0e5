"""What looking mirrors up and announcing them means, in whichever way it is done.

Pure. Source: docs/protocol/mirrorsync.md, Discovery.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from gittorrent.ids import RepositoryId

MAX_PER_ANSWER = 4
"""Places that count of one answer: in the DHT each node that is asked gives one of its own."""


class Way(Enum):
    """How a mirror was found."""

    NAMED = "named"
    """By the user."""
    LISTED = "listed"
    """In the list of a mirror."""
    POLICY = "policy"
    """In a ``mirror`` line of the owners' policy."""
    COLLECTION = "collection"
    """In a collection that the operator follows."""
    NOTICE = "notice"
    """It announced itself to the node of this machine, and was called back."""
    NODE = "node"
    """It is the node of this machine."""
    LAN = "lan"
    DHT = "dht"


class Place(Struct, frozen=True):
    """Where somebody may serve a repository over git://, under its id.

    Args:
        address: IP address, IPv6 without brackets.
        port: of TCP.
        way: how it was found.
    """

    address: str
    port: int
    way: Way


class Lookup(Protocol):
    """One way to look for the mirrors of a repository."""

    def find(self, repository: RepositoryId) -> AsyncGenerator[Sequence[Place], None]:
        """Yield what is found as it comes; ends by itself, after a bounded time.

        Whoever loses interest closes the iterator. A way that cannot be used yields nothing, and
        says so itself.
        """
        ...


class Announcer(Protocol):
    """One way to let others find the repositories that are served here."""

    def announce(self, repository: RepositoryId, port: int) -> None:
        """Tell that a repository is served at a port of this machine's; returns at once."""
        ...
