"""Requests of version 2 are cut apart, and the usual ones are understood."""

from __future__ import annotations

import pytest

from gittorrent.ids import SHA1, SHA256
from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_QUESTION_PREFIXES
from gittorrent.wire.upload_requests import Kind, RequestCutter, parse_question

A, B = "a" * 40, "b" * 40


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
        (f"want {A}", f"filter {'x' * 65}", "done"),
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
