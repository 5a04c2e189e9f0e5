"""Laws of push objects: texts and file forms come back, everything else is refused."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gittorrent.errors import GitTorrentError, TrustError
from gittorrent.ids import OBJECT_FORMATS, Oid, PushId, RefName, RepositoryId
from gittorrent.push.log import VerifiedLog
from gittorrent.push.object import PushKind, PushObject, parse_push_object
from gittorrent.push.refnames import RefNameError, check_no_directory_conflict, check_ref_name
from gittorrent.push.reftag import ReferencesTag, parse_references_tag
from support.logs import Writer, admit, oid, state
from support.signing import TestSigner

SIGNER = TestSigner()
SIGNATURE = SIGNER.sign(b"any text")


def _hex(size: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=size, max_size=size)


NAMES = st.lists(st.sampled_from([b"a", b"b", b"a-b", b"\xff", b"A"]), min_size=1, max_size=3).map(
    lambda parts: b"refs/heads/" + b"/".join(parts)
)


@st.composite
def tags(draw: st.DrawFn) -> ReferencesTag:
    object_format = draw(st.sampled_from(list(OBJECT_FORMATS.values())))
    refs = draw(st.dictionaries(NAMES, _hex(object_format.hex_size), max_size=5))
    person = st.binary(max_size=8).map(lambda b: bytes(c for c in b if c not in b"<>\n\0"))
    return ReferencesTag(
        object_format,
        RepositoryId(draw(st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=52, max_size=52))),
        PushId(draw(_hex(object_format.hex_size))),
        {RefName(name): Oid(value) for name, value in refs.items()},
        draw(person) + b" <" + draw(person) + b">",
        draw(st.integers(0, 10**12 - 1)),
        draw(st.from_regex(r"[+-][0-9]{4}", fullmatch=True)),
    )


def _conflicts(names: set[RefName]) -> bool:
    return any(b.startswith(a + b"/") for a in names for b in names)


@given(tags())
def test_references_tags_come_back(tag: ReferencesTag) -> None:
    if _conflicts(set(tag.refs)) or tag.object_format.zero in tag.refs.values():
        try:
            parse_references_tag(tag.text(), tag.object_format)
        except TrustError:
            return
        raise AssertionError("refs that cannot exist were accepted")
    assert parse_references_tag(tag.text(), tag.object_format) == tag


@given(st.sets(NAMES, max_size=6))
def test_directory_conflicts_are_found(names: set[RefName]) -> None:
    try:
        check_no_directory_conflict(names)
    except RefNameError:
        assert _conflicts(names)
    else:
        assert not _conflicts(names)


@given(st.binary(max_size=30))
def test_a_name_that_passes_is_harmless(tail: bytes) -> None:
    name = b"refs/heads/" + tail
    try:
        check_ref_name(name)
    except RefNameError:
        return
    assert not set(name) & set(b"\0\n\r \t~^:?*[\\\x7f")
    for part in name.split(b"/"):
        assert part not in (b"", b".", b"..")
        assert not part.startswith(b".")
        assert not part.endswith(b".lock")


@st.composite
def pushes(draw: st.DrawFn) -> PushObject:
    kind = draw(st.sampled_from(list(PushKind)))
    text = draw(st.binary(max_size=60))
    if kind is PushKind.POLICY:
        pinned = tuple(draw(st.lists(st.binary(max_size=10), max_size=3)))
        return PushObject(kind, text, (SIGNATURE,) * draw(st.integers(1, 3)), pinned=pinned)
    join = tuple(Oid(o) for o in sorted(draw(st.sets(_hex(40), max_size=3))))
    return PushObject(kind, text, (SIGNATURE,), SIGNER.key, join=join if len(join) > 1 else ())


@given(pushes())
def test_push_objects_come_back(push: PushObject) -> None:
    assert parse_push_object(push.encode()) == push


@given(pushes(), st.data())
def test_what_is_read_is_written_the_same(push: PushObject, data: st.DataObject) -> None:
    raw = bytearray(push.encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        found = parse_push_object(bytes(raw))
    except TrustError:
        return
    assert found.encode() == raw


@settings(max_examples=60)
@given(st.data())
def test_a_log_holds_only_what_was_signed_for_its_place(data: st.DataObject) -> None:
    """Entries of two logs, in any order and any number: only the right next one gets in."""
    first, second = Writer(), Writer(genesis=b"another genesis!")
    for writer in (first, second):
        for number in range(3):
            writer.append(writer.references({b"refs/heads/main": oid(number + 1)}))
    every = first.pushes + second.pushes
    log = VerifiedLog(first.object_format)
    expected = 0
    chosen = None
    for index in data.draw(st.lists(st.integers(0, len(every) - 1), max_size=12)):
        _, push = every[index]
        before = state(log)
        chain = chosen or (first if index < len(first.pushes) else second)
        fits = expected < len(chain.pushes) and push is chain.pushes[expected][1]
        try:
            admit(log, push)
        except GitTorrentError:
            assert not fits
            assert state(log) == before
        else:
            assert fits
            chosen, expected = chain, expected + 1
    if chosen is not None:
        assert log.ids == [push for push, _ in chosen.pushes[:expected]]
