"""Keys for tests: SSH signatures made in this process, the same every time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.signature import Signature, detect
from gittorrent.trust.sshkey import fingerprint


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@dataclass(frozen=True)
class TestSigner:
    """Signs with the ed25519 key that ``number`` stands for."""

    __test__ = False  # not a test class, whatever its name begins with

    number: int = 1

    @property
    def _key(self) -> Ed25519PrivateKey:
        seed = hashlib.sha256(b"test key %d" % self.number).digest()
        return Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def _blob(self) -> bytes:
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _string(b"ssh-ed25519") + _string(raw)

    @property
    def key(self) -> KeyRef:
        return fingerprint(self._blob)

    @property
    def certificate(self) -> bytes | None:
        return None

    @property
    def spec(self) -> str:
        return f"/keys/{self.number}"

    def sign(self, message: bytes, namespace: bytes = b"git", width: int = 70) -> Signature:
        fields = _string(namespace) + _string(b"") + _string(b"sha512")
        digest = _string(hashlib.sha512(message).digest())
        made = _string(b"ssh-ed25519") + _string(self._key.sign(b"SSHSIG" + fields + digest))
        data = b"SSHSIG" + (1).to_bytes(4, "big") + _string(self._blob) + fields + _string(made)
        return detect(wrap(data, Armor.SSH_SIGNATURE, width))
