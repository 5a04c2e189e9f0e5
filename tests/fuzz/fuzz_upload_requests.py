"""Fuzz target: requests to upload-pack are cut alike in any pieces, and written in one way."""

from __future__ import annotations

from gittorrent.errors import ProtocolError
from gittorrent.ids import SHA1, SHA256
from gittorrent.wire import pktline
from gittorrent.wire.pktline import encode
from gittorrent.wire.upload_requests import (
    RequestCutter,
    UploadRequest,
    parse_list_request,
    parse_question,
    parse_upload_request,
)

_HEAD = b"0012command=fetch\n0016object-format=sha10001"
_WANT = b"0032want " + b"a" * 40 + b"\n"
_OID, _OTHER = b"01" * 20, b"02" * 20

SEEDS = [
    b"0014command=ls-refs\n0015agent=git/2.47.3\n0017object-format=sha1\n0001"
    b"0009peel\n000csymrefs\n0014ref-prefix HEAD\n0000",
    _HEAD + b"000dthin-pack000fno-progress000dofs-delta000cdeepen 1" + _WANT + b"0009done\n0000",
    _HEAD + _WANT + _WANT + b"0014filter blob:none0009done\n0000",
    _HEAD + b"0045want " + b"b" * 64 + b"0009done\n0000",
    b"0017command=bundle-uri\n00010000",
    b"0000",
    UploadRequest((_OID,)).encode(),
    UploadRequest((_OID, _OTHER), shape=(b"deepen 1",), switches=(b"thin-pack",)).encode(),
    UploadRequest((_OID,), (_OTHER,), False, (_OTHER,), (b"filter blob:none",)).encode(),
    encode(b"command=fetch") + b"0001" + encode(b"want " + _OID + b"\n") + b"0000",
    encode(b"command=ls-refs\n") + b"0001" + encode(b"peel") + b"0000",
    encode(b"command=fetch") + b"0001" + encode(b"want-ref refs/heads/main") + b"0000",
]


def _ends(data: bytes, size: int) -> list[int] | None:
    """Return where requests end when a stream comes in pieces; None if it is no stream of them."""
    ends, cutter = [], RequestCutter()
    at = 0
    while at < len(data):
        piece = data[at : at + size]
        try:
            end = cutter.end_in(piece)
        except pktline.PktLineError:
            return None
        at += len(piece) if end is None else end
        if end is not None:
            ends.append(at)
            cutter = RequestCutter()
    return ends


def _list_request(data: bytes) -> None:
    try:
        listing = parse_list_request(data)
    except ProtocolError:
        return
    if parse_list_request(listing) != listing:
        raise AssertionError("a request for refs is written in more than one way")


def _upload_request(data: bytes) -> None:
    try:
        found = parse_upload_request(data)
    except ProtocolError:
        return
    written = found.encode()
    if parse_upload_request(written) != found:
        raise AssertionError("a request does not survive writing and reading")
    if parse_upload_request(written).encode() != written:
        raise AssertionError("a request is written in more than one way")


def one_input(data: bytes) -> None:
    _list_request(data)
    _upload_request(data)
    ends = _ends(data, len(data) or 1)
    if ends != _ends(data, 1) or ends != _ends(data, 7):
        raise AssertionError("a stream is cut another way in other pieces")
    for object_format in (SHA1, SHA256):
        question = parse_question(data, object_format)
        if question is None:
            continue
        if ends != [len(data)]:
            raise AssertionError("a question is not one request")
        if parse_question(question.text, object_format) != question:
            raise AssertionError("a question is asked another way by its own text")
        if not all(map(object_format.is_oid, question.wants)):
            raise AssertionError("a want is no id")


if __name__ == "__main__":
    from harness import run

    run(one_input)
