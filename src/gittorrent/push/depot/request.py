"""What a client says before its pack: commands or a certificate, and push options.

Pure. Takes one packet after the other and knows when the pack begins, so that whoever reads for it
takes nothing of the pack (gitprotocol-pack(5), "Reference Update Request").

Rules: bounded in bytes before anything is taken apart; commands beside a certificate are refused,
since nobody signed them. Must not know who may do what.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.ids import Oid, RefName
from gittorrent.printable import decoded
from gittorrent.push.certificate import MAX_LINES, MAX_OPTION, MAX_OPTIONS, MAX_TEXT, Line
from gittorrent.trust.signature import MAX_SIGNATURE
from gittorrent.wire import pktline

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import ObjectFormat
    from gittorrent.wire.pktline import Packet

MAX_CAPABILITIES = 8 << 10
"""Bytes of what a client says it can do; git's own come to 200, most of them its name."""

MAX_REQUEST = MAX_TEXT + MAX_SIGNATURE + MAX_CAPABILITIES
"""Bytes of commands or of a certificate, as large as one may be."""

MAX_SHALLOW = 4096
"""Lines by which a shallow clone says where its history ends."""

_COMMAND = re.compile(rb"([0-9a-f]{40,64}) ([0-9a-f]{40,64}) ([^\x00-\x20\x7f]{1,4096})\Z")
_SHALLOW = re.compile(rb"shallow [0-9a-f]{40,64}\Z")
_CERTIFICATE = b"push-cert"
_CERTIFICATE_END = b"push-cert-end\n"


class RequestError(ProtocolError):
    """A client did not keep to git's protocol for pushes."""


class RequestTooLargeError(ProtocolError):
    """A client says more than is allowed before its pack."""

    def __init__(self) -> None:
        super().__init__(
            f"a push may change {MAX_LINES:,} refs and say {MAX_TEXT >> 20} MiB about them",
            hint="push fewer refs at a time",
        )


class PushRequest(Struct, frozen=True):
    """What a client asks for.

    Args:
        abilities: what it can do, such as ``report-status``.
        commands: the changes that it asks for unsigned.
        certificate: a push certificate with its signature; None without one.
        options: push options, as they came beside the certificate.
    """

    abilities: frozenset[bytes]
    commands: tuple[Line, ...]
    certificate: bytes | None
    options: tuple[bytes, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing, as ``--dry-run`` does, and clients that try the way."""
        return not self.commands and self.certificate is None

    def claimed(self) -> tuple[Line, ...]:
        """Return the changes that it asks for, signed or not: for its report, and nothing else."""
        if self.certificate is None:
            return self.commands
        lines = self.certificate.partition(b"\n\n")[2].split(b"\n")
        return tuple(_parsed(found) for line in lines if (found := _COMMAND.match(line)))

    @property
    def atomic(self) -> bool:
        """Whether the user asked that all refs change or none."""
        return b"atomic" in self.abilities


class RequestReader:
    """Takes a request's packets until it is whole.

    Args:
        object_format: of the repository.
    """

    def __init__(self, object_format: ObjectFormat) -> None:
        self._format = object_format
        self._abilities: frozenset[bytes] | None = None
        self._commands: list[Line] = []
        self._certificate: list[bytes] | None = None
        self._options: list[bytes] = []
        self._size = 0
        self._shallow = 0
        self._next: Callable[[Packet], bool] = self._command

    @property
    def abilities(self) -> frozenset[bytes]:
        """What the client can do, as far as it was heard."""
        return self._abilities or frozenset()

    def take(self, packet: Packet) -> bool:
        """Take the next packet; tells whether it was the last one before the pack.

        Raises:
            RequestError: it has no place there.
            RequestTooLargeError: it is one too many.
        """
        if isinstance(packet, bytes):
            self._size += len(packet)
            if self._size > MAX_REQUEST:
                raise RequestTooLargeError
        elif packet is not pktline.FLUSH:
            raise RequestError(f"a {packet.name.lower()} packet in the request of a push")
        return self._next(packet)

    def request(self) -> PushRequest:
        """Return the request, which is whole."""
        certificate = None if self._certificate is None else b"".join(self._certificate)
        return PushRequest(self.abilities, tuple(self._commands), certificate, tuple(self._options))

    def _command(self, packet: Packet) -> bool:
        """Take a command, or what stands in their place."""
        if not isinstance(packet, bytes):
            return self._end()
        said, nul, abilities = packet.partition(b"\0")
        if nul:
            self._learn(abilities)
        said = said.removesuffix(b"\n")
        if _SHALLOW.match(said):
            self._shallow += 1
            if self._shallow > MAX_SHALLOW:
                raise RequestTooLargeError
        elif said == _CERTIFICATE:
            if self._certificate is not None:
                raise RequestError("two certificates in one push")
            self._certificate = []
            self._next = self._line
        else:
            self._commands.append(self._parsed(said))
            if len(self._commands) > MAX_LINES:
                raise RequestTooLargeError
        return False

    def _line(self, packet: Packet) -> bool:
        """Take a line of the certificate."""
        if not isinstance(packet, bytes) or self._certificate is None:
            raise RequestError("the push certificate is cut off")
        if packet == _CERTIFICATE_END:
            self._next = self._command
        else:
            self._certificate.append(packet)
        return False

    def _option(self, packet: Packet) -> bool:
        if not isinstance(packet, bytes):
            return True
        option = packet.removesuffix(b"\n")
        if len(option) > MAX_OPTION or len(self._options) >= MAX_OPTIONS:
            raise RequestError(
                f"a push has at most {MAX_OPTIONS} push options of {MAX_OPTION:,} bytes"
            )
        self._options.append(option)
        return False

    def _end(self) -> bool:
        """Go on after the commands; tells whether the request ends there."""
        if self._certificate is not None and self._commands:
            raise RequestError("a push has signed changes and others that nobody signed")
        self._size = 0
        self._next = self._option
        return b"push-options" not in self.abilities

    def _learn(self, said: bytes) -> None:
        if self._abilities is not None or len(said) > MAX_CAPABILITIES:
            raise RequestError("a client says once, and in short, what it can do")
        self._abilities = frozenset(said.strip(b"\n ").split(b" ")) - {b""}
        formats = [word for word in self._abilities if word.startswith(b"object-format=")]
        expected = b"object-format=" + self._format.name.encode("ascii")
        if (formats or [b"object-format=sha1"]) != [expected]:
            raise RequestError(
                f"this repository's object format is {self._format.name}",
                hint=f"push from a repository with {self._format.name} ids",
            )

    def _parsed(self, said: bytes) -> Line:
        found = _COMMAND.match(said)
        size = self._format.hex_size
        if found is None or len(found[1]) != size or len(found[2]) != size:
            raise RequestError(f"not a change of a ref: {decoded(said[:100])!r}")
        return _parsed(found)


def _parsed(found: re.Match[bytes]) -> Line:
    old, new = (Oid(found[at].decode("ascii")) for at in (1, 2))
    zero = Oid("0" * len(old))
    return Line(None if old == zero else old, None if new == zero else new, RefName(found[3]))
