"""Messages on the wire: whole ones are read, of bounded length, and unknown ones are skipped."""

from __future__ import annotations

import pytest

from gittorrent.gtp import limits
from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.framing import FrameReader, encode_frame
from gittorrent.gtp.messages import (
    Choke,
    Interested,
    KeepAlive,
    Message,
    MessageId,
    ReferenceEntry,
    References,
    Unchoke,
)
from gittorrent.gtp.profile import PERL_2008, RFC

CODEC = RFC.codec
UNKNOWN = 99
KEEPALIVE = bytes(4)


def frame(kind: int, size: int) -> bytes:
    """Return the beginning of a message with a payload of a size."""
    return (size + CODEC.id_size).to_bytes(4, "big") + kind.to_bytes(CODEC.id_size, "big")


def read(data: bytes, reader: FrameReader | None = None) -> list[Message]:
    return list((reader or FrameReader(CODEC)).feed(data))


def test_messages_come_cut_anywhere() -> None:
    data = KEEPALIVE + encode_frame(CODEC, Choke()) + encode_frame(CODEC, Unchoke()) + KEEPALIVE
    wanted = [KeepAlive(), Choke(), Unchoke(), KeepAlive()]
    assert read(data) == wanted
    for cut in range(len(data) + 1):
        reader = FrameReader(CODEC)
        assert read(data[:cut], reader) + read(data[cut:], reader) == wanted
        assert reader.held == 0
    reader = FrameReader(CODEC)
    assert [each for byte in data for each in read(bytes([byte]), reader)] == wanted


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (MessageId.PEERS, limits.MAX_MESSAGE),
        (MessageId.REFERENCES, limits.MAX_REFERENCES_MESSAGE),
        (MessageId.PLAY, limits.MAX_PACK_MESSAGE),
        (UNKNOWN, limits.MAX_MESSAGE),
    ],
)
def test_a_payload_beyond_its_bound_is_refused_by_its_head(kind: int, most: int) -> None:
    reader = FrameReader(CODEC)
    assert read(frame(kind, most), reader) == []
    with pytest.raises(MessageError, match=f"of {most + 1} bytes is too long"):
        read(frame(kind, most + 1))


def test_nothing_is_kept_of_what_is_skipped() -> None:
    reader = FrameReader(CODEC)
    assert read(frame(UNKNOWN, limits.MAX_MESSAGE), reader) == []
    for _ in range(limits.MAX_MESSAGE // limits.MIB):
        assert reader.held == 0
        assert read(bytes(limits.MIB), reader) == []
    assert read(encode_frame(CODEC, Choke()), reader) == [Choke()]


def test_what_is_not_wanted_now_is_skipped() -> None:
    asked: list[tuple[int, int]] = []

    def is_wanted(kind: MessageId, size: int) -> bool:
        asked.append((kind, size))
        return kind is not MessageId.PEERS

    reader = FrameReader(CODEC, is_wanted)
    data = frame(MessageId.PEERS, 5) + b"xxxxx" + encode_frame(CODEC, Choke())
    assert read(data, reader) == [Choke()]
    assert asked == [(MessageId.PEERS, 5), (MessageId.CHOKE, 0)]


def test_no_keep_alive_where_there_are_none() -> None:
    assert encode_frame(CODEC, KeepAlive()) == KEEPALIVE
    with pytest.raises(MessageError, match="no keep-alives"):
        encode_frame(PERL_2008.codec, KeepAlive())
    with pytest.raises(MessageError, match="no room for its id"):
        read(KEEPALIVE, FrameReader(PERL_2008.codec))


def test_nothing_is_written_that_would_not_be_read() -> None:
    body = bytes(limits.MAX_REFERENCES_MESSAGE)
    with pytest.raises(MessageError, match=r"references message of \d+ bytes is too long"):
        encode_frame(CODEC, References((ReferenceEntry(b"i" * 20, body),)))
    assert MessageId.INTERESTED not in PERL_2008.codec.ids
    with pytest.raises(MessageError, match="has no message interested"):
        encode_frame(PERL_2008.codec, Interested())
