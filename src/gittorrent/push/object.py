"""The push object: one signed text with what is needed to judge it, as it travels and is kept.

Pure. Its file form begins with a header of lines, ended by an empty line, followed by the raw
bytes the header announces, in that order (docs/protocol/trust.md, "Push objects")::

    gittorrent push 2
    kind policy | checkpoint | certificate
    signer <key>                 absent for a policy, which may have several
    text <bytes>
    signature <bytes>            one or more
    pinned <bytes>               none or more: OpenPGP certificates

Only the text and the signer have a part in the push id: signatures can be re-encoded by anyone,
and certificates get further signatures. Which copy of a pusher's certificates was judged is said
by the checkpoint that takes the push.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.printable import decoded
from gittorrent.trust.errors import OldFormatError
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.signature import MAX_SIGNATURE, Signature, detect
from gittorrent.trust.signed_policy import (
    MAX_CERTIFICATES,
    MAX_CERTIFICATES_SIZE,
    MAX_SIGNATURES,
)

MAX_TEXT = 32 << 20
"""Bytes of the signed text; a whole listing of a quarter of a million refs fits."""

MAX_PINNED_SIZE = MAX_CERTIFICATES_SIZE
"""Bytes of one certificate: all of a policy's together may have no more."""

MAX_PUSHER_CERTIFICATES = 16
"""Certificates of a push: the pusher's, and those of a web of trust that lead to it."""

MAX_PUSHER_CERTIFICATES_SIZE = 1 << 20
"""Bytes of these together; about 1 KiB each in practice, and every mirror keeps them."""

MAX_HEADER = 512 << 10
"""Bytes of the header, four times what a policy's most signatures and certificates need."""

MAX_SIZE = 64 << 20
"""Bytes of a whole push object as it travels: text, signatures and certificates at their most."""

_FIRST_LINE = b"gittorrent push 2"
_OLD_FIRST_LINE = b"gittorrent push 1"


class PushObjectError(TrustError):
    """A push object's file form breaks the grammar or a limit."""


class PushKind(Enum):
    """What kind of signed text a push object holds."""

    POLICY = "policy"
    CHECKPOINT = "checkpoint"
    CERTIFICATE = "certificate"


class PushObject(Struct, frozen=True):
    """A signed text, not verified.

    Args:
        kind: what the text is.
        text: the signed bytes.
        signatures: over the text; one, except for policies.
        signer: the key that signed; None for policies.
        pinned: OpenPGP certificates: all that a policy pins; of a push by a key that a web of trust
            vouches for, that of the key, then those that lead from the roots to it.
    """

    kind: PushKind
    text: bytes
    signatures: tuple[Signature, ...]
    signer: KeyRef | None = None
    pinned: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """Return the file form."""
        bodies = [self.text, *(s.data for s in self.signatures), *self.pinned]
        return self._header() + b"".join(bodies)

    def _header(self) -> bytes:
        """Return the file form up to the bytes it announces."""
        lines = [_FIRST_LINE, b"kind " + self.kind.value.encode("ascii")]
        if self.signer is not None:
            lines.append(f"signer {self.signer}".encode("ascii"))
        lines.append(b"text %d" % len(self.text))
        lines += [b"signature %d" % len(signature.data) for signature in self.signatures]
        lines += [b"pinned %d" % len(certificate) for certificate in self.pinned]
        return b"\n".join(lines) + b"\n\n"


def parse_push_object(data: bytes | bytearray) -> PushObject:
    """Read a push object's file form; the bytes it announces are copied once.

    Raises:
        PushObjectError: it breaks the grammar or a limit.
        OldFormatError: it is of a time before checkpoints.
    """
    if len(data) > MAX_SIZE:
        raise PushObjectError(f"push object of {len(data)} bytes is longer than {MAX_SIZE}")
    end = data.find(b"\n\n", 0, MAX_HEADER)
    lines = bytes(data[: max(end, 0)]).split(b"\n")
    if lines[0] == _OLD_FIRST_LINE:
        raise OldFormatError
    if lines[0] != _FIRST_LINE:
        raise PushObjectError(f"push object begins {decoded(bytes(data[:40]))!r}")
    fields = [_field(line) for line in lines[1:]]
    sizes = {"text": MAX_TEXT, "signature": MAX_SIGNATURE, "pinned": MAX_PINNED_SIZE}
    bodies: dict[str, list[bytes]] = {name: [] for name in sizes}
    body = memoryview(data)[end + 2 :]
    position = 0
    for name, value in fields:
        if name in sizes:
            size = _size(name, value, sizes[name])
            bodies[name].append(bytes(body[position : position + size]))
            position += size
    if position != len(body):
        raise PushObjectError(f"push object announces {position} bytes and has {len(body)}")
    push = _assemble(dict(fields), bodies)
    if push._header() != data[: end + 2]:
        raise PushObjectError("push object is not in its canonical form")
    return push


def _assemble(fields: dict[str, str], bodies: dict[str, list[bytes]]) -> PushObject:
    kinds = {kind.value: kind for kind in PushKind}
    kind = kinds.get(fields.get("kind", ""))
    if kind is None:
        raise PushObjectError(f"unknown kind of push object {fields.get('kind', '')[:40]!r}")
    if len(bodies["text"]) != 1 or not 1 <= len(bodies["signature"]) <= MAX_SIGNATURES:
        raise PushObjectError("a push object has one text and at least one signature")
    _check_pinned(kind, bodies["pinned"])
    signer = fields.get("signer")
    is_policy = kind is PushKind.POLICY
    if is_policy != (signer is None) or (not is_policy and len(bodies["signature"]) != 1):
        raise PushObjectError("a push has one signer who is named, a policy names none")
    return PushObject(
        kind=kind,
        text=bodies["text"][0],
        signatures=tuple(detect(data) for data in bodies["signature"]),
        signer=None if signer is None else KeyRef.parse(signer),
        pinned=tuple(bodies["pinned"]),
    )


def _check_pinned(kind: PushKind, pinned: list[bytes]) -> None:
    count, size = {
        PushKind.POLICY: (MAX_CERTIFICATES, MAX_CERTIFICATES_SIZE),
        PushKind.CHECKPOINT: (0, 0),
        PushKind.CERTIFICATE: (MAX_PUSHER_CERTIFICATES, MAX_PUSHER_CERTIFICATES_SIZE),
    }[kind]
    total = sum(map(len, pinned))
    if len(pinned) > count or total > size:
        raise PushObjectError(
            f"a push object of kind {kind.value} carries {len(pinned)} certificates of {total}"
            f" bytes in all, over {count} or {size}"
        )


def _field(line: bytes) -> tuple[str, str]:
    if not line.isascii():
        raise PushObjectError(f"push object header has the line {decoded(line[:80])!r}")
    name, _, value = line.decode("ascii").partition(" ")
    if name not in ("kind", "signer", "text", "signature", "pinned") or not value:
        raise PushObjectError(f"push object header has the line {decoded(line[:80])!r}")
    return name, value


def _size(name: str, value: str, limit: int) -> int:
    if not value.isdigit() or len(value) > 9 or int(value) > limit:
        raise PushObjectError(f"push object announces a {name} of {value[:20]} bytes, over {limit}")
    return int(value)
