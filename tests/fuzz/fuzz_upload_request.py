"""Fuzz target: requests for objects are refused, or written in one way that reads the same."""

from __future__ import annotations

from gittorrent.errors import ProtocolError
from gittorrent.wire.pktline import encode
from gittorrent.wire.upload_request import UploadRequest, parse_list_request, parse_upload_request

_OID, _OTHER = b"01" * 20, b"02" * 20
SEEDS = [
    UploadRequest((_OID,)).encode(),
    UploadRequest((_OID, _OTHER), shape=(b"deepen 1",), switches=(b"thin-pack",)).encode(),
    UploadRequest((_OID,), (_OTHER,), False, (_OTHER,), (b"filter blob:none",)).encode(),
    encode(b"command=fetch") + b"0001" + encode(b"want " + _OID + b"\n") + b"0000",
    encode(b"command=ls-refs\n") + b"0001" + encode(b"peel") + b"0000",
    encode(b"command=fetch") + b"0001" + encode(b"want-ref refs/heads/main") + b"0000",
]


def one_input(data: bytes) -> None:
    try:
        listing = parse_list_request(data)
        if parse_list_request(listing) != listing:
            raise AssertionError("a request for refs is written in more than one way")
    except ProtocolError:
        pass
    try:
        found = parse_upload_request(data)
    except ProtocolError:
        return
    written = found.encode()
    if parse_upload_request(written) != found:
        raise AssertionError("a request does not survive writing and reading")
    if parse_upload_request(written).encode() != written:
        raise AssertionError("a request is written in more than one way")


if __name__ == "__main__":
    from harness import run

    run(one_input)
