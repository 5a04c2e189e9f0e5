"""Reads pkt-lines from a stream, for ends that tests play themselves."""

from __future__ import annotations

from gittorrent.wire import pktline


class PacketStream:
    """Cuts a stream into packets, however it is chunked."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[pktline.Packet]:
        """Take in bytes and return the packets now whole; raises PktLineError."""
        self._buffer += data
        packets: list[pktline.Packet] = []
        while len(self._buffer) >= pktline.HEADER_SIZE:
            size = pktline.parse_length(self._buffer[: pktline.HEADER_SIZE])
            end = pktline.HEADER_SIZE + (size if isinstance(size, int) else 0)
            if len(self._buffer) < end:
                break
            payload = bytes(self._buffer[pktline.HEADER_SIZE : end])
            packets.append(payload if isinstance(size, int) else size)
            del self._buffer[:end]
        return packets
