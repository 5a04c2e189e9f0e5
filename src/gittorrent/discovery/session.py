"""A libtorrent session that has the DHT or maps ports, and nothing else of BitTorrent.

libtorrent is asked for nothing but its DHT node (BEP 5) and its UPnP and NAT-PMP clients: no
torrent is ever added, and connections of BitTorrent are neither made nor taken. It opens a TCP port
beside its UDP port all the same, where it hangs up on whoever comes.

Rules: a session of a command takes part in no DHT (BEP 43) and stores nothing for others; look-ups
hide the key from all nodes but those near it. The routing table is kept across runs, so that the
bootstrap nodes are asked once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gittorrent.durable import write_atomically
from gittorrent.errors import LocalError
from gittorrent.event_log import EventLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

BOOTSTRAP = (
    "dht.libtorrent.org:25401",
    "router.bittorrent.com:6881",
    "dht.transmissionbt.com:6881",
)
"""Nodes of the mainline DHT that newcomers begin with, run by the makers of BitTorrent clients."""

MAX_STATE_BYTES = 1 << 20
"""Bytes of a kept routing table; it has some hundred nodes of 26 bytes."""

PRIVATE_RATE = 1000
"""Packets a second from one address, in a DHT of somebody's own, beyond which it is not heard for
five minutes. The usual 5 are fewer than a node sends that announces to a handful of others."""

CLOSE_SECONDS = 3.0
"""Time a session gets to end: to take port mappings back, above all."""

_log = EventLog(__name__)


class NoLibtorrentError(LocalError):
    """The Python package libtorrent is not installed, or does not work here."""

    def __init__(self, reason: object) -> None:
        super().__init__(
            f"the DHT cannot be asked: libtorrent does not work here ({reason})",
            hint="install the Python package libtorrent, or name a mirror",
        )


class SessionOptions(Struct, frozen=True):
    """What a session does.

    Args:
        dht: whether it has a node of the DHT.
        map_ports: whether it asks routers for port mappings.
        bootstrap: ``HOST:PORT`` of the nodes of the DHT to begin with.
        listen: IP addresses to use the DHT from, with ports; port 0 takes a free one.
        read_only: whether it only asks, as commands do.
        state: where the routing table is kept; None keeps none.
    """

    dht: bool = True
    map_ports: bool = False
    bootstrap: tuple[str, ...] = BOOTSTRAP
    listen: tuple[str, ...] = ("0.0.0.0:0", "[::]:0")
    read_only: bool = False
    state: Path | None = None

    @property
    def is_private(self) -> bool:
        """Tell whether the DHT is one of somebody's own, which has few networks in it."""
        return bool(self.bootstrap) and self.bootstrap != BOOTSTRAP


class Session:
    """A running session; make it inside a running event loop, which its alerts come in by.

    ``has_joined``: whether the DHT was found. What is announced before is lost, since a node takes
    another id when the first answers tell it its address.

    Args:
        options: what it does.

    Raises:
        NoLibtorrentError: it cannot be had.
    """

    def __init__(self, options: SessionOptions) -> None:
        self.lt = _libtorrent()
        self._options = options
        self.has_joined = False
        self._hearers: list[Callable[[Any], None]] = []
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._sockets = (ours, theirs)
        self._loop = asyncio.get_running_loop()
        try:
            self._session: Any = self.lt.session(self._parameters())
        except (RuntimeError, ValueError) as error:
            self._close_sockets()
            raise NoLibtorrentError(error) from error
        self._session.set_alert_fd(theirs.fileno())
        self._loop.add_reader(ours, self._hear)

    @property
    def port(self) -> int:
        """The UDP port of the DHT; 0 until there is one."""
        return int(self._session.listen_port())

    @property
    def raw(self) -> Any:
        """libtorrent's own session."""
        return self._session

    def on_alert(self, hearer: Callable[[Any], None]) -> Callable[[], None]:
        """Hand all alerts to a hearer too; returns what ends that."""
        self._hearers.append(hearer)
        return lambda: self._hearers.remove(hearer)

    def add_nodes(self, nodes: Sequence[tuple[str, int]]) -> None:
        """Tell the DHT of nodes, by IP address and UDP port."""
        for node in nodes:
            self._session.add_dht_node(node)

    def save(self) -> None:
        """Keep the routing table for the next run.

        Raises:
            OSError: it cannot be written.
        """
        if self._options.state is not None and self._options.dht:
            state = self._session.session_state(_SAVE_DHT_STATE)
            write_atomically(
                self._options.state, self.lt.write_session_params_buf(state, _SAVE_DHT_STATE)
            )

    async def close(self) -> None:
        """Keep the routing table and end the session, within a bounded time."""
        try:
            self.save()
        except OSError as error:
            _log.warning(
                "no-routing-table", "cannot keep the DHT's routing table: {reason}", reason=error
            )
        self._loop.remove_reader(self._sockets[0])
        self._hearers.clear()
        held = [self._session]
        self._session = None
        ended = asyncio.Event()
        loop = self._loop

        def end() -> None:
            held.clear()  # its destructor waits for its threads
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        # A thread that nobody has to wait for: routers that are silent must not hold up anybody.
        threading.Thread(target=end, name="close-dht", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await ended.wait()
        if ended.is_set():
            self._close_sockets()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._sockets[0].recv(4096)
        for alert in self._session.pop_alerts():
            if isinstance(alert, self.lt.dht_bootstrap_alert):
                self.has_joined = True
            for hearer in list(self._hearers):
                hearer(alert)

    def _parameters(self) -> Any:
        parameters = self.lt.session_params()
        state = self._kept_state()
        if state is not None:
            try:
                parameters = self.lt.read_session_params(state, _SAVE_DHT_STATE)
            except (RuntimeError, ValueError) as error:
                # It is a cache; the bootstrap nodes are there for whoever has none.
                _log.info("no-routing-table", "left the routing table out: {reason}", reason=error)
        parameters.settings = self._settings()
        return parameters

    def _kept_state(self) -> bytes | None:
        if self._options.state is None:
            return None
        try:
            with self._options.state.open("rb") as file:
                return file.read(MAX_STATE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("no-routing-table", "left the routing table out: {reason}", reason=error)
            return None

    def _settings(self) -> dict[str, Any]:
        options, category = self._options, self.lt.alert.category_t
        in_public = not options.is_private
        return {
            "user_agent": "",
            "alert_mask": int(category.dht_notification)
            | int(category.dht_operation_notification)
            | int(category.port_mapping_notification)
            | int(category.status_notification)
            | int(category.error_notification),
            "listen_interfaces": ",".join(options.listen),
            "enable_dht": options.dht,
            "dht_bootstrap_nodes": ",".join(options.bootstrap),
            "dht_read_only": options.read_only,
            "dht_privacy_lookups": in_public,
            # They keep one network from filling the table, and would keep a small DHT empty.
            "dht_restrict_routing_ips": in_public,
            "dht_restrict_search_ips": in_public,
            "dht_prefer_verified_node_ids": in_public,
            "dht_ignore_dark_internet": in_public,
            # Where there are few nodes each gets many of the announcements, and is no attacker.
            "dht_block_ratelimit": 5 if in_public else PRIVATE_RATE,
            "enable_upnp": options.map_ports,
            "enable_natpmp": options.map_ports,
            "enable_lsd": False,
            "enable_incoming_tcp": False,
            "enable_outgoing_tcp": False,
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
        }


_SAVE_DHT_STATE = 4
"""``save_state_flags_t::save_dht_state`` of libtorrent."""


def _libtorrent() -> Any:
    try:
        import libtorrent
    except (ImportError, OSError) as error:
        raise NoLibtorrentError(error) from error
    return libtorrent
