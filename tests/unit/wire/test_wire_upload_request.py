"""Requests for objects: which are one and the same, and which no answer is kept for."""

from __future__ import annotations

import pytest

from gittorrent.wire.pktline import DELIM, FLUSH, Special, encode, encode_special
from gittorrent.wire.upload_request import (
    MAX_REQUEST,
    OtherRequestError,
    UploadRequest,
    parse_list_request,
    parse_upload_request,
)

ONE, TWO = b"1" * 40, b"2" * 40


def request(*arguments: bytes, capabilities: tuple[bytes, ...] = (b"agent=git/2.39.5",)) -> bytes:
    words: list[bytes | Special] = [b"command=fetch", *capabilities, b"object-format=sha1"]
    words += [DELIM, *arguments, FLUSH]
    return b"".join(encode_special(w) if isinstance(w, Special) else encode(w) for w in words)


def digest(*arguments: bytes, capabilities: tuple[bytes, ...] = (b"agent=git/2.39.5",)) -> str:
    found = parse_upload_request(request(*arguments, capabilities=capabilities))
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
        parse_upload_request(request(b"want " + ONE, argument, b"done"))


def test_unknown_capabilities_are_none() -> None:
    with pytest.raises(OtherRequestError, match="capability"):
        digest(b"want " + ONE, b"done", capabilities=(b"server-option=x",))


def test_two_depths_are_none() -> None:
    with pytest.raises(OtherRequestError, match="twice"):
        digest(b"want " + ONE, b"deepen 1", b"deepen 2", b"done")


def listing(*arguments: bytes) -> bytes:
    return request(*arguments).replace(b"0011command=fetch", b"0013command=ls-refs")


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
        parse_list_request(request(b"want " + ONE, b"done"))


def test_bound_holds() -> None:
    with pytest.raises(OtherRequestError, match=str(MAX_REQUEST)):
        parse_upload_request(b"0" * (MAX_REQUEST + 1))


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
