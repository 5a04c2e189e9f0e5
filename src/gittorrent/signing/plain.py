"""Signing with an ed25519 key file without passphrase, where OpenSSH is not installed.

A machine that only has git can then still publish with a key made on request. Tracks the key's
name and where it is. Rules: the files are those of OpenSSH (`ssh-keygen` can use them later);
other kinds of keys, and keys with a passphrase, need OpenSSH.

Source: OpenSSH PROTOCOL.sshsig; docs/protocol/trust.md, SSH signatures.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from msgspec import Struct

from gittorrent.signing.programs import NoSigningKey
from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.signature import detect
from gittorrent.trust.sshkey import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.signature import Signature

_ALGORITHM = b"ssh-ed25519"
_NAMESPACE = b"git"
_VERSION = 1


class PlainSigner(Struct, frozen=True):
    """Signs with the private key at ``path``, whose name is ``key``."""

    key: KeyRef
    path: Path

    @property
    def certificate(self) -> None:
        """SSH signatures carry their key, so there is no certificate to publish."""
        return

    @property
    def spec(self) -> str:
        """The absolute path of the file."""
        return str(self.path.absolute())

    def sign(self, message: bytes) -> Signature:
        """Sign ``message``; raises ``NoSigningKey`` if the file is gone or another by now."""
        private = _load(self.path)
        digest = hashlib.sha512(message).digest()
        info = _strings(_NAMESPACE, b"", b"sha512")
        made = private.sign(b"SSHSIG" + info + _strings(digest))
        blob = b"SSHSIG" + _VERSION.to_bytes(4, "big") + _strings(_public(private)) + info
        blob += _strings(_strings(_ALGORITHM, made))
        return detect(wrap(blob, Armor.SSH_SIGNATURE, width=70))


def plain_signer(path: Path) -> PlainSigner:
    """Make a signer for a private key file; raises ``NoSigningKey`` if it cannot be used."""
    return PlainSigner(fingerprint(_public(_load(path))), path)


def make_plain_key(path: Path, comment: str) -> None:
    """Make a new key at ``path`` (mode 0600), and ``path``.pub; raises ``NoSigningKey``."""
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    try:
        for place, mode, data in (
            (path, 0o600, secret),
            (path.with_name(path.name + ".pub"), 0o644, line + f" {comment}\n".encode()),
        ):
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with open(descriptor, "wb") as file:
                file.write(data)
    except OSError as error:
        raise NoSigningKey(f"cannot make {path}: {error.strerror}") from error


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        private = load_ssh_private_key(path.read_bytes(), None)
    except OSError as error:
        raise NoSigningKey(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise NoSigningKey(
            f"{path} cannot be used without OpenSSH: {error}",
            hint="install OpenSSH (Debian, Ubuntu: apt install openssh-client)",
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise NoSigningKey(
            f"{path} is not an ed25519 key, which is all that can be used without OpenSSH",
            hint="install OpenSSH (Debian, Ubuntu: apt install openssh-client)",
        )
    return private


def _public(private: Ed25519PrivateKey) -> bytes:
    return _strings(_ALGORITHM, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def _strings(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)
