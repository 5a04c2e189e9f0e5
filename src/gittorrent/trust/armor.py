"""The text envelope around signatures and certificates: ``-----BEGIN ...-----`` and base64.

Tracks nothing; pure. One strict reader for both OpenPGP and SSH.

Rules: the envelope is the whole input, from its BEGIN line to the line end after its END line;
LF line ends only; canonical base64; a checksum, if there is one, must be right. An envelope can
still be written in several ways (line width, comment headers), so nothing may ever be named
after the armored text.

Source: RFC 9580 section 6.2, OpenSSH PROTOCOL.sshsig; docs/protocol/trust.md, Signatures.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINE = 1000
"""Characters in a line of armor; 64 to 76 in practice."""

MAX_HEADERS = 16
"""``Version:`` and ``Comment:`` lines in an OpenPGP armor."""

_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]{0,60}: ?[\x20-\x7e\x80-\xff]*\Z")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}\Z")
_CHECKSUM = re.compile(rb"=([A-Za-z0-9+/]{4})\Z")


class Armor(Enum):
    """The envelopes in use; the value is the name on the BEGIN and END lines."""

    SSH_SIGNATURE = b"SSH SIGNATURE"
    PGP_SIGNATURE = b"PGP SIGNATURE"
    PGP_CERTIFICATE = b"PGP PUBLIC KEY BLOCK"

    @property
    def begin(self) -> bytes:
        """The first line, without line end."""
        return b"-----BEGIN " + self.value + b"-----"

    @property
    def end(self) -> bytes:
        """The last line, without line end."""
        return b"-----END " + self.value + b"-----"


def unwrap(data: bytes, kind: Armor, error: Callable[[str], Exception]) -> bytes:
    """Return the bytes inside an envelope of this kind.

    ``data`` must be the envelope and nothing else. ``error`` makes the exception to raise from a
    message. Source: docs/protocol/trust.md, Signatures.
    """
    label = kind.value.decode("ascii")
    lines = data.split(b"\n")
    if lines[-1] != b"" or len(lines) < 4 or lines[0] != kind.begin or lines[-2] != kind.end:
        raise error(f"not exactly one {label}: BEGIN and END lines must enclose all of it")
    body = lines[1:-2]
    if any(len(line) > MAX_LINE for line in body):
        raise error(f"{label} has a line of more than {MAX_LINE} characters")
    checksum = None
    if kind is not Armor.SSH_SIGNATURE:
        body = _after_headers(body, label, error)
        found = _CHECKSUM.match(body[-1]) if body else None
        if found is not None:
            checksum = base64.b64decode(found.group(1))
            body = body[:-1]
    raw = _decode(body, label, error)
    if checksum is not None and crc24(raw) != checksum:
        raise error(f"{label} is damaged: its checksum does not match")
    return raw


def wrap(raw: bytes, kind: Armor, width: int = 64) -> bytes:
    """Put bytes into an envelope, ``width`` characters to a line."""
    digits = base64.b64encode(raw)
    lines = [digits[at : at + width] for at in range(0, len(digits), width)]
    if kind is not Armor.SSH_SIGNATURE:
        lines = [b"", *lines, b"=" + base64.b64encode(crc24(raw))]
    return b"\n".join([kind.begin, *lines, kind.end, b""])


def crc24(data: bytes) -> bytes:
    """Compute the checksum of OpenPGP armor (three bytes). Source: RFC 9580 section 6.1.1."""
    crc = 0xB704CE
    for byte in data:
        crc = ((crc << 8) & 0xFFFFFF) ^ _CRC_TABLE[(crc >> 16) ^ byte]
    return crc.to_bytes(3, "big")


def _crc_row(top: int) -> int:
    """Feed eight zero bits to the checksum's shift register."""
    crc = top << 16
    for _ in range(8):
        crc <<= 1
        if crc & 0x1000000:
            crc ^= 0x1864CFB
    return crc


_CRC_TABLE = tuple(_crc_row(top) for top in range(256))


def _after_headers(body: list[bytes], label: str, error: Callable[[str], Exception]) -> list[bytes]:
    """Drop the headers and the blank line that ends them."""
    for index, line in enumerate(body[: MAX_HEADERS + 1]):
        if line == b"":
            return body[index + 1 :]
        if _HEADER.match(line) is None:
            break
    raise error(f"{label} has no blank line after its headers")


def _decode(body: list[bytes], label: str, error: Callable[[str], Exception]) -> bytes:
    digits = b"".join(body)
    if any(not line for line in body) or _BASE64.match(digits) is None:
        raise error(f"{label} has a line that is not base64")
    try:
        raw = base64.b64decode(digits, validate=True)
    except binascii.Error as problem:
        raise error(f"{label} is not valid base64: {problem}") from problem
    if base64.b64encode(raw) != digits:
        raise error(f"{label} is not canonical base64")
    return raw
