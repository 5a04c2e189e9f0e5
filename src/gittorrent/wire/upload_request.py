"""Requests for objects as git's protocol 2 has them, so far as an answer can be kept for others.

For the node that answers CI jobs, and for the helper that asks it; pure. What git asks a server for
with ``command=fetch`` names every object by its id. So what comes back depends on the request
alone, whoever asks; two requests that ask for the same are written the same here, and the digest of
that is a name for the answer.

Rules: what is not known here, or what a server answers by its refs (``want-ref``, ``deepen-not``),
is no such request, and goes to the upstream as it is. So does a filter that names a file
(``sparse:oid``): it may do so by a ref, and its answer shows what lines the file has.
Source: gitprotocol-v2(5), fetch.
"""

from __future__ import annotations

import hashlib
import re

from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.wire import pktline
from gittorrent.wire.pktline import DELIM, FLUSH, HEADER_SIZE, Packet, PktLineError, Special

MAX_REQUEST = 8 << 20
"""Bytes of a request: a checkout of a partial clone asks for 150,000 blobs at once."""

_COMMAND = b"command=fetch"
_AGENT = b"agent=gittorrent"
_FORMAT = b"object-format=sha1"
_KNOWN_SWITCHES = frozenset({b"thin-pack", b"include-tag", b"ofs-delta", b"deepen-relative"})
_IGNORED = frozenset({b"no-progress"})
_IGNORED_CAPABILITIES = (b"agent=", b"session-id=")
_OID = re.compile(rb"[0-9a-f]{40}\Z")
_NUMBER = re.compile(rb"[1-9][0-9]{0,18}\Z")
_LISTING = re.compile(rb"(?:peel|symrefs|unborn|ref-prefix [^\x00-\x20\x7f]{1,1024})\Z")
_FILTER = re.compile(rb"(?:blob:none|blob:limit=[0-9]{1,18}[kmg]?|tree:[0-9]{1,9})\Z")


class OtherRequestError(ProtocolError):
    """Something else than a request for objects whose answer can be kept."""


class UploadRequest(Struct, frozen=True):
    """A request for objects.

    Args:
        wants: ids of what is asked for, each once, in order.
        haves: ids of what the asker has, in its order.
        is_done: whether it asks for the pack whatever the server knows of ``haves``.
        shallow: ids of commits without their parents at the asker's.
        shape: what of the history is asked for, such as ``deepen 1``, in order.
        switches: of how the pack is made, in order.
    """

    wants: tuple[bytes, ...]
    haves: tuple[bytes, ...] = ()
    is_done: bool = True
    shallow: tuple[bytes, ...] = ()
    shape: tuple[bytes, ...] = ()
    switches: tuple[bytes, ...] = ()

    @property
    def is_from_nothing(self) -> bool:
        """Whether the asker builds on nothing, so that many may ask for the same."""
        return self.is_done and not self.haves

    @property
    def is_whole(self) -> bool:
        """Whether the answer has all that the wants reach."""
        return self.is_from_nothing and not self.shape and not self.shallow

    def encode(self) -> bytes:
        """Write it in the one way that it is written in here."""
        lines: list[Packet] = [_COMMAND, _AGENT, _FORMAT, DELIM]
        lines += [*self.switches, b"no-progress"]
        lines += [b"shallow " + oid for oid in self.shallow]
        lines += self.shape
        lines += [b"want " + oid for oid in self.wants]
        lines += [b"have " + oid for oid in self.haves]
        lines += [b"done"] if self.is_done else []
        lines.append(FLUSH)
        return b"".join(map(_encode, lines))

    def digest(self, url: str) -> str:
        """Return the name of its answer, 64 hexadecimal digits; ``url`` is the upstream's."""
        return hashlib.sha256(url.encode() + b"\0" + self.encode()).hexdigest()


def _encode(packet: Packet) -> bytes:
    if isinstance(packet, Special):
        return pktline.encode_special(packet)
    return pktline.encode(packet)


def packets_of(data: bytes) -> list[Packet]:
    """Take pkt-lines apart; the LF at the end of a line does not count.

    Raises:
        PktLineError: it is no sequence of whole packets.
    """
    found: list[Packet] = []
    at, view = 0, memoryview(data)
    while at < len(view):
        if at + HEADER_SIZE > len(view):
            raise PktLineError("the last packet has no length")
        length = pktline.parse_length(view[at : at + HEADER_SIZE])
        at += HEADER_SIZE
        if isinstance(length, Special):
            found.append(length)
            continue
        if at + length > len(view):
            raise PktLineError("the last packet is cut short")
        found.append(bytes(view[at : at + length]).removesuffix(b"\n"))
        at += length
    return found


def parse_upload_request(data: bytes) -> UploadRequest:
    """Read a request.

    Raises:
        ProtocolError: it is another one, or none.
    """
    if len(data) > MAX_REQUEST:
        raise OtherRequestError(f"a request of more than {MAX_REQUEST} bytes")
    packets = packets_of(data)
    if not packets or packets[0] != _COMMAND or packets[-1] is not FLUSH or DELIM not in packets:
        raise OtherRequestError("no request for objects")
    delim = packets.index(DELIM)
    for word in packets[1:delim]:
        if word != _FORMAT and not (
            isinstance(word, bytes) and word.startswith(_IGNORED_CAPABILITIES)
        ):
            raise OtherRequestError("a request with a capability that is not known here")
    reading = _Reading()
    for line in packets[delim + 1 : -1]:
        if isinstance(line, Special):
            raise OtherRequestError("a request in several parts")
        reading.take(line)
    return reading.found()


class _Reading:
    """Takes the arguments of a request one by one."""

    def __init__(self) -> None:
        self._ids: dict[bytes, list[bytes]] = {b"want": [], b"have": [], b"shallow": []}
        self._is_done = False
        self._shape: set[bytes] = set()
        self._switches: set[bytes] = set()

    def take(self, line: bytes) -> None:
        word, _, value = line.partition(b" ")
        if word in self._ids and _OID.match(value):
            self._ids[word].append(value)
        elif line == b"done":
            self._is_done = True
        elif line in _KNOWN_SWITCHES:
            self._switches.add(line)
        elif (word in (b"deepen", b"deepen-since") and _NUMBER.match(value)) or (
            word == b"filter" and _FILTER.match(value)
        ):
            self._shape.add(line)
        elif line not in _IGNORED:
            raise OtherRequestError("a request with words that are not known here")

    def found(self) -> UploadRequest:
        ids = {word: tuple(dict.fromkeys(found)) for word, found in self._ids.items()}
        if not ids[b"want"]:
            raise OtherRequestError("a request that asks for no object")
        if len({line.partition(b" ")[0] for line in self._shape}) < len(self._shape):
            raise OtherRequestError("a request that says twice how deep")
        return UploadRequest(
            tuple(sorted(ids[b"want"])),
            ids[b"have"],
            self._is_done,
            tuple(sorted(ids[b"shallow"])),
            tuple(sorted(self._shape)),
            tuple(sorted(self._switches)),
        )


def parse_list_request(data: bytes) -> bytes:
    """Read a request for refs (``command=ls-refs``) and return it as it is written in here.

    Raises:
        ProtocolError: it is another one, or none.
    """
    packets = packets_of(data)
    if not packets or packets[0] != b"command=ls-refs" or packets[-1] is not FLUSH:
        raise OtherRequestError("no request for refs")
    delim = packets.index(DELIM) if DELIM in packets else len(packets) - 1
    for word in packets[1:delim]:
        if word != _FORMAT and not (
            isinstance(word, bytes) and word.startswith(_IGNORED_CAPABILITIES)
        ):
            raise OtherRequestError("a request with a capability that is not known here")
    arguments = packets[delim + 1 : -1]
    for line in arguments:
        if not isinstance(line, bytes) or not _LISTING.match(line):
            raise OtherRequestError("a request with words that are not known here")
    lines: list[Packet] = [b"command=ls-refs", _AGENT, _FORMAT, DELIM, *arguments, FLUSH]
    return b"".join(map(_encode, lines))
