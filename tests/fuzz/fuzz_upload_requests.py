"""Fuzz target: requests to upload-pack are cut alike in any pieces, and questions are canonical."""

from __future__ import annotations

from gittorrent.ids import SHA1, SHA256
from gittorrent.wire import pktline
from gittorrent.wire.upload_requests import RequestCutter, parse_question

_HEAD = b"0012command=fetch\n0016object-format=sha10001"
_WANT = b"0032want " + b"a" * 40 + b"\n"

SEEDS = [
    b"0014command=ls-refs\n0015agent=git/2.47.3\n0017object-format=sha1\n0001"
    b"0009peel\n000csymrefs\n0014ref-prefix HEAD\n0000",
    _HEAD + b"000dthin-pack000fno-progress000dofs-delta000cdeepen 1" + _WANT + b"0009done\n0000",
    _HEAD + _WANT + _WANT + b"0014filter blob:none0009done\n0000",
    _HEAD + b"0045want " + b"b" * 64 + b"0009done\n0000",
    b"0017command=bundle-uri\n00010000",
    b"0000",
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


def one_input(data: bytes) -> None:
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
