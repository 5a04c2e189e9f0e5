"""The messages of live conversations: packs that come with pushes, pushes that are sent along with
the news of them, and statements of freshness.

For ``messages``, which re-exports them; pure. A pack is thin and unproved: whoever takes it looks
whether all is there that the push needs. A statement's signature is a word here and is judged
elsewhere. Source: docs/protocol/mirrorsync.md, Live conversations.
"""

from __future__ import annotations

import base64
import binascii

from msgspec import Struct

from gittorrent.ids import PushId
from gittorrent.wire.fields import MessageError, Words, encode_words, shown
from gittorrent.wire.limits import (
    MAX_FRESH_SIGNATURE,
    MAX_PUSH_PACK_BYTES,
    MAX_SECONDS,
    MAX_SENT_BYTES,
)


class FetchPack(Struct, frozen=True):
    """Asks for the objects that came with a push; answered by ReceivePack or MissingPack."""

    push: PushId

    def encode(self) -> bytes:
        return encode_words("fetch pack", self.push)


class ReceivePack(Struct, frozen=True):
    """Announces the pack of a push, of ``size`` raw bytes; its deltas may be on other objects."""

    push: PushId
    size: int

    def encode(self) -> bytes:
        return encode_words("receive pack", self.push, "size", self.size)


class MissingPack(Struct, frozen=True):
    """Answers FetchPack: it is not here (any more), or too large; no offence."""

    push: PushId

    def encode(self) -> bytes:
        return encode_words("missing pack", self.push)


class SendPushes(Struct, frozen=True):
    """Asks for small pushes to be sent with the news of them: up to ``most`` bytes each.

    0 asks for no more of them.
    """

    most: int

    def encode(self) -> bytes:
        return encode_words("send pushes", self.most)


class SentPush(Struct, frozen=True):
    """Tells of a push like ``have push`` and sends it along, with its pack, as was asked for.

    ``push_size`` raw bytes of the push object follow, then ``pack_size`` of the pack.
    """

    push: PushId
    push_size: int
    pack_size: int

    @property
    def size(self) -> int:
        """Raw bytes that follow."""
        return self.push_size + self.pack_size

    def encode(self) -> bytes:
        sizes = ("size", self.push_size, "pack", self.pack_size)
        return encode_words("have push", self.push, *sizes)


class FreshLine(Struct, frozen=True):
    """Passes on that the keeper said at ``time`` that ``checkpoint`` was its newest.

    ``time``: seconds since 1970. ``signature``: armored, as the keeper made it.
    """

    checkpoint: PushId
    time: int
    signature: bytes

    def encode(self) -> bytes:
        signature = base64.b64encode(self.signature).decode("ascii")
        return encode_words("fresh", self.checkpoint, self.time, signature)


def parse_fetch_pack(words: Words) -> FetchPack:
    """Read what follows ``fetch pack``."""
    return FetchPack(words.push_id())


def parse_receive_pack(words: Words) -> ReceivePack:
    """Read what follows ``receive pack``."""
    return ReceivePack(words.push_id(), words.size(MAX_PUSH_PACK_BYTES))


def parse_missing_pack(words: Words) -> MissingPack:
    """Read what follows ``missing pack``."""
    return MissingPack(words.push_id())


def parse_send_pushes(words: Words) -> SendPushes:
    """Read what follows ``send pushes``."""
    return SendPushes(words.number("size in bytes", 0, MAX_SENT_BYTES))


def parse_sent_push(push: PushId, words: Words) -> SentPush:
    """Read what follows ``have push ID`` where that is ``size``; raises MessageError."""
    size = words.size(MAX_SENT_BYTES)
    words.literal("pack")
    found = SentPush(push, size, words.number("size of the pack", 1, MAX_SENT_BYTES))
    if found.size > MAX_SENT_BYTES:
        raise MessageError(f"push and pack of {found.size} bytes sent along")
    return found


def parse_fresh_line(words: Words) -> FreshLine:
    """Read what follows ``fresh``; raises MessageError."""
    checkpoint = words.push_id()
    time = words.number("time", 0, MAX_SECONDS)
    word = words.take("signature")
    if len(word) > MAX_FRESH_SIGNATURE:
        raise MessageError(f"signature of {len(word)} characters")
    try:
        signature = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        raise MessageError(f"signature is no base64: {shown(word)}") from None
    if base64.b64encode(signature).decode("ascii") != word:
        raise MessageError(f"signature is base64 of another form: {shown(word)}")
    return FreshLine(checkpoint, time, signature)
