"""Peer messages to payloads and back, in the draft's dialect, and what all dialects share.

Pure. A codec knows formats and limits, nothing of when a message may be sent. Every format
is either a request or an answer, told apart by length: an empty list is a request, and answers
to questions about a block are longer than the questions (docs/protocol/gtp01.md, Messages).
"""

from __future__ import annotations

from gittorrent.gtp import limits
from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.fields import ID, Fields, number
from gittorrent.gtp.messages import (
    UNKNOWN_OFFSET,
    BlockName,
    BlocksRequest,
    BlocksStatus,
    Choke,
    Interested,
    Kind,
    Message,
    MessageId,
    ObjectsAnswer,
    ObjectsRequest,
    PeerAddress,
    Peers,
    PlayAnswer,
    PlayRequest,
    ReelName,
    ReelOffer,
    Reels,
    ReferenceEntry,
    References,
    ScanAnswer,
    ScanEntry,
    ScanRequest,
    Stop,
    Unchoke,
    Uninterested,
)
from gittorrent.printable import decoded

_STATES: dict[MessageId, Message] = {
    MessageId.CHOKE: Choke(),
    MessageId.UNCHOKE: Unchoke(),
    MessageId.INTERESTED: Interested(),
    MessageId.UNINTERESTED: Uninterested(),
}
_NOWHERE = ReelName(bytes(ID), bytes(ID))


class Codec:
    """The draft's formats; dialects override what differs."""

    ids = frozenset(MessageId)
    """Messages the dialect has; others are skipped."""

    id_size = 1
    """Bytes of a message's id."""

    keepalives = True
    """Whether a length of 0 is a message."""

    reel_size_width = 8
    port_width = 4

    def limit(self, kind: MessageId | None) -> int:
        """Return the bytes that a payload of this kind may have; None is an unknown kind."""
        if kind is MessageId.PLAY:
            return limits.MAX_PACK_MESSAGE
        if kind is MessageId.REFERENCES:
            return limits.MAX_REFERENCES_MESSAGE
        return limits.MAX_MESSAGE

    def parse(self, kind: MessageId, payload: bytes) -> Message:
        """Read a payload.

        Raises:
            MessageError: it breaks the format of its kind or a limit.
        """
        state = _STATES.get(kind)
        fields = Fields(payload, kind.name.lower())
        found = state if state is not None else self._parse_fields(kind, fields)
        fields.end()
        return found

    def _parse_fields(self, kind: MessageId, fields: Fields) -> Message:
        match kind:
            case MessageId.PEERS:
                return self._peers(fields)
            case MessageId.REFERENCES:
                return _references(fields)
            case MessageId.REELS:
                return self._reels(fields)
            case MessageId.BLOCKS:
                return self._blocks(fields)
            case MessageId.PLAY:
                return self._play(fields)
            case MessageId.SCAN:
                return _scan(fields)
            case MessageId.REQUEST:
                return _request(fields)
            case _:
                return Stop(_block(fields, smallest=0))

    def encode(self, message: Message) -> tuple[MessageId, bytes]:
        """Return a message's kind and payload.

        Raises:
            MessageError: it cannot be said in this dialect.
        """
        for kind, state in _STATES.items():
            if message == state:
                return kind, b""
        match message:
            case Peers(peers):
                return MessageId.PEERS, b"".join(map(self._write_peer, peers))
            case References(entries):
                return MessageId.REFERENCES, b"".join(
                    e.reference + number(len(e.body)) + e.body for e in entries
                )
            case Reels(offers):
                width = self.reel_size_width
                return MessageId.REELS, b"".join(
                    _pair(o.reel) + number(o.size, width) for o in offers
                )
            case BlocksRequest() | BlocksStatus():
                return MessageId.BLOCKS, self._write_blocks(message)
            case PlayRequest() | PlayAnswer() | ObjectsAnswer():
                return MessageId.PLAY, self._write_play(message)
            case _:
                return self._write_data(message)

    def _write_data(self, message: Message) -> tuple[MessageId, bytes]:
        match message:
            case ScanRequest(block):
                return MessageId.SCAN, _write_block(block)
            case ScanAnswer(block, offset, entries):
                listed = (e.oid + bytes([e.kind]) + number(e.size) for e in entries)
                return MessageId.SCAN, _write_block(block) + number(offset) + b"".join(listed)
            case ObjectsRequest(objects, bases):
                lists = (number(len(ids)) + b"".join(ids) for ids in (objects, bases))
                return MessageId.REQUEST, b"".join(lists)
            case Stop(block):
                return MessageId.STOP, _write_block(block)
            case _:
                raise MessageError(f"{type(message).__name__} has no payload")

    def _peers(self, fields: Fields) -> Message:
        found = []
        while fields.left:
            peer_id = fields.oid()
            port = fields.bounded("port", 1, 65535, self.port_width)
            size = fields.bounded("address length", 1, limits.MAX_ADDRESS)
            found.append(PeerAddress(peer_id, _host(fields.take(size)), port))
            if len(found) > limits.MAX_PEERS:
                raise MessageError(f"peers message names more than {limits.MAX_PEERS} peers")
        return Peers(tuple(found))

    def _write_peer(self, peer: PeerAddress) -> bytes:
        host = peer.host.encode("ascii")
        return peer.peer_id + number(peer.port, self.port_width) + number(len(host)) + host

    def _reels(self, fields: Fields) -> Message:
        found = []
        while fields.left:
            reel = fields.reel()
            size = fields.bounded("reel size", 0, limits.MAX_REEL_SIZE, self.reel_size_width)
            found.append(ReelOffer(reel, size))
            if len(found) > limits.MAX_REELS:
                raise MessageError(f"reels message names more than {limits.MAX_REELS} reels")
        return Reels(tuple(found))

    def _blocks(self, fields: Fields) -> Message:
        reel = fields.reel()
        size = fields.bounded("block size", 1, limits.MAX_BLOCK_SIZE)
        if not fields.left:
            return BlocksRequest(reel, size)
        bitmap = fields.rest()
        if len(bitmap) * 8 > limits.MAX_BLOCKS:
            raise MessageError(f"status of {len(bitmap) * 8} blocks; {limits.MAX_BLOCKS} are read")
        return BlocksStatus(reel, size, len(bitmap) * 8, bitmap)

    def _write_blocks(self, message: BlocksRequest | BlocksStatus) -> bytes:
        head = _pair(message.reel) + number(message.block_size)
        if isinstance(message, BlocksRequest):
            return head
        if not message.bitmap:
            raise MessageError("a status has at least one byte; without it, it is a request")
        return head + message.bitmap

    def _play(self, fields: Fields) -> Message:
        block = _block(fields, smallest=0)
        if not fields.left:
            if not block.size:
                raise MessageError("play message asks for blocks of no size")
            return PlayRequest(block)
        offset = fields.integer()
        if block.size:
            return PlayAnswer(block, offset, fields.rest())
        return ObjectsAnswer(fields.rest())

    def _write_play(self, message: PlayRequest | PlayAnswer | ObjectsAnswer) -> bytes:
        if isinstance(message, PlayRequest):
            return _write_block(message.block)
        if isinstance(message, ObjectsAnswer):
            head = _write_block(BlockName(_NOWHERE, 0, 0))
            return head + number(UNKNOWN_OFFSET) + message.pack
        return _write_block(message.block) + number(message.offset) + message.pack


def _pair(reel: ReelName) -> bytes:
    return reel.start + reel.end


def _write_block(block: BlockName) -> bytes:
    return _pair(block.reel) + number(block.index) + number(block.size)


def _block(fields: Fields, smallest: int = 1) -> BlockName:
    reel = fields.reel()
    index = fields.bounded("block offset", 0, limits.MAX_BLOCKS - 1)
    return BlockName(reel, index, fields.bounded("block length", smallest, limits.MAX_BLOCK_SIZE))


def _references(fields: Fields) -> Message:
    found = []
    while fields.left:
        reference = fields.oid()
        size = fields.bounded("body length", 0, limits.MAX_REFERENCE)
        found.append(ReferenceEntry(reference, fields.take(size)))
        if len(found) > limits.MAX_REFERENCES:
            raise MessageError(f"references message has more than {limits.MAX_REFERENCES} entries")
    return References(tuple(found))


def _scan(fields: Fields) -> Message:
    block = _block(fields)
    if not fields.left:
        return ScanRequest(block)
    offset = fields.integer()
    entries = []
    while fields.left:
        oid = fields.oid()
        kind = Kind(fields.bounded("object type", 1, 4, 1))
        entries.append(ScanEntry(oid, kind, fields.integer()))
        if len(entries) > limits.MAX_SCAN_ENTRIES:
            raise MessageError(f"scan message lists more than {limits.MAX_SCAN_ENTRIES} objects")
    return ScanAnswer(block, offset, tuple(entries))


def _request(fields: Fields) -> Message:
    lists = []
    for what, least in (("number of objects", 1), ("number of bases", 0)):
        count = fields.bounded(what, least, limits.MAX_OBJECTS_ASKED)
        lists.append(tuple(fields.oid() for _ in range(count)))
    return ObjectsRequest(lists[0], lists[1])


def _host(raw: bytes) -> str:
    """Read an address: an IP address or a DNS name, in printable ASCII."""
    if not all(0x21 <= byte <= 0x7E for byte in raw):
        raise MessageError(
            f"peer address has characters that no address has: {decoded(raw[:40])!r}"
        )
    return raw.decode("ascii")
