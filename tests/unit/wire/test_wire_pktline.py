"""Pkt-line framing: strict lengths, distinct special packets."""

from __future__ import annotations

import pytest

from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_PKT_PAYLOAD
from gittorrent.wire.pktline import DELIM, FLUSH, RESPONSE_END, PktLineError


def test_encodes_as_git_does() -> None:
    assert pktline.encode(b"a\n") == b"0006a\n"
    assert pktline.encode(b"") == b"0004"
    assert pktline.encode_lines([b"foobar\n"]) == b"000bfoobar\n0000"


def test_largest_payload_fits_and_one_more_does_not() -> None:
    packet = pktline.encode(b"x" * MAX_PKT_PAYLOAD)
    assert packet[:4] == b"fff0"
    assert pktline.parse_length(packet[:4]) == MAX_PKT_PAYLOAD
    with pytest.raises(ValueError, match="do not fit"):
        pktline.encode(b"x" * (MAX_PKT_PAYLOAD + 1))


def test_special_packets_are_not_data_nor_each_other() -> None:
    headers = (b"0000", b"0001", b"0002", b"0004")
    assert [pktline.parse_length(header) for header in headers] == [FLUSH, DELIM, RESPONSE_END, 0]


@pytest.mark.parametrize(
    "header",
    [b"0003", b"fff1", b"ffff", b"+00a", b"-001", b" 00a", b"0x1a", b"1_0a", b"00a ", b"00g0"],
)
def test_odd_lengths_are_refused(header: bytes) -> None:
    with pytest.raises(PktLineError):
        pktline.parse_length(header)


@pytest.mark.parametrize("header", [b"", b"000", b"00000"])
def test_a_length_has_four_digits(header: bytes) -> None:
    with pytest.raises(PktLineError):
        pktline.parse_length(header)


def test_upper_case_digits_are_read() -> None:
    assert pktline.parse_length(b"000A") == 6
