"""The first packet of a git:// connection, as git and we write it."""

from __future__ import annotations

import pytest

from gittorrent.wire.fields import MessageError
from gittorrent.wire.limits import MAX_EXTRA, MAX_EXTRA_BYTES, MAX_HOST, MAX_PATH
from gittorrent.wire.service import ServiceRequest, encode_request, parse_request


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (
            b"git-upload-pack /p.git\0host=h:9418\0\0version=2\0",
            ServiceRequest("git-upload-pack", b"/p.git", b"h:9418", (b"version=2",)),
        ),
        (
            b"mirror-sync /pub/linux.git\0host=h\0",
            ServiceRequest("mirror-sync", b"/pub/linux.git", b"h"),
        ),
        (
            b"git-receive-pack /a b\0\0version=1\0x=y\0",
            ServiceRequest("git-receive-pack", b"/a b", None, (b"version=1", b"x=y")),
        ),
        (b"mirror-list /\xff\0", ServiceRequest("mirror-list", b"/\xff")),
    ],
)
def test_reads_and_writes(line: bytes, request_: ServiceRequest) -> None:
    assert parse_request(line) == request_
    assert encode_request(request_) == line
    assert request_.is_known


def test_old_forms_are_read() -> None:
    assert parse_request(b"git-upload-pack /p\n") == ServiceRequest("git-upload-pack", b"/p")
    assert parse_request(b"mirror-list /p\n\0HOST=h\0").host == b"h"


def test_what_says_nothing_is_passed_over() -> None:
    """As git daemon does: dulwich ends its request with a NUL too many."""
    said = b"git-upload-pack /p\0host=h\0\0version=2\0\0"
    wanted = ServiceRequest("git-upload-pack", b"/p", b"h", (b"version=2",))
    assert parse_request(said) == wanted
    assert parse_request(b"git-upload-pack /p\0\0\0").extra == ()


def test_unknown_service_is_reported_by_name() -> None:
    request = parse_request(b"git-teleport /p\0host=h\0")
    assert request.service == "git-teleport"
    assert not request.is_known


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"git-upload-pack",
        b"git-upload-pack ",
        b"git-upload-pack p\0",
        b"git-upload-pack  /p\0",
        b"Git-Upload /p\0",
        b"-x /p\0",
        b"\xff /p\0",
        b"git-upload-pack /p\x1b[2J\0",
        b"git-upload-pack /p\n\n\0",
        b"git-upload-pack /p\0host=h",
        b"git-upload-pack /p\0hots=h\0",
        b"git-upload-pack /p\0host=h\0host=i\0",
        b"git-upload-pack /p\0host=h\n\0",
        b"git-upload-pack /p\0host=a b\0",
        b"git-upload-pack /p\0host=h\0\0version=2",
        b"git-upload-pack /p\0\0a\nb\0",
        b"git-upload-pack /" + b"p" * MAX_PATH + b"\0",
        b"git-upload-pack /p\0host=" + b"h" * (MAX_HOST + 1) + b"\0",
        b"git-upload-pack /p\0\0" + b"a\0" * (MAX_EXTRA + 1),
        b"git-upload-pack /p\0\0" + b"a" * (MAX_EXTRA_BYTES + 1) + b"\0",
        b"a" * 65 + b" /p\0",
    ],
)
def test_refuses(line: bytes) -> None:
    with pytest.raises(MessageError):
        parse_request(line)


def test_what_would_be_refused_is_not_written() -> None:
    with pytest.raises(MessageError):
        encode_request(ServiceRequest("mirror-list", b"/a\0host=evil"))
