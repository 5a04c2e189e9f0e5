"""Push certificates: what git writes is read; anything else is refused with a reason."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from gittorrent.errors import TrustError
from gittorrent.ids import SHA1, SHA256, PushId, RefName, RepositoryId
from gittorrent.push.certificate import (
    MAX_OPTION,
    MAX_OPTIONS,
    MAX_TEXT,
    Certificate,
    CertificateError,
    Line,
    Nonce,
    parse_certificate,
)
from gittorrent.push.object import PushKind, PushObject
from gittorrent.push.rule import Push
from gittorrent.push.signed import SignerError, check_signer, has_a_say, is_valid, read_push
from gittorrent.trust.errors import BadSignature
from gittorrent.trust.keys import KeyRef
from gittorrent.trust.policy import Policy
from support.logs import oid
from support.pushlog import first_policy, key, rule
from support.signing import TestSigner

ID = RepositoryId("a2" * 26)
ONE, TWO, ZERO = oid(1), oid(2), SHA1.zero
TEXT = f"""\
certificate version 0.1
pusher Anna <anna@example.org> 1700000000 +0100
pushee https://m.example.org/{ID}/project.git
nonce {ID}/{oid(9)}/3
push-option atomic
push-option ci.skip

{ONE} {TWO} refs/heads/main
{ZERO} {ONE} refs/heads/new
{ONE} {ZERO} refs/tags/old
""".encode()
SIGNER = TestSigner()


def changed(old: str, new: str) -> bytes:
    text = TEXT.replace(old.encode(), new.encode())
    assert text != TEXT
    return text


def test_every_line_is_read() -> None:
    read = parse_certificate(TEXT, SHA1)
    assert read.text() == TEXT
    assert (read.pusher, read.time, read.zone) == (
        b"Anna <anna@example.org>", 1_700_000_000, "+0100",
    )  # fmt: skip
    assert read.nonce == Nonce(ID, PushId(oid(9)), 3)
    assert read.lines == (
        Line(ONE, TWO, RefName(b"refs/heads/main")),
        Line(None, ONE, RefName(b"refs/heads/new")),
        Line(ONE, None, RefName(b"refs/tags/old")),
    )
    assert (read.atomic, read.head) == (True, None)


def test_head_makes_it_one_unit() -> None:
    read = parse_certificate(changed("atomic", "head=refs/heads/new"), SHA1)
    assert (read.atomic, read.head) == (True, b"refs/heads/new")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version 0.1", "version 0.2"),
        ("certificate", "certificat"),
        ("pusher Anna", "pusher\tAnna"),
        ("1700000000", "01700000000"),
        ("+0100", "0100"),
        ("pushee https", "pushee  https"),
        ("pushee", "pusheee"),
        ("/3\n", "/03\n"),
        ("/3\n", "/0\n"),
        ("/3\n", "/65536\n"),
        ("/3\n", "\n"),
        (f"nonce {ID}", f"nonce {ID[1:]}"),
        (f"/{oid(9)}/", "/" + "9" * 64 + "/"),
        ("nonce ", "nonce  "),
        ("push-option atomic", "push-options atomic"),
        ("push-option atomic", "push-option"),
        ("push-option atomic\n", "push-option head=refs/heads/a\npush-option head=refs/heads/b\n"),
        ("push-option atomic", "push-option head=refs/tags/a"),
        ("push-option atomic", "push-option head=refs/heads/a..b"),
        ("push-option atomic", "push-option " + "x" * (MAX_OPTION + 1)),
        ("push-option atomic\n", "push-option x\n" * (MAX_OPTIONS + 1)),
        (f"{ONE} {TWO}", f"{ONE} {ONE}"),
        (f"{ONE} {TWO}", f"{ONE}  {TWO}"),
        (f"{ONE} {TWO}", f"{ONE[1:]} {TWO}"),
        (f"{ONE} {TWO}", f"{'A' * 40} {TWO}"),
        (f"{ONE} {TWO} ", f"{ONE}\t{TWO} "),
        (f"{ZERO} {ONE}", f"{ZERO} {ZERO}"),
        ("refs/heads/new", "refs/heads/main"),
        ("refs/heads/new", "refs/heads/main/below"),
        ("refs/heads/new", "refs/heads/n w"),
        ("refs/heads/new", "refs/heads/..new"),
        ("refs/heads/new", "HEAD"),
        ("refs/heads/new", "refs/gittorrent/log"),
        ("refs/heads/new", f"refs/conflicts/{ONE}/heads/main"),
        ("refs/tags/old", "refs/conflicts/heads"),
        ("refs/tags/old\n", "refs/tags/old"),
        ("refs/tags/old\n", "refs/tags/old\n\n"),
        ("refs/tags/old\n", "refs/tags/old\r\n"),
        ("ci.skip", "ci\0skip"),
        ("\n\n", "\n"),
        ("ci.skip", "x" * MAX_TEXT),
    ],
)
def test_anything_else_is_refused(old: str, new: str) -> None:
    with pytest.raises(TrustError):
        parse_certificate(changed(old, new), SHA1)


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_a_head_that_ends_early_is_refused(lines: int) -> None:
    head, _, body = TEXT.partition(b"\n\n")
    cut = b"\n".join(head.split(b"\n")[:lines])
    with pytest.raises(CertificateError):
        parse_certificate(cut + b"\n\n" + body, SHA1)


def test_nothing_makes_it_longer_than_the_limit() -> None:
    """Whoever pushes may have a name of any length."""
    with pytest.raises(CertificateError, match="longer than"):
        parse_certificate(changed("Anna", "A" * MAX_TEXT), SHA1)


@pytest.mark.parametrize(
    ("repository", "checkpoint"), [(ID[1:], oid(9)), (ID.upper(), oid(9)), (ID, "9" * 41)]
)
def test_a_nonce_that_could_not_be_read_cannot_be_made(repository: str, checkpoint: str) -> None:
    with pytest.raises(CertificateError):
        Nonce(RepositoryId(repository), PushId(checkpoint), 1)


def test_formats_are_not_mixed() -> None:
    with pytest.raises(CertificateError):
        parse_certificate(TEXT, SHA256)


def test_a_conflict_can_be_deleted() -> None:
    read = parse_certificate(changed("refs/tags/old", f"refs/conflicts/{ONE}/heads/main"), SHA1)
    assert read.lines[2].new is None


@pytest.mark.parametrize(
    ("pushee", "good"),
    [
        ("https://m.example.org/project.git", True),
        ("https://m.example.org/pub/project", True),
        ("https://m.example.org/project.git/", True),
        (f"gittorrent://m.example.org/{ID}", True),
        (f"gittorrent://{ID}", True),
        ("ssh://git@m.example.org:22/srv/project.git", True),
        ("git@m.example.org:project.git", True),
        (f"/srv/{ID}/anything.git", True),
        ("https://m.example.org/projects.git", False),
        ("https://m.example.org/project.git/x", False),
        (f"https://m.example.org/{ID}/x/y.git", False),
        ("https://m.example.org/", False),
    ],
)
def test_the_url_names_the_repository(pushee: str, good: bool) -> None:
    text = changed(f"https://m.example.org/{ID}/project.git", pushee)
    assert parse_certificate(text, SHA1).names_repository({"project", "former"}) is good


def read_signed(text: bytes, repository: RepositoryId = ID, **changes: object) -> Push:
    made = PushObject(PushKind.CERTIFICATE, text, (SIGNER.sign(text),), SIGNER.key)
    made = replace(made, **changes)
    signer = check_signer(made, PushId(oid(5)), [{}])
    return read_push(
        made, PushId(oid(5)), signer,
        repository=repository, names={"project"}, object_format=SHA1,
    )  # fmt: skip


def test_signed_push_is_believed() -> None:
    read = read_signed(TEXT, pinned=(b"a certificate",))
    assert (read.key, read.certificates) == (SIGNER.key, (b"a certificate",))
    assert read.copy == "sha256:" + hashlib.sha256(b"a certificate").hexdigest()
    assert read_signed(TEXT).copy == ""


def test_a_signature_of_another_text_or_key_is_not() -> None:
    with pytest.raises(BadSignature):
        read_signed(TEXT, signatures=(SIGNER.sign(TEXT + b"x"),))
    with pytest.raises(SignerError):
        read_signed(TEXT, signatures=(TestSigner(2).sign(TEXT),))
    with pytest.raises(BadSignature, match="another kind"):
        read_signed(TEXT, signer=KeyRef.parse("openpgp:" + "1" * 40))


def test_a_push_for_another_repository_is_refused() -> None:
    with pytest.raises(CertificateError, match="made for repository"):
        read_signed(TEXT, RepositoryId("b2" * 26))
    other = changed(f"{ID}/project.git", "another.git")
    with pytest.raises(CertificateError, match=r"URL [^']*/another\.git, which does not name"):
        read_signed(other)


def test_who_has_a_say() -> None:
    policy: Policy = first_policy(rule("refs/*", "alice")).policy
    assert has_a_say(policy, key("alice"))
    assert not has_a_say(policy, key("stranger"))


def test_what_can_be_built_can_be_read() -> None:
    made = Certificate(
        SHA1, b"A <a@x>", 0, "-0000", b"x:project", Nonce(ID, PushId(oid(1)), 65_535), (b"",),
        (Line(None, ONE, RefName(b"refs/heads/a")),),
    )  # fmt: skip
    assert parse_certificate(made.text(), SHA1) == made


def test_ssh_keys_end_by_policy_only() -> None:
    assert is_valid(key("alice"), {}, 0)
