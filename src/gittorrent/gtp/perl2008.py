"""The dialect of the Perl implementation of 2008, and what it cannot bear.

Pure. Formats differ in widths, and blocks are commits. Whatever ends or confuses that process is
refused by `check` before it could be sent: messages it does not know, keep-alives, reference
objects without body or under a wrong id, statuses without a bit.
Source: docs/protocol/gtp01.md, The dialect of 2008.
"""

from __future__ import annotations

from gittorrent.gtp import limits
from gittorrent.gtp.codec import Codec
from gittorrent.gtp.errors import ForbiddenMessageError, MessageError
from gittorrent.gtp.fields import Fields, number
from gittorrent.gtp.messages import (
    BlockName,
    BlocksRequest,
    BlocksStatus,
    Message,
    MessageId,
    ObjectsAnswer,
    PlayAnswer,
    PlayRequest,
    ReelName,
    References,
)
from gittorrent.gtp.reference import reference_id


class Perl2008Codec(Codec):
    """Formats of the dialect."""

    ids = frozenset(
        {
            MessageId.CHOKE,
            MessageId.UNCHOKE,
            MessageId.PEERS,
            MessageId.REFERENCES,
            MessageId.REELS,
            MessageId.BLOCKS,
            MessageId.PLAY,
        }
    )
    id_size = 4
    keepalives = False
    reel_size_width = 4
    port_width = 2

    def _blocks(self, fields: Fields) -> Message:
        reel = fields.reel()
        if not fields.left:
            return BlocksRequest(reel, 0)
        count = fields.bounded("number of bits", 1, limits.MAX_BLOCKS)
        bitmap = fields.take((count + 7) // 8)
        if count % 8 and bitmap[-1] >> count % 8:
            raise MessageError(f"blocks message has bits set beyond commit {count - 1}")
        return BlocksStatus(reel, 0, count, bitmap)

    def _write_blocks(self, message: BlocksRequest | BlocksStatus) -> bytes:
        head = _pair(message.reel)
        if isinstance(message, BlocksRequest):
            return head
        return head + number(message.count) + message.bitmap

    def _play(self, fields: Fields) -> Message:
        reel = fields.reel()
        block = BlockName(reel, fields.bounded("commit index", 0, limits.MAX_BLOCKS - 1), 0)
        if not fields.left:
            return PlayRequest(block)
        size = fields.bounded("pack length", 0, limits.MAX_PACK_MESSAGE)
        return PlayAnswer(block, 0, fields.take(size))

    def _write_play(self, message: PlayRequest | PlayAnswer | ObjectsAnswer) -> bytes:
        if isinstance(message, ObjectsAnswer):
            raise MessageError("objects cannot be sent by id in the dialect of 2008")
        head = _pair(message.block.reel) + number(message.block.index)
        if isinstance(message, PlayRequest):
            return head
        return head + number(len(message.pack)) + message.pack


def check(message: Message) -> None:
    """Raise `ForbiddenMessageError` when ``message`` would kill or confuse the peer of 2008.

    Args:
        message: what is about to be sent.
    """
    reason = _fault(message)
    if reason:
        raise ForbiddenMessageError(f"not sent to a peer of 2008: {reason}")


def _fault(message: Message) -> str:
    try:
        kind, _ = Perl2008Codec().encode(message)
    except MessageError as error:
        return str(error)
    if kind not in Perl2008Codec.ids:
        return f"it does not know the message {kind.name.lower()}"
    match message:
        case References(entries):
            for entry in entries:
                if not entry.body:
                    return "a reference object of length 0"
                if reference_id(entry.body) != entry.reference:
                    return "a reference object under another id than its own"
        case BlocksStatus(_, _, count, bitmap):
            if not count or len(bitmap) != (count + 7) // 8:
                return "a status without bits, or with a bitmap of another length"
        case PlayAnswer(_, _, pack):
            if not pack:
                return "a play answer without a pack"
        case _:
            pass
    return ""


def _pair(reel: ReelName) -> bytes:
    return reel.start + reel.end
