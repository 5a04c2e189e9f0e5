"""The lines of mirror-sync: their exact spelling, growth, and what is refused."""

from __future__ import annotations

import pytest

from gittorrent.ids import ManifestId, Oid, PushId
from gittorrent.shapes import HISTORY, index_of, tip_of
from gittorrent.swarm.bitmap import PartSet
from gittorrent.wire import limits
from gittorrent.wire.fields import MessageError
from gittorrent.wire.messages import (
    ALIVE_LINE,
    ALL,
    Busy,
    Bye,
    CancelParts,
    EndLog,
    EndWant,
    FetchLog,
    FetchManifest,
    FetchPack,
    FetchParts,
    FetchPush,
    FreshLine,
    HaveBundle,
    HaveCheckpoint,
    HavePush,
    Message,
    MissingLog,
    MissingManifest,
    MissingPack,
    MissingParts,
    MissingPush,
    QueuedParts,
    Ready,
    ReceiveLog,
    ReceiveManifest,
    ReceivePack,
    ReceivePart,
    ReceivePush,
    SendPushes,
    SentPush,
    Try,
    Unknown,
    WantBundle,
    WrongParts,
    parse_message,
)
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorState
from gittorrent.wire.reelname import (
    PackShape,
    ReelName,
    check_bitmap,
    parse_bitmap_word,
)

A, B = "aa" * 20, "bb" * 20
LONG = "cc" * 32
M = "dd" * 32
REEL = ReelName(None, PushId(A))
SPAN = ReelName(PushId(A), PushId(B))
MANIFEST = ManifestId(M)

SPELLING: list[tuple[str, Message]] = [
    ("mirror-sync ready 1 node.1", Ready(1, "node.1")),
    (f"have push {A}", HavePush(PushId(A))),
    (f"have push {LONG} auth ssh:SHA256:x", HavePush(PushId(LONG), "ssh:SHA256:x")),
    (f"have checkpoint {A} 17", HaveCheckpoint(PushId(A), 17)),
    (f"fetch push {LONG}", FetchPush(PushId(LONG))),
    (f"receive push {A} size 1234", ReceivePush(PushId(A), 1234)),
    (f"fetch pack {A}", FetchPack(PushId(A))),
    ("send pushes 65536", SendPushes(65536)),
    ("send pushes 0", SendPushes(0)),
    (f"have push {A} size 7 pack 9", SentPush(PushId(A), 7, 9)),
    (f"receive pack {A} size 1048576", ReceivePack(PushId(A), 1048576)),
    (f"missing pack {A}", MissingPack(PushId(A))),
    (f"fresh {A} 1700000000 c2lnbmVk", FreshLine(PushId(A), 1700000000, b"signed")),
    (f"fetch log {A}", FetchLog(PushId(A))),
    (f"fetch log {A} from {B}", FetchLog(PushId(A), PushId(B))),
    (f"fetch log {A} short", FetchLog(PushId(A), short=True)),
    (f"fetch log {A} from {B} short", FetchLog(PushId(A), PushId(B), short=True)),
    (f"fetch log {A} deflated", FetchLog(PushId(A), deflated=True)),
    (
        f"fetch log {A} from {B} short deflated",
        FetchLog(PushId(A), PushId(B), short=True, deflated=True),
    ),
    (f"receive log {A} size 65536", ReceiveLog(PushId(A), 65536)),
    (f"end log {A}", EndLog(PushId(A))),
    (f"want bundle :{A}", WantBundle(REEL)),
    (f"want bundle {A}:{B} shapes", WantBundle(SPAN, shapes=True)),
    (f"have bundle :{A} {M} 999 all", HaveBundle(REEL, MANIFEST, 999, ALL)),
    (f"have bundle {A}:{B} {M} 999 a0", HaveBundle(SPAN, MANIFEST, 999, b"\xa0")),
    (
        f"have shape history {A}:{B} {M} 999 a0",
        HaveBundle(SPAN, MANIFEST, 999, b"\xa0", HISTORY),
    ),
    (
        f"have shape tip:{B} :{A} {M} 999 all",
        HaveBundle(REEL, MANIFEST, 999, ALL, tip_of(Oid(B))),
    ),
    (
        f"have shape index:{M} :{A} {M} 999 all",
        HaveBundle(REEL, MANIFEST, 999, ALL, index_of(MANIFEST)),
    ),
    (f"end want {A}:{B}", EndWant(SPAN)),
    (f"fetch manifest {M}", FetchManifest(MANIFEST)),
    (f"receive manifest {M} size 7", ReceiveManifest(MANIFEST, 7)),
    (f"fetch bundle :{A} {M} parts 17-24/32", FetchParts(REEL, MANIFEST, 16, 23, 32)),
    (f"fetch bundle :{A} {M} part 17/32", FetchParts(REEL, MANIFEST, 16, 16, 32)),
    (f"fetch bundle :{A} {M} part 17/32 from 9", FetchParts(REEL, MANIFEST, 16, 16, 32, 9)),
    (
        f"receive bundle :{A} {M} part 17/32 size 5 from 9",
        ReceivePart(REEL, MANIFEST, 16, 32, 5, 9),
    ),
    (
        f"receive bundle :{A} {M} part 17/32 size 1048576",
        ReceivePart(REEL, MANIFEST, 16, 32, 1048576),
    ),
    (f"cancel bundle :{A} {M} parts 19-24/32", CancelParts(REEL, MANIFEST, 18, 23, 32)),
    (f"queued bundle :{A} {M} part 3/32", QueuedParts(REEL, MANIFEST, 2, 2, 32)),
    (f"wrong bundle :{A} {M} part 3/32", WrongParts(REEL, MANIFEST, 2, 2, 32)),
    (f"missing bundle :{A} {M} part 1/1", MissingParts(REEL, MANIFEST, 0, 0, 1)),
    (f"missing push {A}", MissingPush(PushId(A))),
    (f"missing log {A}", MissingLog(PushId(A))),
    (f"missing manifest {M}", MissingManifest(MANIFEST)),
    (
        "try git://198.51.100.7/linux.git 3600 partial",
        Try(MirrorEntry("git://198.51.100.7/linux.git", 3600, MirrorState.PARTIAL)),
    ),
    ("busy 5", Busy(5)),
    ("bye so long", Bye("so long")),
    ("bye", Bye()),
]


def test_shapes_to_come_are_skipped() -> None:
    assert isinstance(parse_message(f"have shape trees :{A} {M} 999 all".encode()), Unknown)
    with pytest.raises(MessageError):
        parse_message(f"have shape tip:{'a' * 64} :{A} {M} 999 all".encode())


@pytest.mark.parametrize(("line", "message"), SPELLING, ids=lambda value: str(value)[:30])
def test_spelling(line: str, message: Message) -> None:
    assert message.encode() == line.encode() + b"\n"
    assert parse_message(line.encode()) == message
    assert parse_message(line.encode() + b"\n") == message


@pytest.mark.parametrize(("line", "message"), SPELLING, ids=lambda value: str(value)[:30])
def test_trailing_words_are_skipped(line: str, message: Message) -> None:
    if not isinstance(message, Bye):
        assert parse_message(line.encode() + b" and more  1") == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        ALIVE_LINE,
        b"frobnicate 1 2\n",
        b"fetch\n",
        b"fetch moon :x\n",
        b"HAVE push x",
        b"fetch  push x",
    ],
)
def test_unknown_lines_are_set_aside(line: bytes) -> None:
    assert parse_message(line) == Unknown(line)


@pytest.mark.parametrize(
    "line",
    [
        b"\xff",
        b"mirror-sync ready one node",
        b"mirror-sync ready 1",
        b"mirror-sync ready 1 \x1b",
        b"have push abc",
        f"have push {A[:-1]}",
        f"have push {A.upper()}",
        f"have push {A} auth",
        f"have push {A} auth nokey",
        f"have push {A} size 1",
        f"have push {A} size 1 pack 0",
        f"have push {A} size 1 pack {limits.MAX_SENT_BYTES}",
        f"send pushes {limits.MAX_SENT_BYTES + 1}",
        "send pushes",
        f"fetch pack {A[1:]}",
        f"receive pack {A} size {limits.MAX_PUSH_PACK_BYTES + 1}",
        f"receive pack {A} size 0",
        f"missing pack {A[1:]}",
        f"fresh {A}",
        f"fresh {A} -1 c2lnbmVk",
        f"fresh {A} {10**12} c2lnbmVk",
        f"fresh {A} 1 c2lnbmV",
        f"fresh {A} 1 c2lnbmVl=",
        f"fresh {A} 1 c2lnbm!k",
        f"fresh {A} 1 {'A' * (limits.MAX_FRESH_SIGNATURE + 4)}",
        f"have checkpoint {A}",
        f"have checkpoint {A} 0",
        f"have checkpoint {A} 01",
        f"have checkpoint {A} {2**31}",
        f"fetch push  {A}",
        f"fetch log {A} from",
        f"fetch log {A} from {LONG}",
        f"receive push {A}",
        f"receive push {A} size",
        f"receive push {A} size 0",
        f"receive push {A} size -1",
        f"receive push {A} size 01",
        f"receive push {A} size {64 * 2**20 + 1}",
        f"receive push {A} size " + "9" * 5000,
        f"receive manifest {M} size {64 * 2**20 + 1}",
        f"receive manifest {A} size 1",
        f"want bundle {A}",
        f"want bundle {A}:",
        f"want bundle {A}:{A}",
        f"want bundle {A}:{LONG}",
        f"want bundle :{A}:{B}",
        f"have bundle :{A} {M} 0 all",
        f"have bundle :{A} {M} {2**50 + 1} all",
        f"have bundle :{A} {M} 9 ALL",
        f"have bundle :{A} {M} 9 a",
        f"have bundle :{A} {M} 9 A0",
        f"have bundle :{A} {M} 9 " + "00" * 32001,
        f"have bundle :{A} {M} 9",
        f"fetch bundle :{A} {M} parts 24-17/32",
        f"fetch bundle :{A} {M} parts 17/32",
        f"fetch bundle :{A} {M} part 17-18/32",
        f"fetch bundle :{A} {M} part 0/32",
        f"fetch bundle :{A} {M} part 33/32",
        f"fetch bundle :{A} {M} part 1",
        f"fetch bundle :{A} {M} part 1/",
        f"fetch bundle :{A} {M} part 1/1/1",
        f"fetch bundle :{A} {M} parts 1-2-3/9",
        f"fetch bundle :{A} {M} parts 1-257/300",
        f"fetch bundle :{A} {M} part 1/{2**22 + 1}",
        f"receive bundle :{A} {M} part 1/2 size {16 * 2**20 + 1}",
        f"receive bundle :{A} {M} parts 1-2/2 size 1",
        "busy 3601",
        "busy",
        "try git://h/x 60",
    ],
    ids=lambda value: str(value)[:40],
)
def test_refuses(line: bytes | str) -> None:
    with pytest.raises(MessageError):
        parse_message(line if isinstance(line, bytes) else line.encode())


def test_the_longest_run_is_allowed() -> None:
    parsed = parse_message(f"fetch bundle :{A} {M} parts 45-300/300".encode())
    assert isinstance(parsed, FetchParts)
    assert len(parsed.indices) == 256


def test_a_reason_is_made_safe_both_ways() -> None:
    assert Bye("a\nfetch push x\x07").encode() == b"bye a fetch push x\\x07\n"
    assert parse_message("bye \x1b[2J\u202e".encode()) == Bye("\\x1b[2J\\u202e")


def test_bitmap_begins_with_the_first_part() -> None:
    packed = check_bitmap(parse_bitmap_word("8000"), 9)
    assert list(PartSet(9, packed)) == [0]


@pytest.mark.parametrize(("text", "total"), [("80", 9), ("8000", 8), ("8040", 9), ("0x", 8)])
def test_bitmap_fits_its_parts_exactly(text: str, total: int) -> None:
    with pytest.raises(MessageError):
        check_bitmap(parse_bitmap_word(text), total)


def test_check_bitmap_refuses_an_empty_one() -> None:
    with pytest.raises(MessageError):
        check_bitmap(b"", 1)


def test_pack_shape() -> None:
    shape = PackShape(10, 4)
    assert [shape.size_of(part) for part in range(shape.parts)] == [4, 4, 2]
    assert PackShape(8, 4).size_of(1) == 4
    for part in (-1, 3):
        with pytest.raises(IndexError):
            shape.size_of(part)
    for pack_size, part_size in ((0, 4), (4, 0), (2**51, 2**20), (4, 2**25), (2**23, 1)):
        with pytest.raises(ValueError, match="pack of"):
            PackShape(pack_size, part_size)
