"""A GTP node: listens, calls peers and trackers, and runs the swarms of several repositories.

Tracks one swarm a repo hash. One listening socket serves all of them, whatever their dialect, since
a handshake names the swarm. Ends cleanly: nothing is cut off in the middle of a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import socket
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.gtp import limits
from gittorrent.gtp.machine import Event, Opened, PeerMachine, Side
from gittorrent.gtp.messages import PeerAddress, ReferenceEntry, References
from gittorrent.gtp.node.addresses import (
    CALL_SECONDS,
    CALLS_AT_ONCE,
    TOLD_AT_ONCE,
    TOLD_SECONDS,
    Addresses,
    Budget,
    Teller,
)
from gittorrent.gtp.node.link import Link
from gittorrent.gtp.node.room import Room
from gittorrent.gtp.node.tracker_client import TrackerClient
from gittorrent.gtp.reference import reference_id
from gittorrent.node.connection_limiter import ConnectionLimiter
from gittorrent.node.connections import accept_forever, open_listeners
from gittorrent.transfer.addresses import caller_group, is_wildcard, plain_address
from gittorrent.transfer.dialling import CannotConnectError
from gittorrent.transfer.limiter import Limiter
from gittorrent.transfer.looking_up import look_up
from gittorrent.wire.urls import AddressClass, address_class, less_trusted, may_contact

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.gtp.node.swarm import Swarm
    from gittorrent.gtp.profile import Profile
    from gittorrent.gtp.tracker_messages import TrackerAnswer
    from gittorrent.node.connection_limiter import ConnectionSlot

_log = logging.getLogger(__name__)

PEER_ID_PREFIX = b"-GT0100-"
CONNECT_SECONDS = 10.0
DIAL_SECONDS = 0.5
MOST_CALLS = 16
"""Connections at once that a node opened for one swarm."""


def new_peer_id() -> bytes:
    """Return a new peer id: who we are, and a random rest."""
    return PEER_ID_PREFIX + secrets.token_bytes(20 - len(PEER_ID_PREFIX))


def calls_of_one(swarms: int) -> int:
    """Return how many connections at once a node of so many swarms opens for each of them."""
    return max(1, min(MOST_CALLS, limits.MAX_CONNECTIONS // swarms))


class _Member(Struct):
    """A swarm with what finds peers for it."""

    swarm: Swarm
    addresses: Addresses
    tracker: TrackerClient | None = None


class GtpNode:
    """See the module.

    Args:
        listen: host and port to listen at; port 0 takes a free one; None not to listen.
        limiter: paces what is sent to peers.
        room: counts what is held for all peers.
    """

    def __init__(
        self,
        listen: tuple[str, int] | None,
        limiter: Limiter | None = None,
        room: Room | None = None,
    ) -> None:
        self.peer_id = new_peer_id()
        self.port = 0
        self.address = ""
        self._listen = listen
        self._limiter = limiter or Limiter(None)
        self._room = room or Room()
        self._tellers = Budget(TOLD_AT_ONCE, TOLD_SECONDS)
        self._calls = Budget(CALLS_AT_ONCE, CALL_SECONDS)
        self._members: dict[bytes, _Member] = {}
        self._connection_limiter = ConnectionLimiter(limits.MAX_CONNECTIONS, limits.MAX_PER_ADDRESS)
        self._listeners: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._links: set[asyncio.Task[None]] = set()
        self._next_key = 0
        # Only patience and the order of trackers, nothing that anybody must not guess.
        self._random = random.Random()  # noqa: S311

    def add(self, swarm: Swarm, peers: tuple[tuple[str, int], ...] = ()) -> None:
        """Take part in a swarm; before `start`.

        Args:
            swarm: of a repository.
            peers: addresses the user gave.
        """
        swarm.room = self._room
        member = _Member(swarm, Addresses(self._tellers, self._calls))
        for host, port in peers:
            member.addresses.add(host, port)
        self._members[swarm.metainfo.repo_hash] = member

    def meet(self, repo_hash: bytes, peers: tuple[PeerAddress, ...], teller: Teller) -> None:
        """Note peers that a tracker or a peer named."""
        member = self._members.get(repo_hash)
        if member is None:
            return
        for peer in peers:
            if peer.peer_id != self.peer_id:
                member.addresses.told(time.monotonic(), teller, peer.host, peer.port)

    async def start(self) -> None:
        """Begin to listen, call and announce.

        Raises:
            CannotListenError: the address cannot be listened at.
        """
        if self._listen is not None:
            self._listeners = await open_listeners(*self._listen)
            name = self._listeners[0].getsockname()
            self.address, self.port = str(name[0]), int(name[1])
        for listener in self._listeners:
            self._start(
                accept_forever(listener, self._connection_limiter, self._serve, self._links)
            )
        for member in self._members.values():
            member.swarm.start()
            self._start(self._dial_forever(member))
            self._follow_trackers(member)

    async def stop(self) -> None:
        """Leave all swarms; takes a few seconds at most."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        farewells = [m.tracker.leave() for m in self._members.values() if m.tracker is not None]
        await asyncio.gather(*farewells, return_exceptions=True)
        for member in self._members.values():
            for link in list(member.swarm.links.values()):
                link.close()
        if self._links:
            await asyncio.wait(self._links, timeout=5.0)
        for task in list(self._links):
            task.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        for member in self._members.values():
            await member.swarm.stop()

    def _start(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    # --- connections -------------------------------------------------------------------------

    async def _serve(self, sock: socket.socket, slot: ConnectionSlot) -> None:
        reader, writer = await asyncio.open_connection(sock=sock)
        # Peers stay for long and may have nothing to say; who does not introduce itself is none.
        await self._speak(
            reader,
            writer,
            slot.address,
            Side.LISTENING,
            None,
            None,
            slot.is_served,
            trusted=self._trust_in_caller(slot.address),
        )

    async def _dial_forever(self, member: _Member) -> None:
        loop = asyncio.get_running_loop()
        calls: set[asyncio.Task[None]] = set()
        try:
            while True:
                staging = min(
                    calls_of_one(len(self._members)) - len(calls),
                    limits.MAX_CONNECTIONS - len(member.swarm.links),
                )
                for address in member.addresses.due(time.monotonic(), staging):
                    task = loop.create_task(self._dial(member, address))
                    calls.add(task)
                    self._links.add(task)
                    task.add_done_callback(calls.discard)
                    task.add_done_callback(self._links.discard)
                await asyncio.sleep(DIAL_SECONDS)
        finally:
            for task in calls:
                if not any(task is link for link in self._links):
                    task.cancel()

    async def _dial(self, member: _Member, address: tuple[str, int]) -> None:
        was_useful = False
        try:
            trusted = member.addresses.trusted(address)
            reader, writer = await self._connect(member, address, trusted)
            peer = plain_address(str(writer.get_extra_info("peername")[0]))
            kind = address_class(peer)
            sock = writer.get_extra_info("socket")
            # The dialect of 2008 has no keep-alives of its own.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            was_useful = await self._speak(
                reader,
                writer,
                peer,
                Side.CONNECTING,
                member,
                address,
                trusted=kind if trusted is None else less_trusted(kind, trusted),
            )
        except (OSError, CannotConnectError) as error:
            _log.info("cannot reach %s:%d: %s", *address, error)
        finally:
            jitter = self._random.random()
            member.addresses.ended(time.monotonic(), address, jitter, was_useful=was_useful)

    async def _connect(
        self, member: _Member, address: tuple[str, int], trusted: AddressClass | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first address of a peer that accepts, of those that may be called.

        Raises:
            CannotConnectError: none may be called.
            OSError: none accepts; that of the last one.
        """
        failure: OSError | None = None
        found = await look_up(*address, CONNECT_SECONDS)
        numbers = {str(each[4][0]): plain_address(str(each[4][0])) for each in found}
        member.addresses.resolved(address, numbers.values())
        for number, ip in numbers.items():
            if trusted is not None and not may_contact(address_class(number), trusted):
                continue
            if not member.addresses.may_call(time.monotonic(), address, ip, caller_group(ip)):
                continue
            try:
                opening = asyncio.open_connection(number, address[1])
                return await asyncio.wait_for(opening, CONNECT_SECONDS)
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure
        raise CannotConnectError(
            "strangers may not send us there, did so too often, or it is known under another name"
        )

    def _trust_in_caller(self, address: str) -> AddressClass:
        """Return how far a caller may send us: no further than we were told to be reached.

        A forwarder in front of us makes strangers look local.
        """
        listens = self.address
        ours = AddressClass.PUBLIC if is_wildcard(listens) else address_class(listens)
        return less_trusted(address_class(address), ours)

    async def _speak(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: str,
        side: Side,
        member: _Member | None,
        dialled: tuple[str, int] | None,
        opened: Callable[[], None] = lambda: None,
        *,
        trusted: AddressClass,
    ) -> bool:
        """Run a connection to its end; returns whether the peer was of use (`Link.is_useful`)."""
        machine = PeerMachine(
            side=side,
            peer_id=self.peer_id,
            identify=self._identify,
            admit=lambda repo_hash, peer_id: self._admit(link, repo_hash, peer_id),
            now=time.monotonic(),
            repo_hash=member.swarm.metainfo.repo_hash if member is not None else b"",
        )
        self._next_key += 1
        link = Link(
            self._next_key,
            machine,
            reader,
            writer,
            address,
            self._limiter,
            trusted=trusted,
            room=self._room,
        )
        link.port = dialled[1] if dialled is not None else None

        def happen(link: Link, event: Event) -> None:
            swarm = self._members[link.machine.repo_hash].swarm
            if isinstance(event, Opened):
                opened()
                if member is not None and dialled is not None:
                    member.addresses.succeeded(dialled, caller_group(address))
            swarm.happen(link, event)

        async def answer(link: Link, message: object) -> None:
            await self._members[link.machine.repo_hash].swarm.answer(link, message)  # type: ignore[arg-type]

        reason = "broken off"
        try:
            reason = await link.run(happen, answer)
        finally:
            found = self._members.get(machine.repo_hash)
            if found is not None:
                found.swarm.ended(link, reason)
            if machine.remote_id == b"" and member is not None and dialled is not None:
                _log.info("%s:%d: %s", *dialled, reason)
        return link.is_useful

    def _identify(self, repo_hash: bytes) -> Profile | None:
        member = self._members.get(repo_hash)
        return None if member is None else member.swarm.metainfo.profile

    def _admit(self, link: Link, repo_hash: bytes, peer_id: bytes) -> bool:
        swarm = self._members[repo_hash].swarm
        return peer_id != self.peer_id and swarm.is_welcome(link, peer_id)

    # --- trackers ----------------------------------------------------------------------------

    def _follow_trackers(self, member: _Member) -> None:
        urls = member.swarm.metainfo.trackers
        if urls:
            order = self._random.sample(urls, len(urls))
            member.tracker = TrackerClient(order, member.swarm, self.peer_id, self.port, self._told)
            self._start(member.tracker.run())

    def _told(self, swarm: Swarm, answer: TrackerAnswer, teller: Teller) -> None:
        self.meet(swarm.metainfo.repo_hash, answer.peers, teller)
        bodies = tuple(ReferenceEntry(reference_id(b), b) for b in answer.references)
        if bodies:
            with contextlib.suppress(GitTorrentError):
                swarm.learned(References(bodies))
