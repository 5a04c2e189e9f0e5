"""A mirror reached by mirror-sync: over git://, or another stream of bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.store.processes import peer_name
from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.events import PeerKind
from gittorrent.swarm.keys import ConversationKey
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.conversation import Conversation, ConversationEndedError
from gittorrent.transfer.conversation_roles import ConversationHandlers, Upload
from gittorrent.transfer.dialling import connect, service_request
from gittorrent.transfer.mirror import BusyMirrorError, MirrorLostError
from gittorrent.transfer.questions import Questions
from gittorrent.transfer.stream import tcp_stream
from gittorrent.wire.fields import MessageError
from gittorrent.wire.messages import (
    VERSION,
    Busy,
    CancelParts,
    FetchParts,
    HaveBundle,
    HaveCheckpoint,
    MissingParts,
    News,
    QueuedParts,
    Ready,
    ReceivePart,
    Try,
    WrongParts,
)
from gittorrent.wire.reelname import check_bitmap
from gittorrent.wire.service import MIRROR_SYNC
from gittorrent.wire.session import Role, Session

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from gittorrent.ids import ManifestId, PushId
    from gittorrent.transfer.content_source import ContentSource
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.mirror import Admit, PartSink, WantedPack
    from gittorrent.transfer.off_loop import Reading
    from gittorrent.transfer.shared_connections import SharedStream
    from gittorrent.transfer.slot_queue import SlotQueue
    from gittorrent.transfer.stream import Stream
    from gittorrent.wire.messages import FetchLog
    from gittorrent.wire.reelname import ReelName
    from gittorrent.wire.session import MessageReceived
    from gittorrent.wire.urls import AddressClass, Endpoint

MAX_HEADS = 64
"""Checkpoints remembered that one end announced."""

MAX_CLAIMS = 64
"""Packs remembered that the other end told of before they were asked for."""

MAX_CLAIM_BYTES = 256 << 10
"""Bytes of their bitmaps: dozens may talk to us, and an honest one claims what it has of a few."""

MYSELF = "that is myself"
"""The reason that ends a conversation with this very run."""

FAREWELL = "done"
"""The reason in a ``bye`` after which the peer is not dialled again."""


class GitMirror:
    """A conversation with a mirror; make it with `open_git_mirror`."""

    kind = PeerKind.SESSION

    def __init__(
        self,
        url: str,
        stream: Stream | SharedStream,
        exchange: ConversationContext,
        role: Role = Role.CALLER,
    ) -> None:
        self._url = url
        self._exchange = exchange
        session = Session(role, asyncio.get_running_loop().time(), stream.timeouts)
        self._stream = stream
        self._conversation = Conversation(
            stream.sock,
            session,
            Upload(
                exchange.content,
                exchange.limits.sending_to(stream.address),
                exchange.slots,
                exchange.reading,
            ),
            ConversationHandlers(
                self._take, on_announced=lambda size: exchange.on_announced(self, size)
            ),
            exchange.limits.down,
        )
        client_timeouts = exchange.client_timeouts.at_rate(exchange.limits.down.rate)
        self._questions = Questions(self.name, self._conversation, client_timeouts)
        self._ready = asyncio.get_running_loop().create_future()
        self._heads: list[PushId] = []
        self._claims: dict[ManifestId, HaveBundle] = {}
        self._pack: WantedPack | None = None
        self._sink: PartSink | None = None
        self._waiting: deque[tuple[int, int]] = deque()
        self._beginnings: dict[int, bytes] = {}  # of parts that are asked for from there on
        self._closing = False
        self.has_given = False
        self.has_ended = False
        if role is Role.ANSWERER:
            self._conversation.say(Ready(VERSION, exchange.node_id))
            self._ready.set_result(None)
        self._task = asyncio.get_running_loop().create_task(self._converse())

    @property
    def key(self) -> ConversationKey:
        """What this conversation is called among those that wait for upload slots."""
        return self._conversation.key

    @property
    def bytes_sent(self) -> int:
        """Bytes that were given to the other end."""
        return self._conversation.bytes_sent

    @property
    def silent_since(self) -> float | None:
        """Since when neither end has been of use to the other; None while one is."""
        return self._conversation.silent_since

    def make_room(self, reason: str) -> None:
        """End the conversation, telling the other end why."""
        self._conversation.end(reason)

    @property
    def own_address(self) -> str:
        """Our own address as this conversation uses it."""
        return self._stream.own_address

    @property
    def address(self) -> str:
        """The other end's address; empty if it was gone before we looked."""
        return self._stream.address

    @property
    def called_us(self) -> bool:
        """Whether the other end called us."""
        return self._conversation.session.role is Role.ANSWERER

    @property
    def is_at_fault(self) -> bool:
        """Whether the other end broke the protocol; being cut off is no fault."""
        return self._conversation.is_at_fault

    @property
    def is_behind(self) -> bool:
        """Whether it has so much to read that nothing large is to be added to it."""
        return self._conversation.is_behind

    def tell(self, message: HaveBundle | Try | WrongParts | News, payload: bytes = b"") -> None:
        """Say something that asks for nothing; lost if the conversation is over."""
        with contextlib.suppress(ConversationEndedError):
            self._conversation.say(message, payload=payload)

    @property
    def url(self) -> str:
        """Its URL; ``ADDRESS:PORT`` of a peer that called us."""
        return self._url

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return peer_name(self._url, self.called_us)

    @property
    def heads(self) -> Sequence[PushId]:
        """Newest checkpoints that it announced."""
        return self._heads

    async def ready(self, seconds: float | None = None) -> None:
        """Wait for the mirror's first words.

        Args:
            seconds: how long; None for as long as for any answer.

        Raises:
            MirrorLostError: it has none.
        """
        answer = self._exchange.client_timeouts.answer
        try:
            async with asyncio.timeout(answer if seconds is None else seconds):
                await self._ready
        except TimeoutError as error:
            raise MirrorLostError(f"{self.name} does not answer") from error

    async def fetch_log(
        self, question: FetchLog, is_held: Callable[[PushId], bool], admit: Admit
    ) -> None:
        """Hand the push objects over that are asked for, each after those that it names."""
        del is_held  # the base says it
        await self._questions.fetch_log(question, admit)

    async def offers(
        self, reel: ReelName, take: Callable[[HaveBundle], None], *, shapes: bool = False
    ) -> None:
        """Hand the reels the mirror has that help to complete ``reel`` over, as it names them."""
        await self._questions.offers(reel, take, shapes=shapes)

    async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
        """Return a manifest with its signature."""
        return await self._questions.fetch_manifest(manifest, most)

    async def fetch_push(self, push: PushId, most: int) -> bytes:
        """Return a push object or a tag."""
        return await self._questions.fetch_push(push, most)

    async def fetch_pack(self, push: PushId) -> bytes | None:
        """Return the pack that comes with a push; None if the mirror has none."""
        return await self._questions.fetch_pack(push)

    def begin(self, pack: WantedPack, sink: PartSink) -> None:
        """Send what arrives of ``pack`` to ``sink`` from now on."""
        self._pack = pack
        self._sink = sink
        self._waiting.clear()
        self._beginnings.clear()
        claim = self._claims.pop(pack.manifest, None)
        if claim is not None:
            # Soon, not now: the scheduler has to know us before it hears what we have.
            asyncio.get_running_loop().call_soon(self._take_claim, claim)

    def ask(self, first: int, last: int) -> None:
        """Ask for a run of parts, at once or when the pipeline has room."""
        self._waiting.append((first, last))
        self._send_waiting()

    def cancel(self, first: int, last: int) -> None:
        """Withdraw a run of parts."""
        kept: deque[tuple[int, int]] = deque()
        unsent = 0
        for begin, end in self._waiting:
            unsent += max(0, min(end, last) - max(begin, first) + 1)
            rest = ((begin, min(end, first - 1)), (max(begin, last + 1), end))
            kept.extend(run for run in rest if run[0] <= run[1])
        self._waiting = kept
        pack = self._pack
        if unsent <= last - first and pack is not None and not self._conversation.session.closed:
            self._conversation.say(CancelParts(pack.reel, pack.manifest, first, last, pack.total))

    def flowing(self) -> tuple[int, int] | None:
        """Return the part on its way and how many of its bytes are here."""
        receiving = self._conversation.session.receiving
        if receiving is None or not isinstance(receiving.message, ReceivePart):
            return None
        return receiving.message.part, receiving.message.begun + receiving.received

    async def wait_closed(self) -> None:
        """Wait until the conversation is over, whichever end ends it."""
        await asyncio.wait([self._task])

    @property
    def may_return(self) -> bool:
        """Tell, of a conversation that is over, whether it ended against everybody's will."""
        conversation = self._conversation
        is_final = conversation.has_refused or conversation.is_at_fault
        return not (self._closing or is_final or conversation.ended == FAREWELL)

    @property
    def is_busy(self) -> bool:
        """Tell, of a conversation that is over, whether it was refused for want of room."""
        return bool(self._conversation.busy)

    @property
    def is_myself(self) -> bool:
        """Whether the other end turned out to be this run."""
        return self._conversation.ended == MYSELF

    async def close(self) -> None:
        """Say goodbye and wait for the conversation's end."""
        self._sink = None
        self._closing = True
        self._conversation.end(FAREWELL)
        await asyncio.gather(self._task, return_exceptions=True)

    async def _converse(self) -> None:
        try:
            await self._conversation.run()
        finally:
            self._let_go(self._conversation.ended)
            await self._stream.let_end()

    def _let_go(self, reason: str) -> None:
        """Tell everybody who waits for this end that nothing more will come."""
        self.has_ended = True
        if not self._ready.done():
            if busy := self._conversation.busy:
                self._ready.set_exception(BusyMirrorError(self.name, busy))
            else:
                self._ready.set_exception(MirrorLostError(f"{self.name}: {reason}"))
            self._ready.exception()  # nobody may be waiting for it
        self._questions.let_go(reason)
        if self._sink is not None:
            self._keep_beginnings(self._sink)
            self._sink.mirror_lost(self, reason)

    def _keep_beginnings(self, sink: PartSink) -> None:
        """Give back what is here of parts that are not whole, until the mirror is there again."""
        cut_short = self._conversation.session.take_cut_short()
        if cut_short is not None and isinstance(cut_short.message, ReceivePart):
            message = cut_short.message
            before = self._beginnings.get(message.part, b"")
            beginning = before[: message.begun] + (cut_short.payload or b"")
            if self._is_current(message.manifest) and len(beginning) > len(before):
                self.has_given = True
                self._beginnings[message.part] = beginning
        for part, beginning in self._beginnings.items():
            sink.part_broke_off(self, part, beginning)
        self._beginnings.clear()

    def _send_waiting(self) -> None:
        pack = self._pack
        while self._waiting and pack is not None and not self._conversation.session.closed:
            if self._conversation.session.room == 0:
                return
            message = self._next_request(pack, *self._waiting.popleft())
            with contextlib.suppress(ConversationEndedError):
                self._conversation.say(message, pack.shape)

    def _next_request(self, pack: WantedPack, first: int, last: int) -> FetchParts:
        """Return the request for a run, up to a part that came in part: that is one for itself."""
        run = (pack.reel, pack.manifest)
        for part in range(first, last + 1):
            if not self._taken_up(part):
                continue
            if part > first:
                self._waiting.appendleft((part, last))
                return FetchParts(*run, first, part - 1, pack.total)
            if part < last:
                self._waiting.appendleft((part + 1, last))
            return FetchParts(*run, part, part, pack.total, len(self._taken_up(part)))
        return FetchParts(*run, first, last, pack.total)

    def _taken_up(self, part: int) -> bytes:
        """Return the beginning of a part that came from here before; empty if there is none."""
        known = self._beginnings.get(part, b"")
        if not known and self._sink is not None:
            known = self._sink.taken_up(self, part)
        if known:
            self._beginnings[part] = known
        return known

    def _take(self, event: MessageReceived) -> None:
        message, payload = event.message, event.payload
        if isinstance(message, ReceivePart):
            if self._is_current(message.manifest) and self._sink is not None:
                self.has_given = True
                self._take_part(self._sink, message, payload or b"")
            self._send_waiting()
        elif isinstance(message, MissingParts):
            if self._is_current(message.manifest) and self._sink is not None:
                self._sink.parts_missing(self, message.first, message.last)
            self._send_waiting()
        elif isinstance(message, QueuedParts):
            if self._is_current(message.manifest) and self._sink is not None:
                self._sink.part_queued(self)
        elif isinstance(message, Busy):
            if self._sink is not None:
                self._sink.mirror_busy(self, message.seconds)
        else:
            self._take_small(event)

    def _take_part(self, sink: PartSink, message: ReceivePart, payload: bytearray | bytes) -> None:
        beginning = self._beginnings.pop(message.part, b"")
        if message.begun > len(beginning):
            return  # a second answer to who asked, withdrew and asked again
        if message.begun:
            payload = beginning[: message.begun] + payload
        sink.part_arrived(self, message.part, payload)

    def _take_claim(self, message: HaveBundle) -> None:
        """Pass on what the other end says it has of the pack being downloaded."""
        pack = self._pack
        if pack is None or message.manifest != pack.manifest or self._sink is None:
            known = {**self._claims, message.manifest: message}
            size = sum(len(c.parts) for c in known.values() if isinstance(c.parts, bytes))
            if len(known) <= MAX_CLAIMS and size <= MAX_CLAIM_BYTES:
                self._claims = known
        elif message.pack_size == pack.shape.pack_size:
            try:
                parts = claimed_parts(message, pack.total)
            except MessageError as error:
                self._conversation.fail(str(error))
                return
            self._sink.mirror_has(self, parts)

    def _is_current(self, manifest: ManifestId) -> bool:
        return self._pack is not None and self._pack.manifest == manifest

    def _take_small(self, event: MessageReceived) -> None:
        message = event.message
        if isinstance(message, Ready):
            if message.node_id == self._exchange.node_id:
                self._closing = True
                self._conversation.end(MYSELF)
            elif not self._ready.done():
                self._ready.set_result(None)
        elif isinstance(message, Try):
            self._exchange.on_try(self, message)
        elif isinstance(message, News):
            if isinstance(message, HaveCheckpoint):
                self._heads.append(message.checkpoint)
                del self._heads[:-MAX_HEADS]
            self._exchange.on_news(message, event.payload)
        else:
            self._questions.take(event)
            if isinstance(message, HaveBundle):
                self._take_claim(message)
                self._exchange.on_bundle(self, message)


class ConversationContext(Struct, frozen=True):
    """What all conversations of one acquisition share.

    Args:
        node_id: how this run calls itself; a mirror of that name is this run itself.
        content: what others may have.
        limits: of what is sent and taken.
        slots: upload slots; None where nothing is given.
        on_try: called when another end, the one given, tells of a mirror.
        client_timeouts: how long others are waited for.
        reading: where the content source is read, if that may have to wait for a disk.
        on_news: called with what another end tells of its log, and what it sent along.
        on_bundle: called with each reel that another end says it has, in answers too.
        on_announced: called with the bytes that a message under way from another end has; 0 when
            it came.
        on_detail: called with what only explains how a mirror is talked to.
        is_extra: whether a mirror is one more, which nobody named just now and nobody waits for.
    """

    node_id: str
    content: ContentSource
    limits: Limits
    slots: SlotQueue | None = None
    on_try: Callable[[GitMirror, Try], None] = lambda _mirror, _message: None
    client_timeouts: ClientTimeouts = ClientTimeouts()
    reading: Reading | None = None
    on_news: Callable[[News, bytearray | None], None] = lambda _message, _payload: None
    on_bundle: Callable[[GitMirror, HaveBundle], None] = lambda _mirror, _message: None
    on_announced: Callable[[GitMirror, int], None] = lambda _mirror, _size: None
    on_detail: Callable[[str], None] = lambda _text: None
    is_extra: bool = False


def claimed_parts(message: HaveBundle, total: int) -> PartSet | None:
    """Return the parts a ``have bundle`` speaks of, None for all.

    Raises:
        MessageError: its bitmap does not fit a pack of ``total`` parts.
    """
    if not isinstance(message.parts, bytes):
        return None
    return PartSet(total, check_bitmap(message.parts, total))


async def call(
    endpoint: Endpoint,
    trusted: AddressClass | None,
    client_timeouts: ClientTimeouts,
    service: str = MIRROR_SYNC,
) -> Stream:
    """Connect to a mirror and ask for a conversation; arguments and errors as `ask_for`."""
    return tcp_stream(await ask_for(service, endpoint, trusted, client_timeouts))


async def ask_for(
    service: str,
    endpoint: Endpoint,
    trusted: AddressClass | None,
    client_timeouts: ClientTimeouts,
) -> socket.socket:
    """Connect to a mirror and ask for a service; its first words wait to be read.

    Args:
        service: what is asked for.
        endpoint: a git:// one.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        client_timeouts: how long to wait.

    Raises:
        CannotConnectError: nobody answers.
        MirrorLostError: it hung up.
    """
    sock = (await connect(endpoint, trusted, client_timeouts=client_timeouts)).sock
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(client_timeouts.answer):
            await loop.sock_sendall(sock, service_request(service, endpoint))
    except OSError as error:
        sock.close()
        raise MirrorLostError(f"{endpoint.url}: {str(error) or 'it stopped reading'}") from error
    except BaseException:
        sock.close()
        raise
    return sock


async def open_git_mirror(
    endpoint: Endpoint,
    exchange: ConversationContext,
    trusted: AddressClass | None = None,
    calling: Awaitable[Stream] | None = None,
) -> GitMirror:
    """Connect to a mirror and begin a conversation.

    Args:
        endpoint: a git:// one.
        exchange: what conversations share.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        calling: the outcome of `call` if it was begun before.

    Raises:
        CannotConnectError: nobody answers.
        MirrorLostError: it answers, but not in this protocol.
    """
    if calling is None:
        calling = call(endpoint, trusted, exchange.client_timeouts)
    return await begin_conversation(endpoint.url, await calling, exchange)


async def begin_conversation(
    url: str,
    stream: Stream | SharedStream,
    exchange: ConversationContext,
    seconds: float | None = None,
) -> GitMirror:
    """Begin a conversation on a stream that leads to a mirror; `open_git_mirror` says the rest.

    Args:
        url: of the mirror.
        stream: leads there.
        exchange: what all conversations share.
        seconds: how long first words are waited for; None for as long as any answer.
    """
    mirror = GitMirror(url, stream, exchange)
    try:
        await mirror.ready(seconds)
    except BaseException:
        await mirror.close()
        raise
    return mirror
