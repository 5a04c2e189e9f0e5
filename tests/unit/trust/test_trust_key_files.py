"""Keys are found in the files that people have, and nothing else is taken for one."""

from __future__ import annotations

import base64
import codecs

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pysequoia import Tsk
from sshsig_maker import Maker, ecdsa_key, ed25519_key, public_blob

from gittorrent.trust.armor import Armor, wrap
from gittorrent.trust.errors import BadKey
from gittorrent.trust.key_files import MAX_KEY_FILE, MAX_KEYS, read_keys
from gittorrent.trust.openpgp import certificate_fingerprint


def line(maker: Maker, kind: str = "ssh-ed25519") -> str:
    return f"{kind} {base64.b64encode(public_blob(maker.key)).decode()}"


ALICE, BOB = Maker(ed25519_key(1)), Maker(ecdsa_key(2))
ALICE_LINE, BOB_LINE = line(ALICE), line(BOB, "ecdsa-sha2-nistp256")
ALICE_PGP = Tsk.generate("Alice <alice@example.org>")
CERTIFICATE = bytes(ALICE_PGP.extract_certificate())
OTHER = bytes(Tsk.generate("Bob <bob@example.org>").extract_certificate())


def test_a_public_key_file() -> None:
    found = read_keys(f"{ALICE_LINE} alice@laptop, the blue one\n".encode(), "alice.pub")
    (key,) = found.keys
    assert (key.key, key.certificate) == (ALICE.name, None)
    assert key.label == "alice@laptop, the blue one"


def test_a_list_of_a_users_keys_as_hosting_sites_give_it() -> None:
    text = f"{ALICE_LINE}\n{BOB_LINE}\n{ALICE_LINE}\n"
    found = read_keys(text.encode(), "alice.keys")
    assert [key.key for key in found.keys] == [ALICE.name, BOB.name]
    assert not found.passed_over


def test_keys_of_a_list_that_cannot_be_used_are_named() -> None:
    weak = public_blob(rsa.generate_private_key(public_exponent=65537, key_size=1024))
    text = f"# old\n\nssh-rsa {base64.b64encode(weak).decode()}\nssh-dss AAAAB3NzaC1kc3M=\n"
    found = read_keys(f"{text}{ALICE_LINE}\nrubbish\n".encode(), "alice.keys")
    assert [key.key for key in found.keys] == [ALICE.name]
    assert [why.partition(":")[0] for why in found.passed_over] == ["line 3", "line 4", "line 6"]
    assert "1024 bits" in found.passed_over[0]


@pytest.mark.parametrize(
    "before",
    [
        "restrict ",
        'from="*.example.org",command="echo \\"ssh-rsa AAAA\\" # hm" ',
        'environment="A=b c",no-pty\t',
        "alice@example.org ",
        'alice@example.org,bob@example.org namespaces="git" ',
    ],
)
def test_lines_of_authorized_keys_and_allowed_signers(before: str) -> None:
    (key,) = read_keys(f"{before}{ALICE_LINE} alice\r\n".encode(), "authorized_keys").keys
    assert (key.key, key.label) == (ALICE.name, "alice")


def test_keys_that_certify_others_are_refused() -> None:
    with pytest.raises(BadKey, match="cert-authority"):
        read_keys(f"cert-authority {ALICE_LINE}\n".encode(), "authorized_keys")


@pytest.mark.parametrize("armored", [False, True])
def test_a_certificate_is_kept_to_the_byte(armored: bool) -> None:
    data = wrap(CERTIFICATE, Armor.PGP_CERTIFICATE) if armored else CERTIFICATE
    (key,) = read_keys(data, "alice.asc").keys
    assert key.key == certificate_fingerprint(CERTIFICATE)
    assert key.certificate == CERTIFICATE
    assert key.label == "Alice <alice@example.org>"


def test_certificates_in_a_mail_and_in_a_keyring() -> None:
    blocks = [wrap(each, Armor.PGP_CERTIFICATE) for each in (CERTIFICATE, OTHER)]
    mail = b"Hello,\n\n" + blocks[0] + b"\nand\n" + blocks[1] + b"\n-- \nAlice\n"
    names = [certificate_fingerprint(each) for each in (CERTIFICATE, OTHER)]
    for data in (mail.replace(b"\n", b"\r\n"), CERTIFICATE + OTHER):
        assert [key.key for key in read_keys(data, "keys").keys] == names


def test_revoked_certificates_are_refused() -> None:
    revocation = ALICE_PGP.extract_certificate().revoke(ALICE_PGP.certifier())
    with pytest.raises(BadKey, match="revoked"):
        read_keys(CERTIFICATE + bytes(revocation), "alice.asc")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "names no key"),
        (b"# nothing\n", "names no key"),
        (b"ssh-ed25519\n", "line 1: not an SSH public key"),
        (b"\x99\x00", "no OpenPGP certificate"),
        (b"a\xff", "neither text"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "private key"),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", "private key"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\n", "private key"),
        (b"---- BEGIN SSH2 PUBLIC KEY ----\n", "RFC 4716"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n", "cut off"),
        (b" " * (MAX_KEY_FILE + 1), "at most"),
        (bytes(Tsk.generate("x")), "secret key"),
    ],
)
def test_other_files_are_refused_in_words(data: bytes, says: str) -> None:
    with pytest.raises(BadKey, match=says):
        read_keys(data, "the file")


def test_a_file_of_too_many_keys_is_refused() -> None:
    lines = "".join(f"{line(Maker(ed25519_key(n)))}\n" for n in range(MAX_KEYS + 1))
    with pytest.raises(BadKey, match="256 are allowed"):
        read_keys(lines.encode(), "everybody")


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [f"{ALICE_LINE} Zoë\n", wrap(CERTIFICATE, Armor.PGP_CERTIFICATE)])
def test_text_as_programs_on_windows_save_it(codec: str, text: str | bytes) -> None:
    said = text if isinstance(text, str) else text.decode("ascii")
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(codec, b"")
    (key,) = read_keys(mark + said.replace("\n", "\r\n").encode(codec), "alice.pub").keys
    assert key.label in ("Zoë", "Alice <alice@example.org>")


@pytest.mark.parametrize("data", [codecs.BOM_UTF16_LE + b"\xd8", codecs.BOM_UTF8, b"\xff\xfe\x00"])
def test_marks_without_a_key_behind_them(data: bytes) -> None:
    with pytest.raises(BadKey):
        read_keys(data, "alice.pub")
