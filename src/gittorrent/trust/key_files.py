"""Reading the public keys that people hand over, in whatever file they have.

Pure; tracks nothing. What is understood:

- a ``.pub`` file of OpenSSH, and several such lines, as code-hosting sites list a user's keys;
- lines of ``authorized_keys`` and of git's ``allowed_signers``: what stands before the key
  (options, principals) is passed over, for it speaks of other rights;
- OpenPGP certificates, binary or armored, one or several, with text around the armor;
- all of these as programs on Windows save text: with CRLF, and in UTF-8 or UTF-16 with its mark.

Rules: nothing that is found is believed for what it says of itself: ``label`` is for people. A
private key is refused with a warning. A file from which no key can be taken is an error that says
why; of several keys those that cannot be used are passed over, and named.

Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT; ssh-keygen(1), ALLOWED SIGNERS; RFC 9580 section 6.2.
"""

from __future__ import annotations

import codecs
import itertools
import re

from msgspec import Struct
from pysequoia import Cert

from gittorrent.errors import TrustError
from gittorrent.trust.armor import Armor, unwrap
from gittorrent.trust.errors import BadKey
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.openpgp import certificate_fingerprint, certificate_life
from gittorrent.trust.sshkey import parse_key_line

MAX_KEY_FILE = 4 * 1024 * 1024
"""Bytes of a file with keys; a certificate of a few hundred KiB is a very large one."""

MAX_KEYS = 256
"""Keys in one file; nobody hands over more, a keyring of strangers has thousands."""

_PRIVATE = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----|-----BEGIN PGP PRIVATE KEY BLOCK-----"
    rb"|^PuTTY-User-Key-File-", re.MULTILINE
)  # fmt: skip
_SSH2 = b"---- BEGIN SSH2 PUBLIC KEY ----"
_BLOCK = re.compile(
    rb"^-----BEGIN PGP PUBLIC KEY BLOCK-----\n.*?^-----END PGP PUBLIC KEY BLOCK-----$",
    re.MULTILINE | re.DOTALL,
)
_WORD = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+')
_TYPE = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[A-Za-z0-9@.-]+\Z")
_KEY_DATA = "AAAA"
"""How the base64 of every SSH key begins: the length of its type, below 65,536."""


class FoundKey(Struct, frozen=True):
    """A public key from a file.

    Args:
        key: its name.
        certificate: the OpenPGP certificate (binary); None for an SSH key.
        label: what the file says whose it is, unproved; empty if nothing.
    """

    key: KeyRef
    certificate: bytes | None = None
    label: str = ""


class KeyFile(Struct, frozen=True):
    """What a file of keys holds.

    Args:
        keys: those that can be used, each once, in the order of the file.
        passed_over: why others cannot be used, one line for each.
    """

    keys: tuple[FoundKey, ...]
    passed_over: tuple[str, ...] = ()


def read_keys(data: bytes, where: str) -> KeyFile:
    """Take the public keys out of a file.

    Args:
        data: its bytes, at most 4 MiB.
        where: its name, for messages.

    Raises:
        BadKey: there is no key that can be used.
    """
    if len(data) > MAX_KEY_FILE:
        raise BadKey(
            f"{where} has {len(data)} bytes; a file of keys has {MAX_KEY_FILE} at most",
            hint="for an OpenPGP key: gpg --export-options export-minimal --export KEY",
        )
    data = as_utf8(data)
    _refuse_other_formats(data, where)
    if data[:1] >= b"\x80":
        found = _certificates(data, where)
    elif Armor.PGP_CERTIFICATE.begin in data:
        found = _armored(data, where)
    else:
        found = _lines(data, where)
    unique: dict[KeyRef, FoundKey] = {}
    for each in found.keys:
        unique.setdefault(each.key, each)
    keys = tuple(unique.values())
    if len(keys) > MAX_KEYS:
        raise BadKey(f"{where} holds {len(keys)} keys; {MAX_KEYS} are allowed in one file")
    if not keys:
        reasons = "; ".join(found.passed_over[:3]) or "it names no key"
        raise BadKey(
            f"no public key in {where}: {reasons}",
            hint="give a .pub file of OpenSSH, a list of such lines, or what gpg --export prints",
        )
    return KeyFile(keys, found.passed_over)


def as_utf8(data: bytes) -> bytes:
    """Return a text without a mark of its encoding, in UTF-8; anything else as it is.

    The marks cannot begin an OpenPGP certificate: its first packet is no public key then.
    """
    if data.startswith(codecs.BOM_UTF8):
        return data.removeprefix(codecs.BOM_UTF8)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16").encode("utf-8")
        except UnicodeError:
            return data
    return data


def _refuse_other_formats(data: bytes, where: str) -> None:
    if _PRIVATE.search(data):
        raise BadKey(
            f"{where} is a private key, which nobody else must see",
            hint=f"give the public one: {where}.pub, or what gpg --export prints",
        )
    if _SSH2 in data:
        raise BadKey(
            f"{where} is a public key in the format of RFC 4716",
            hint=f"convert it: ssh-keygen -i -f {where} > key.pub",
        )


def _armored(data: bytes, where: str) -> KeyFile:
    """Read the armored certificates in a text; mail programs may have changed line ends."""
    keys: list[FoundKey] = []
    faults: list[str] = []
    text = data.replace(b"\r\n", b"\n")
    blocks = [found[0] + b"\n" for found in _BLOCK.finditer(text)]
    if len(blocks) != text.count(Armor.PGP_CERTIFICATE.begin):
        raise BadKey(f"{where}: an OpenPGP certificate is cut off: its END line is missing")
    for block in blocks:
        inner = _certificates(unwrap(block, Armor.PGP_CERTIFICATE, BadKey), where)
        keys += inner.keys
        faults += inner.passed_over
    return KeyFile(tuple(keys), tuple(faults))


def _certificates(data: bytes, where: str) -> KeyFile:
    """Read binary certificates, which may follow one another."""
    try:
        certs = Cert.split_bytes(data)
    except RuntimeError as error:
        raise BadKey(f"{where} holds no OpenPGP certificate that can be read") from error
    keys: list[FoundKey] = []
    faults: list[str] = []
    for cert in certs:
        # A single one is kept to the byte: its digest is then that of what gpg exports.
        raw = data if len(certs) == 1 else bytes(cert)
        try:
            name = certificate_fingerprint(raw)
            if certificate_life(raw).revoked:
                raise BadKey(f"{name} has been revoked by its owner")
        except TrustError as error:
            faults.append(str(error))
            continue
        ids = cert.user_ids
        keys.append(FoundKey(name, raw, str(ids[0]) if ids else ""))
    return KeyFile(tuple(keys), tuple(faults))


def _lines(data: bytes, where: str) -> KeyFile:
    """Read lines that each hold an SSH key."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadKey(f"{where} is neither text nor an OpenPGP certificate") from error
    keys: list[FoundKey] = []
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            keys.append(_line(line))
        except TrustError as error:
            faults.append(f"line {number}: {error}")
    return KeyFile(tuple(keys), tuple(faults))


def _line(line: str) -> FoundKey:
    """Read one line: options or principals, the key's type, its base64, a comment."""
    words = list(_WORD.finditer(line))
    for word, following in itertools.pairwise(words):
        if _TYPE.match(word[0]) and following[0].startswith(_KEY_DATA):
            before = line[: word.start()].lower()
            if "cert-authority" in before:
                raise BadKey(
                    "this key certifies others (cert-authority), which is not supported:"
                    " name their plain keys"
                )
            key = parse_key_line(f"{word[0]} {following[0]}").key
            return FoundKey(key, None, line[following.end() :].strip())
    raise BadKey(f"not an SSH public key: {line.strip()[:60]!r}")
