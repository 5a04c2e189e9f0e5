"""Packets are read to their exact ends, and within bounds."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, TypeVar

import pytest

from gittorrent.transfer.packet_reader import ConnectionEndError, PacketReader
from gittorrent.wire import pktline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

LINES = pktline.encode_lines([b"one", b"", b"three"])


def read(
    sent: bytes, work: Callable[[PacketReader], Awaitable[T]], limit: int = 100
) -> tuple[T, bytes]:
    """Return what ``work`` reads of ``sent``, and what it leaves in the socket."""

    async def run() -> tuple[T, bytes]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(sent)
            theirs.shutdown(socket.SHUT_WR)
            found = await work(PacketReader(ours, "list", limit))
            return found, ours.recv(1 << 16)

    return asyncio.run(run())


def test_what_follows_stays_in_the_socket() -> None:
    assert read(LINES + b"0032want", lambda r: r.lines(3)) == ([b"one", b"", b"three"], b"0032want")
    assert read(LINES, lambda r: r.line()) == (b"one", LINES[7:])


def test_lines_and_bytes_are_bounded() -> None:
    with pytest.raises(pktline.PktLineError, match="more than 2 lines"):
        read(LINES, lambda r: r.lines(2))
    with pytest.raises(pktline.PktLineError, match="too long: more than 20 bytes"):
        read(LINES, lambda r: r.lines(3), limit=len(LINES) - 4)
    assert read(LINES, lambda r: r.lines(3), limit=len(LINES))[1] == b""


def test_the_bytes_of_one_packet_are_bounded_before_they_are_read() -> None:
    with pytest.raises(pktline.PktLineError, match="the list is too long"):
        read(b"fff0", lambda r: r.line())


@pytest.mark.parametrize(("sent", "is_clean"), [(b"", True), (b"00", False), (b"0009on", False)])
def test_the_end_of_the_connection(sent: bytes, is_clean: bool) -> None:
    with pytest.raises(ConnectionEndError) as caught:
        read(sent, lambda r: r.line())
    assert caught.value.is_clean == is_clean


def test_a_special_packet_is_no_line() -> None:
    with pytest.raises(pktline.PktLineError, match="a flush packet instead of a list"):
        read(b"0000", lambda r: r.line())


def test_other_bytes_are_no_packet() -> None:
    with pytest.raises(pktline.PktLineError, match="not a pkt-line length"):
        read(b"HTTP/1.1 400 Bad Request", lambda r: r.line())
