"""Names under which nodes of CI runners make themselves known on the local network.

Pure. A name says where the node answers and since when, with a code (HMAC-SHA256, RFC 2104, its
first 16 bytes) by the secret that the fleet shares. So the name alone tells whether somebody of the
fleet wrote it: names that strangers make up are left out before anybody is asked, however many
there are, and what else is announced under a name is not read. It must run out: an address belongs
to another machine some day. A label of DNS has 63 bytes at most (RFC 1035, 2.3.4); this one has 61.
Source: docs/protocol/mirrorsync.md, Nodes of CI runners.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress

from msgspec import Struct

from gittorrent.wire.ci_fleet import MAX_SKEW, NotAMemberError

RENEW_SECONDS = 6 * 3600
"""After that a node takes a new name."""

VALID_SECONDS = 2 * RENEW_SECONDS
"""For so long a name counts: whoever misses one renewal stays known."""

_CODE = 16
"""Bytes of the code: nobody guesses 128 bits."""

_BEGIN = 4 + 16 + 2
_LENGTH = 61
_MAX_TIME = 1 << 32


class RunnerLabel(Struct, frozen=True):
    """What a name says.

    Args:
        host: IP address in numbers.
        port: of HTTP.
        at: when the name was made, in seconds since 1970.
    """

    host: str
    port: int
    at: int


def write_label(secret: bytes, label: RunnerLabel) -> str:
    """Return the name of a node.

    Args:
        secret: that the runners share.
        label: what it is to say.
    """
    address = ipaddress.ip_address(label.host)
    if isinstance(address, ipaddress.IPv4Address):
        address = ipaddress.IPv6Address(f"::ffff:{address}")
    said = (
        (label.at % _MAX_TIME).to_bytes(4, "big") + address.packed + label.port.to_bytes(2, "big")
    )
    return _spelled(said + _code(secret, said))


def read_label(secret: bytes, text: str, now: int) -> RunnerLabel:
    """Read the name of a node.

    Args:
        secret: that the runners share.
        text: of the name.
        now: seconds since 1970.

    Raises:
        NotAMemberError: nobody of the fleet wrote it, or it has run out.
    """
    if len(text) != _LENGTH or not text.isascii():
        raise NotAMemberError("no name of a runner's node")
    try:
        found = base64.b32decode(text.upper() + "===")
    except ValueError:
        raise NotAMemberError("no name of a runner's node") from None
    if _spelled(found) != text:
        raise NotAMemberError("a name has one spelling")
    said = found[:_BEGIN]
    if not hmac.compare_digest(found[_BEGIN:], _code(secret, said)):
        raise NotAMemberError("the secret is another one")
    at = int.from_bytes(said[:4], "big")
    if not now - VALID_SECONDS - MAX_SKEW <= at <= now + MAX_SKEW:
        raise NotAMemberError("the name is of another time")
    address = ipaddress.IPv6Address(said[4:20])
    return RunnerLabel(str(address.ipv4_mapped or address), int.from_bytes(said[20:], "big"), at)


def _spelled(label: bytes) -> str:
    return base64.b32encode(label).decode().rstrip("=").lower()


def _code(secret: bytes, said: bytes) -> bytes:
    return hmac.new(secret, b"lan\n" + said, hashlib.sha256).digest()[:_CODE]
