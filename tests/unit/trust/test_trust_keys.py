"""Key names have one spelling; SSH keys have one encoding."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sshsig_maker import ecdsa_key, ed25519_key, mpint, public_blob, string

from gittorrent.trust.errors import BadKey, WeakSignature
from gittorrent.trust.keys import KeyKind, KeyRef
from gittorrent.trust.sshkey import parse_key, parse_key_line

SSH_NAME = "ssh:SHA256:" + "A" * 42 + "E"


@pytest.mark.parametrize(
    "text", ["openpgp:" + "0123456789" * 4, "openpgp:" + "abcdef01" * 8, SSH_NAME]
)
def test_names_read_back_as_written(text: str) -> None:
    key = KeyRef.parse(text)
    assert str(key) == text
    assert key.kind is (KeyKind.SSH if text.startswith("ssh") else KeyKind.OPENPGP)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "openpgp:",
        "openpgp:" + "A" * 40,
        "openpgp:" + "a" * 39,
        "openpgp:" + "a" * 16,
        "openpgp:" + "a" * 40 + "\n",
        "OPENPGP:" + "a" * 40,
        "pgp:" + "a" * 40,
        "a" * 40,
        " openpgp:" + "a" * 40,
        "ssh:" + "A" * 43,
        "ssh:MD5:" + "A" * 43,
        SSH_NAME + "=",
        SSH_NAME[:-1],
        SSH_NAME[:-1] + "F",  # the unused bits of the last character are not zero
        SSH_NAME + "\n",
        "ssh:SHA256:" + "_" * 43,
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(BadKey):
        KeyRef.parse(text)


def test_names_sort_as_text() -> None:
    names = [SSH_NAME, "openpgp:" + "a" * 40, "openpgp:" + "0" * 64]
    assert [str(key) for key in sorted(map(KeyRef.parse, names))] == sorted(names)


def test_a_key_line_gives_name_and_line() -> None:
    # Made by ssh-keygen; the name is what ssh-keygen -l prints for it.
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    public = parse_key_line(line + " git@github.com\n")
    assert str(public.key) == "ssh:SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
    assert public.line == line


@pytest.mark.parametrize(
    "line", ["", "ssh-ed25519", "ssh-ed25519 !!!!", "ssh-ed25519 é", "x" * 20_000, "a b c d"]
)
def test_malformed_key_lines_are_refused(line: str) -> None:
    with pytest.raises(BadKey):
        parse_key_line(line)


def test_the_type_outside_must_be_the_type_inside() -> None:
    line = parse_key(public_blob(ed25519_key(1))).line
    with pytest.raises(BadKey, match="outside"):
        parse_key_line(line.replace("ssh-ed25519", "ssh-rsa"))


P256 = ecdsa_key(5).public_key()
COMPRESSED = P256.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
POINT = P256.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
MODULUS = (1 << 2047) + 1
ECDSA = string(b"ecdsa-sha2-nistp256")


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0\0\0",
        b"\xff\xff\xff\xff",
        string(b"ssh-dss") + mpint(7),
        string(b"ssh-ed25519-cert-v01@openssh.com") + string(bytes(32)),
        string(b"ssh-ed25519") + string(bytes(31)),
        public_blob(ed25519_key(1)) + b"\0",
        public_blob(ed25519_key(1))[:-1],
        ECDSA + string(b"nistp256") + string(COMPRESSED),
        ECDSA + string(b"nistp384") + string(POINT),
        ECDSA + string(b"nistp256") + string(POINT[:-1] + bytes([POINT[-1] ^ 1])),
        ECDSA + string(b"nistp256") + string(b"\0"),
        string(b"ssh-rsa") + mpint(1) + mpint(MODULUS),
        string(b"ssh-rsa") + mpint(65536) + mpint(MODULUS),
        string(b"ssh-rsa") + mpint((1 << 80) + 1) + mpint(MODULUS),
        string(b"ssh-rsa") + string(b"\0\1\0\1") + mpint(MODULUS),
        string(b"ssh-rsa") + string(b"\xff") + mpint(MODULUS),
        string(b"ssh-rsa") + string(b"") + mpint(MODULUS),
        string(b"ssh-rsa") + mpint(65537) + mpint((1 << 16400) + 1),
        string(b"sk-ssh-ed25519@openssh.com") + string(bytes(32)) + string(b""),
        string(b"sk-ssh-ed25519@openssh.com") + string(bytes(32)) + string(b"x" * 2000),
    ],
)
def test_keys_in_any_other_form_are_refused(blob: bytes) -> None:
    with pytest.raises(BadKey):
        parse_key(blob)


def test_small_rsa_keys_are_weak() -> None:
    with pytest.raises(WeakSignature, match="2047 bits"):
        parse_key(string(b"ssh-rsa") + mpint(65537) + mpint((1 << 2046) + 1))
    assert parse_key(string(b"ssh-rsa") + mpint(65537) + mpint(MODULUS)).algorithm == "ssh-rsa"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_every_curve_is_known(curve: ec.EllipticCurve) -> None:
    blob = public_blob(ecdsa_key(9, curve))
    assert parse_key(blob).algorithm == f"ecdsa-sha2-nistp{curve.key_size}"
