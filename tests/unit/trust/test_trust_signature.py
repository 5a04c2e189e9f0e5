"""Telling signatures apart, taking signed texts apart, finding the right certificate."""

from __future__ import annotations

import pytest
from pysequoia import ArmorKind, SignatureMode, Tsk, armor, sign
from pysequoia.packet import PacketPile, Tag
from sshsig_maker import Maker, ed25519_key

from gittorrent.trust import openpgp
from gittorrent.trust.armor import Armor, crc24, wrap
from gittorrent.trust.errors import BadKey, BadSignature, RevokedKey, UnknownKey, WeakSignature
from gittorrent.trust.keys import KeyKind
from gittorrent.trust.signature import KeyRing, Signature, detect, split_signed, verify

MESSAGE = b"tree 0\n\nmessage\n"
SSH = Maker(ed25519_key(1)).sign(MESSAGE)
SECRET = Tsk.generate("a <a@example.org>")
CERTIFICATE = bytes(SECRET.extract_certificate())
BINARY = sign(SECRET.signer(), MESSAGE, mode=SignatureMode.DETACHED, armor=False)
PGP = detect(wrap(BINARY, Armor.PGP_SIGNATURE))


def test_the_kind_is_detected() -> None:
    assert SSH.kind is KeyKind.SSH
    assert PGP.kind is KeyKind.OPENPGP


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"-----BEGIN SIGNED MESSAGE-----\nAAAA\n-----END SIGNED MESSAGE-----\n",
        b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n",
        SSH.data + SSH.data,
        SSH.data + PGP.data,
        SSH.data + b"more\n",
        b"\n" + SSH.data,
        SSH.data[:-1],
        SSH.data.replace(b"SSH SIGNATURE", b"SSH SIGNATURE-", 1),
        wrap(bytes(50_000), Armor.SSH_SIGNATURE),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(BadSignature):
        detect(data)


def test_a_signature_has_the_kind_it_says() -> None:
    with pytest.raises(BadSignature):
        Signature(KeyKind.OPENPGP, SSH.data)


@pytest.mark.parametrize("signature", [SSH, PGP])
def test_signed_texts_come_apart(signature: Signature) -> None:
    assert split_signed(MESSAGE + signature.data) == (MESSAGE, signature)
    quoting = b"> -----BEGIN SSH SIGNATURE-----\n not at the start: -----BEGIN PGP SIGNATURE-----\n"
    assert split_signed(quoting + signature.data) == (quoting, signature)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        MESSAGE,
        SSH.data,
        MESSAGE + SSH.data + SSH.data,
        MESSAGE + PGP.data + SSH.data,
        MESSAGE + SSH.data + b"\n",
        MESSAGE + SSH.data + b"appended\n",
        MESSAGE + SSH.data[:-1],
        MESSAGE[:-1] + SSH.data,
        b"-----BEGIN PGP SIGNED MESSAGE-----\n" + MESSAGE + PGP.data,
        b"-----BEGIN PGP MESSAGE-----\n" + MESSAGE + SSH.data,
    ],
)
def test_texts_with_none_or_several_signatures_are_refused(text: bytes) -> None:
    with pytest.raises(BadSignature):
        split_signed(text)


def test_verify_finds_the_certificate_by_any_of_its_keys() -> None:
    other = bytes(Tsk.generate("b").extract_certificate())
    ring = KeyRing([other, CERTIFICATE])
    made = verify(PGP, MESSAGE, ring)
    assert made.key == openpgp.certificate_fingerprint(CERTIFICATE)
    assert made.signing_key in openpgp.certificate_keys(CERTIFICATE)
    assert made.signing_key != made.key.fingerprint
    assert made.created is not None
    assert verify(PGP, MESSAGE, {made.key: CERTIFICATE}) == made
    with pytest.raises(UnknownKey):
        verify(PGP, MESSAGE, KeyRing([other]))
    with pytest.raises(UnknownKey):
        verify(PGP, MESSAGE)
    with pytest.raises(BadSignature):
        verify(PGP, MESSAGE + b"x", ring)
    assert verify(SSH, MESSAGE).public_key_line is not None


def test_a_certificate_claiming_somebody_elses_subkey_is_passed_over() -> None:
    thief = Tsk.generate("thief <thief@example.org>")
    stolen = [p for p in PacketPile.from_bytes(CERTIFICATE) if p.tag == Tag.PublicSubkey]
    packets = b"".join(bytes(packet) for packet in stolen)
    forged = bytes(thief.extract_certificate()) + packets
    ring = KeyRing([forged, CERTIFICATE])
    claimed = openpgp.issuer(PGP.data)
    assert claimed in openpgp.certificate_keys(forged)
    assert len(ring.candidates(claimed)) == 2
    assert verify(PGP, MESSAGE, ring).key == openpgp.certificate_fingerprint(CERTIFICATE)
    with pytest.raises((BadSignature, UnknownKey)):
        verify(PGP, MESSAGE, KeyRing([forged]))


def test_a_key_ring_holds_one_certificate_per_key() -> None:
    with pytest.raises(BadKey, match="two certificates"):
        KeyRing([CERTIFICATE, armor(CERTIFICATE, ArmorKind.PublicKey).encode()])
    with pytest.raises(BadKey):
        KeyRing([b"junk"])
    ring = KeyRing([armor(CERTIFICATE, ArmorKind.PublicKey).encode()])
    assert list(ring.values()) == [CERTIFICATE]
    assert len(ring) == 1


# --- OpenPGP in detail; the tests with real gpg are among the interoperability tests -----------


def body_of(binary: bytes) -> bytearray:
    """The packet's body; these signatures are short, their length takes one byte or two."""
    return bytearray(binary[2:] if binary[1] < 192 else binary[3:])


def packet(body: bytes, tag: int = 2) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("header", ["new, five bytes", "old, two bytes", "old, four bytes"])
def test_another_packet_header_is_the_same_signature(header: str) -> None:
    body = bytes(body_of(BINARY))
    forms = {
        "new, five bytes": packet(body),
        "old, two bytes": b"\x89" + len(body).to_bytes(2, "big") + body,
        "old, four bytes": b"\x8a" + len(body).to_bytes(4, "big") + body,
    }
    assert openpgp.verify(forms[header], MESSAGE, CERTIFICATE).created > 0


@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        (0, 3, BadSignature),
        (0, 5, BadSignature),
        (1, 1, BadSignature),
        (1, 0x10, BadSignature),
        (3, 1, WeakSignature),
        (3, 2, WeakSignature),
        (3, 3, WeakSignature),
        (3, 99, BadSignature),
        (2, 99, BadSignature),
    ],
)
def test_forged_fields_are_refused(at: int, value: int, error: type[Exception]) -> None:
    body = body_of(BINARY)
    body[at] = value
    with pytest.raises(error):
        openpgp.verify(packet(bytes(body)), MESSAGE, CERTIFICATE)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80",
        b"\x8b" + BINARY[2:],
        b"\xc2\xe0" + BINARY[2:],
        packet(b""),
        packet(b"\x04\x00\x00"),
        packet(bytes(body_of(BINARY)), tag=11),
        packet(bytes(body_of(BINARY))) + b"\x00",
        BINARY + BINARY,
        BINARY[:-1],
        b"\x89\xff\xff" + BINARY[2:],
        bytes([0xC2]) + b"\xff" * 5,
        b"\x88" * 70_000,
    ],
)
def test_malformed_packets_are_refused(data: bytes) -> None:
    with pytest.raises(BadSignature):
        openpgp.verify(data, MESSAGE, CERTIFICATE)


@pytest.mark.parametrize(
    "change",
    [
        (b"\n\n", b"\n"),
        (b"\n\n", b"\n\n\n"),
        (b"\n\n", b"\nnot a header\n\n"),
        (b"\n\n", b"\n" + b"Comment: x\n" * 17 + b"\n"),
        (b"\n=", b"\n=A"),
        (b"-----END", b"AAAA\n-----END"),
        (b"\n", b"\r\n"),
    ],
)
def test_openpgp_armor_is_strict(change: tuple[bytes, bytes]) -> None:
    data = PGP.data.replace(*change, 1)
    assert data != PGP.data
    with pytest.raises(BadSignature):
        openpgp.verify(data, MESSAGE, CERTIFICATE)


def test_a_wrong_checksum_is_refused_and_none_is_fine() -> None:
    lines = PGP.data.split(b"\n")
    damaged = b"\n".join([*lines[:-3], b"=AAAA", *lines[-2:]])
    with pytest.raises(BadSignature, match="checksum"):
        openpgp.verify(damaged, MESSAGE, CERTIFICATE)
    without = b"\n".join([*lines[:-3], *lines[-2:]])
    assert openpgp.dearmor(without) == BINARY
    assert crc24(b"") == bytes.fromhex("b704ce")
    assert crc24(b"123456789") == bytes.fromhex("21cf02")


def test_our_armor_reads_sequoias() -> None:
    assert openpgp.dearmor(armor(BINARY, ArmorKind.Signature).encode()) == BINARY
    assert openpgp.dearmor(armor(CERTIFICATE, ArmorKind.PublicKey).encode()) == CERTIFICATE
    assert openpgp.dearmor(CERTIFICATE) == CERTIFICATE
    with pytest.raises(BadKey):
        openpgp.dearmor(b"hello")


def test_unfit_certificates_are_refused() -> None:
    with pytest.raises(BadKey, match="secret"):
        openpgp.verify(BINARY, MESSAGE, bytes(SECRET))
    with pytest.raises(BadKey, match="allowed"):
        openpgp.verify(BINARY, MESSAGE, bytes(300_000))
    revocation = SECRET.extract_certificate().revoke(SECRET.certifier())
    parts = [*PacketPile.from_bytes(CERTIFICATE)]
    revoked = b"".join([bytes(parts[0]), bytes(revocation), *map(bytes, parts[1:])])
    with pytest.raises(RevokedKey):
        openpgp.verify(BINARY, MESSAGE, revoked)
    with pytest.raises(RevokedKey):
        verify(PGP, MESSAGE, KeyRing([revoked]))


def test_a_certificate_without_self_signatures_vouches_for_nothing() -> None:
    packets = [p for p in PacketPile.from_bytes(CERTIFICATE) if p.tag != Tag.Signature]
    bare = b"".join(bytes(packet) for packet in packets)
    with pytest.raises(BadKey, match="self-signature"):
        openpgp.verify(BINARY, MESSAGE, bare)
    with pytest.raises(BadKey):
        verify(PGP, MESSAGE, KeyRing([bare]))
