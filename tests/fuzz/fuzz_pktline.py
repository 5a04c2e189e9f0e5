"""Fuzz target: any bytes, in any chunks, make the same packets, and those write back the same."""

from __future__ import annotations

from gittorrent.wire import pktline
from gittorrent.wire.pktline import Packet, PktLineError, PktReader, Special

SEEDS = [
    b"0000",
    b"0009hello0000",
    b"000100020004",
    b"0003",
    b"fff1",
    b"0x10",
    b"+010abc",
    b"000Ahello\n",
    b"0032git-upload-pack /project.git\0host=myserver.com\0",
]


def _read(chunks: list[bytes]) -> tuple[list[Packet], str | None, bytes]:
    reader = PktReader()
    packets: list[Packet] = []
    try:
        for chunk in chunks:
            packets += reader.feed(chunk)
    except PktLineError as error:
        return [*packets, *error.packets], str(error), b""
    return packets, None, reader.take_rest()


def one_input(data: bytes) -> None:
    whole = _read([data])
    pieces = _read([data[i : i + 1] for i in range(len(data))])
    if whole != pieces:
        raise AssertionError("chunking changes what is read")
    packets, error, rest = whole
    written = b"".join(
        pktline.encode_special(p) if isinstance(p, Special) else pktline.encode(p) for p in packets
    )
    if not data.lower().startswith(written.lower()):
        raise AssertionError("packets do not write back to what was read")
    if error is None and len(written) + len(rest) != len(data):
        raise AssertionError("bytes were lost")


if __name__ == "__main__":
    from harness import run

    run(one_input)
