"""The first 56 bytes of a connection, each way.

Pure. ``07 "GTP/0.1"``, eight extension bytes, the repo hash, the sender's peer id. A listener has
to see the repo hash before it answers, so the hash can be read from the first 36 bytes.
Source: docs/protocol/gtp01.md, Handshake.
"""

from __future__ import annotations

from msgspec import Struct

from gittorrent.gtp.errors import HandshakeError

NAME = b"GTP/0.1"
EXTENSIONS = bytes(8)
ID_SIZE = 20
SIZE = 1 + len(NAME) + 8 + 2 * ID_SIZE
HASH_KNOWN_AFTER = SIZE - ID_SIZE
"""Bytes after which the repo hash is known."""


class Handshake(Struct, frozen=True):
    """What a handshake says.

    Args:
        repo_hash: 20 bytes.
        peer_id: 20 bytes.
        extensions: 8 bytes; zero in this version, and others' bits are ignored.
    """

    repo_hash: bytes
    peer_id: bytes
    extensions: bytes = EXTENSIONS

    def encode(self) -> bytes:
        """Return the 56 bytes."""
        head = bytes([len(NAME)]) + NAME + self.extensions
        return head + self.repo_hash + self.peer_id


def check_beginning(data: bytes) -> None:
    """Raise `HandshakeError` when ``data`` is no beginning of a handshake.

    Args:
        data: the bytes received so far.
    """
    expected = bytes([len(NAME)]) + NAME
    if data[: len(expected)] != expected[: len(data)]:
        raise HandshakeError(f"not a GTP/0.1 handshake: it begins {data[:8].hex()}")


def parse_repo_hash(data: bytes) -> bytes:
    """Return the repo hash of the first 36 bytes of a handshake; raises `HandshakeError`."""
    check_beginning(data)
    if len(data) < HASH_KNOWN_AFTER:
        raise HandshakeError(f"{len(data)} bytes are too few to know the repo hash")
    return data[16:36]


def parse(data: bytes) -> Handshake:
    """Read a handshake of exactly 56 bytes.

    Raises:
        HandshakeError: another name or another size.
    """
    check_beginning(data)
    if len(data) != SIZE:
        raise HandshakeError(f"a handshake has {SIZE} bytes, not {len(data)}")
    return Handshake(data[16:36], data[36:56], data[8:16])
