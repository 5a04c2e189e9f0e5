"""``mirror-notify``: a mirror announces where it serves and what its newest push is.

For the node, over git:// and ssh as pkt-lines and over HTTP as lines of text; pure.

Rules: ``at``, ``latest`` and ``ttl`` come exactly once each, in any order; unknown keywords are
skipped. A notice is a claim: nobody is listed before being called back at an address ``urls``
allows. Source: docs/protocol/mirrorsync.md, mirror-notify.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from gittorrent.ids import PushId
from gittorrent.wire import pktline
from gittorrent.wire.fields import (
    MessageError,
    Words,
    clean_reason,
    raise_if_refused,
    shown,
    strip_newline,
)
from gittorrent.wire.limits import MAX_LIST_LINES, MAX_VALID_SECONDS
from gittorrent.wire.mirrorlist import split_text

CONTENT_TYPE = "application/x-gittorrent-notify"
"""Type of a notice's body over HTTP: one that no web page can send without asking first."""


class Notify(Struct, frozen=True):
    """An announcement: served at ``url``, with ``latest``, for ``ttl`` seconds unless renewed.

    A ``ttl`` of 0 withdraws it: nothing is served there any more.
    """

    url: str
    latest: PushId
    ttl: int

    def encode_lines(self) -> list[bytes]:
        """Write one pkt-line payload per line, each with LF, without the closing flush."""
        return [
            f"at {self.url}\n".encode(),
            f"latest {self.latest}\n".encode(),
            f"ttl {self.ttl}\n".encode(),
        ]

    def encode_packets(self) -> bytes:
        """Write the notice as it goes over git:// and ssh: pkt-lines and a flush."""
        return pktline.encode_lines(self.encode_lines())

    def encode_text(self) -> bytes:
        """Write the notice as the body of an HTTP POST."""
        return b"".join(self.encode_lines())


def parse_lines(lines: Iterable[bytes]) -> Notify:
    """Read the pkt-line payloads of a notice, without its flush; raises MessageError."""
    url: str | None = None
    latest: PushId | None = None
    ttl: int | None = None
    for count, line in enumerate(lines):
        if count >= MAX_LIST_LINES:
            raise MessageError(f"notice of more than {MAX_LIST_LINES} lines")
        keyword = strip_newline(line).partition(b" ")[0]
        if keyword not in (b"at", b"latest", b"ttl"):
            continue
        words = Words(line)
        words.literal(keyword.decode())
        if keyword == b"at" and url is None:
            url = words.url()
        elif keyword == b"ttl" and ttl is None:
            ttl = words.number("ttl", 0, MAX_VALID_SECONDS)
        elif keyword == b"latest" and latest is None:
            latest = words.push_id()
        else:
            raise MessageError(f"a second {keyword.decode()} line: {shown(line)}")
    if url is None or latest is None or ttl is None:
        raise MessageError("notice without at, latest or ttl line")
    return Notify(url, latest, ttl)


def parse_text(text: bytes) -> Notify:
    """Read a notice in its HTTP form; raises MessageError."""
    return parse_lines(split_text(text))


def encode_answer(seconds: int) -> bytes:
    """Write the answer that grants ``seconds`` of listing, with LF."""
    return f"ok {seconds}\n".encode()


def encode_refusal(reason: str) -> bytes:
    """Write the answer that refuses, as any service may answer in place of its own lines."""
    return f"ERR {clean_reason(reason)}\n".encode()


def parse_answer(line: bytes) -> int:
    """Read the answer to a notice: the seconds granted.

    Raises RemoteRefusal when the peer answered ``ERR``, MessageError when it answered neither.
    """
    raise_if_refused(line)
    words = Words(line)
    words.literal("ok")
    return words.number("seconds granted", 0, MAX_VALID_SECONDS)
