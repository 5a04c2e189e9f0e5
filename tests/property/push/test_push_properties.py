"""Laws of push objects: texts and file forms come back, everything else is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gittorrent.errors import TrustError
from gittorrent.ids import RefName
from gittorrent.push.object import PushKind, PushObject, parse_push_object
from gittorrent.push.refnames import RefNameError, check_no_directory_conflict, check_ref_name
from support.signing import TestSigner

SIGNER = TestSigner()
SIGNATURE = SIGNER.sign(b"any text")


NAMES = st.lists(st.sampled_from([b"a", b"b", b"a-b", b"\xff", b"A"]), min_size=1, max_size=3).map(
    lambda parts: b"refs/heads/" + b"/".join(parts)
)


def _conflicts(names: set[RefName]) -> bool:
    return any(b.startswith(a + b"/") for a in names for b in names)


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
    pinned = ()
    if kind is PushKind.CERTIFICATE:
        pinned = tuple(draw(st.lists(st.binary(max_size=10), max_size=3)))
    return PushObject(kind, text, (SIGNATURE,), SIGNER.key, pinned=pinned)


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
