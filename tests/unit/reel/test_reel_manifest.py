"""The manifest's text: canonical, strict, and arithmetically sound."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from gittorrent.ids import SHA1, SHA256, ManifestId, Oid, PushId, RepositoryId
from gittorrent.reel.manifest import (
    MAX_SEGMENTS,
    MAX_TEXT,
    Manifest,
    ManifestError,
    Segment,
    parse_manifest,
)
from gittorrent.reel.parts import part_count, part_range
from gittorrent.shapes import HISTORY, index_of, tip_of

A, B = Oid("a" * 40), Oid("b" * 40)
PART = hashlib.sha256(b"part").hexdigest()


def manifest(**changes: object) -> Manifest:
    made = Manifest(
        repository=RepositoryId("a2" * 26),
        object_format=SHA1,
        start=None,
        end=PushId("cd" * 20),
        encoder=1,
        target=1 << 30,
        part_size=1 << 20,
        objects=30,
        pack_size=(1 << 20) + 5000,
        pack_checksum="ef" * 20,
        segments=(Segment(12, 10, 400, (A, B)), Segment(600, 20, 0, ())),
        parts=(PART, PART),
    )
    return replace(made, **changes)


TEXT = manifest().text()


def test_the_text() -> None:
    assert TEXT.decode().splitlines() == [
        "gittorrent manifest 1",
        f"repository {'a2' * 26}",
        "object-format sha1",
        "start -",
        f"end {'cd' * 20}",
        "encoder 1",
        "target 1073741824",
        "part-size 1048576",
        "objects 30",
        "pack-size 1053576",
        f"pack-checksum {'ef' * 20}",
        f"segment 12 10 400 {A} {B}",
        "segment 600 20 0",
        f"part {PART}",
        f"part {PART}",
    ]
    assert parse_manifest(TEXT) == manifest()
    assert manifest().id == hashlib.sha256(TEXT).hexdigest()
    assert manifest().raw_size == 400


def test_sha256_and_a_start() -> None:
    other = manifest(
        object_format=SHA256, start=PushId("01" * 32), end=PushId("02" * 32),
        pack_checksum="03" * 32, segments=(Segment(12, 30, 5, (Oid("04" * 32),)),),
    )  # fmt: skip
    assert parse_manifest(other.text()) == other
    assert other.id != manifest().id


def test_shapes() -> None:
    history = manifest(shape=HISTORY, start=PushId("01" * 20))
    assert b"\nend " + b"cd" * 20 + b"\nshape history\nencoder 1\n" in history.text()
    assert parse_manifest(history.text()) == history
    tip = manifest(shape=tip_of(A), segments=(Segment(12, 30, 400, (A,)),))
    assert f"\nshape tip {A}\nencoder 1\n".encode() in tip.text()
    assert parse_manifest(tip.text()) == tip
    assert len({manifest().id, history.id, tip.id}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"start": PushId("01" * 20)},
        {"segments": (Segment(12, 30, 400, (B,)),)},
        {"segments": (Segment(12, 30, 400, (A, B)),)},
        {"segments": (Segment(12, 10, 400, (A,)), Segment(600, 20, 0, ()))},
        {"shape": tip_of(Oid("a" * 64))},
    ],
    ids=str,
)
def test_a_tip_is_one_commit_from_the_beginning(changes: dict[str, object]) -> None:
    one = {"shape": tip_of(A), "segments": (Segment(12, 30, 400, (A,)),)}
    with pytest.raises(ManifestError):
        parse_manifest(manifest(**(one | changes)).text())


def index(**changes: object) -> Manifest:
    ours: dict[str, object] = {
        "shape": index_of(manifest().id), "segments": (), "parts": (PART,),
        "pack_size": 8 + 1024 + 30 * 28 + 40,
    }  # fmt: skip
    return manifest(**(ours | changes))


def test_an_index_of_a_pack() -> None:
    text = index().text()
    assert f"\nshape index {manifest().id}\nencoder 1\n".encode() in text
    assert text.decode().splitlines()[-2:] == [f"pack-checksum {'ef' * 20}", f"part {PART}"]
    assert parse_manifest(text) == index()
    # All offsets may be large, as in a pack of one huge object and many after it.
    assert parse_manifest(index(pack_size=1912 + 30 * 8).text()).pack_size == 2152
    long = {"object_format": SHA256, "end": PushId("02" * 32), "pack_checksum": "03" * 32}
    assert parse_manifest(index(**long, pack_size=1032 + 30 * 40 + 64).text()).objects == 30


@pytest.mark.parametrize(
    "changes",
    [
        {"start": PushId("01" * 20)},
        {"segments": (Segment(12, 30, 400, (B,)),)},
        {"pack_size": 1911},
        {"pack_size": 1916},
        {"pack_size": 1912 - 8},
        {"pack_size": 1912 + 31 * 8},
        {"objects": 31},
        {"objects": 0},
        {"parts": (PART, PART)},
        {"pack_size": 1 << 40, "parts": (PART,) * (1 << 20)},
        {"shape": index_of(ManifestId("a" * 63))},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_index_has_the_size_that_its_objects_give_it(changes: dict[str, object]) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(index(**changes).text())


@pytest.mark.parametrize(
    "line",
    [
        b"shape whole",
        b"shape index",
        b"shape index:" + b"a" * 64,
        b"shape index " + b"A" * 64,
        b"shape history ",
        b"shape history " + b"a" * 40,
        b"shape tip",
        b"shape tip:" + b"a" * 40,
        b"shape tip " + b"a" * 39,
        b"shape trees",
        b"shape history\nshape history",
    ],
)
def test_shapes_that_are_unknown(line: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(TEXT.replace(b"encoder", line + b"\nencoder", 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"objects": 31},
        {"objects": 0, "segments": ()},
        {"segments": ()},
        {"segments": (Segment(13, 30, 0, ()),)},
        {"segments": (Segment(12, 30, 0, ()), Segment(600, 0, 0, ()))},
        {"segments": (Segment(600, 20, 0, ()), Segment(12, 10, 0, ()))},
        {"segments": (Segment(12, 20, 0, ()), Segment(20, 10, 0, ()))},
        {"segments": (Segment(12, 10, 0, ()), Segment((1 << 20) + 4990, 20, 0, ()))},
        {"segments": (Segment(12, 30, 0, (B, A)),)},
        {"segments": (Segment(12, 30, 0, (A, A)),)},
        {"segments": (Segment(12, 30, 0, (Oid("a" * 64),)),)},
        {"segments": (Segment(12, 30, 1 << 51, ()),)},
        {"parts": (PART,)},
        {"parts": (PART,) * 3},
        {"parts": (PART, "0" * 63)},
        {"parts": ()},
        {"part_size": 1 << 25},
        {"part_size": 0},
        {"part_size": 100},
        {"pack_size": 32},
        {"pack_size": 0},
        {"pack_size": (1 << 50) + 1},
        {"objects": 1 << 33, "segments": (Segment(12, 1 << 33, 0, ()),)},
        {"objects": -1},
        {"encoder": -1},
        {"pack_checksum": "ef" * 32},
        {"end": PushId("cd" * 32)},
        {"start": PushId("abc")},
        {"start": PushId("CD" * 20)},
        {"repository": RepositoryId("a" * 51)},
        {"repository": RepositoryId("A2" * 26)},
    ],
    ids=str,
)
def test_values_that_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(manifest(**changes).text())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"manifest 1", b"manifest 2"),
        (b"object-format sha1", b"object-format md5"),
        (b"start -", b"start "),
        (b"start -", b"start --"),
        (b"objects 30", b"objects 030"),
        (b"objects 30", b"objects 3_0"),
        (b"objects 30", b"objects +30"),
        (b"objects 30", b"objects  30"),
        (b"objects 30", b"objects 30 "),
        (b"objects 30", b"objects \xd9\xa3\xd9\xa0"),
        (b"objects 30\n", b""),
        (b"objects 30\n", b"objects 30\nobjects 30\n"),
        (b"encoder", b"Encoder"),
        (b"encoder 1", b"encoder " + b"9" * 5000),
        (b"segment 12 10 400", b"segment 12 10"),
        (b"segment 600 20 0", b"segment 600 20 0 "),
        (b"part " + PART.encode(), b"part " + PART.upper().encode()),
        (b"\n", b"\r\n"),
        (b"part-size 1048576\nobjects 30", b"objects 30\npart-size 1048576"),
    ],
)
def test_spellings_that_are_not_canonical(old: bytes, new: bytes) -> None:
    assert old in TEXT
    with pytest.raises(ManifestError):
        parse_manifest(TEXT.replace(old, new, 1))


@pytest.mark.parametrize(
    "text", [b"", b"\n", TEXT[:-1], TEXT + b"\n", TEXT + b"x\n", b"\0" + TEXT, TEXT + TEXT]
)
def test_text_that_is_cut_or_goes_on(text: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(text)


def test_every_line_is_needed() -> None:
    lines = TEXT.splitlines(keepends=True)
    for number in range(len(lines)):
        with pytest.raises(ManifestError):
            parse_manifest(b"".join(lines[:number] + lines[number + 1 :]))
        with pytest.raises(ManifestError):
            parse_manifest(b"".join(lines[:number]))


def test_limits() -> None:
    many = tuple(Segment(12 + n, 1, 0, ()) for n in range(MAX_SEGMENTS + 1))
    some = manifest(segments=many[:-1], objects=MAX_SEGMENTS)
    assert parse_manifest(some.text()) == some
    with pytest.raises(ManifestError, match=f"more than {MAX_SEGMENTS} segments"):
        parse_manifest(manifest(segments=many, objects=len(many)).text())
    with pytest.raises(ManifestError, match="longer than"):
        parse_manifest(TEXT.ljust(MAX_TEXT + 1, b"\n"))


def test_a_pack_has_no_more_objects_than_bytes_for_them() -> None:
    """What is set aside for the objects goes by their number, which costs nothing to write."""
    found = manifest()
    most = found.pack_size // 3
    for objects, fits in ((most, True), (most + 1, False), (0, False)):
        text = manifest(segments=(Segment(12, objects, 0, ()),), objects=objects).text()
        if fits:
            assert parse_manifest(text).objects == most
        else:
            with pytest.raises(ManifestError, match=r"do not fit|without objects"):
                parse_manifest(text)


def test_errors_say_where() -> None:
    with pytest.raises(ManifestError, match="line 9: expected a number"):
        parse_manifest(TEXT.replace(b"objects 30", b"objects many"))


@pytest.mark.parametrize(
    ("size", "count", "last"),
    [(1, 1, 1), (4096, 1, 4096), (4097, 2, 1), (8192, 2, 4096), (8191, 2, 4095)],
)
def test_parts_cover_the_pack(size: int, count: int, last: int) -> None:
    assert part_count(size, 4096) == count
    ranges = [part_range(index, size, 4096) for index in range(count)]
    assert ranges[-1] == ((count - 1) * 4096, last)
    assert sum(length for _, length in ranges) == size
