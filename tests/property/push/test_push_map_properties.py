"""Laws of the persistent map and of push texts, with made-up contents."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gittorrent.errors import TrustError
from gittorrent.ids import OBJECT_FORMATS, Oid, PushId, RefName, RepositoryId
from gittorrent.push.certificate import Certificate, Line, Nonce, parse_certificate
from gittorrent.push.checkpoint import (
    Checkpoint,
    Copy,
    Taken,
    parse_changes,
    parse_checkpoint,
    parse_listing,
)
from gittorrent.push.listing import Age, Conflict, Entry, Waiting, listing_of
from gittorrent.push.rule import Verdict
from gittorrent.push.tree_map import EMPTY_DIGEST, TreeMap, tree_of
from support.pushlog import key

NAMES = st.integers(0, 60).map(lambda number: b"name %d" % number)
STEPS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=3)), max_size=150)
SHA1 = OBJECT_FORMATS["sha1"]
OIDS = st.integers(1, 9).map(lambda number: Oid(f"{number:040x}"))
NAMES_OF_REFS = [b"refs/heads/a", b"refs/heads/b/c", b"refs/heads/\xff", b"refs/tags/v1"]
REFS = st.sampled_from(NAMES_OF_REFS)
AGES = st.builds(Age, st.integers(1, 2**31 - 1), st.integers(1, 65_535))
KEYS = st.sampled_from(["alice", "bob"]).map(key)


@given(STEPS)
def test_a_map_is_what_was_put_in(steps: list[tuple[bytes, bytes | None]]) -> None:
    """Same contents, same digest, whatever the order; and older maps stay as they were."""
    at: TreeMap[bytes] = TreeMap()
    expected: dict[bytes, bytes] = {}
    history = []
    for name, value in steps:
        history.append((at, dict(expected)))
        at = at.set(name, value)
        if value is None:
            expected.pop(name, None)
        else:
            expected[name] = value
    for found, wanted in [*history[::10], (at, expected)]:
        assert dict(found) == wanted
        assert len(found) == len(wanted)
        assert found.digest == tree_of(wanted).digest
        assert all(found.get(name) == wanted.get(name) for name, _ in steps)
    assert (at.digest == EMPTY_DIGEST) == (not expected)


@given(STEPS, STEPS, st.booleans())
def test_what_differs_between_two_maps(
    before: list[tuple[bytes, bytes | None]], after: list[tuple[bytes, bytes | None]], kept: bool
) -> None:
    """Whether one was made from the other, or both alone; digests known or not."""
    one: TreeMap[bytes] = TreeMap()
    for name, value in before:
        one = one.set(name, value)
    if kept:
        one = TreeMap.load(one.dump(bytes), lambda _, value: value)
    two = one
    for name, value in after:
        two = two.set(name, value)
    expected = {n for n in {**dict(one), **dict(two)} if one.get(n) != two.get(n)}
    for first in (one, tree_of(dict(one))):
        for second in (two, tree_of(dict(two))):
            for _ in range(2):
                found = list(first.differing(second))
                assert sorted(found) == sorted(expected)
                assert sorted(second.differing(first)) == sorted(expected)
                _ = first.digest


@given(STEPS, STEPS, st.booleans())
def test_a_map_that_was_kept_is_the_same(
    before: list[tuple[bytes, bytes | None]], after: list[tuple[bytes, bytes | None]], known: bool
) -> None:
    """Whatever was looked into, and whether or not digests were computed before."""
    made: TreeMap[bytes] = TreeMap()
    for name, value in before:
        made = made.set(name, value)
    if known:
        assert made.digest == tree_of(dict(made)).digest
    kept: TreeMap[bytes] = TreeMap.load(made.dump(bytes), lambda _name, data: data)
    for name, value in after:
        assert kept.get(name) == made.get(name)
        kept, made = kept.set(name, value), made.set(name, value)
        assert len(kept) == len(made)
    assert dict(kept.as_kept()) == dict(kept) == dict(made)
    again: TreeMap[bytes] = TreeMap.load(kept.dump(bytes), lambda _name, data: data)
    assert again.digest == kept.digest == made.digest
    assert dict(again) == dict(made)


@given(STEPS, NAMES, st.binary(max_size=3))
def test_different_maps_have_different_digests(
    steps: list[tuple[bytes, bytes | None]], name: bytes, value: bytes
) -> None:
    at: TreeMap[bytes] = TreeMap()
    for other, put in steps:
        at = at.set(other, put)
    changed = at.set(name, value + b"!" + name)
    assert (changed.digest == at.digest) == (dict(changed) == dict(at))


@st.composite
def certificates(draw: st.DrawFn) -> Certificate:
    object_format = draw(st.sampled_from(list(OBJECT_FORMATS.values())))
    oids = st.none() | st.integers(1, 9).map(
        lambda number: Oid(f"{number:0{object_format.hex_size}x}")
    )
    changes = draw(st.dictionaries(REFS, st.tuples(oids, oids), min_size=1))
    plain = st.binary(max_size=8).map(lambda b: bytes(c for c in b if c not in b"\n\r\0"))
    return Certificate(
        object_format,
        b"P " + draw(plain),
        draw(st.integers(0, 10**12 - 1)),
        draw(st.from_regex(r"[+-][0-9]{4}", fullmatch=True)),
        b"https://x/" + draw(plain).translate(None, bytes(range(0x21)) + b"\x7f"),
        Nonce(
            RepositoryId("a2" * 26), PushId("9" * object_format.hex_size),
            draw(st.integers(1, 65_535)),
        ),
        tuple(draw(st.lists(plain, max_size=3))),
        tuple(Line(old, new, RefName(ref)) for ref, (old, new) in changes.items()),
    )  # fmt: skip


@given(certificates())
def test_certificates_come_back(certificate: Certificate) -> None:
    usual = all(line.old != line.new for line in certificate.lines)
    heads = any(option.startswith(b"head=") for option in certificate.options)
    try:
        found = parse_certificate(certificate.text(), certificate.object_format)
    except TrustError:
        assert not usual or heads
    else:
        assert usual
        assert found == certificate


def _conflict(*fields: Any) -> Conflict:
    return Conflict(*fields)


def _waiting(*fields: Any) -> Waiting:
    return Waiting(*fields)


def _entries(ref: bytes) -> st.SearchStrategy[Entry]:
    """Return what makes entries of a ref."""
    name = st.just(RefName(ref))
    # Not the classes themselves: hypothesis would look for types that only a checker imports.
    conflicts = st.builds(_conflict, OIDS, OIDS.map(PushId), KEYS, name)
    waiting = st.builds(
        _waiting, st.none() | OLD_OIDS, NEW_OIDS, OIDS.map(PushId), AGES, KEYS, name
    )  # fmt: skip
    several = st.lists(conflicts, max_size=3).map(tuple), st.lists(waiting, max_size=3).map(tuple)
    return st.builds(Entry, name, st.none() | OIDS, AGES, *several)


OLD_OIDS, NEW_OIDS = (
    st.integers(*ends).map(lambda number: Oid(f"{number:040x}")) for ends in ((1, 4), (5, 9))
)
ENTRIES = {ref: _entries(ref) for ref in NAMES_OF_REFS}
"""Made once: making them for each example took most of its time."""


@given(
    st.lists(REFS, unique=True)
    .flatmap(lambda refs: st.tuples(*map(ENTRIES.__getitem__, refs)))
    .map(list)
)
def test_listings_come_back(found: list[Entry]) -> None:
    listing = listing_of(RefName(b"refs/heads/a"), Age(1, 1), found)
    text = listing.whole_text()
    assert sorted(parse_listing(text, SHA1), key=lambda e: e.ref) == sorted(
        found, key=lambda e: e.ref
    )
    before = listing_of(RefName(b"refs/heads/a"), Age(1, 1), found[1:])
    refs = [entry.ref for entry in found]
    assert list(parse_changes(listing.changes_text(before, refs), SHA1)) == found[:1]
    dropped = [Entry(entry.ref) for entry in found[:1]]
    assert list(parse_changes(before.changes_text(listing, refs), SHA1)) == dropped


@given(
    st.lists(st.builds(Taken, OIDS.map(PushId), st.none() | REFS.map(RefName),
                       st.sampled_from(Verdict)), unique_by=lambda t: (t.push, t.ref)),
    st.lists(OIDS.map(PushId), max_size=3),
    st.integers(1, 2**31 - 1), AGES, st.booleans(), st.binary(max_size=20),
)  # fmt: skip
def test_checkpoints_come_back(
    taken: list[Taken],
    adopted: list[PushId],
    number: int,
    mark: Age,
    whole: bool,
    listing: bytes,
) -> None:
    pushes = dict.fromkeys(item.push for item in taken)
    copies = tuple(Copy(push, "sha256:" + "6" * 64) for push in pushes if push > "8")
    checkpoint = Checkpoint(
        SHA1, RepositoryId("a2" * 26), number, None if number == 1 else PushId("8" * 40), 3,
        "sha256:" + "5" * 64, tuple(adopted), tuple(taken), copies,
        RefName(b"refs/heads/a"), mark,
        "3" * 64, whole, listing, b"K <k@x>", 12,
    )  # fmt: skip
    assert parse_checkpoint(checkpoint.text(), SHA1) == checkpoint
