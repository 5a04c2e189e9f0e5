"""Thin packs are completed byte for byte as ``git index-pack --fix-thin`` completes them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gittorrent_native as native
import packing
import pytest
from judging import empty_repository, git, open_native
from packing import OFS_DELTA, REF_DELTA, Entry

from support.copying import copy_tree

ReadObject = Callable[[str], tuple[str, bytes] | None]


def reader(repository: Path) -> ReadObject:
    """Return a callable that reads objects with git."""

    def read(oid: str) -> tuple[str, bytes] | None:
        answer = git("cat-file", "--batch", repository=repository, stdin=oid.encode() + b"\n")
        head, _, rest = answer.partition(b"\n")
        if head.endswith(b" missing"):
            return None
        return head.split()[1].decode(), rest[:-1]

    return read


def thin_pack(source: Path, base: str) -> bytes:
    """Pack what HEAD has and ``base`` has not, thin."""
    return git(
        *("pack-objects", "-q", "--thin", "--stdout", "--revs", "--delta-base-offset"),
        repository=source,
        stdin=f"refs/heads/main\n^{base}\n".encode(),
    )


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("memory", [0, 256 << 20])
@pytest.mark.parametrize("depth", [1, 5, 20])
def test_completed_as_by_git(
    depth: int,
    memory: int,
    elsewhere: bool,
    object_format: str,
    history: dict[str, Path],
    tmp_path: Path,
) -> None:
    source = history[object_format]
    base = git("rev-parse", f"main~{depth}", repository=source).decode().strip()
    data = thin_pack(source, base)
    receiver = empty_repository(tmp_path / "receiver.git", object_format)
    git("fetch", "-q", str(source), f"{base}:refs/heads/old", repository=receiver)
    pack = tmp_path / "case.pack"
    pack.write_bytes(data)
    completed = tmp_path / "completed.pack" if elsewhere else pack
    indexer = open_native(pack, object_format, threads=2, memory_limit=memory)
    indexer.advance(len(data))
    summary = indexer.finish(
        completed.with_suffix(".idx"),
        completed.with_suffix(".rev"),
        completed_path=completed if elsewhere else None,
        read_object=reader(receiver),
    )
    if elsewhere:
        assert pack.read_bytes() == data
        assert completed.stat().st_mode & 0o777 == 0o444
    judge = tmp_path / "judge.git"
    copy_tree(receiver, judge)
    stdout = git("index-pack", "--strict", "--fix-thin", "--stdin", repository=judge, stdin=data)
    assert summary.checksum == stdout.decode().split()[1]
    made = judge / "objects" / "pack" / f"pack-{summary.checksum}.pack"
    for suffix in (".pack", ".idx", ".rev"):
        want = made.with_suffix(suffix).read_bytes()
        assert completed.with_suffix(suffix).read_bytes() == want, suffix
    assert summary.appended
    assert summary.objects == int.from_bytes(data[8:12], "big") + len(summary.appended)
    assert summary.size == completed.stat().st_size
    assert base in [oid for oid, _ in summary.missing]
    for oid, kind in summary.missing:
        assert git("cat-file", "-t", oid, repository=receiver).decode().strip() == kind


def blobs(count: int) -> list[bytes]:
    return [b"%06d " % number * 20 for number in range(count)]


def test_a_base_made_by_another_base_is_not_appended(tmp_path: Path) -> None:
    first, second, third = blobs(3)
    names = [packing.object_id("blob", data) for data in (first, second, third)]
    entries = [
        Entry(REF_DELTA, packing.delta(first, second), names[0]),
        Entry(REF_DELTA, packing.delta(second, third), names[1]),
        Entry(OFS_DELTA, packing.delta(third, third + b"x"), 1),
    ]
    pack = tmp_path / "case.pack"
    pack.write_bytes(packing.write(entries).data)
    objects = {names[0].hex(): first, names[1].hex(): second}
    asked: list[str] = []

    def read(oid: str) -> tuple[str, bytes]:
        asked.append(oid)
        return "blob", objects[oid]

    indexer = open_native(pack, "sha1")
    indexer.advance(pack.stat().st_size)
    summary = indexer.finish(tmp_path / "case.idx", read_object=read)
    assert asked == summary.appended == [names[0].hex()]


def test_a_pack_that_lacks_no_base_is_not_copied(tmp_path: Path) -> None:
    pack = tmp_path / "case.pack"
    pack.write_bytes(packing.write([packing.whole("blob", b"x")]).data)
    indexer = open_native(pack, "sha1")
    indexer.advance(pack.stat().st_size)
    summary = indexer.finish(
        tmp_path / "case.idx", completed_path=tmp_path / "other.pack", read_object=lambda oid: None
    )
    assert summary.appended == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.idx", "case.pack"]


def test_an_appended_base_is_read_again_from_the_copy(tmp_path: Path) -> None:
    """With too little memory to keep it, or when it is larger than what is kept at all."""
    noise = [random.Random(number).randbytes(400_000) for number in range(2)]
    names = [packing.object_id("blob", data) for data in noise]
    entries = [
        Entry(REF_DELTA, packing.delta(data, data[: -1 - n]), name)
        for n in range(3)
        for data, name in zip(noise, names, strict=True)
    ]
    objects = {name.hex(): data for name, data in zip(names, noise, strict=True)}
    pack = tmp_path / "case.pack"
    pack.write_bytes(packing.write(entries).data)
    indexer = open_native(pack, "sha1", memory_limit=0)
    indexer.advance(pack.stat().st_size)
    completed = tmp_path / "completed.pack"
    summary = indexer.finish(
        completed.with_suffix(".idx"),
        completed_path=completed,
        read_object=lambda oid: ("blob", objects[oid]),
    )
    assert summary.appended == [name.hex() for name in names]
    git("index-pack", "--strict", str(completed), repository=empty_repository(tmp_path / "j.git"))


@pytest.fixture
def thin(tmp_path: Path) -> tuple[Path, bytes, bytes]:
    """Return a pack of one delta, its bytes, and its base."""
    first, second = blobs(2)
    name = packing.object_id("blob", first)
    pack = tmp_path / "case.pack"
    data = packing.write([Entry(REF_DELTA, packing.delta(first, second), name)]).data
    pack.write_bytes(data)
    return pack, data, first


def test_a_missing_base_leaves_the_pack_alone(thin: tuple[Path, bytes, bytes]) -> None:
    pack, data, first = thin
    for read in (None, lambda oid: None):
        indexer = open_native(pack, "sha1")
        indexer.advance(len(data))
        with pytest.raises(native.MissingBase, match=packing.object_id("blob", first).hex()):
            indexer.finish(pack.with_suffix(".idx"), read_object=read)
        assert pack.read_bytes() == data
        assert not pack.with_suffix(".idx").exists()


def test_failures_of_the_callbacks_come_through(thin: tuple[Path, bytes, bytes]) -> None:
    pack, data, first = thin

    def fail(_: object) -> tuple[str, bytes]:
        raise KeyError("no such thing")

    # Some answer with what the types forbid.
    cases: list[tuple[type[Exception], Any, Any]] = [
        (KeyError, fail, None),
        (KeyError, lambda oid: ("blob", first), fail),
        (TypeError, lambda oid: 5, None),
        (ValueError, lambda oid: ("blub", first), None),
        (OSError, lambda oid: ("blob", first + b"corrupt"), None),
    ]
    for expected, read, deflate in cases:
        for completed in (None, pack.with_name("completed.pack")):
            indexer = open_native(pack, "sha1")
            indexer.advance(len(data))
            with pytest.raises(expected):
                indexer.finish(
                    pack.with_suffix(".idx"),
                    completed_path=completed,
                    read_object=read,
                    deflate=deflate,
                )
            assert pack.read_bytes() == data
            assert list(pack.parent.iterdir()) == [pack]


def test_the_callers_zlib_is_used(thin: tuple[Path, bytes, bytes]) -> None:
    pack, data, first = thin
    indexer = open_native(pack, "sha1")
    indexer.advance(len(data))
    indexer.finish(
        pack.with_suffix(".idx"),
        read_object=lambda oid: ("blob", first),
        deflate=lambda data: zlib.compress(data, 0),
    )
    assert first in pack.read_bytes()


def test_a_bad_delta_after_an_appended_base_restores_the_pack(tmp_path: Path) -> None:
    first, second = blobs(2)
    name = packing.object_id("blob", first)
    broken = packing.varint(len(first)) + packing.varint(5) + packing.insert(b"abcdefg")
    entries = [
        Entry(REF_DELTA, packing.delta(first, second), name),
        Entry(REF_DELTA, broken, packing.object_id("blob", second)),
    ]
    pack = tmp_path / "case.pack"
    data = packing.write(entries).data
    pack.write_bytes(data)
    indexer = open_native(pack, "sha1")
    indexer.advance(len(data))
    with pytest.raises(native.CorruptPack, match="delta"):
        indexer.finish(tmp_path / "case.idx", read_object=lambda oid: ("blob", first))
    assert pack.read_bytes() == data
