"""Requests for refs (``ls-refs``) of several callers made one, and its answer parted again.

Pure. A request names beginnings of refs (``ref-prefix``), or none for all refs, and what is to be
said of each (``peel``, ``symrefs``, ``unborn``). Whoever asks for less than a list has reads of it
what a server would have sent for that alone. Rules: what is picked from an answer to somebody
else's request is what was asked for, whatever the server sent besides; where a line of it is not
understood nothing is picked, and the caller asks for itself. What answers exactly what was asked
stays as it came. Source: gitprotocol-v2(5), ls-refs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.ids import SHA1
from gittorrent.wire import pktline
from gittorrent.wire.pktline import FLUSH, HEADER_SIZE
from gittorrent.wire.upload_requests import encode_list_words, list_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_JOINT_PREFIXES = 64
"""Prefixes of a request that is made of several: git sends nine for ``clone --branch NAME``."""

_NAME = re.compile(rb"[^ \n\0]+\Z")
_PREFIX = b"ref-prefix "
_PEEL = b"peel"
_UNBORN = b"unborn"
_ATTRIBUTES = {b"symref-target": b"symrefs", b"peeled": _PEEL}
"""What is said of a ref, and the word that asks for it."""


class RefRequest(Struct, frozen=True):
    """A request for refs.

    Args:
        words: what is to be said of each ref, in order.
        prefixes: what names begin with, in order; none for all refs.
    """

    words: tuple[bytes, ...] = ()
    prefixes: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, request: bytes) -> RefRequest:
        """Take apart what `gittorrent.wire.upload_requests` writes."""
        arguments = list_words(request)
        prefixes = [each.removeprefix(_PREFIX) for each in arguments if each.startswith(_PREFIX)]
        return cls(
            tuple(each for each in arguments if not each.startswith(_PREFIX)), tuple(prefixes)
        )

    def encode(self) -> bytes:
        """Write it as `gittorrent.wire.upload_requests` does."""
        return encode_list_words([*self.words, *(_PREFIX + each for each in self.prefixes)])

    @property
    def without_peel(self) -> RefRequest:
        """The same without the tags' objects."""
        return RefRequest(tuple(each for each in self.words if each != _PEEL), self.prefixes)

    def has_all(self, prefixes: Iterable[bytes]) -> bool:
        """Tell whether it asks for all refs whose names begin so."""
        return not self.prefixes or all(each.startswith(self.prefixes) for each in prefixes)

    def covers(self, other: RefRequest) -> bool:
        """Tell whether the answer has all that is in the answer to another request."""
        if self.prefixes and not other.prefixes:
            return False
        return set(self.words).issuperset(other.words) and self.has_all(other.prefixes)

    def joined(self, other: RefRequest) -> RefRequest | None:
        """Return the request for what both ask for.

        None if they are not made one: that for all refs, and those for too many beginnings.
        """
        if self == other:
            return self
        if not self.prefixes or not other.prefixes:
            return None
        prefixes: list[bytes] = []
        # A prefix comes before what begins with it.
        for each in sorted({*self.prefixes, *other.prefixes}):
            if not prefixes or not each.startswith(prefixes[-1]):
                prefixes.append(each)
        if len(prefixes) > MAX_JOINT_PREFIXES:
            return None
        return RefRequest(tuple(sorted({*self.words, *other.words})), tuple(prefixes))

    def pick(self, other: RefRequest, packets: Sequence[bytes]) -> bytes | None:
        """Return the answer to another request out of the answer to this one.

        None if it cannot be told what that is.

        Args:
            other: that this one covers.
            packets: of the answer.
        """
        if other == self:
            return b"".join(packets)
        if not self.covers(other) or not packets:
            return None
        if packets[-1] != pktline.encode_special(FLUSH):
            return None
        picked = bytearray()
        for packet in packets[:-1]:
            line = _Line.parse(packet[HEADER_SIZE:])
            if line is None:
                return None
            if not other.prefixes or line.name.startswith(other.prefixes):
                picked += line.said_to(other.words)
        return bytes(picked) + packets[-1]


class _Line(Struct, frozen=True):
    """A line of an answer, taken apart: the id is ``unborn`` for a branch that is not there yet."""

    oid: bytes
    name: bytes
    attributes: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def parse(cls, line: bytes) -> _Line | None:
        """Take a line apart; None if it has another form."""
        oid, *rest = line.removesuffix(b"\n").split(b" ")
        is_known = oid == _UNBORN or SHA1.is_oid(oid.decode("ascii", "replace"))
        if not is_known or not rest or _NAME.match(rest[0]) is None:
            return None
        attributes = tuple(each.partition(b":")[::2] for each in rest[1:])
        if any(name not in _ATTRIBUTES for name, _ in attributes):
            return None
        return cls(oid, rest[0], attributes)

    def said_to(self, words: Sequence[bytes]) -> bytes:
        """Write the packet for a request with these words; nothing if it has no use for it."""
        if self.oid == _UNBORN and _UNBORN not in words:
            return b""
        said = [
            name + b":" + value for name, value in self.attributes if _ATTRIBUTES[name] in words
        ]
        return pktline.encode(b" ".join((self.oid, self.name, *said)) + b"\n")
