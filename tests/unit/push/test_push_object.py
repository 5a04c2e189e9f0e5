"""The grammar of push objects and ref names: every refusal once."""

from __future__ import annotations

import tracemalloc

import pytest
from msgspec.structs import replace

from gittorrent.errors import TrustError
from gittorrent.ids import SHA1, SHA256, PushId, RepositoryId
from gittorrent.push import object as push_object
from gittorrent.push.commit import entry_commit, entry_files, entry_parents, entry_time
from gittorrent.push.object import (
    MAX_PUSHER_CERTIFICATES,
    MAX_PUSHER_CERTIFICATES_SIZE,
    PushKind,
    PushObject,
    PushObjectError,
    parse_push_object,
)
from gittorrent.push.refnames import (
    MAX_COMPONENT,
    RefNameError,
    check_no_directory_conflict,
    check_ref_name,
)
from gittorrent.trust.errors import OldFormatError, PolicyError
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.signed_policy import MAX_CERTIFICATES
from support.logs import Writer, oid
from support.signing import TestSigner

SIGNER = TestSigner()
ID = RepositoryId("a" * 52)
HEAD = PushId("ab" * 20)


TEXT = f"""\
object {SHA1.empty_tree}
type tree
tag gittorrent-checkpoint
tagger P <p@example.org> 1600000000 +0000

gittorrent checkpoint 1
repository {ID}
sequence 7
previous {HEAD}
policy 2 sha256:{"5" * 64}
adopt {oid(6)}
push {oid(8)} refs/heads/main applied
push {oid(9)} * applied
push {oid(8)} refs/heads/other conflict
certificate {oid(9)} sha256:{"4" * 64}
head refs/heads/main 2.1
state {"3" * 64}
changes
ref {oid(1)} 2.5 refs/heads/main
""".encode()


def push(**changes: object) -> PushObject:
    made = PushObject(PushKind.CHECKPOINT, TEXT, (SIGNER.sign(TEXT),), signer=SIGNER.key)
    return replace(made, **changes)


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
        "gittorrent push 2",
        "kind checkpoint",
        f"signer {SIGNER.key}",
        f"text {len(TEXT)}",
        f"signature {len(signature)}",
    ]
    assert body == TEXT + signature
    assert parse_push_object(data) == push()


def test_certificates_travel_with_those_of_their_signer() -> None:
    certificate = push(kind=PushKind.CERTIFICATE, pinned=(b"pusher", b"who leads to it"))
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
        {"pinned": (b"x",)},
        {"kind": PushKind.POLICY, "signer": None, "pinned": (b"",) * (MAX_CERTIFICATES + 1)},
        {"kind": PushKind.CERTIFICATE, "pinned": (b"x",) * (MAX_PUSHER_CERTIFICATES + 1)},
        {"kind": PushKind.CERTIFICATE, "pinned": (b"x" * (MAX_PUSHER_CERTIFICATES_SIZE + 1),)},
    ],
)
def test_parts_that_do_not_go_together(changes: dict[str, object]) -> None:
    with pytest.raises(PushObjectError):
        parse_push_object(push(**changes).encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"gittorrent push 2", b"gittorrent push 3"),
        (b"kind checkpoint", b"kind gossip"),
        (b"kind checkpoint\n", b""),
        (b"kind checkpoint\n", b"kind checkpoint\nkind references\n"),
        (b"kind checkpoint\n", b"kind checkpoint\nextra x\n"),
        (b"kind checkpoint\n", b"kind checkpoint\nkind\n"),
        (b"kind checkpoint", b"kind ch\xe9ckpoint"),
        (b"kind checkpoint", b"kind references"),
        (b"text ", b"join " + HEAD.encode() + b"\ntext "),
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
        (b"gittorrent push 2", b"\ngittorrent push 2"),
    ],
)
def test_what_is_not_a_push_object(old: bytes, new: bytes) -> None:
    data = push().encode()
    assert old in data
    with pytest.raises(TrustError):
        parse_push_object(data.replace(old, new, 1))


def test_the_format_before_is_refused_with_what_to_do() -> None:
    data = push().encode().replace(b"gittorrent push 2", b"gittorrent push 1", 1)
    with pytest.raises(OldFormatError) as caught:
        parse_push_object(data)
    assert "publish it anew" in (caught.value.hint or "")


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


def test_the_commit_depends_on_the_text_the_signer_and_the_parents() -> None:
    made = push()
    assert entry_files(made).listed() == [
        ("signer", f"{SIGNER.key}\n".encode()),
        ("text", TEXT),
    ]
    assert entry_commit(made, oid(7), (HEAD, PushId(oid(8)))).decode() == (
        f"tree {oid(7)}\n"
        f"parent {HEAD}\n"
        f"parent {oid(8)}\n"
        "author GitTorrent <log@gittorrent.invalid> 1600000000 +0000\n"
        "committer GitTorrent <log@gittorrent.invalid> 1600000000 +0000\n"
        "\n"
        "gittorrent checkpoint\n"
    )


def test_a_checkpoint_builds_on_all_that_it_names_each_once() -> None:
    named = (HEAD, PushId(oid(6)), PushId(oid(8)), PushId(oid(9)))
    assert entry_parents(push(), SHA1) == named
    with pytest.raises(PushObjectError, match="builds on"):
        entry_parents(push(), SHA256)


def test_policies_have_no_date_and_the_first_no_parent() -> None:
    policy = Writer().pushes[0][1]
    assert entry_time(policy) == 0
    assert entry_parents(policy, SHA1) == ()
    assert b"parent" not in entry_commit(policy, oid(7), ())
    assert [name for name, _ in entry_files(policy).listed()] == ["text"]


def test_a_later_policy_builds_on_its_checkpoint() -> None:
    writer = Writer()
    assert entry_parents(writer.next_policy(threshold=1), SHA1) == (writer.head,)


def test_a_date_and_what_it_builds_on_are_not_taken_from_below_the_header() -> None:
    sly = TEXT.replace(b"tagger P <p@example.org> 1600000000 +0000\n", b"").replace(
        b"whole\n", b"whole\ntagger x> 5 +0000\n"
    )
    assert entry_time(push(text=sly)) == 0
    nonce = f"certificate version 0.1\n\nnonce {ID}/{HEAD}/1\n".encode()
    with pytest.raises(PushObjectError, match="builds on"):
        entry_parents(push(kind=PushKind.CERTIFICATE, text=nonce), SHA1)
    late = TEXT.replace(f"previous {HEAD}\n".encode(), b"")
    assert HEAD not in entry_parents(push(text=late + f"previous {HEAD}\n".encode()), SHA1)


@pytest.mark.parametrize("kind", [PushKind.CERTIFICATE, PushKind.CHECKPOINT])
def test_a_text_of_short_lines_is_not_taken_apart(kind: PushKind) -> None:
    text = b"certificate version 0.1\n" + b"ab\n" * (1 << 18)
    tracemalloc.start()
    try:
        with pytest.raises(PushObjectError, match="builds on"):
            entry_parents(PushObject(kind, text, ()), SHA1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(text)


def test_a_certificate_builds_on_the_checkpoint_in_its_nonce() -> None:
    text = f"certificate version 0.1\npusher A <a> 77 +0200\nnonce {ID}/{HEAD}/3\n\n".encode()
    made = push(kind=PushKind.CERTIFICATE, text=text)
    assert entry_parents(made, SHA1) == (HEAD,)
    assert entry_time(made) == 77
    with pytest.raises(PushObjectError, match="builds on"):
        entry_parents(made, SHA256)
