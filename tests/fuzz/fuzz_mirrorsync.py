"""Fuzz target: a session that asked a few things is fed any bytes, whole and in pieces.

The first byte chooses the role; events and fault must not depend on chunking, each message must
write back to itself, and no payload may exceed what was sent, or can be made of it.
"""

from __future__ import annotations

import zlib

from gittorrent.ids import ManifestId, PushId
from gittorrent.wire.fields import MessageError
from gittorrent.wire.messages import (
    FetchLog,
    FetchManifest,
    FetchParts,
    FetchPush,
    Ready,
    SendPushes,
    Unknown,
    WantBundle,
    parse_message,
)
from gittorrent.wire.pktline import encode
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.session import Event, MessageReceived, Role, Session, SessionError

PUSH = PushId("ab" * 20)
MANIFEST = ManifestId("cd" * 32)
REEL = ReelName(None, PUSH)
_P, _M = PUSH.encode(), MANIFEST.encode()
_READY = encode(b"mirror-sync ready 1 node\n")
_ENTRIES = encode(b"receive push " + _P + b" size 5\n") + b"hello"


def _deflated(*pieces: bytes) -> bytes:
    said = [encode(b"receive log %s size %d\n" % (_P, len(p))) + p for p in pieces]
    return b"".join(said)


SEEDS = [
    b"\0" + _READY + encode(b"have shape history :" + _P + b" " + _M + b" 9 all\n"),
    b"\0" + _READY + encode(b"have shape tip:" + _P + b" :" + _P + b" " + _M + b" 9 80\n"),
    b"\0" + _READY + encode(b"have shape index:" + _M + b" :" + _P + b" " + _M + b" 9 all\n"),
    b"\0" + _READY + encode(b"have push " + _P + b" auth ssh:SHA256:x\n"),
    b"\0" + _READY + encode(b"have push " + _P + b" size 5 pack 3\n") + b"pushabc",
    b"\0" + _READY + encode(b"send pushes 65536\n") + encode(b"send pushes 0\n"),
    b"\0" + _READY + encode(b"receive push " + _P + b" size 5\n") + b"hello" + encode(b"alive\n"),
    b"\0" + _READY + encode(b"receive manifest " + _M + b" size 3\n") + b"abc",
    b"\0" + _READY + encode(b"receive bundle :" + _P + b" " + _M + b" part 2/3 size 4\n") + b"1234",
    b"\0" + _READY + encode(b"missing bundle :" + _P + b" " + _M + b" parts 1-3/3\n"),
    b"\0" + _READY + _deflated(zlib.compress(_ENTRIES)) + encode(b"end log " + _P),
    b"\0" + _READY + _deflated(zlib.compress(_ENTRIES, 0)) + encode(b"end log " + _P),
    b"\0" + _READY + _deflated(zlib.compress(_ENTRIES)[:9], zlib.compress(_ENTRIES)[9:]),
    b"\0" + _READY + encode(b"end log " + _P) + encode(b"end want :" + _P),
    b"\0" + _READY + encode(b"have bundle :" + _P + b" " + _M + b" 10 e0\n"),
    b"\0" + _READY + encode(b"have checkpoint " + _P + b" 17\n"),
    b"\0" + encode(b"ERR not here"),
    b"\1" + encode(b"fetch push " + _P) + encode(b"fetch log " + _P + b" from " + _P + b" short"),
    b"\1" + encode(b"fetch bundle :" + _P + b" " + _M + b" parts 1-3/3\n"),
    b"\1" + encode(b"cancel bundle :" + _P + b" " + _M + b" part 2/3\n") + encode(b"busy 5"),
    b"\1" + encode(b"try git://198.51.100.7/linux.git 3600 partial\n") + encode(b"bye so long\n"),
]


def _session(role: Role) -> Session:
    session = Session(role, 0.0)
    session.send(Ready(1, "us"))
    session.send(FetchPush(PUSH))
    session.send(SendPushes(100))
    session.send(FetchLog(PUSH, deflated=True))
    session.send(WantBundle(REEL))
    session.send(FetchManifest(MANIFEST))
    session.send(FetchParts(REEL, MANIFEST, 0, 2, 3), shape=PackShape(10, 4))
    return session


def _converse(role: Role, data: bytes, step: int) -> tuple[list[Event], str | None]:
    session = _session(role)
    events: list[Event] = []
    try:
        for at in range(0, len(data), step):
            events += session.feed(data[at : at + step])
    except SessionError as error:
        return [*events, *error.events], str(error)
    return events, None


def one_input(data: bytes) -> None:
    role = Role.ANSWERER if data[:1] == b"\1" else Role.CALLER
    stream = data[1:]
    whole = _converse(role, stream, max(1, len(stream)))
    if whole != _converse(role, stream, 7):
        raise AssertionError("chunking changes the conversation")
    for event in whole[0]:
        if not isinstance(event, MessageReceived):
            continue
        if parse_message(event.message.encode()) != event.message:
            raise AssertionError("message does not survive writing and reading")
        # Deflate makes 1,032 bytes out of one at most.
        if event.payload is not None and len(event.payload) > 1032 * len(stream):
            raise AssertionError("more payload than was sent")
    try:
        message = parse_message(stream)
    except MessageError:
        return
    if not isinstance(message, Unknown) and parse_message(message.encode()) != message:
        raise AssertionError("line does not survive writing and reading")


if __name__ == "__main__":
    from harness import run

    run(one_input)
