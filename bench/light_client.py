"""A client that takes everything a clone takes and does nothing with it.

    light_client.py parts URL    mirror list, log, manifests and all parts, as gittorrent asks
    light_client.py pack URL     refs and one pack by git's protocol version 2, as git clone asks

For measuring servers: what a client pays for indexing would only make the measurement longer.
Prints the bytes of pack data received. Digests are not checked; the count is.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gittorrent.reel.manifest import parse_manifest
from gittorrent.trust.signature import split_signed
from gittorrent.wire import pktline
from gittorrent.wire.messages import (
    EndLog,
    EndWant,
    FetchLog,
    FetchManifest,
    FetchParts,
    HaveBundle,
    MissingLog,
    MissingManifest,
    MissingParts,
    ReceiveManifest,
    ReceivePart,
    WantBundle,
    parse_message,
)
from gittorrent.wire.mirrorlist import parse_lines, parse_text
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.service import MIRROR_LIST, MIRROR_SYNC, ServiceRequest, encode_request
from gittorrent.wire.session import MessageReceived, Role, Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

    from gittorrent.ids import PushId
    from gittorrent.reel.manifest import Manifest
    from gittorrent.wire.messages import Message

RUN = 8
"""Parts asked for at a time; about what the scheduler asks of a fast mirror."""

TIMEOUT_SECONDS = 120.0
"""Silence of a server after which measuring it makes no sense."""

CROWD_SILENCE_SECONDS = 3.0
"""Silence after which everything has come."""

CROWD_TOLERANCE = 4096
"""Bytes by which answers to the same request may differ: git compresses some things anew."""

_CHUNK = 1 << 18
_PACK_BAND = 1


def take_parts(url: str) -> int:
    """Download all reels that a clone would and return their bytes.

    Args:
        url: of a repository, git:// or http://.

    Raises:
        ConnectionError: the server does not give all of it.
    """
    place = urlsplit(url)
    return _take_by_http(place) if place.scheme == "http" else _take_by_git(place)


class Conversation:
    """One mirror-sync conversation, question by question.

    Args:
        sock: on which the service was asked for.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.session = Session(Role.CALLER, time.monotonic())
        self._events = self._receive()

    def say(self, message: Message, shape: PackShape | None = None) -> None:
        """Send a message; parts need the shape of their pack."""
        self._sock.sendall(self.session.send(message, shape=shape))

    def hear(self) -> MessageReceived:
        """Return the next message."""
        return next(self._events)

    def _receive(self) -> Iterator[MessageReceived]:
        while count := self._sock.recv_into(self.session.writable()):
            for event in self.session.received(count):
                if not isinstance(event, MessageReceived):
                    raise ConnectionError(f"the server ends the conversation: {event}")
                if isinstance(event.message, MissingLog | MissingManifest | MissingParts):
                    raise ConnectionError(f"the server lacks something: {event.message}")
                yield event
        raise ConnectionError("the server hung up")


def _take_by_git(place: SplitResult) -> int:
    with _request_service(place, MIRROR_LIST) as sock:
        latest = parse_lines(PacketStream(sock).section()).latest
    if latest is None:
        raise ConnectionError("the server has no push")
    with _request_service(place, MIRROR_SYNC) as sock:
        conversation = Conversation(sock)
        conversation.hear()
        conversation.say(FetchLog(latest))
        while not isinstance(conversation.hear().message, EndLog):
            pass
        received = 0
        for offer in _offers(conversation, latest):
            conversation.say(FetchManifest(offer.manifest))
            while not isinstance((event := conversation.hear()).message, ReceiveManifest):
                pass
            received += _converse_parts(conversation, offer, _manifest(event.payload))
        sock.sendall(conversation.session.bye("done"))
        return received


def _offers(conversation: Conversation, latest: PushId) -> list[HaveBundle]:
    conversation.say(WantBundle(ReelName(None, latest)))
    found = []
    while not isinstance(message := conversation.hear().message, EndWant):
        if isinstance(message, HaveBundle):
            found.append(message)
    return found


def _converse_parts(conversation: Conversation, offer: HaveBundle, manifest: Manifest) -> int:
    """Ask for all parts, as many at once as the protocol allows, and return their bytes."""
    shape = PackShape(manifest.pack_size, manifest.part_size)
    asked = received = 0
    while received < manifest.pack_size:
        while asked < shape.parts and conversation.session.room:
            last = min(asked + RUN, shape.parts) - 1
            conversation.say(
                FetchParts(offer.reel, offer.manifest, asked, last, shape.parts), shape
            )
            asked = last + 1
        event = conversation.hear()
        if isinstance(event.message, ReceivePart):
            received += event.message.size
    return received


def _take_by_http(place: SplitResult) -> int:
    connection = http.client.HTTPConnection(place.netloc, timeout=TIMEOUT_SECONDS)

    def get(name: str, **headers: str) -> bytes:
        connection.request("GET", f"{place.path}/{name}", headers=headers)
        answer = connection.getresponse()
        if answer.status not in (200, 206):
            raise ConnectionError(f"{name}: the server answers {answer.status}")
        return answer.read()

    parse_text(get("mirror-list"))
    for push in get("pushes/index").decode("ascii").split():
        get(f"pushes/{push}")
    received = 0
    for line in get("reels/index").splitlines():
        offer = parse_message(line)
        if isinstance(offer, HaveBundle):
            manifest = _manifest(get(f"reels/{offer.manifest}.manifest"))
            stride = RUN * manifest.part_size
            for first in range(0, manifest.pack_size, stride):
                last = min(first + stride, manifest.pack_size) - 1
                pack = f"reels/{offer.manifest}.pack"
                received += len(get(pack, Range=f"bytes={first}-{last}"))
    connection.close()
    return received


def _manifest(data: bytes | bytearray | None) -> Manifest:
    text, _ = split_signed(bytes(data or b""))
    return parse_manifest(text)


def _request_service(place: SplitResult, service: str) -> socket.socket:
    """Connect and send the first packet."""
    host = place.netloc.encode("ascii")
    request = ServiceRequest(service, place.path.encode("ascii"), host)
    sock = _connect(place)
    sock.sendall(pktline.encode(encode_request(request)))
    return sock


def _connect(place: SplitResult) -> socket.socket:
    if place.hostname is None or place.port is None:
        raise ConnectionError(f"no host and port in {place.geturl()}")
    sock = socket.create_connection((place.hostname, place.port), TIMEOUT_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class PacketStream:
    """Reads pkt-lines from a socket one at a time.

    Args:
        sock: connected and blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rb", _CHUNK)

    def packet(self) -> pktline.Packet:
        """Return the next packet.

        Raises:
            ConnectionError: there is none.
        """
        header = self._file.read(pktline.HEADER_SIZE)
        if len(header) < pktline.HEADER_SIZE:
            raise ConnectionError("the server hung up")
        size = pktline.parse_length(header)
        if isinstance(size, pktline.Special):
            return size
        data: bytes = self._file.read(size)
        if len(data) < size:
            raise ConnectionError("the server hung up in a packet")
        if data.startswith(b"ERR "):
            raise ConnectionError(data.decode("utf-8", "replace"))
        return data

    def section(self) -> list[bytes]:
        """Return the packets up to the next flush."""
        found = []
        while isinstance(packet := self.packet(), bytes):
            found.append(packet)
        return found


def take_pack(url: str) -> int:
    """Fetch all heads and tags as one pack and return its bytes.

    Args:
        url: of a repository, git://.
    """
    place = urlsplit(url)
    with _connect(place) as sock:
        stream = PacketStream(sock)
        first = f"git-upload-pack {place.path}\0host={place.netloc}\0\0version=2\0"
        sock.sendall(pktline.encode(first.encode()))
        offered = stream.section()
        if not offered or not offered[0].startswith(b"version 2"):
            raise ConnectionError(f"{url} does not speak protocol version 2")
        formats = [line for line in offered if line.startswith(b"object-format=")]
        prefixes = [b"ref-prefix " + name for name in (b"HEAD", b"refs/heads/", b"refs/tags/")]
        sock.sendall(_request(b"ls-refs", formats, [b"peel\n", b"symrefs\n", *prefixes]))
        wants = dict.fromkeys(line.split(b" ", 1)[0] for line in stream.section())
        words = [b"thin-pack", b"no-progress", b"include-tag", b"ofs-delta"]
        words += [b"want " + oid + b"\n" for oid in wants]
        sock.sendall(_request(b"fetch", formats, [*words, b"done\n"]))
        if stream.packet() != b"packfile\n":
            raise ConnectionError(f"{url} sent no pack")
        received = 0
        while isinstance(packet := stream.packet(), bytes):
            if packet[0] == _PACK_BAND:
                received += len(packet) - 1
        return received


def crowd_request(kind: str, url: str) -> tuple[bytes, int]:
    """Return what a client may send at once to be given everything, and how many bytes come then.

    Args:
        kind: ``parts`` of the largest reel, or ``pack`` of all heads and tags.
        url: of the repository, git://.
    """
    place = urlsplit(url)
    request = _parts_at_once(place) if kind == "parts" else _pack_at_once(place)
    size = 0
    with _connect(place) as sock:
        sock.sendall(request)
        sock.settimeout(CROWD_SILENCE_SECONDS)
        with contextlib.suppress(TimeoutError):
            while count := len(sock.recv(_CHUNK)):
                size += count
    return request, size - CROWD_TOLERANCE


def _parts_at_once(place: SplitResult) -> bytes:
    with _request_service(place, MIRROR_LIST) as sock:
        latest = parse_lines(PacketStream(sock).section()).latest
    if latest is None:
        raise ConnectionError("the server has no push")
    with _request_service(place, MIRROR_SYNC) as sock:
        conversation = Conversation(sock)
        conversation.hear()
        offer = max(_offers(conversation, latest), key=lambda each: each.pack_size)
        conversation.say(FetchManifest(offer.manifest))
        while not isinstance((event := conversation.hear()).message, ReceiveManifest):
            pass
        manifest = _manifest(event.payload)
        sock.sendall(conversation.session.bye("done"))
    parts = PackShape(manifest.pack_size, manifest.part_size).parts
    service = ServiceRequest(MIRROR_SYNC, place.path.encode("ascii"), place.netloc.encode("ascii"))
    lines = [
        FetchParts(offer.reel, offer.manifest, at, min(at + RUN, parts) - 1, parts).encode()
        for at in range(0, parts, RUN)
    ]
    return b"".join(map(pktline.encode, [encode_request(service), *lines]))


def _pack_at_once(place: SplitResult) -> bytes:
    first = f"git-upload-pack {place.path}\0host={place.netloc}\0\0version=2\0"
    with _connect(place) as sock:
        stream = PacketStream(sock)
        sock.sendall(pktline.encode(first.encode()))
        formats = [line for line in stream.section() if line.startswith(b"object-format=")]
        prefixes = [b"ref-prefix refs/heads/", b"ref-prefix refs/tags/"]
        sock.sendall(_request(b"ls-refs", formats, prefixes))
        wants = dict.fromkeys(line.split(b" ", 1)[0] for line in stream.section())
    words = [b"thin-pack", b"no-progress", b"include-tag", b"ofs-delta"]
    words += [b"want " + oid + b"\n" for oid in wants]
    fetch = _request(b"fetch", formats, [*words, b"done\n"])
    end = pktline.encode_special(pktline.FLUSH)
    return pktline.encode(first.encode()) + fetch + end


def _request(command: bytes, formats: list[bytes], arguments: list[bytes]) -> bytes:
    """Return one protocol version 2 request (gitprotocol-v2(5))."""
    head = b"".join(map(pktline.encode, [b"command=" + command, *formats]))
    return head + pktline.encode_special(pktline.DELIM) + pktline.encode_lines(arguments)


def main() -> None:
    """Run as a program."""
    kind, url = sys.argv[1:]
    if kind == "parts":
        print(take_parts(url))
    else:
        print(take_pack(url))


if __name__ == "__main__":
    main()
