"""Fuzz target: a service request is refused, or reads back the same once written."""

from __future__ import annotations

from gittorrent.wire.fields import MessageError
from gittorrent.wire.service import encode_request, parse_request

SEEDS = [
    b"git-upload-pack /project.git\0host=myserver.com\0",
    b"git-upload-pack /project.git\0host=myserver.com:9418\0\0version=2\0",
    b"git-receive-pack /p\0\0version=1\0foo=bar\0",
    b"mirror-sync /pub/linux.git\0host=h\0",
    b"mirror-list /pub/linux.git\n",
    b"mirror-notify /a b\0",
]


def one_input(data: bytes) -> None:
    try:
        request = parse_request(data)
    except MessageError:
        return
    if parse_request(encode_request(request)) != request:
        raise AssertionError("request does not survive writing and reading")
    if not request.path.startswith(b"/") or any(b < 0x20 for b in request.path):
        raise AssertionError("unsafe path was let through")


if __name__ == "__main__":
    from harness import run

    run(one_input)
