"""Makes SSH signatures out of their parts, so that tests can make each part wrong."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.signature import Signature, detect
from gittorrent.trust.sshkey import fingerprint

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
APPLICATION = b"ssh:"


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def ed25519_key(seed: int) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"%d" % seed).digest())


def ecdsa_key(seed: int, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(seed + 1, curve or ec.SECP256R1())


def public_blob(key: PrivateKey, *, security_key: bool = False) -> bytes:
    """The public key in SSH wire format."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        if security_key:
            return string(b"sk-ssh-ed25519@openssh.com") + string(raw) + string(APPLICATION)
        return string(b"ssh-ed25519") + string(raw)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        curve = b"nistp%d" % key.curve.key_size
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        if security_key:
            name = b"sk-ecdsa-sha2-nistp256@openssh.com"
            return string(name) + string(curve) + string(point) + string(APPLICATION)
        return string(b"ecdsa-sha2-" + curve) + string(curve) + string(point)
    numbers = key.public_key().public_numbers()
    return string(b"ssh-rsa") + mpint(numbers.e) + mpint(numbers.n)


class Maker(Struct, frozen=True):
    """Everything that goes into a signature; each part can be replaced."""

    key: PrivateKey
    namespace: bytes = b"git"
    reserved: bytes = b""
    digest: bytes = b"sha512"
    version: int = 1
    magic: bytes = b"SSHSIG"
    trailing: bytes = b""
    inner_trailing: bytes = b""
    scheme: bytes | None = None
    flags: int | None = None
    flip_s: bool = False
    blob: bytes | None = None

    @property
    def public(self) -> bytes:
        return public_blob(self.key, security_key=self.flags is not None)

    @property
    def name(self) -> KeyRef:
        return fingerprint(self.public)

    def sign(self, message: bytes) -> Signature:
        return detect(wrap(self.raw(message), Armor.SSH_SIGNATURE, 70))

    def raw(self, message: bytes) -> bytes:
        hashed = hashlib.new(self.digest.decode("ascii"), message).digest()
        fields = string(self.namespace) + string(self.reserved) + string(self.digest)
        scheme, inner = self._primitive(b"SSHSIG" + fields + string(hashed))
        inner = string(scheme if self.scheme is None else self.scheme) + inner
        blob = self.public if self.blob is None else self.blob
        head = self.magic + self.version.to_bytes(4, "big") + string(blob)
        return head + fields + string(inner + self.inner_trailing) + self.trailing

    def _primitive(self, signed: bytes) -> tuple[bytes, bytes]:
        """Return the scheme's name, and the signature with what follows it."""
        tail = b""
        if self.flags is not None:
            tail = bytes([self.flags]) + b"\0\0\0\7"
            application = hashlib.sha256(APPLICATION).digest()
            signed = application + tail + hashlib.sha256(signed).digest()
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            name = self.public[4 : 4 + self.public[3]]
            return name, string(self.key.sign(signed)) + tail
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            name = self.public[4 : 4 + self.public[3]]
            return name, string(self._ecdsa(self.key, signed)) + tail
        sha1 = self.scheme == b"ssh-rsa"
        algorithm = hashes.SHA1() if sha1 else hashes.SHA512()
        return b"rsa-sha2-512", string(self.key.sign(signed, padding.PKCS1v15(), algorithm))

    def _ecdsa(self, key: ec.EllipticCurvePrivateKey, signed: bytes) -> bytes:
        sizes = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
        der = key.sign(signed, ec.ECDSA(sizes[key.curve.key_size]))
        r, s = utils.decode_dss_signature(der)
        if self.flip_s:
            s = P256_ORDER - s
        return mpint(r) + mpint(s)


P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
