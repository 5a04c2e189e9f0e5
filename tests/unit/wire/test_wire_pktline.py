"""Pkt-line framing: strict lengths, distinct special packets, bounded buffering."""

from __future__ import annotations

import pytest

from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_PKT_PAYLOAD
from gittorrent.wire.pktline import DELIM, FLUSH, RESPONSE_END, PktLineError, PktReader


def test_encodes_as_git_does() -> None:
    assert pktline.encode(b"a\n") == b"0006a\n"
    assert pktline.encode(b"") == b"0004"
    assert pktline.encode_lines([b"foobar\n"]) == b"000bfoobar\n0000"


def test_largest_payload_fits_and_one_more_does_not() -> None:
    packet = pktline.encode(b"x" * MAX_PKT_PAYLOAD)
    assert packet[:4] == b"fff0"
    assert PktReader().feed(packet) == [b"x" * MAX_PKT_PAYLOAD]
    with pytest.raises(ValueError, match="do not fit"):
        pktline.encode(b"x" * (MAX_PKT_PAYLOAD + 1))


def test_special_packets_are_not_data_nor_each_other() -> None:
    assert PktReader().feed(b"0000000100020004") == [FLUSH, DELIM, RESPONSE_END, b""]


@pytest.mark.parametrize(
    "header",
    [b"0003", b"fff1", b"ffff", b"+00a", b"-001", b" 00a", b"0x1a", b"1_0a", b"00a ", b"00g0"],
)
def test_odd_lengths_are_refused(header: bytes) -> None:
    with pytest.raises(PktLineError):
        PktReader().feed(header + b"x" * 100)


@pytest.mark.parametrize("header", [b"", b"000", b"00000"])
def test_a_length_has_four_digits(header: bytes) -> None:
    with pytest.raises(PktLineError):
        pktline.parse_length(header)


def test_upper_case_digits_are_read() -> None:
    assert PktReader().feed(b"000Ahello\n") == [b"hello\n"]


def test_packets_before_a_fault_are_kept_and_the_reader_is_spent() -> None:
    reader = PktReader()
    with pytest.raises(PktLineError) as caught:
        reader.feed(b"0006a\n0003")
    assert caught.value.packets == (b"a\n",)
    with pytest.raises(PktLineError):
        reader.feed(b"0006a\n")


def test_limit_leaves_the_rest_unread() -> None:
    reader = PktReader()
    assert reader.feed(b"0006a\nPACK raw bytes", limit=1) == [b"a\n"]
    assert reader.mid_packet
    assert reader.take_rest() == b"PACK raw bytes"
    assert not reader.mid_packet
