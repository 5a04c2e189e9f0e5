"""Mirror lists and notices: the examples of the protocol, growth, and every limit."""

from __future__ import annotations

import hashlib

import pytest

from gittorrent.ids import PushId, RepositoryId
from gittorrent.wire import mirrorlist, notify
from gittorrent.wire.fields import MessageError, RemoteRefusal
from gittorrent.wire.limits import (
    MAX_AUTH_LINES,
    MAX_LIST_BYTES,
    MAX_LIST_LINES,
    MAX_TRY_LINES,
    MAX_UNTAKEN,
    MAX_URL,
    MAX_VALID_SECONDS,
)
from gittorrent.wire.live import FreshLine
from gittorrent.wire.mirrorlist import (
    NONE_UNTAKEN,
    AuthLine,
    MirrorEntry,
    MirrorList,
    MirrorState,
    Untaken,
)
from gittorrent.wire.notify import Notify
from gittorrent.wire.pktline import FLUSH
from support.packets import PacketStream

REPO = RepositoryId("a2" * 26)
PUSH = PushId("01" * 20)
REPO_LINE = f"repo {REPO}\n".encode()
TRY_LINE = b"try git://mirror.example.org/linux.git 86400 current\n"

FULL = MirrorList(
    REPO,
    (AuthLine(b"refs/*", "openpgp:" + "ab" * 20), AuthLine(b"refs/\xff", "ssh:SHA256:x+/y")),
    PUSH,
    (
        MirrorEntry("git://mirror.example.org/linux.git", 86400, MirrorState.CURRENT),
        MirrorEntry("https://cdn.example.net/linux", 3600, MirrorState.PARTIAL),
        MirrorEntry("git://[2001:db8::1]:9418/x", 1, MirrorState.STALE),
    ),
    Untaken.of([PUSH, PushId("02" * 20)]),
    FreshLine(PUSH, 1_700_000_000, b"signed"),
)


def test_both_forms_read_back() -> None:
    assert mirrorlist.parse_text(FULL.encode_text()) == FULL
    packets = PacketStream().feed(FULL.encode_packets())
    assert packets.pop() is FLUSH
    assert mirrorlist.parse_lines(p for p in packets if isinstance(p, bytes)) == FULL


def test_before_the_first_push_there_is_no_latest() -> None:
    assert mirrorlist.parse_text(REPO_LINE) == MirrorList(REPO)


def test_pushes_are_told_by_a_digest_whatever_their_order() -> None:
    other = PushId("02" * 20)
    untaken = Untaken.of([other, PUSH])
    digest = hashlib.sha256(f"{PUSH}\n{other}\n".encode()).hexdigest()
    assert untaken == Untaken(2, digest)
    assert untaken == Untaken.of([PUSH, other])
    assert untaken.encode() == f"pushes 2 {digest}\n".encode()


def test_no_pushes_line_means_that_there_are_none() -> None:
    assert b"pushes" not in MirrorList(REPO, latest=PUSH).encode_text()
    assert mirrorlist.parse_text(REPO_LINE).untaken == NONE_UNTAKEN
    assert mirrorlist.parse_text(REPO_LINE + NONE_UNTAKEN.encode()).untaken == NONE_UNTAKEN


def test_the_time_at_the_mirror() -> None:
    said = MirrorList(REPO, time=1_700_000_000)
    assert said.encode_text() == REPO_LINE + b"time 1700000000\n"
    assert mirrorlist.parse_text(said.encode_text()) == said
    assert b"time" not in MirrorList(REPO).encode_text()
    for wrong in (b"time -1\n", b"time 01\n", b"time\n", b"time 1000000000000\n", b"time 1\n" * 2):
        with pytest.raises(MessageError):
            mirrorlist.parse_text(REPO_LINE + wrong)


def test_unknown_keywords_and_trailing_words_are_skipped() -> None:
    text = b"future \xff\n\n" + REPO_LINE[:-1] + b" more\n" + TRY_LINE[:-1] + b" weight=3\n"
    text += f"latest {PUSH} since yesterday\n".encode()
    text += b"auth refs/* ssh:SHA256:x create\nrepository x\n"
    parsed = mirrorlist.parse_text(text)
    assert parsed.mirrors == FULL.mirrors[:1]
    assert parsed.latest == PUSH
    assert parsed.auth == (AuthLine(b"refs/*", "ssh:SHA256:x"),)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"latest " + b"01" * 20,
        REPO_LINE * 2,
        b"repo\n",
        b"repo " + b"A2" * 26,
        REPO_LINE + b"latest 0123\n",
        REPO_LINE + b"latest " + b"0G" * 20,
        REPO_LINE + (b"latest " + b"01" * 20 + b"\n") * 2,
        REPO_LINE + b"pushes 1\n",
        REPO_LINE + b"pushes 1 " + b"0G" * 32,
        REPO_LINE + b"pushes -1 " + b"01" * 32,
        REPO_LINE + b"pushes %d " % (MAX_UNTAKEN + 1) + b"01" * 32,
        REPO_LINE + (b"pushes 1 " + b"01" * 32 + b"\n") * 2,
        REPO_LINE + (b"fresh " + b"01" * 20 + b" 1 c2lnbmVk\n") * 2,
        REPO_LINE + b"fresh " + b"01" * 20 + b" 1\n",
        REPO_LINE + b"auth refs/*\n",
        REPO_LINE + b"auth refs/\x01 ssh:SHA256:x\n",
        REPO_LINE + b"auth refs/* nokey\n",
        REPO_LINE + b"try git://h/x 0 current\n",
        REPO_LINE + b"try git://h/x 060 current\n",
        REPO_LINE + b"try git://h/x +60 current\n",
        REPO_LINE + "try git://h/x ６０ current\n".encode(),
        REPO_LINE + b"try git://h/x 60 excellent\n",
        REPO_LINE + b"try git://h/x 60\n",
        REPO_LINE + b"try nourl 60 current\n",
        REPO_LINE + b"try git://h/\x1b[2J 60 current\n",
        REPO_LINE + f"try git://h/x {MAX_VALID_SECONDS + 1} current\n".encode(),
        REPO_LINE + b"try git://h/" + b"x" * MAX_URL + b" 60 current\n",
        REPO_LINE + TRY_LINE * (MAX_TRY_LINES + 1),
        REPO_LINE + b"auth refs/* ssh:SHA256:x\n" * (MAX_AUTH_LINES + 1),
        REPO_LINE + b"unknown\n" * MAX_LIST_LINES,
        REPO_LINE + b"x" * MAX_LIST_BYTES,
    ],
)
def test_refuses_a_list(text: bytes) -> None:
    with pytest.raises(MessageError):
        mirrorlist.parse_text(text)


def test_the_limits_themselves_are_allowed() -> None:
    text = REPO_LINE + TRY_LINE * MAX_TRY_LINES
    assert len(mirrorlist.parse_text(text).mirrors) == MAX_TRY_LINES


def test_refusal_is_made_safe_to_show() -> None:
    with pytest.raises(RemoteRefusal) as caught:
        mirrorlist.parse_text(b"ERR  no \x1b[31msuch\trepo\xff " + b"x" * 500)
    assert caught.value.reason.startswith("no \\x1b[31msuch repo\\xff xxx")
    assert len(caught.value.reason) == 200
    with pytest.raises(RemoteRefusal, match=r"refused$"):
        mirrorlist.parse_text(b"ERR\n")


def test_notice_reads_back_in_both_forms() -> None:
    notice = Notify("git://203.0.113.35/linux.git", PushId("01" * 32), 3600)
    assert notify.parse_text(notice.encode_text()) == notice
    packets = PacketStream().feed(notice.encode_packets())
    assert packets.pop() is FLUSH
    assert notify.parse_lines(p for p in packets if isinstance(p, bytes)) == notice


NOTICE = b"at git://h/x\nlatest " + b"01" * 20 + b"\nttl 60\n"


def test_notice_lines_may_grow_and_come_in_any_order() -> None:
    text = b"".join(reversed([line[:-1] + b" more\n" for line in NOTICE.splitlines(keepends=True)]))
    assert notify.parse_text(b"via proxy\n" + text) == notify.parse_text(NOTICE)


def test_a_ttl_of_nothing_is_a_goodbye() -> None:
    assert notify.parse_text(NOTICE.replace(b"60", b"0")).ttl == 0


@pytest.mark.parametrize(
    "text",
    [
        b"",
        NOTICE + b"at git://h/y\n",
        NOTICE + b"ttl 60\n",
        NOTICE + b"latest " + b"01" * 20,
        NOTICE.replace(b"60", b"-1"),
        NOTICE.replace(b"60", b"00"),
        NOTICE.replace(b"60", b"99999999"),
        NOTICE.replace(b"git://h/x", b"x"),
        NOTICE.replace(b"01" * 20, b"01"),
        NOTICE.replace(b"ttl 60\n", b""),
        NOTICE + b"unknown\n" * MAX_LIST_LINES,
    ],
)
def test_refuses_a_notice(text: bytes) -> None:
    with pytest.raises(MessageError):
        notify.parse_text(text)


def test_answer_to_a_notice() -> None:
    assert notify.parse_answer(notify.encode_answer(1800)) == 1800
    assert notify.parse_answer(b"ok 0 for now") == 0
    with pytest.raises(RemoteRefusal) as caught:
        notify.parse_answer(notify.encode_refusal("too\nmany\x07"))
    assert caught.value.reason == "too many\\x07"
    for line in (b"", b"OK 5", b"ok", b"ok -1", b"ok 99999999"):
        with pytest.raises(MessageError):
            notify.parse_answer(line)
