"""What clients and trackers say to each other: a query string, and a bencoded answer.

Pure. Rules: ids have 20 bytes; numbers are plain decimals; addresses are IPv4, IPv6 or DNS names;
unknown parameters and keys are skipped; a failure stands alone. A file with ``expires`` 0 is an
answer too, so any web server can be a tracker. Source: docs/protocol/gtp01.md, Tracker.
"""

from __future__ import annotations

import ipaddress
import re
from enum import Enum
from urllib.parse import quote_from_bytes, unquote_to_bytes

from msgspec import Struct

from gittorrent.gtp import bencode
from gittorrent.gtp.errors import BencodeError, TrackerError
from gittorrent.gtp.limits import (
    MAX_ADDRESS,
    MAX_PEERS,
    MAX_QUERY,
    MAX_REFERENCES,
    MAX_TEXT,
    MAX_TRACKER_ANSWER,
)
from gittorrent.gtp.messages import PeerAddress

NOBODY = bytes(20)
"""Peer id of a peer whose id is not known, in files written by hand."""

_DIGITS = re.compile(rb"(?:0|[1-9][0-9]{0,17})\Z")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")


class TrackerEvent(Enum):
    """Why a client asks."""

    NONE = ""
    STARTED = "started"
    STOPPED = "stopped"


class TrackerRequest(Struct, frozen=True):
    """What a client tells a tracker.

    Args:
        repo_hash: 20 bytes.
        peer_id: 20 bytes.
        port: at which the client listens.
        uploaded: bytes since it started.
        downloaded: bytes since it started.
        completed: whether it has everything.
        address: where it can be reached, empty for where the request comes from.
        peers: how many it wants to hear of; None leaves it to the tracker.
        references: how many reference objects it wants; None leaves it to the tracker.
        event: why it asks.
        valid: seconds it wants to be listed; 0 leaves it to the tracker.
    """

    repo_hash: bytes
    peer_id: bytes
    port: int
    uploaded: int = 0
    downloaded: int = 0
    completed: bool = False
    address: str = ""
    peers: int | None = None
    references: int | None = None
    event: TrackerEvent = TrackerEvent.NONE
    valid: int = 0

    def query(self) -> str:
        """Return the query string."""
        values: list[tuple[str, bytes]] = [
            ("repo_hash", self.repo_hash),
            ("peer_id", self.peer_id),
            ("port", b"%d" % self.port),
            ("uploaded", b"%d" % self.uploaded),
            ("downloaded", b"%d" % self.downloaded),
            ("completed", b"1" if self.completed else b"0"),
        ]
        if self.address:
            values.append(("address", self.address.encode("ascii")))
        for name, count in (("peers", self.peers), ("references", self.references)):
            if count is not None:
                values.append((name, b"%d" % count))
        if self.event is not TrackerEvent.NONE:
            values.append(("event", self.event.value.encode()))
        if self.valid:
            values.append(("valid", b"%d" % self.valid))
        return "&".join(f"{name}={quote_from_bytes(value, safe='')}" for name, value in values)


class TrackerAnswer(Struct, frozen=True):
    """What a tracker tells a client.

    Args:
        expires: seconds after which to ask again; 0 from a file, which never knows better.
        peers: some of the swarm.
        references: bodies of reference objects, newest first.
        complete: peers that have everything; None when it does not say.
        incomplete: the others; None when it does not say.
    """

    expires: int
    peers: tuple[PeerAddress, ...] = ()
    references: tuple[bytes, ...] = ()
    complete: int | None = None
    incomplete: int | None = None

    def encode(self) -> bytes:
        """Return the bencoded answer."""
        top: dict[bytes, bencode.Encodable] = {
            b"expires": self.expires,
            b"peers": [
                {b"peer id": p.peer_id, b"address": p.host.encode("ascii"), b"port": p.port}
                for p in self.peers
            ],
            b"references": self.references,
        }
        for key, count in ((b"complete", self.complete), (b"incomplete", self.incomplete)):
            if count is not None:
                top[key] = count
        return bencode.encode(top)


class TrackerRefusedError(TrackerError):
    """A tracker answered with a failure reason."""


def encode_failure(reason: str) -> bytes:
    """Return the answer that refuses a request."""
    return bencode.encode({b"failure reason": reason.encode()})


def is_address(host: str) -> bool:
    """Tell whether ``host`` is an IPv4 or IPv6 address or a DNS name."""
    if not 0 < len(host) <= MAX_ADDRESS or not host.isascii():
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        named = not all(label.isdigit() for label in labels)
        return named and all(_LABEL.match(label) for label in labels)
    return True


def parse_request(query: str) -> TrackerRequest:
    """Read a query string.

    Raises:
        TrackerError: something is missing or malformed; the message may be sent back.
    """
    if len(query) > MAX_QUERY:
        raise TrackerError(f"query of {len(query)} characters; at most {MAX_QUERY} are read")
    values: dict[str, bytes] = {}
    for item in query.split("&"):
        name, _, value = item.partition("=")
        if name in values:
            raise TrackerError(f"parameter {name[:40]!a} is given twice")
        values[name] = unquote_to_bytes(value.replace("+", " "))
    address = values.get("address", b"").decode("ascii", "replace")
    if address and not is_address(address):
        raise TrackerError("address is no IPv4 or IPv6 address and no DNS name")
    try:
        event = TrackerEvent(values.get("event", b"").decode("ascii", "replace"))
    except ValueError:
        raise TrackerError("event is neither started nor stopped") from None
    return TrackerRequest(
        repo_hash=_id(values, "repo_hash"),
        peer_id=_id(values, "peer_id"),
        port=_number(values, "port", 1, 65535),
        uploaded=_number(values, "uploaded", 0, 2**53),
        downloaded=_number(values, "downloaded", 0, 2**53),
        completed=_number(values, "completed", 0, 1, 0) == 1,
        address=address,
        peers=_number(values, "peers", 0, 2**31, -1) if "peers" in values else None,
        references=_number(values, "references", 0, 2**31, -1) if "references" in values else None,
        event=event,
        valid=_number(values, "valid", 0, 2**31, 0),
    )


def _id(values: dict[str, bytes], name: str) -> bytes:
    value = values.get(name, b"")
    if len(value) != 20:
        raise TrackerError(f"{name} has {len(value)} bytes, not 20")
    return value


def _number(
    values: dict[str, bytes], name: str, low: int, high: int, default: int | None = None
) -> int:
    value = values.get(name)
    if value is None and default is not None:
        return default
    if value is None or _DIGITS.match(value) is None or not low <= int(value) <= high:
        raise TrackerError(f"{name} is no number from {low} to {high}")
    return int(value)


def parse_answer(data: bytes) -> TrackerAnswer:
    """Read a tracker's answer.

    Raises:
        TrackerRefusedError: it refuses; says why.
        TrackerError: it is malformed.
    """
    try:
        top = bencode.decode(data, MAX_TRACKER_ANSWER)
        if not isinstance(top, dict):
            raise TrackerError("a tracker's answer is no dictionary")
        if b"failure reason" in top:
            reason = bencode.text_of(top[b"failure reason"], "failure reason", MAX_TEXT)
            raise TrackerRefusedError(f"the tracker refused: {reason}")
    except BencodeError as error:
        raise TrackerError(f"a tracker's answer is malformed: {error}") from error
    return TrackerAnswer(
        expires=_count(top, b"expires") or 0,
        peers=_peers(top.get(b"peers", [])),
        references=_bodies(top.get(b"references", [])),
        complete=_count(top, b"complete"),
        incomplete=_count(top, b"incomplete"),
    )


def _count(top: dict[bytes, bencode.Value], key: bytes) -> int | None:
    value = top.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or not 0 <= value <= 2**31:
        raise TrackerError(f"a tracker's answer has no number for {key.decode()}")
    return value


def _peers(value: bencode.Value) -> tuple[PeerAddress, ...]:
    if not isinstance(value, list):
        raise TrackerError("a tracker's answer has no list of peers")
    found = []
    for item in value[:MAX_PEERS]:
        fields = item if isinstance(item, dict) else {}
        peer_id, host = fields.get(b"peer id", NOBODY), fields.get(b"address")
        port = fields.get(b"port")
        named = isinstance(host, bytes) and is_address(host.decode("ascii", "replace"))
        listens = isinstance(port, int) and 0 < port < 65536
        if not isinstance(peer_id, bytes) or len(peer_id) != 20 or not named or not listens:
            raise TrackerError("a tracker's answer has a peer without id, address or port")
        if isinstance(host, bytes) and isinstance(port, int):
            found.append(PeerAddress(peer_id, host.decode("ascii"), port))
    return tuple(found)


def _bodies(value: bencode.Value) -> tuple[bytes, ...]:
    if not isinstance(value, list) or len(value) > MAX_REFERENCES:
        raise TrackerError("a tracker's answer has no list of references")
    bodies = [item for item in value if isinstance(item, bytes)]
    if len(bodies) != len(value):
        raise TrackerError("a tracker's answer has a reference that is no string")
    return tuple(bodies)
