"""Requests of version 2: where each ends, what it asks, and which are one and the same."""

from __future__ import annotations

import pytest

from gittorrent.ids import SHA1, SHA256
from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_QUESTION_PREFIXES
from gittorrent.wire.pktline import DELIM, FLUSH, Special, encode, encode_special
from gittorrent.wire.upload_requests import (
    MAX_REQUEST,
    Kind,
    OtherRequestError,
    RequestCutter,
    UploadRequest,
    parse_list_request,
    parse_question,
    parse_upload_request,
)

A, B = "a" * 40, "b" * 40
ONE, TWO = b"1" * 40, b"2" * 40


def request(
    command: str, *arguments: str, formats: str = "sha1", agent: str = "git/2.47.3"
) -> bytes:
    said = [f"command={command}", f"agent={agent}", f"object-format={formats}"]
    return (
        b"".join(pktline.encode(word.encode()) for word in said)
        + b"0001"
        + pktline.encode_lines([word.encode() + b"\n" for word in arguments])
    )


def fetch(*arguments: str) -> bytes:
    return request("fetch", "thin-pack", "no-progress", "ofs-delta", *arguments)


def test_a_fetch_is_understood() -> None:
    found = parse_question(fetch("include-tag", "deepen 1", f"want {B}", f"want {A}", "done"), SHA1)
    assert found is not None
    assert (found.kind, found.wants, found.with_tags) == (Kind.PACK, (A, B), True)
    again = parse_question(found.text, SHA1)
    assert again == found
    assert b"thin-pack" not in found.text


def test_what_makes_no_difference_is_no_difference() -> None:
    one = parse_question(fetch(f"want {A}", f"want {B}", "deepen 1", "done"), SHA1)
    loud = request("fetch", "ofs-delta", "deepen 1", f"want {B}", f"want {A}", f"want {B}", "done")
    other = parse_question(loud, SHA1)
    assert one == other
    assert one is not None
    assert b"no-progress" in one.text
    old = parse_question(request("fetch", "ofs-delta", "deepen 1", f"want {A}", f"want {B}", "done",
                                 agent="JGit/6.0"), SHA1)  # fmt: skip
    assert old == one


@pytest.mark.parametrize(
    "other",
    [
        ("deepen 2", f"want {A}", "done"),
        (f"want {A}", "done"),
        ("deepen 1", "filter blob:none", f"want {A}", "done"),
        ("deepen 1", f"want {B}", "done"),
        ("deepen 1", "include-tag", f"want {A}", "done"),
    ],
)
def test_what_makes_a_difference_is_one(other: tuple[str, ...]) -> None:
    one = parse_question(fetch("deepen 1", f"want {A}", "done"), SHA1)
    found = parse_question(fetch(*other), SHA1)
    assert found is not None
    assert one is not None
    assert found.text != one.text


@pytest.mark.parametrize(
    "arguments",
    [
        (f"want {A}",),  # not done: it goes on negotiating
        (f"want {A}", f"have {B}", "done"),
        (f"want {A}", f"shallow {B}", "deepen 1", "done"),
        (f"want {A}", "deepen 1", "deepen-relative", "done"),
        (f"want {A}", "deepen 1", "deepen 2", "done"),
        (f"want {A}", "deepen 0", "done"),
        (f"want {A}", "deepen 9999999999", "done"),
        (f"want {A}", "deepen-since 1700000000", "done"),
        (f"want {A}", "deepen-not refs/heads/x", "done"),
        (f"want {A}", "filter blob:none", "filter tree:0", "done"),
        (f"want {A}", "filter sparse:oid=HEAD:secret", "done"),
        (f"want {A}", "filter combine:tree:1+sparse:oid=HEAD:secret", "done"),
        (f"want {A[:-1]}", "done"),
        (f"want {A.upper()}", "done"),
        ("want " + "a" * 64, "done"),
        ("want-ref refs/heads/main", "done"),
        (f"want {A}", "sideband-all", "done"),
        (f"want {A}", "packfile-uris https", "done"),
        (f"want {A}", "wait-for-done", "done"),
        (f"want {A}", "something-new", "done"),
        ("done",),
    ],
)
def test_everything_else_is_left_to_git(arguments: tuple[str, ...]) -> None:
    assert parse_question(fetch(*arguments), SHA1) is None


def test_refs_are_asked_for() -> None:
    asked = ("symrefs", "peel", "unborn", "ref-prefix refs/tags/", "ref-prefix refs/heads/")
    found = parse_question(request("ls-refs", *asked), SHA1)
    assert found is not None
    assert found.kind is Kind.REFS
    assert found == parse_question(request("ls-refs", *reversed(asked), "peel"), SHA1)
    assert parse_question(request("ls-refs", "peel", "new-word"), SHA1) is None
    many = [f"ref-prefix refs/heads/{n}" for n in range(MAX_QUESTION_PREFIXES + 1)]
    assert parse_question(request("ls-refs", *many), SHA1) is None
    assert parse_question(request("ls-refs", *many[1:]), SHA1) is not None


def test_the_object_format_has_to_be_the_repository_s() -> None:
    asked = request("ls-refs", "peel", formats="sha256")
    assert parse_question(asked, SHA1) is None
    found = parse_question(asked, SHA256)
    assert found is not None
    assert b"object-format=sha256" in found.text
    bare = pktline.encode(b"command=ls-refs\n") + b"0001" + b"0000"
    assert parse_question(bare, SHA1) is not None
    assert parse_question(bare, SHA256) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"0000",
        b"00",
        b"0002",
        b"0014command=ls-refs\n",
        b"0014command=ls-refs\n0001",
        b"0014command=ls-refs\n000100010000",
        b"0014command=ls-refs\n00010000" + b"0000",
        b"0014command=ls-refs\n0001fff0peel0000",
        b"zzzzcommand=ls-refs\n00010000",
        b"0012server-option0000",
        request("object-info", "size", f"oid {A}"),
        request("ls-refs", "peel").replace(b"agent=git/2.47.3", b"agent_git/2.47.3"),
        request("bundle-uri", "x"),
    ],
)
def test_what_is_none_is_none(raw: bytes) -> None:
    assert parse_question(raw, SHA1) is None


def test_requests_are_cut_apart_wherever_the_stream_is() -> None:
    first, second = request("ls-refs", "peel"), fetch(f"want {A}", "done")
    stream = first + second + b"0000"
    for size in (1, 2, 3, 5, 64, len(stream)):
        found, cutter, current = [], RequestCutter(), b""
        for at in range(0, len(stream), size):
            piece = stream[at : at + size]
            while piece:
                end = cutter.end_in(piece)
                current += piece[:end]
                if end is None:
                    break
                found.append(current)
                cutter, current, piece = RequestCutter(), b"", piece[end:]
        assert found == [first, second, b"0000"]
        assert current == b""


def test_what_is_no_request_is_told() -> None:
    with pytest.raises(pktline.PktLineError):
        RequestCutter().end_in(b"GET / HTTP/1.1")


def upstream_request(
    *arguments: bytes, capabilities: tuple[bytes, ...] = (b"agent=git/2.39.5",)
) -> bytes:
    words: list[bytes | Special] = [b"command=fetch", *capabilities, b"object-format=sha1"]
    words += [DELIM, *arguments, FLUSH]
    return b"".join(encode_special(w) if isinstance(w, Special) else encode(w) for w in words)


def digest(*arguments: bytes, capabilities: tuple[bytes, ...] = (b"agent=git/2.39.5",)) -> str:
    found = parse_upload_request(upstream_request(*arguments, capabilities=capabilities))
    return found.digest("https://git.example.org/x")


def test_who_asks_and_in_which_order_makes_no_difference() -> None:
    first = digest(b"thin-pack", b"ofs-delta", b"want " + ONE + b"\n", b"want " + TWO, b"done")
    other = digest(
        b"ofs-delta", b"no-progress", b"thin-pack", b"want " + TWO, b"want " + ONE,
        b"want " + ONE, b"done", capabilities=(b"agent=git/2.47.3", b"session-id=x"),
    )  # fmt: skip
    assert first == other


@pytest.mark.parametrize(
    "arguments",
    [
        (b"want " + TWO, b"done"),
        (b"want " + ONE, b"deepen 1", b"done"),
        (b"want " + ONE, b"deepen 2", b"done"),
        (b"want " + ONE, b"filter blob:none", b"done"),
        (b"want " + ONE, b"include-tag", b"done"),
        (b"want " + ONE, b"have " + TWO, b"done"),
        (b"want " + ONE,),
    ],
)
def test_what_is_asked_for_makes_one(arguments: tuple[bytes, ...]) -> None:
    assert digest(b"want " + ONE, b"done") != digest(*arguments)


def test_digest_is_of_one_upstream() -> None:
    found = UploadRequest((ONE,))
    assert found.digest("https://a.example.org/x") != found.digest("https://b.example.org/x")


@pytest.mark.parametrize(
    "argument",
    [
        b"want-ref refs/heads/main",
        b"deepen-not refs/tags/v1",
        b"packfile-uris https",
        b"sideband-all",
        b"wait-for-done",
        b"want " + b"3" * 64,
        b"want HEAD",
        b"deepen 0",
        b"deepen -1",
        b"filter ",
        b"filter sparse:oid=HEAD:secret",
        b"filter sparse:oid=" + ONE,
        b"filter combine:tree:1+sparse:oid=HEAD:secret",
        b"anything",
    ],
)
def test_what_depends_on_more_than_the_request_is_none(argument: bytes) -> None:
    with pytest.raises(OtherRequestError):
        parse_upload_request(upstream_request(b"want " + ONE, argument, b"done"))


def test_unknown_capabilities_are_none() -> None:
    with pytest.raises(OtherRequestError, match="capability"):
        digest(b"want " + ONE, b"done", capabilities=(b"server-option=x",))


@pytest.mark.parametrize("second", [b"deepen 1", b"deepen 2"])
def test_two_depths_are_none(second: bytes) -> None:
    with pytest.raises(OtherRequestError, match="twice"):
        digest(b"want " + ONE, b"deepen 1", second, b"done")


def listing(*arguments: bytes) -> bytes:
    return upstream_request(*arguments).replace(b"0011command=fetch", b"0013command=ls-refs")


def test_requests_for_refs_are_the_same_whoever_asks() -> None:
    said = parse_list_request(listing(b"peel\n", b"symrefs", b"ref-prefix refs/heads/"))
    other = listing(b"peel", b"symrefs", b"ref-prefix refs/heads/\n")
    assert parse_list_request(other.replace(b"git/2.39.5", b"git/2.47.3")) == said
    assert parse_list_request(said) == said


@pytest.mark.parametrize("argument", [b"ref-prefix ", b"ref-prefix a b", b"anything", b"peel x"])
def test_other_requests_for_refs_are_none(argument: bytes) -> None:
    with pytest.raises(OtherRequestError):
        parse_list_request(listing(argument))
    with pytest.raises(OtherRequestError):
        parse_list_request(upstream_request(b"want " + ONE, b"done"))


def test_bound_holds() -> None:
    with pytest.raises(OtherRequestError, match=str(MAX_REQUEST)):
        parse_upload_request(b"0" * (MAX_REQUEST + 1))


@pytest.mark.parametrize(
    ("shape", "switches", "is_counted"),
    [
        ((b"deepen 1",), (), True),
        ((b"deepen 20",), (b"include-tag", b"ofs-delta"), True),
        ((), (), False),
        ((b"deepen 999999999",), (), True),
        ((b"deepen 2147483647",), (), False),
        ((b"deepen 6442450943",), (), False),
        ((b"deepen 9223372034707292159",), (), False),
        ((b"deepen 1",), (b"deepen-relative",), False),
        ((b"deepen-since 1",), (), False),
        ((b"deepen 1", b"filter blob:none"), (), False),
        ((b"filter blob:none",), (), False),
    ],
)
def test_depths_that_are_counted_from_what_is_wanted(
    shape: tuple[bytes, ...], switches: tuple[bytes, ...], is_counted: bool
) -> None:
    assert UploadRequest((ONE,), shape=shape, switches=switches).is_counted is is_counted


def test_from_nothing_is_what_many_ask_for() -> None:
    assert UploadRequest((ONE,)).is_whole
    shaped = UploadRequest((ONE,), shape=(b"deepen 1",))
    assert shaped.is_from_nothing
    assert not shaped.is_whole
    assert not UploadRequest((ONE,), haves=(TWO,)).is_from_nothing
    assert not UploadRequest((ONE,), is_done=False).is_from_nothing
    # As a clone of one commit without files asks for these.
    lazy = UploadRequest((ONE,), shallow=(TWO,))
    assert lazy.is_from_nothing
    assert not lazy.is_whole
