"""The conversations of a node with those who call it, whatever they call over.

Tracks the conversations under way, what they come to, and the swarms that callers are in. Must not
know how a caller's bytes come here.
Source: docs/protocol/mirrorsync.md, mirror-sync.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING

from gittorrent.event_log import EventLog
from gittorrent.node.access import STRANGER, Access
from gittorrent.node.audience import Audience
from gittorrent.node.conversation_shares import ConversationShares
from gittorrent.node.live_caller import Caller
from gittorrent.node.session_stats import SessionTable
from gittorrent.node.swarming import Swarms
from gittorrent.node.tokens import Tokens
from gittorrent.transfer.conversation import Conversation
from gittorrent.transfer.conversation_roles import ConversationHandlers, Upload
from gittorrent.transfer.live_peer import CallingPeer
from gittorrent.wire.messages import VERSION, Ready, Try, WrongParts
from gittorrent.wire.session import Role, Session

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gittorrent.node.catalogue import Served
    from gittorrent.node.connection_limiter import ConnectionSlot
    from gittorrent.node.services import NodeServices
    from gittorrent.node.swarming import Participant
    from gittorrent.store.processes import ConversationFigures, EndedConversation
    from gittorrent.transfer.channel import Channel
    from gittorrent.transfer.slot_queue import SlotQueue
    from gittorrent.wire.messages import ReceivePart
    from gittorrent.wire.session import MessageReceived, Timeouts

NOT_SERVED = "no such repository here"
"""The one answer to every path that is not served, so that it tells nothing."""

DOUBT_SECONDS = 10.0
"""Seconds between two looks at parts that came wrong to somebody, whoever says so: each reads as
much as sending a part does."""

MAKE_ROOM = "idle connection closed to serve others; connect again when you need something"
"""What those in a conversation are told who have to make room for others."""

_log = EventLog(__name__)


class Conversations:
    """Holds conversations, for all listeners of a node.

    Args:
        services: what callers are served with.
        node_id: how this node calls itself.
        slots: upload slots of the node.
        peer_exchange: whether downloaders are told of each other.

    ``sharing`` says which conversations there may be on connections that several share,
    ``audience`` who is given anything, ``on_damage`` hears of repositories with a damaged reel.
    """

    def __init__(
        self,
        services: NodeServices,
        node_id: str,
        slots: SlotQueue,
        *,
        peer_exchange: bool = True,
    ) -> None:
        self._live = services.live
        self._lists = services.lists
        self._limits = services.limits
        self._server_timeouts = services.server_timeouts
        self._node_id = node_id
        self._slots = slots
        tokens = services.tokens or Tokens(None, services.catalogue.threads)
        part = None if services.live is None else services.live.part
        self.audience = Audience(services.catalogue, tokens, part)
        self._conversations: set[Conversation] = set()
        self._goodbye = ""
        self.sharing = ConversationShares()
        self.on_goodbye: list[Callable[[str], None]] = []
        self._session_table = SessionTable()
        self._swarms = Swarms(introduces=peer_exchange)
        self._doubted_at = -math.inf
        self.on_damage: Callable[[Served], None] = lambda _served: None

    def introduce(self, *, introduces: bool) -> None:
        """Tell downloaders of each other from now on, or do not."""
        self._swarms.introduce(introduces=introduces)

    def goodbye(self, reason: str) -> None:
        """End all conversations, telling the other ends why; those that begin from now on, too."""
        self._goodbye = reason
        for tell in self.on_goodbye:
            tell(reason)
        for conversation in self._conversations:
            conversation.end(reason)

    def figures(self) -> list[ConversationFigures]:
        """Return what the conversations that are under way come to, the busy ones first."""
        now = asyncio.get_running_loop().time()
        return self._session_table.report(now, self._slots.waiting)

    @property
    def count(self) -> int:
        """How many conversations are under way."""
        return len(self._session_table)

    def ended(self) -> list[EndedConversation]:
        """Return the conversations that ended lately, the last one first."""
        return self._session_table.ended(asyncio.get_running_loop().time())

    async def converse(
        self,
        end: socket.socket | Channel,
        slot: ConnectionSlot,
        served: Served,
        address: str | None = None,
        access: Access = STRANGER,
        timeouts: Timeouts | None = None,
    ) -> None:
        """Converse with one caller until either end is done.

        Args:
            end: what its bytes pass through, not blocking; closed at the end.
            slot: the caller's place; its connection counts as silent when the conversation is.
            served: what it asked for.
            address: IP address that it calls from, where it is not the one of its connection.
            access: what it proved.
            timeouts: how long silence may last, if not as long as usual.

        Raises:
            SlowError: the repository's disk does not answer.
        """
        info, address = served.info, address or slot.address
        if self._live is not None:
            await self._live.begun(served)
        head, others = await asyncio.gather(
            served.reading(served.content.head), self._lists.mirrors(served)
        )
        session = Session(
            Role.ANSWERER,
            asyncio.get_running_loop().time(),
            timeouts or self._server_timeouts.session,
        )
        part = self._swarms.enter(
            info.repository_id, info.name, address, introduces=not served.is_private
        )
        conversation = Conversation(
            end,
            session,
            Upload(
                served.content,
                self._limits.sending_to(address),
                self._slots,
                served.reading,
                part.show,
            ),
            ConversationHandlers(
                lambda event: _hear(event, part, caller, doubts),
                lambda message: self._sent(conversation, part, message),
                part.on_request,
                lambda size: caller.on_announced(size),
            ),
            server_timeouts=self._server_timeouts,
        )
        caller = Caller(self._live, served, CallingPeer(address, conversation))
        doubts: list[WrongParts] = []
        slot.silent_since = lambda _now: conversation.silent_since
        slot.give_way = lambda: conversation.end(MAKE_ROOM)
        part.begin(conversation.say)
        conversation.say(Ready(VERSION, self._node_id))
        if head is not None:
            conversation.say(head)
        for entry in others:
            conversation.say(Try(entry))
        loop = asyncio.get_running_loop()
        names = {"repository": info.name, "peer": address}
        _log.info("conversation-begun", "mirror-sync {repository} with {peer}", **names)
        self._session_table.begin(conversation, address, info.name, loop.time())
        self._conversations.add(conversation)
        if self._goodbye:
            conversation.end(self._goodbye)
        try:
            with self.audience.giving(served, access, partial(conversation.end, NOT_SERVED)):
                await conversation.run()
        finally:
            part.leave()
            caller.leave(conversation.ended)
            self._conversations.discard(conversation)
            seconds = self._session_table.end(conversation.key, loop.time())
        for doubt in doubts:
            await self._look_at(doubt, served, address)
        _log.info(
            "conversation-ended",
            "mirror-sync {repository} with {peer} ended after {seconds} s: sent {sent},"
            " received {received} bytes; {reason}",
            **names,
            sent=conversation.bytes_sent,
            received=conversation.bytes_received,
            seconds=round(seconds, 1),
            reason=conversation.ended,
        )

    async def _look_at(self, doubt: WrongParts, served: Served, address: str) -> None:
        """Find out whether a part that came wrong to a caller is damaged here."""
        now = asyncio.get_running_loop().time()
        if now - self._doubted_at < DOUBT_SECONDS:
            return
        self._doubted_at = now
        manifest, part = doubt.manifest, doubt.first
        if await served.reading(lambda: served.content.doubt(manifest, part)):
            _log.error(
                "damaged-part",
                "{repository}: part {part} of reel {manifest} came wrong to {peer} and is damaged"
                " on this disk; the reel is given to nobody any more, and 'gittorrent verify' tells"
                " what else is",
                repository=served.info.name,
                part=part + 1,
                manifest=manifest,
                peer=address,
            )
            self.on_damage(served)

    def _sent(self, conversation: Conversation, part: Participant, message: ReceivePart) -> None:
        part.on_sent(message)
        self._session_table.sent_part(conversation.key)


def _hear(
    event: MessageReceived, part: Participant, caller: Caller, doubts: list[WrongParts]
) -> None:
    """Pass on what a caller says, to those whom it may concern.

    Args:
        event: what it says.
        part: its place in a swarm.
        caller: what it is to live conversations.
        doubts: takes the first part that it says came wrong.
    """
    if isinstance(event.message, WrongParts) and not doubts:
        doubts.append(event.message)
    part.on_message(event)
    caller.on_message(event)
