"""Everything that can be said reads back the same, in both id formats and any chunks."""

from __future__ import annotations

import zlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gittorrent.ids import ManifestId, PushId, RepositoryId
from gittorrent.shapes import HISTORY
from gittorrent.wire import limits, mirrorlist, notify, pktline
from gittorrent.wire.fields import clean_reason
from gittorrent.wire.messages import (
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
    WantBundle,
    WrongParts,
    parse_message,
)
from gittorrent.wire.mirrorlist import AuthLine, MirrorEntry, MirrorList, MirrorState
from gittorrent.wire.notify import Notify
from gittorrent.wire.pktline import Special
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.service import ServiceRequest, encode_request, parse_request
from gittorrent.wire.session import Event, MessageReceived, Role, Session, SessionError


def _hex(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size // 2, max_size=size // 2).map(bytes.hex)


sha1_ids = _hex(40).map(PushId)
sha256_ids = _hex(64).map(PushId)
push_ids = sha1_ids | sha256_ids
pairs = st.tuples(sha1_ids, sha1_ids) | st.tuples(sha256_ids, sha256_ids)
manifests = _hex(64).map(ManifestId)
reels = push_ids.map(lambda end: ReelName(None, end)) | pairs.filter(lambda p: p[0] != p[1]).map(
    lambda p: ReelName(*p)
)
keys = st.sampled_from(["openpgp:" + "ab" * 20, "ssh:SHA256:" + "x+/" * 14 + "y", "new2:~"])
printable = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
urls = st.text(printable, max_size=100).map("git://h/".__add__)
entries = st.builds(
    MirrorEntry, urls, st.integers(1, limits.MAX_VALID_SECONDS), st.sampled_from(MirrorState)
)
bits = st.binary(min_size=1, max_size=100)


@st.composite
def runs(draw: st.DrawFn) -> tuple[ReelName, ManifestId, int, int, int]:
    total = draw(st.integers(1, limits.MAX_PARTS))
    first = draw(st.integers(0, total - 1))
    last = draw(st.integers(first, min(total, first + limits.MAX_PARTS_PER_REQUEST) - 1))
    return draw(reels), draw(manifests), first, last, total


def _size(limit: int) -> st.SearchStrategy[int]:
    return st.integers(1, limit)


messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Ready, st.integers(1, 9999), st.from_regex(r"\A[A-Za-z0-9][\w:.+/=-]{0,40}\Z")
    ).filter(lambda ready: ready.node_id.isascii()),
    st.builds(HavePush, push_ids, st.none() | keys),
    st.builds(FetchPush, push_ids),
    st.builds(ReceivePush, push_ids, _size(limits.MAX_PUSH_BYTES)),
    st.builds(FetchLog, push_ids),
    pairs.map(lambda pair: FetchLog(*pair)),
    st.builds(FetchLog, push_ids, st.none(), st.booleans(), st.booleans()),
    st.builds(ReceiveLog, push_ids, _size(limits.MAX_LOG_PIECE)),
    st.builds(EndLog, push_ids),
    st.builds(WantBundle, reels),
    st.builds(HaveBundle, reels, manifests, _size(limits.MAX_PACK_BYTES), st.just(ALL) | bits),
    st.builds(
        HaveBundle, reels, manifests, _size(limits.MAX_PACK_BYTES), st.just(ALL), st.just(HISTORY)
    ),
    st.builds(EndWant, reels),
    st.builds(FetchPack, push_ids),
    st.builds(SendPushes, st.integers(0, 65536)),
    st.builds(SentPush, push_ids, st.integers(1, 30000), st.integers(1, 30000)),
    st.builds(ReceivePack, push_ids, _size(limits.MAX_PUSH_PACK_BYTES)),
    st.builds(MissingPack, push_ids),
    st.builds(
        FreshLine, push_ids, st.integers(0, limits.MAX_SECONDS), st.binary(min_size=1, max_size=900)
    ),
    st.builds(FetchManifest, manifests),
    st.builds(ReceiveManifest, manifests, _size(limits.MAX_MANIFEST_BYTES)),
    runs().map(lambda run: FetchParts(*run)),
    runs().map(lambda run: CancelParts(*run)),
    runs().map(lambda run: MissingParts(*run)),
    runs().map(lambda run: QueuedParts(*run)),
    runs().map(lambda run: WrongParts(*run)),
    st.builds(
        lambda run, size, begun: ReceivePart(run[0], run[1], run[2], run[4], size, begun),
        runs(),
        _size(limits.MAX_PART_BYTES),
        st.integers(0, limits.MAX_PART_BYTES - 1),
    ),
    st.builds(
        lambda run, begun: FetchParts(run[0], run[1], run[2], run[2], run[4], begun),
        runs(),
        st.integers(0, limits.MAX_PART_BYTES - 1),
    ),
    st.builds(MissingPush, push_ids),
    st.builds(MissingLog, push_ids),
    st.builds(MissingManifest, manifests),
    st.builds(Try, entries),
    st.builds(Busy, st.integers(0, limits.MAX_BUSY_SECONDS)),
    st.text(max_size=300).map(clean_reason).map(Bye),
)


@given(messages)
def test_every_message_reads_back(message: Message) -> None:
    line = message.encode()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse_message(line) == message
    assert parse_message(line[:-1]) == message


@given(messages, st.text(st.characters(blacklist_characters="\n", blacklist_categories=["Cs"])))
def test_trailing_words_change_nothing(message: Message, more: str) -> None:
    if not isinstance(message, Bye):
        plain = message.encode()[:-1]
        # Some messages take optional words next; "+" begins none of them.
        assert parse_message(plain + b" +" + more.encode()) == message


@given(st.text())
def test_a_cleaned_reason_stays_clean(text: str) -> None:
    reason = clean_reason(text)
    assert clean_reason(reason) == reason
    assert len(reason) <= limits.MAX_REASON
    assert reason == "" or reason.isprintable()


packets = st.binary(max_size=50) | st.sampled_from(Special)


def _chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


cut_lists = st.lists(st.integers(0, 10_000), max_size=20)


safe = st.binary(min_size=1, max_size=40).map(
    lambda raw: bytes(b for b in raw if b > 0x20 and b != 0x7F) or b"x"
)


@given(
    st.from_regex(r"\A[a-z][a-z0-9-]{0,20}\Z"), safe, st.none() | safe, st.lists(safe, max_size=5)
)
def test_service_requests_read_back(
    service: str, path: bytes, host: bytes | None, extra: list[bytes]
) -> None:
    request = ServiceRequest(service, b"/" + path, host, tuple(extra))
    assert parse_request(encode_request(request)) == request


@given(
    st.binary(min_size=32, max_size=32).map(
        lambda b: "".join("abcdefghij234567"[x & 15] for x in b)
    ),
    st.lists(st.builds(AuthLine, safe, keys), max_size=3),
    st.none() | push_ids,
    st.lists(entries, max_size=5),
)
def test_mirror_lists_read_back(
    repo: str, auth: list[AuthLine], latest: PushId | None, mirrors: list[MirrorEntry]
) -> None:
    listed = MirrorList(RepositoryId(repo + "a" * 20), tuple(auth), latest, tuple(mirrors))
    assert mirrorlist.parse_text(listed.encode_text()) == listed
    assert mirrorlist.parse_lines(listed.encode_lines()) == listed


@given(st.builds(Notify, urls, push_ids, st.integers(1, limits.MAX_VALID_SECONDS)))
def test_notices_read_back(notice: Notify) -> None:
    assert notify.parse_text(notice.encode_text()) == notice


P, M = PushId("aa" * 20), ManifestId("cc" * 32)
REEL = ReelName(None, P)
ANSWERS: list[tuple[Message, bytes]] = [
    (ReceivePush(P, 3), b"abc"),
    (EndLog(P), b""),
    (EndWant(REEL), b""),
    (ReceiveManifest(M, 100), b"m" * 100),
    (ReceivePart(REEL, M, 0, 3, 4), b"0000"),
    (ReceivePart(REEL, M, 1, 3, 4), b"1111"),
    (ReceivePart(REEL, M, 2, 3, 2), b"22"),
    (MissingParts(REEL, M, 0, 1, 3), b""),
    (CancelParts(REEL, M, 0, 1, 3), b""),
    (HavePush(P), b""),
    (FetchPush(P), b""),
]


LOG = zlib.compress(
    b"".join(pktline.encode(ReceivePush(P, n).encode()) + b"e" * n for n in (1, 70, 5000))
)
DEFLATED: list[tuple[Message, bytes]] = [
    (ReceiveLog(P, len(piece)), piece) for piece in (LOG[:9], LOG[9:40], LOG[40:])
]


def _asked() -> Session:
    session = Session(Role.CALLER, 0.0)
    session.send(FetchPush(P))
    session.send(FetchLog(P, deflated=True))
    session.send(WantBundle(REEL))
    session.send(FetchManifest(M))
    session.send(FetchParts(REEL, M, 0, 2, 3), shape=PackShape(10, 4))
    return session


def _converse(chunks: list[bytes]) -> tuple[list[Event], str | None, int]:
    session = _asked()
    events: list[Event] = []
    try:
        for chunk in chunks:
            events += session.feed(chunk)
    except SessionError as error:
        return [*events, *error.events], str(error), session.pending_requests
    return events, None, session.pending_requests


@given(
    st.lists(st.sampled_from(ANSWERS), max_size=15), st.binary(max_size=3), cut_lists, st.booleans()
)
def test_chunking_never_changes_a_conversation(
    said: list[tuple[Message, bytes]], rubbish: bytes, cuts: list[int], byte_by_byte: bool
) -> None:
    stream = pktline.encode(Ready(1, "n").encode())
    stream += b"".join(pktline.encode(m.encode()) + payload for m, payload in said) + rubbish
    cuts = list(range(len(stream))) if byte_by_byte else cuts
    assert _converse(_chunks(stream, cuts)) == _converse([stream])


@given(cut_lists)
def test_chunking_never_changes_a_deflated_log(cuts: list[int]) -> None:
    said: list[tuple[Message, bytes]] = [*DEFLATED, (EndLog(P), b"")]
    stream = pktline.encode(Ready(1, "n").encode())
    stream += b"".join(pktline.encode(m.encode()) + payload for m, payload in said)
    events, error, _ = whole = _converse([stream])
    assert error is None
    sizes = [len(e.payload) for e in events if isinstance(e, MessageReceived) and e.payload]
    assert sizes == [1, 70, 5000]
    assert _converse(_chunks(stream, cuts)) == whole


@given(st.permutations(ANSWERS[:7]), cut_lists)
def test_answers_come_in_any_order(said: list[tuple[Message, bytes]], cuts: list[int]) -> None:
    stream = pktline.encode(Ready(1, "n").encode())
    stream += b"".join(pktline.encode(m.encode()) + payload for m, payload in said)
    events, error, pending = _converse(_chunks(stream, cuts))
    assert error is None
    assert pending == 0
    received = [e for e in events if isinstance(e, MessageReceived)][1:]
    assert [(e.message, bytes(e.payload or b"")) for e in received] == list(said)
