"""Callers who hold several conversations on one connection.

Each conversation is like one on a connection of its own; see `gittorrent.node.conversations`.
Tracks the callers. Rules: what a caller proved
for the connection counts for each conversation on it; the connection counts as silent when all its
conversations are. Must not know how a caller's bytes come here.
Source: docs/protocol/mirrorsync.md, mirror-mux.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.node.access import STRANGER, Access
from gittorrent.node.connection_limiter import ConnectionSlot
from gittorrent.node.conversations import MAKE_ROOM
from gittorrent.node.tokens import Tokens
from gittorrent.transfer.channel import GOODBYE_SECONDS
from gittorrent.transfer.mux_connection import MuxConnection
from gittorrent.transfer.off_loop import at_once
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.mux import Mux
from gittorrent.wire.session import IN_MUX, Role

if TYPE_CHECKING:
    import socket

    from gittorrent.node.conversations import Conversations
    from gittorrent.node.services import NodeServices
    from gittorrent.transfer.channel import Channel
    from gittorrent.transfer.mux_channel import MuxChannel

TOO_MANY = "too many conversations are open here; try again later"
NOT_GIVEN = "this repository is not given on a connection with others"
OUR_FAULT = "this node has a problem of its own; try again later, or ask another mirror"

_log = EventLog(__name__)


class SharedCallers:
    """Serves such callers, for all listeners of a node.

    Args:
        services: what callers are served with.
        conversations: holds the conversations.
    """

    def __init__(self, services: NodeServices, conversations: Conversations) -> None:
        self._catalogue = services.catalogue
        self._tokens = services.tokens or Tokens(None, services.catalogue.threads)
        self._limits = services.limits
        self._server_timeouts = services.server_timeouts
        self._conversations = conversations
        self._shares = conversations.sharing
        self._callers: set[_SharedCaller] = set()
        self._goodbye = ""
        conversations.on_goodbye.append(self._leave)

    async def serve(
        self,
        end: socket.socket | Channel,
        slot: ConnectionSlot,
        address: str | None = None,
        access: Access = STRANGER,
    ) -> None:
        """Serve one caller until either end hangs up.

        Args:
            end: what its bytes pass through; closed at the end.
            slot: the caller's place.
            address: IP address that it calls from, where it is not the one of its connection.
            access: what it proved.
        """
        caller = _SharedCaller(self, slot, address or slot.address, access)
        self._callers.add(caller)
        try:
            await caller.serve(end)
        finally:
            self._callers.discard(caller)

    def _leave(self, reason: str) -> None:
        """Begin no more conversations, and hang up once those under way said their last words."""
        self._goodbye = reason
        for caller in self._callers:
            caller.leave(reason)

    # -- for each caller

    def connection(
        self, end: socket.socket | Channel, address: str, caller: _SharedCaller
    ) -> MuxConnection:
        """Return the connection of a caller."""
        mux = Mux(Role.ANSWERER, asyncio.get_running_loop().time())
        limiter = self._limits.sending_to(address)
        return MuxConnection(end, mux, limiter, at_once, self._server_timeouts, caller.begin)

    async def converse(
        self, channel: MuxChannel, slot: ConnectionSlot, path: bytes, access: Access
    ) -> str:
        """Hold one conversation; returns why there is none, nothing if there was."""
        if self._goodbye:
            return self._goodbye
        share = self._shares.enter(slot.address, channel.cut)
        if share is None:
            return TOO_MANY
        channel.count_with(share.hold)
        try:
            access = await self._tokens.now(access)
            served = await self._catalogue.seek(path, access)
            if served is None:
                return NOT_GIVEN
            await self._conversations.converse(
                channel, slot, served, access=access, timeouts=IN_MUX
            )
        except GitTorrentError as error:
            _log.error("damaged", "cannot serve {path}: {reason}", path=path, reason=error)
            return OUR_FAULT
        finally:
            self._shares.leave(share)
        return ""


class _SharedCaller:
    """One caller."""

    def __init__(
        self, callers: SharedCallers, slot: ConnectionSlot, address: str, access: Access
    ) -> None:
        self._access = access
        self._callers = callers
        self._slot = slot
        self._address = address
        self._slots: set[ConnectionSlot] = set()
        self._tasks = TaskSet()
        self._loop = asyncio.get_running_loop()
        self._quiet_since = self._loop.time()
        self._connection: MuxConnection | None = None
        self._leaving = ""

    async def serve(self, end: socket.socket | Channel) -> None:
        """See `SharedCallers.serve`."""
        connection = self._connection = self._callers.connection(end, self._address, self)
        self._slot.silent_since = self._silent_since
        self._slot.give_way = self._give_way
        _log.info("shared-begun", "mirror-mux with {peer}", peer=self._address)
        try:
            await connection.run()
        finally:
            # They hear that the connection is over; one that waits for a disk hears nothing.
            if tasks := list(self._tasks):
                await asyncio.wait(tasks, timeout=GOODBYE_SECONDS)
            await self._tasks.stop()
        _log.info(
            "shared-ended",
            "mirror-mux with {peer} ended: {reason}",
            peer=self._address,
            reason=connection.ended,
        )

    def begin(self, channel: MuxChannel, path: bytes) -> None:
        """Begin a conversation that the caller asks for."""
        self._tasks.start(self._converse(channel, path))

    async def _converse(self, channel: MuxChannel, path: bytes) -> None:
        slot = ConnectionSlot(self._address, self._loop.time(), lambda _slot, _now: None)
        self._slots.add(slot)
        reason = OUR_FAULT
        try:
            reason = await self._callers.converse(channel, slot, path, self._access)
        finally:
            self._slots.discard(slot)
            self._quiet_since = self._loop.time()
            channel.close(reason)
            self._leave_if_idle()

    def _silent_since(self, now: float) -> float | None:
        """Return since when all conversations are silent; None if one of them is not."""
        found = [self._quiet_since]
        for slot in self._slots:
            since = slot.silent_since(now)
            if since is None:
                return None
            found.append(since)
        return max(found)

    def leave(self, reason: str) -> None:
        """Hang up when the conversations under way are over, or after a moment."""
        if self._connection is None:
            return
        self._loop.call_later(GOODBYE_SECONDS, self._connection.end, reason)
        self._leaving = reason
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        if self._leaving and not self._slots and self._connection is not None:
            self._connection.end_when_sent(self._leaving)

    def _give_way(self) -> None:
        for slot in self._slots:
            slot.give_way()
        self.leave(MAKE_ROOM)
