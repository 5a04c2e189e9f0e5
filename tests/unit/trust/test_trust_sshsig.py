"""SSH signatures: what holds, and every way in which one must not."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec.structs import replace
from sshsig_maker import Maker, ecdsa_key, ed25519_key, mpint, public_blob, string

from gittorrent.trust import sshsig
from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.errors import BadKey, BadSignature, WeakSignature
from gittorrent.trust.signature import verify

MESSAGE = b"what was signed\n"
MAKER = Maker(ed25519_key(1))
RSA = Maker(rsa.generate_private_key(65537, 2048))

KINDS = {
    "ed25519": MAKER,
    "ed25519 sha256": replace(MAKER, digest=b"sha256"),
    "p256": Maker(ecdsa_key(1)),
    "p384": Maker(ecdsa_key(1, ec.SECP384R1())),
    "p521": Maker(ecdsa_key(1, ec.SECP521R1())),
    "rsa": RSA,
    "sk ed25519": Maker(ed25519_key(2), flags=1),
    "sk p256": Maker(ecdsa_key(2), flags=5),
    "reserved field in use": replace(MAKER, reserved=b"for later"),
}


@pytest.mark.parametrize("maker", KINDS.values(), ids=KINDS.keys())
def test_every_accepted_kind_verifies_and_binds_the_message(maker: Maker) -> None:
    signature = maker.sign(MESSAGE)
    made = sshsig.verify(signature.data, MESSAGE)
    assert made.key == maker.name
    assert base64.b64decode(made.public_key_line.split()[1]) == maker.public
    with pytest.raises(BadSignature):
        sshsig.verify(signature.data, MESSAGE[:-1])


FORGED = {
    "another namespace": replace(MAKER, namespace=b"file"),
    "no namespace": replace(MAKER, namespace=b""),
    "version 2": replace(MAKER, version=2),
    "magic": replace(MAKER, magic=b"SSHSIH"),
    "trailing byte": replace(MAKER, trailing=b"\0"),
    "trailing byte inside": replace(MAKER, inner_trailing=b"\0"),
    "another scheme": replace(MAKER, scheme=b"rsa-sha2-512"),
    "somebody else's key": replace(MAKER, blob=public_blob(ed25519_key(7))),
    "rsa key, ed25519 scheme": replace(RSA, scheme=b"ssh-ed25519"),
    "security key without its fields": replace(
        MAKER,
        blob=public_blob(ed25519_key(1), security_key=True),
        scheme=b"sk-ssh-ed25519@openssh.com",
    ),
}


@pytest.mark.parametrize("maker", FORGED.values(), ids=FORGED.keys())
def test_forgeries_are_refused(maker: Maker) -> None:
    with pytest.raises(BadSignature):
        sshsig.verify(maker.sign(MESSAGE).data, MESSAGE)


def test_weak_schemes_are_refused() -> None:
    with pytest.raises(WeakSignature, match="SHA-1"):
        sshsig.verify(replace(RSA, scheme=b"ssh-rsa").sign(MESSAGE).data, MESSAGE)
    for digest in (b"sha1", b"md5", b"sha384"):
        with pytest.raises(WeakSignature, match="digest"):
            sshsig.verify(replace(MAKER, digest=digest).sign(MESSAGE).data, MESSAGE)
    for flags in (0, 4):
        with pytest.raises(WeakSignature, match="touched"):
            sshsig.verify(Maker(ed25519_key(2), flags=flags).sign(MESSAGE).data, MESSAGE)


def test_certificates_are_refused() -> None:
    blob = string(b"ssh-ed25519-cert-v01@openssh.com") + string(bytes(32))
    with pytest.raises(BadKey, match="certificates"):
        sshsig.verify(replace(MAKER, blob=blob).sign(MESSAGE).data, MESSAGE)


def test_the_ecdsa_twin_verifies_so_nothing_may_be_named_after_a_signature() -> None:
    maker = Maker(ecdsa_key(3))
    one, twin = maker.sign(MESSAGE), replace(maker, flip_s=True).sign(MESSAGE)
    assert one.data != twin.data
    assert verify(one, MESSAGE).key == verify(twin, MESSAGE).key


@pytest.mark.parametrize(
    "numbers",
    [
        mpint(1),
        mpint(0) + mpint(1),
        mpint(1) + mpint(1) + b"\0",
        string(b"\xff") + mpint(1),
        string(b"\0\1") + mpint(1),
        mpint(1 << 600) + mpint(1),
    ],
)
def test_ecdsa_numbers_in_another_form_are_refused(numbers: bytes) -> None:
    maker = Maker(ecdsa_key(3))
    raw = maker.raw(MESSAGE)
    scheme = string(b"ecdsa-sha2-nistp256")
    start = raw.rindex(scheme) - 4
    forged = raw[:start] + string(scheme + string(numbers))
    with pytest.raises(BadSignature):
        sshsig.verify(wrap(forged, Armor.SSH_SIGNATURE), MESSAGE)


def test_truncation_at_every_byte_is_refused() -> None:
    raw = MAKER.raw(MESSAGE)
    for size in range(len(raw)):
        with pytest.raises((BadSignature, BadKey)):
            sshsig.verify(wrap(raw[:size], Armor.SSH_SIGNATURE), MESSAGE)


def test_every_flipped_bit_is_refused() -> None:
    raw = MAKER.raw(MESSAGE)
    for at in range(len(raw)):
        forged = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises((BadSignature, BadKey, WeakSignature)):
            sshsig.verify(wrap(forged, Armor.SSH_SIGNATURE), MESSAGE)


def _armored(change: tuple[bytes, bytes]) -> bytes:
    return MAKER.sign(MESSAGE).data.replace(*change, 1)


@pytest.mark.parametrize(
    "change",
    [
        (b"\n", b"\r\n"),
        (b"-----BEGIN", b" -----BEGIN"),
        (b"-----BEGIN", b"text\n-----BEGIN"),
        (b"SIGNATURE-----\n", b"SIGNATURE-----\nComment: hi\n\n"),
        (b"SIGNATURE-----\n", b"SIGNATURE-----\n\n"),
        (b"U1NI", b"U1NI "),
        (b"U1NI", b"U1NI="),
        (b"U1NI", b"U1N-"),
        (b"-----END SSH", b"-----END PGP"),
        (b"-----END SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----"),
        (b"-----END SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n\n"),
        (b"-----END SSH SIGNATURE-----\n", b""),
        (b"-----END", b"A\n-----END"),
    ],
)
def test_armor_is_strict(change: tuple[bytes, bytes]) -> None:
    data = _armored(change)
    assert data != MAKER.sign(MESSAGE).data
    with pytest.raises(BadSignature):
        sshsig.verify(data, MESSAGE)


def test_line_width_is_free_within_bounds() -> None:
    raw = MAKER.raw(MESSAGE)
    for width in (1, 64, 70, 1000):
        assert sshsig.verify(wrap(raw, Armor.SSH_SIGNATURE, width), MESSAGE).key == MAKER.name
    with pytest.raises(BadSignature):
        sshsig.verify(wrap(raw + bytes(1000), Armor.SSH_SIGNATURE, 1001), MESSAGE)
    with pytest.raises(BadSignature, match="allowed"):
        sshsig.verify(wrap(bytes(60_000), Armor.SSH_SIGNATURE), MESSAGE)
