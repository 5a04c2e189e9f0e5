"""The lines of ``mirror-sync`` by which logs are asked for and sent.

For ``messages``, which re-exports them; pure. Entries come as they are, by ``receive push``, or all
of them in one deflated stream, by ``receive log``, if that was asked for (``log_stream``).
Source: docs/protocol/mirrorsync.md, Logs.
"""

from __future__ import annotations

from msgspec import Struct

from gittorrent.ids import PushId
from gittorrent.wire.fields import MessageError, Words, encode_words
from gittorrent.wire.limits import MAX_LOG_PIECE


class FetchLog(Struct, frozen=True):
    """Asks for the entries of a log that holds ``head`` and that are not in the past of ``base``.

    Answered, each after those that it names, by a ReceivePush for each entry and then EndLog; or
    by MissingLog where ``head`` is not here. ``short``: without what clones have no use for.
    ``deflated``: they may come by ReceiveLog, too; older readers skip that.
    """

    head: PushId
    base: PushId | None = None
    short: bool = False
    deflated: bool = False

    def encode(self) -> bytes:
        return encode_words(
            "fetch log",
            self.head,
            *(() if self.base is None else ("from", self.base)),
            *(("short",) if self.short else ()),
            *(("deflated",) if self.deflated else ()),
        )


class ReceiveLog(Struct, frozen=True):
    """Announces ``size`` raw bytes: the next piece of the deflated answer to FetchLog."""

    head: PushId
    size: int

    def encode(self) -> bytes:
        return encode_words("receive log", self.head, "size", self.size)


class EndLog(Struct, frozen=True):
    """Ends the answer to FetchLog."""

    head: PushId

    def encode(self) -> bytes:
        return encode_words("end log", self.head)


class MissingLog(Struct, frozen=True):
    """Answers FetchLog: its head is not here; no offence. Entries sent before stay valid."""

    head: PushId

    def encode(self) -> bytes:
        return encode_words("missing log", self.head)


def parse_fetch_log(words: Words) -> FetchLog:
    """Read what follows ``fetch log``."""
    head = words.push_id()
    base = words.push_id() if words.optional("from") else None
    if base is not None and len(base) != len(head):
        raise MessageError("log between ids of unlike formats")
    return FetchLog(head, base, words.optional("short"), words.optional("deflated"))


def parse_receive_log(words: Words) -> ReceiveLog:
    """Read what follows ``receive log``."""
    return ReceiveLog(words.push_id(), words.size(MAX_LOG_PIECE))
