"""Fuzz target: what another runner says is refused, or reads the same once written again."""

from __future__ import annotations

from gittorrent.errors import GitTorrentError
from gittorrent.wire.ci_fleet import (
    Asked,
    Listed,
    NotAMemberError,
    Sender,
    check_answer,
    check_request,
    encode_body,
    encode_member,
    encode_refs_body,
    parse_body,
    parse_listed,
    parse_member,
    parse_refs_body,
    sign_answer,
    sign_request,
)
from gittorrent.wire.ci_labels import RunnerLabel, read_label, write_label
from gittorrent.wire.peeled_refs import PeeledRefs
from gittorrent.wire.upload_requests import UploadRequest, list_request

_SECRET, _NOW = b"s" * 32, 1_900_000_000
_BODY = encode_body("https://git.example.org/x", UploadRequest((b"01" * 20,)))
_SENDER, _ASKED = Sender("01" * 20, "02" * 16, 3), Asked("POST", "/")
_HEADER = sign_request(_SECRET, _SENDER, "04" * 16, _NOW, _ASKED, b"")
_ANSWER = sign_answer(_SECRET, "02" * 32, "03" * 32)
_LABEL = write_label(_SECRET, RunnerLabel("10.0.0.1", 8417, _NOW))
_LISTED = Listed(b"\n000eversion 2\n0000", b"0032" + b"1" * 40 + b" HEAD\n0000").encode()
_REFS = encode_refs_body("https://git.example.org/x", "0f" * 16, list_request(b"HEAD"))
_MEMBER = encode_member("01" * 20, "04" * 16)
SEEDS = [_MEMBER, _BODY, _HEADER.encode(), _ANSWER.encode(), _LABEL.encode(), _LISTED, _REFS]


def one_input(data: bytes) -> None:
    text = data.decode("utf-8", "backslashreplace")
    try:
        if check_request(_SECRET, text, _NOW, _ASKED).member and text != _HEADER:
            raise AssertionError("a header that nobody signed counts")
        check_answer(_SECRET, _HEADER, text)
    except NotAMemberError:
        pass
    try:
        if read_label(_SECRET, text, _NOW).port and text != _LABEL:
            raise AssertionError("a name that nobody wrote counts")
    except NotAMemberError:
        pass
    try:
        listed = parse_listed(data)
        if parse_listed(listed.encode()) != listed or b"".join(listed.packets()) != listed.refs:
            raise AssertionError("a list of refs does not survive writing and reading")
        known = PeeledRefs()
        known.learn(listed.packets())
        completed = known.complete(listed.packets())
        if completed is not None and any(Listed(b"", completed).packets()) != bool(completed):
            raise AssertionError("a completed list of refs is none")
    except GitTorrentError:
        pass
    try:
        url, asked = parse_refs_body(data)
        if parse_refs_body(encode_refs_body(url, "0f" * 16, asked)) != (url, asked):
            raise AssertionError("a request for refs does not survive writing and reading")
    except GitTorrentError:
        pass
    try:
        if encode_member(*parse_member(data)) != data:
            raise AssertionError("what a node says of itself does not survive reading and writing")
    except GitTorrentError:
        pass
    try:
        found = parse_body(data)
    except GitTorrentError:
        return
    if parse_body(encode_body(*found)) != found:
        raise AssertionError("a request does not survive writing and reading")


if __name__ == "__main__":
    from harness import run

    run(one_input)
