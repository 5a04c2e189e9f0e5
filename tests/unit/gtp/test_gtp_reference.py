"""Reference objects and metainfo files: forms, names, what supersedes what."""

from __future__ import annotations

import hashlib

import pytest

from gittorrent.gtp import bencode
from gittorrent.gtp.errors import BadReferenceError, MetainfoError
from gittorrent.gtp.metainfo import MetainfoSpec, parse_metainfo, write_metainfo
from gittorrent.gtp.node.target import head_branch
from gittorrent.gtp.profile import PERL_2008, RFC
from gittorrent.gtp.reference import (
    SPACE,
    Tagger,
    parse_reference,
    reference_id,
    verify_reference,
    write_reference,
)
from gittorrent.ids import SHA1, Oid, RefName

A, B = Oid("a1" * 20), Oid("b2" * 20)
MAIN, TAG = RefName(b"refs/heads/main"), RefName(b"refs/tags/v1")
WHO = Tagger(b"A U Thor <a@example.org>", 1_200_000_000)


def body(*lines: bytes, kind: bytes = b"commit", when: int = 5) -> bytes:
    head = b"object " + A.encode() + b"\ntype " + kind + b"\ntag x\n"
    return head + b"tagger A <a@b> %d +0000\n\n" % when + b"".join(x + b"\n" for x in lines)


def test_what_is_written_is_read() -> None:
    written = write_reference({MAIN: A, TAG: B}, A, None, WHO)
    found = parse_reference(written)
    assert (found.refs, found.head, found.time) == ({MAIN: A, TAG: B}, A, WHO.time)
    assert found.tips == {A, B}
    assert not found.is_signed
    assert written.count(b"\tHEAD\n") == 1


def test_the_dialect_of_2008_sorts_lines_and_has_no_head() -> None:
    written = write_reference({TAG: B, MAIN: A}, A, None, WHO, SPACE)
    lines = written.split(b"\n\n", 1)[1].splitlines()
    assert lines == sorted(lines)
    assert b"HEAD" not in written
    assert parse_reference(written, SPACE).refs == {MAIN: A, TAG: B}
    assert parse_reference(written).refs == {}


def test_the_dialect_of_2008_takes_any_blanks_between_id_and_name() -> None:
    found = parse_reference(
        body(A.encode() + b"  refs/heads/main", B.encode() + b" \t refs/tags/v1"), SPACE
    )
    assert found.refs == {MAIN: A, TAG: B}
    assert parse_reference(body(A.encode() + b" refs/heads/main")).refs == {}


def test_the_tagged_commit_is_known_apart_from_head() -> None:
    found = parse_reference(body(B.encode() + b" refs/heads/main"), SPACE)
    assert (found.head, found.commit) == (None, A)
    assert parse_reference(body(kind=b"tree")).commit is None
    assert found.tips == {B}


def test_head_is_the_branch_of_the_tagged_commit_where_no_line_says() -> None:
    dev = b" refs/heads/dev"
    found = parse_reference(body(A.encode() + dev, B.encode() + b" refs/heads/main"), SPACE)
    assert head_branch(found) == b"refs/heads/dev"
    found = parse_reference(body(B.encode() + dev, B.encode() + b" refs/heads/main"), SPACE)
    assert head_branch(found) == b"refs/heads/main"


def test_an_empty_repository_has_a_reference_too() -> None:
    found = parse_reference(write_reference({}, None, None, WHO))
    assert (found.refs, found.tips) == ({}, frozenset())
    assert found.body.startswith(b"object " + SHA1.empty_tree.encode())


def test_the_id_is_the_tags() -> None:
    text = body(A.encode() + b"\trefs/heads/main")
    expected = hashlib.sha1(b"tag %d\0" % len(text) + text).digest()
    assert reference_id(text) == expected == parse_reference(text).id


def test_peeled_lines_and_text_are_passed_over() -> None:
    text = body(b"Hello", A.encode() + b"\trefs/tags/v1", B.encode() + b"\trefs/tags/v1^{}", b"")
    found = parse_reference(text)
    assert (found.refs, found.tips) == ({TAG: A}, frozenset({A}))


@pytest.mark.parametrize(
    "name",
    [b"refs/heads/../x", b"refs/heads/a b", b"../../etc/passwd", b"refs/heads/x.lock", b"main",
     b"refs/heads/\x1b[31m", b"refs/heads/" + b"x" * 2000],
)  # fmt: skip
def test_names_that_git_does_not_allow_make_it_bad(name: bytes) -> None:
    with pytest.raises(BadReferenceError):
        parse_reference(body(A.encode() + b"\t" + name))


@pytest.mark.parametrize("name", [b"refs/stash", b"refs/gittorrent/log", b"refs/replace/x"])
def test_names_that_must_not_be_made_here_are_left_out(name: bytes) -> None:
    found = parse_reference(body(A.encode() + b"\trefs/heads/main", B.encode() + b"\t" + name))
    assert found.refs == {MAIN: A}
    assert B in found.tips


@pytest.mark.parametrize(
    "lines",
    [
        (A.encode() + b"\trefs/heads/main", B.encode() + b"\trefs/heads/main"),
        (A.encode() + b"\trefs/heads/a", B.encode() + b"\trefs/heads/a/b"),
        (b"0" * 40 + b"\trefs/heads/main",),
    ],
)
def test_refs_that_cannot_be_make_it_bad(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(BadReferenceError):
        parse_reference(body(*lines))


def test_links_supersede_before_dates() -> None:
    old = parse_reference(body(A.encode() + b"\trefs/heads/main", when=100))
    linked = write_reference({MAIN: B}, B, Oid(old.id.hex()), Tagger(b"A <a@b>", 1))
    newer = parse_reference(linked)
    assert newer.previous == old.id.hex()
    assert newer.supersedes(old)
    assert not old.supersedes(newer)
    later = parse_reference(body(A.encode() + b"\trefs/heads/x", when=101))
    assert later.supersedes(old)
    assert not old.supersedes(later)


def test_without_a_signature_nothing_is_believed() -> None:
    with pytest.raises(BadReferenceError, match="not to be trusted"):
        verify_reference(parse_reference(body()), b"any key")


def test_the_repo_hash_is_that_of_the_repo_value_alone() -> None:
    one = parse_metainfo(write_metainfo(MetainfoSpec(b"key", (), ("http://t/",), "text")))
    two = parse_metainfo(write_metainfo(MetainfoSpec(b"key", (b"x",), (), "text", "remark")))
    assert one.repo_hash == two.repo_hash
    value = bencode.encode({b"description": b"text", b"pubkey": b"key"})
    assert one.repo_hash == hashlib.sha1(value).digest()
    assert (one.profile, one.trackers, two.references) == (RFC, ("http://t/",), (b"x",))


def test_the_repo_hash_of_2008_is_that_of_the_whole_file() -> None:
    found = parse_metainfo(b"d10:referenceslee")
    assert found.repo_hash.hex() == "0a1a2dfbf0bc5dac711c65d98461a2da8222483f"
    assert found.profile is PERL_2008
    keyed = parse_metainfo(write_metainfo(MetainfoSpec(b"key", (), profile=PERL_2008)))
    assert keyed.profile is PERL_2008
    assert keyed.repo_hash == hashlib.sha1(keyed.raw).digest()


def test_unknown_keys_are_kept_and_hashed() -> None:
    data = bencode.encode({b"repo": {b"pubkey": b"k", b"zone": 7}, b"references": [], b"x": 1})
    value = bencode.encode({b"pubkey": b"k", b"zone": 7})
    assert parse_metainfo(data).repo_hash == hashlib.sha1(value).digest()


@pytest.mark.parametrize(
    "top",
    [
        {b"repo": {}}, {b"repo": 1}, {b"repo": {b"pubkey": 1}}, {b"repo": {b"pubkey": b""}},
        {b"trackers": 1}, {b"trackers": [1]}, {b"references": [1]}, {b"references": 1},
        {b"profile": b"other"}, {b"comment": b"\xff"}, {b"comment": b"\x1b"},
        {b"repo": {b"pubkey": b"k", b"alternatives": [b"short"]}}, {b"trackers": [b"x"] * 65},
    ],
)  # fmt: skip
def test_malformed_metainfo_is_refused(top: dict[bytes, bencode.Encodable]) -> None:
    with pytest.raises(MetainfoError):
        parse_metainfo(bencode.encode(top))


@pytest.mark.parametrize("data", [b"", b"le", b"i1e", b"d1:ae", b"d1:a0:1:a0:e"])
def test_what_is_no_dictionary_is_refused(data: bytes) -> None:
    with pytest.raises(MetainfoError):
        parse_metainfo(data)


def test_what_people_wrote_may_have_been_encoded_as_an_integer() -> None:
    data = bencode.encode({b"comment": 7, b"created by": 2008, b"references": []})
    found = parse_metainfo(data)
    assert (found.comment, found.created_by) == ("7", "2008")
