"""Whether the node of a home is there, answers and is ready, for whoever looks after it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.store import control_socket
from gittorrent.store.processes import NodeProcess
from gittorrent.store.snapshot import look_at_snapshots
from gittorrent.transfer.local_node import GREETING_SECONDS
from gittorrent.wire.control import MAX_LINE, Greeting, parse_answer

if TYPE_CHECKING:
    from gittorrent.store.home import Home


class Health(Struct, frozen=True):
    """How a node is.

    Args:
        is_alive: whether it answers.
        lacks: why it is not ready; empty if it is.
    """

    is_alive: bool
    lacks: str = ""


def running_nodes(home: Home) -> list[NodeProcess]:
    """Return what the nodes that run for a home say of themselves."""
    return [each for each in look_at_snapshots(home.run) if isinstance(each, NodeProcess)]


def look_at_health(home: Home) -> Health:
    """Return how the node of a home is.

    What it says of itself is a second old; whether its event loop goes on is asked now.
    """
    nodes = running_nodes(home)
    if greeting_of(home) is None:
        where = "none runs here" if not nodes else f"it does not answer at {home.control}"
        return Health(is_alive=False, lacks=where)
    if not nodes:
        return Health(is_alive=True, lacks="it has not written down yet how it is")
    lacks = dict.fromkeys(each.lacks for each in nodes if each.lacks)
    return Health(is_alive=True, lacks="; ".join(lacks))


def greeting_of(home: Home) -> Greeting | None:
    """Return a node's first line; None if nobody says one that is understood."""
    sock = control_socket.connect(home.control) if home.control.exists() else None
    if sock is None:
        return None
    with sock:
        sock.settimeout(GREETING_SECONDS)
        with contextlib.suppress(OSError, ProtocolError), sock.makefile("rb") as lines:
            answer = parse_answer(lines.readline(MAX_LINE))
            return answer if isinstance(answer, Greeting) else None
    return None
