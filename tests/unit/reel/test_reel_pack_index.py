"""The index of a pack: which sizes it has, what its ends say, and its manifest."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.ids import OBJECT_FORMATS, SHA1, Oid, PushId, RepositoryId
from gittorrent.reel.index_manifest import (
    IndexManifestError,
    index_manifest,
    may_have_index,
    require_index_of,
)
from gittorrent.reel.manifest import Manifest, Segment, parse_manifest
from gittorrent.reel.pack_index import (
    HEAD_SIZE,
    PackIndexError,
    check_ends,
    is_index_size,
    least_size,
)
from gittorrent.shapes import HISTORY, index_of
from support import gitcmd
from support.repositories import make

PACK, INDEX = "ab" * 20, "cd" * 20
TAIL = bytes.fromhex(PACK + INDEX)
COUNTS = [min(number, 30) for number in range(256)]


def head(counts: list[int], beginning: bytes = b"\xfftOc\0\0\0\2") -> bytes:
    return beginning + b"".join(count.to_bytes(4, "big") for count in counts)


@pytest.mark.parametrize("recipe", ["pushes", "pushes-sha256"])
@pytest.mark.parametrize("limit", ["2", "2,0x40", "2,0"])
def test_sizes_and_ends_are_those_of_git(recipe: str, limit: str, tmp_path: Path) -> None:
    """With a limit git puts offsets into the table of large ones, as in packs of gigabytes."""
    repository = make(recipe, tmp_path / "repository")
    gitcmd.text(repository.git_dir, "repack", "-adq")
    (pack,) = repository.git_dir.glob("objects/pack/*.pack")
    made = tmp_path / "made.idx"
    checksum = gitcmd.text(
        repository.git_dir, "index-pack", f"--index-version={limit}", "-o", str(made), str(pack)
    ).strip()
    data, object_format = made.read_bytes(), OBJECT_FORMATS[repository.object_format]
    objects = int.from_bytes(pack.read_bytes()[8:12], "big")
    large = {"2": 0, "2,0": objects}.get(limit)
    assert is_index_size(len(data), objects, object_format)
    if large is not None:
        assert len(data) == least_size(objects, object_format) + 8 * large
    size = object_format.raw_size
    check_ends(data[:HEAD_SIZE], data[-2 * size :], objects, checksum, data[-size:].hex())


@pytest.mark.parametrize("size", [0, 1911, 1916, 1904, 1912 + 31 * 8, 1 << 50])
def test_other_sizes_are_no_index(size: int) -> None:
    assert is_index_size(1912, 30, SHA1)
    assert is_index_size(1912 + 30 * 8, 30, SHA1)
    assert not is_index_size(size, 30, SHA1)


@pytest.mark.parametrize(
    ("first", "tail", "words"),
    [
        (head(COUNTS)[:-1], TAIL, "does not begin"),
        (head(COUNTS, b"\xfftOc\0\0\0\1"), TAIL, "does not begin"),
        (b"", TAIL, "does not begin"),
        (head([*COUNTS[:-2], 31, 30]), TAIL, "goes back"),
        (head([min(count, 29) for count in COUNTS]), TAIL, "lists 29 objects"),
        (head(COUNTS), TAIL[::-1], "checksums"),
        (head(COUNTS), TAIL[:-1], "checksums"),
        (head(COUNTS), TAIL[20:] + TAIL[:20], "checksums"),
    ],
)
def test_ends_that_contradict(first: bytes, tail: bytes, words: str) -> None:
    check_ends(head(COUNTS), TAIL, 30, PACK, INDEX)
    with pytest.raises(PackIndexError, match=words):
        check_ends(first, tail, 30, PACK, INDEX)


def pack(**changes: object) -> Manifest:
    made = Manifest(
        repository=RepositoryId("a2" * 26), object_format=SHA1, start=None,
        end=PushId("cd" * 20), encoder=1, target=1 << 30, part_size=1 << 18, objects=30,
        pack_size=5000, pack_checksum=PACK, segments=(Segment(12, 30, 4, (Oid("a" * 40),)),),
        parts=("0" * 64,),
    )  # fmt: skip
    return replace(made, **changes)


def test_the_manifest_follows_from_the_pack_and_the_index() -> None:
    data = head(COUNTS) + bytes(30 * 28) + TAIL
    found = index_manifest(pack(), io.BytesIO(data), len(data))
    assert parse_manifest(found.text()) == found
    assert found.shape == index_of(pack().id)
    assert (found.pack_size, found.pack_checksum, len(found.parts)) == (len(data), INDEX, 1)
    require_index_of(found, pack())
    for other in (
        pack(objects=29, segments=(Segment(12, 29, 4, ()),)),
        pack(end=PushId("ce" * 20)),
        pack(pack_checksum="ac" * 20),
    ):
        with pytest.raises(IndexManifestError):
            require_index_of(found, other)
    with pytest.raises(IndexManifestError):
        require_index_of(replace(found, encoder=2), pack())


def test_thin_and_shaped_packs_have_none() -> None:
    assert may_have_index(pack())
    assert not may_have_index(pack(start=PushId("01" * 20)))
    assert not may_have_index(pack(shape=HISTORY))
