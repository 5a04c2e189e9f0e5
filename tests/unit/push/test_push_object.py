"""The grammar of push objects, references tags and ref names: every refusal once."""

from __future__ import annotations

import tracemalloc

import pytest
from msgspec.structs import replace

from gittorrent.errors import TrustError
from gittorrent.ids import SHA1, SHA256, PushId, RefName, RepositoryId
from gittorrent.push import object as push_object
from gittorrent.push import reftag
from gittorrent.push.commit import entry_commit, entry_files, entry_time
from gittorrent.push.object import PushKind, PushObject, PushObjectError, parse_push_object
from gittorrent.push.parent import parent_of
from gittorrent.push.refnames import (
    MAX_COMPONENT,
    RefNameError,
    check_no_directory_conflict,
    check_ref_name,
)
from gittorrent.push.reftag import ReferencesTag, ReferencesTagError, parse_references_tag
from gittorrent.trust.errors import PolicyError
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.signed_policy import MAX_CERTIFICATES
from support.logs import MAIN, Writer, oid
from support.signing import TestSigner

SIGNER = TestSigner()
ID = RepositoryId("a" * 52)
HEAD = PushId("ab" * 20)


def tag(**changes: object) -> ReferencesTag:
    made = ReferencesTag(SHA1, ID, HEAD, {MAIN: oid(1)}, b"P <p@example.org>", 1_600_000_000)
    return replace(made, **changes)


TEXT = tag().text()


def push(**changes: object) -> PushObject:
    made = PushObject(PushKind.REFERENCES, TEXT, (SIGNER.sign(TEXT),), signer=SIGNER.key)
    return replace(made, **changes)


# --- references tags -----------------------------------------------------------------------------


def test_the_text_is_a_tag_of_the_empty_tree() -> None:
    assert TEXT.decode() == (
        "object 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
        "type tree\n"
        "tag gittorrent-refs\n"
        "tagger P <p@example.org> 1600000000 +0000\n"
        "\n"
        "gittorrent refs 1\n"
        f"repository {ID}\n"
        f"parent {HEAD}\n"
        "\n"
        f"{oid(1)}\trefs/heads/main\n"
    )
    assert parse_references_tag(TEXT, SHA1) == tag()


def test_a_tag_without_refs_is_a_tag() -> None:
    empty = tag(refs={})
    assert parse_references_tag(empty.text(), SHA1) == empty


def test_ten_thousand_refs() -> None:
    many = tag(refs={RefName(b"refs/heads/%d" % n): oid(n + 1) for n in range(10_000)})
    assert parse_references_tag(many.text(), SHA1) == many


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"tag gittorrent-refs", b"tag other"),
        (b"type tree", b"type commit"),
        (b"object 4b", b"object 4c"),
        (b"tagger P <", b"tagger P "),
        (b"tagger P <", b"tagger P\0 <"),
        (b"1600000000 +0000", b"01600000000 +0000"),
        (b"1600000000 +0000", b"-1 +0000"),
        (b"1600000000 +0000", b"1600000000 UTC"),
        (b"1600000000 +0000", b"1600000000 +0000 "),
        (b"1600000000 +0000", b"9999999999999 +0000"),
        (b"gittorrent refs 1", b"gittorrent refs 2"),
        (b"repository a", b"repository A"),
        (b"repository a", b"repository aa"),
        (b"repository", b"Repository"),
        (b"parent ab", b"parent -b"),
        (b"parent ab", b"parent b"),
        (b"\n\ngittorrent", b"\nencoding x\n\ngittorrent"),
        (b"1\trefs", b"1 refs"),
        (b"1\trefs", b"\trefs"),
        (b"1\trefs", b"A\trefs"),
        (b"0001\trefs", b"0000\trefs"),
        (b"main\n", b"main\r\n"),
        (b"main\n", b"main"),
        (b"main\n", b"main\n\n"),
        (b"main\n", b"main\n" + oid(2).encode() + b"\trefs/heads/main\n"),
        (b"main\n", b"main\n" + oid(2).encode() + b"\trefs/heads/a\n"),
        (b"main\n", b"main\n" + oid(2).encode() + b"\trefs/heads/main/sub\n"),
        (TEXT, b""),
        (TEXT, b"\n" * 12),
        (TEXT, b"\xff" * 500),
    ],
)
def test_what_is_not_a_references_tag(old: bytes, new: bytes) -> None:
    assert TEXT.count(old) >= 1
    with pytest.raises((ReferencesTagError, RefNameError)):
        parse_references_tag(TEXT.replace(old, new, 1), SHA1)


def test_object_formats_do_not_mix() -> None:
    with pytest.raises(ReferencesTagError):
        parse_references_tag(TEXT, SHA256)
    other = tag(object_format=SHA256, parent=PushId("cd" * 32), refs={MAIN: oid(1, SHA256)})
    assert parse_references_tag(other.text(), SHA256) == other
    with pytest.raises(ReferencesTagError):
        parse_references_tag(other.text(), SHA1)


def test_a_tag_of_gigabytes_is_not_read() -> None:
    with pytest.raises(ReferencesTagError, match="longer than"):
        parse_references_tag(TEXT.ljust(reftag.MAX_TEXT + 1, b"\n"), SHA1)


# --- ref names -----------------------------------------------------------------------------------


def test_names_of_all_encodings_are_fine() -> None:
    for name in (
        "größe".encode("latin-1"),
        "日本".encode(),
        b"-dash",
        b"a@b",
        b"x" * MAX_COMPONENT,
    ):
        check_ref_name(b"refs/heads/" + name)


def test_a_component_must_fit_a_file_name() -> None:
    with pytest.raises(RefNameError, match="component longer"):
        check_ref_name(b"refs/heads/" + b"x" * (MAX_COMPONENT + 1) + b"/y")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"refs/heads/" + b"/".join([b"d" * 100] * 25), "longer than 1,024 bytes"),
        (b"refs/heads/a..b", "not one that git allows"),
        (b"heads/a", "does not begin with refs/"),
    ],
)
def test_a_name_is_refused_for_the_true_reason(name: bytes, reason: str) -> None:
    with pytest.raises(RefNameError, match=reason) as caught:
        check_ref_name(name)
    assert len(str(caught.value)) < 200
    with pytest.raises(PolicyError, match=reason):
        RefPattern(name)


@pytest.mark.parametrize(
    "names",
    [
        [b"refs/heads/a", b"refs/heads/a/b"],
        [b"refs/heads/a/b/c", b"refs/heads/a"],
        [b"refs/heads/a", b"refs/heads/a-b", b"refs/heads/a/b"],
        [b"refs/x", b"refs/x/y"],
    ],
)
def test_directory_conflicts(names: list[bytes]) -> None:
    with pytest.raises(RefNameError, match="cannot exist together"):
        check_no_directory_conflict(names)


def test_no_directory_conflict() -> None:
    check_no_directory_conflict([b"refs/heads/a", b"refs/heads/ab", b"refs/heads/a.b/c"])
    check_no_directory_conflict([])


# --- push objects --------------------------------------------------------------------------------


def test_file_form() -> None:
    data = push().encode()
    head, _, body = data.partition(b"\n\n")
    signature = SIGNER.sign(TEXT).data
    assert head.decode().split("\n") == [
        "gittorrent push 1",
        "kind references",
        f"signer {SIGNER.key}",
        f"text {len(TEXT)}",
        f"signature {len(signature)}",
    ]
    assert body == TEXT + signature
    assert parse_push_object(data) == push()


def test_joins_and_certificates_travel() -> None:
    joined = push(join=(oid(1), oid(2)))
    assert parse_push_object(joined.encode()) == joined
    certificate = push(kind=PushKind.CERTIFICATE)
    assert parse_push_object(certificate.encode()) == certificate


def test_policies_travel_with_certificates() -> None:
    text = Writer().pushes[0][1].text
    policy = PushObject(
        PushKind.POLICY, text, (SIGNER.sign(text), TestSigner(2).sign(text)), pinned=(b"x", b"\0")
    )
    assert parse_push_object(policy.encode()) == policy


@pytest.mark.parametrize(
    "changes",
    [
        {"signer": None},
        {"signatures": ()},
        {"signatures": (SIGNER.sign(TEXT),) * 2},
        {"kind": PushKind.POLICY},
        {"join": (oid(1),)},
        {"join": (oid(2), oid(1))},
        {"join": (oid(1), oid(1))},
        {"join": ("12", "34")},
        {"pinned": (b"",) * (MAX_CERTIFICATES + 1)},
    ],
    ids=str,
)
def test_parts_that_do_not_go_together(changes: dict[str, object]) -> None:
    with pytest.raises(PushObjectError):
        parse_push_object(push(**changes).encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"gittorrent push 1", b"gittorrent push 2"),
        (b"kind references", b"kind gossip"),
        (b"kind references\n", b""),
        (b"kind references\n", b"kind references\nkind references\n"),
        (b"kind references\n", b"kind references\nextra x\n"),
        (b"kind references\n", b"kind references\nkind\n"),
        (b"kind references", b"kind r\xe9f\xe9rences"),
        (b"signer ssh:SHA256:", b"signer ssh:"),
        (b"signer ssh:SHA256:", b"signer x509:"),
        (b"text ", b"text 0"),
        (b"text ", b"text +"),
        (b"text ", b"text -"),
        (b"text ", b"text 9999999"),
        (b"text ", b"text 1"),
        (b"text ", b"text \xd9\xa1"),
        (b"\n\n", b"\n"),
        (b"-----BEGIN SSH", b"-----BEGIN PGP"),
        (b"-----BEGIN SSH", b"+----BEGIN SSH"),
        (b"gittorrent push 1", b"\ngittorrent push 1"),
    ],
)
def test_what_is_not_a_push_object(old: bytes, new: bytes) -> None:
    data = push().encode()
    assert old in data
    with pytest.raises(TrustError):
        parse_push_object(data.replace(old, new, 1))


def test_too_short_and_too_long() -> None:
    data = push().encode()
    for wrong in (b"", b"\n\n", data[:-1], data + b"\n"):
        with pytest.raises(TrustError):
            parse_push_object(wrong)


def test_limits_are_checked_before_anything_is_read() -> None:
    with pytest.raises(PushObjectError, match="longer than"):
        parse_push_object(push().encode().ljust(push_object.MAX_SIZE + 1, b"x"))


def test_a_header_of_many_lines_is_not_taken_apart() -> None:
    data = push().encode().replace(b"\n", b"\nx" * push_object.MAX_HEADER, 1)
    with pytest.raises(PushObjectError, match="push object begins"):
        parse_push_object(data)


# --- commits -------------------------------------------------------------------------------------


def test_the_commit_depends_on_the_text_the_signer_and_the_parent() -> None:
    made = push()
    assert entry_files(made).listed() == [
        ("signer", f"{SIGNER.key}\n".encode()),
        ("text", TEXT),
    ]
    assert entry_commit(made, oid(7), HEAD).decode() == (
        f"tree {oid(7)}\n"
        f"parent {HEAD}\n"
        "author GitTorrent <log@gittorrent.invalid> 1600000000 +0000\n"
        "committer GitTorrent <log@gittorrent.invalid> 1600000000 +0000\n"
        "\n"
        "gittorrent references\n"
    )
    assert parent_of(made, SHA1) == HEAD


def test_policies_have_no_date_and_the_first_no_parent() -> None:
    policy = Writer().pushes[0][1]
    assert entry_time(policy) == 0
    assert parent_of(policy, SHA1) is None
    assert b"parent" not in entry_commit(policy, oid(7), None)
    assert [name for name, _ in entry_files(policy).listed()] == ["text"]


def test_a_date_is_not_taken_from_a_ref_or_a_persons_name() -> None:
    sly = tag(tagger=b"P 99 +0000 <tagger x> 5 +0000 <a@b>")
    with pytest.raises(ReferencesTagError):
        parse_references_tag(sly.text(), SHA1)
    assert entry_time(push(text=tag(time=0).text())) == 0


def test_a_certificate_of_short_lines_is_not_taken_apart() -> None:
    text = b"certificate version 0.1\n" + b"ab\n" * (1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(PushObjectError, match="nonce"):
            parent_of(PushObject(PushKind.CERTIFICATE, text, ()), SHA1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(text)


def test_a_certificate_names_its_parent_in_the_nonce() -> None:
    text = f"certificate version 0.1\npusher SHA256:x <a> 77 +0200\nnonce {ID}/{HEAD}\n\n".encode()
    made = push(kind=PushKind.CERTIFICATE, text=text)
    assert parent_of(made, SHA1) == HEAD
    assert entry_time(made) == 77
    with pytest.raises(PushObjectError, match="nonce"):
        parent_of(made, SHA256)
