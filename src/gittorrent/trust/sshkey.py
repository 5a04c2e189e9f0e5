"""SSH public keys: from the bytes of the SSH wire format to something that can verify.

Tracks nothing; pure. Used for SSHSIG signatures and to find out the name of a key in a
``.pub`` file.

Rules: a key blob is accepted in exactly one encoding (shortest integers, uncompressed points,
no bytes left over), because its hash is the key's name. Certificates, DSA and small RSA keys
are refused. Must not know about signatures' armor or namespaces: that is ``sshsig``.

Source: RFC 4253 section 6.6, RFC 5656, RFC 8709, OpenSSH PROTOCOL.u2f;
docs/protocol/trust.md, SSH signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from msgspec import Struct

from gittorrent.trust.errors import BadKey, WeakSignature
from gittorrent.trust.keys import KeyKind, KeyRef

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_RSA_BITS = 2048
"""Smaller RSA keys can be, or soon will be, factored."""

MAX_RSA_BITS = 16384
"""OpenSSH's own limit; larger ones only burn the verifier's time."""

MAX_RSA_EXPONENT_BITS = 64
"""Real exponents have 17 bits; a huge one only burns the verifier's time."""

MAX_KEY_LINE = 16 * 1024
"""Bytes in one line of a ``.pub`` file; a 16384-bit RSA key needs about 2,800."""

_MAX_APPLICATION = 1024
"""Bytes in a security key's application string; ``ssh:`` in practice."""

VerifyingKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Reader:
    """Reads SSH wire format strictly: every field is bounded and nothing may be left over."""

    def __init__(self, data: bytes, what: str, error: Callable[[str], Exception]) -> None:
        self._data = data
        self._at = 0
        self._what = what
        self._error = error

    def fixed(self, size: int) -> bytes:
        """Take ``size`` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise self._error(f"{self._what} is cut off at byte {len(self._data)}")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def uint32(self) -> int:
        """Take a 32-bit big-endian number."""
        return int.from_bytes(self.fixed(4), "big")

    def string(self) -> bytes:
        """Take a length-prefixed string; the data's own size bounds it."""
        return self.fixed(self.uint32())

    def positive(self) -> int:
        """Take an integer that is above zero and in its shortest encoding."""
        raw = self.string()
        if not raw or raw[0] & 0x80 or (raw[0] == 0 and (len(raw) < 2 or not raw[1] & 0x80)):
            raise self._error(f"{self._what} has an integer that is not in its only valid form")
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        """Refuse anything that follows."""
        if self._at != len(self._data):
            raise self._error(f"{self._what} has {len(self._data) - self._at} bytes too many")


class SshPublicKey(Struct, frozen=True):
    """One accepted SSH public key.

    ``algorithm`` is its SSH type name, ``blob`` its wire encoding, ``verifying`` what checks
    signatures, and ``application`` the application string of a security key (None otherwise).
    """

    algorithm: str
    blob: bytes
    verifying: VerifyingKey
    application: bytes | None = None

    @property
    def key(self) -> KeyRef:
        """The name of the key."""
        return fingerprint(self.blob)

    @property
    def line(self) -> str:
        """The key as in a ``.pub`` file, without comment or line end."""
        return f"{self.algorithm} {base64.b64encode(self.blob).decode('ascii')}"


def fingerprint(blob: bytes) -> KeyRef:
    """Name the key with this wire encoding, as ``ssh-keygen -l`` does."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii")
    return KeyRef(KeyKind.SSH, "SHA256:" + digest.rstrip("="))


def parse_key_line(line: str) -> SshPublicKey:
    """Read one line of a ``.pub`` file: type, base64 and an optional comment.

    Raises ``BadKey`` when the line is malformed, ``WeakSignature`` for keys that are too weak.
    """
    words = line.split(None, 2)
    if len(line) > MAX_KEY_LINE or len(words) < 2:
        raise BadKey(f"not an SSH public key line: {line[:60]!r}")
    try:
        blob = base64.b64decode(words[1].encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise BadKey(f"not an SSH public key line: {line[:60]!r}") from error
    parsed = parse_key(blob)
    if parsed.algorithm != words[0]:
        raise BadKey(f"SSH public key says {words[0][:60]!r} outside, {parsed.algorithm!r} inside")
    return parsed


def parse_key(blob: bytes) -> SshPublicKey:
    """Read a public key in SSH wire format.

    Raises ``BadKey`` when it is malformed or of a kind that is not accepted (certificates
    included), ``WeakSignature`` when it is too weak.
    Source: docs/protocol/trust.md, SSH signatures.
    """
    reader = Reader(blob, "SSH public key", BadKey)
    name = reader.string()
    parser = _PARSERS.get(name)
    if parser is None:
        shown = name[:60].decode("ascii", "backslashreplace")
        if b"-cert-" in name:
            raise BadKey(
                f"SSH certificates are not accepted: {shown}",
                hint="sign with the plain key the certificate was made for",
            )
        raise BadKey(
            f"SSH key type not accepted: {shown}",
            hint="use an ed25519, ECDSA or RSA (2048 bits or more) key",
        )
    verifying, application = parser(reader)
    reader.end()
    return SshPublicKey(name.decode("ascii"), blob, verifying, application)


_Parsed = tuple[VerifyingKey, bytes | None]


def _ed25519(reader: Reader) -> _Parsed:
    raw = reader.string()
    if len(raw) != 32:
        raise BadKey(f"ed25519 public key has {len(raw)} bytes instead of 32")
    return ed25519.Ed25519PublicKey.from_public_bytes(raw), None


def _ecdsa(curve: ec.EllipticCurve, curve_name: bytes) -> Callable[[Reader], _Parsed]:
    size = 1 + 2 * ((curve.key_size + 7) // 8)

    def parse(reader: Reader) -> _Parsed:
        if reader.string() != curve_name:
            raise BadKey("ECDSA public key names another curve inside")
        point = reader.string()
        if len(point) != size or point[0] != 4:
            raise BadKey("ECDSA public key is not an uncompressed point of its curve")
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(curve, point), None
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadKey("ECDSA public key is not a point of its curve") from error

    return parse


def _rsa(reader: Reader) -> _Parsed:
    exponent, modulus = reader.positive(), reader.positive()
    bits = modulus.bit_length()
    if bits < MIN_RSA_BITS:
        raise WeakSignature(
            f"RSA key has {bits} bits; at least {MIN_RSA_BITS} are needed",
            hint="use an ed25519 key, or an RSA key of 3072 bits",
        )
    if bits > MAX_RSA_BITS:
        raise BadKey(f"RSA key has {bits} bits; at most {MAX_RSA_BITS} are accepted")
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise BadKey("RSA key has an unusable public exponent")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key(), None
    except ValueError as error:
        raise BadKey("RSA key is not usable") from error


def _security_key(inner: Callable[[Reader], _Parsed]) -> Callable[[Reader], _Parsed]:
    def parse(reader: Reader) -> _Parsed:
        verifying, _ = inner(reader)
        application = reader.string()
        if not application or len(application) > _MAX_APPLICATION:
            raise BadKey("security key has an unusable application string")
        return verifying, application

    return parse


_PARSERS: dict[bytes, Callable[[Reader], _Parsed]] = {
    b"ssh-ed25519": _ed25519,
    b"ecdsa-sha2-nistp256": _ecdsa(ec.SECP256R1(), b"nistp256"),
    b"ecdsa-sha2-nistp384": _ecdsa(ec.SECP384R1(), b"nistp384"),
    b"ecdsa-sha2-nistp521": _ecdsa(ec.SECP521R1(), b"nistp521"),
    b"ssh-rsa": _rsa,
    b"sk-ssh-ed25519@openssh.com": _security_key(_ed25519),
    b"sk-ecdsa-sha2-nistp256@openssh.com": _security_key(_ecdsa(ec.SECP256R1(), b"nistp256")),
}
