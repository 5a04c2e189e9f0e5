"""The native indexer writes what ``git index-pack`` writes, however the pack arrives."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import gittorrent_native as native
import packing
import pytest
from judging import by_git, by_native, git, open_native
from packing import OFS_DELTA, REF_DELTA, Entry


def place(data: bytes, directory: Path) -> Path:
    """Write a pack to a file."""
    path = directory / "case.pack"
    path.write_bytes(data)
    return path


def assert_same(
    data: bytes, object_format: str, judge: Path, directory: Path, **options: Any
) -> None:
    """Require both judges to accept and to write the same."""
    pack = place(data, directory)
    want = by_git(pack, judge)
    assert want.good, want.reason
    got = by_native(pack, directory, object_format, **options)
    assert got.good, got.reason
    assert (want.idx, want.rev) == (got.idx, got.rev)


@pytest.mark.parametrize("step", [0, 1, 64, 1000])
@pytest.mark.parametrize(
    "options", [(), ("--delta-base-offset",), ("--delta-base-offset", "--depth=2")]
)
def test_real_packs_are_indexed_as_by_git(
    step: int,
    options: tuple[str, ...],
    object_format: str,
    history: dict[str, Path],
    judges: dict[str, Path],
    tmp_path: Path,
) -> None:
    source = history[object_format]
    data = git("pack-objects", "-q", "--all", "--stdout", *options, repository=source)
    assert_same(data, object_format, judges[object_format], tmp_path, step=step)


def test_segments_may_arrive_in_any_order(
    object_format: str, history: dict[str, Path], judges: dict[str, Path], tmp_path: Path
) -> None:
    source = history[object_format]
    data = git("pack-objects", "-q", "--all", "--stdout", "--delta-base-offset", repository=source)
    offsets = packing.parse(data, object_format).offsets
    segments = packing.Pack(data, tuple(offsets), len(offsets)).segments([5, 17, 40, 41])
    pack = place(data, tmp_path)
    want = by_git(pack, judges[object_format])
    for seed in range(10):
        order = list(range(len(segments)))
        random.Random(seed).shuffle(order)
        path = tmp_path / f"growing-{seed}.pack"
        hash_size = 20 if object_format == "sha1" else 32
        with path.open("wb") as file:
            file.truncate(len(data))
            file.write(data[:12])
            file.seek(len(data) - hash_size)
            file.write(data[-hash_size:])
        indexer = native.Indexer(
            path,
            size=len(data),
            objects=len(offsets),
            object_format=object_format,
            segments=segments,
            threads=2,
        )
        ends = [*(start for start, _ in segments[1:]), len(data) - hash_size]
        with path.open("r+b") as file:
            for number in order:
                file.seek(segments[number][0])
                file.write(data[segments[number][0] : ends[number]])
                file.flush()
                indexer.segment_ready(number)
        idx, rev = tmp_path / "x.idx", tmp_path / "x.rev"
        summary = indexer.finish(idx, rev)
        assert summary.missing == []
        assert (idx.read_bytes(), rev.read_bytes()) == (want.idx, want.rev)


def test_bytes_may_come_from_several_threads(
    history: dict[str, Path], judges: dict[str, Path], tmp_path: Path
) -> None:
    data = git("pack-objects", "-q", "--all", "--stdout", repository=history["sha1"])
    pack = place(data, tmp_path)
    indexer = open_native(pack, "sha1")
    threads = [
        threading.Thread(target=indexer.advance, args=(end,))
        for end in range(50, len(data) + 50, 50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    indexer.advance(len(data))
    indexer.finish(tmp_path / "x.idx")
    assert (tmp_path / "x.idx").read_bytes() == by_git(pack, judges["sha1"]).idx
    scanned, resolved, done = indexer.progress()
    assert scanned == resolved == int.from_bytes(data[8:12], "big")
    assert done == len(data) - 12 - 20


def chain(length: int, by_name: bool, object_format: str) -> list[Entry]:
    """Return a chain of blobs of which each is a delta against the one before."""
    data = b"start " * 10
    entries = [packing.whole("blob", data)]
    for number in range(length):
        changed = data[:50] + b"%010d" % number
        name = packing.object_id("blob", data, object_format)
        kind = REF_DELTA if by_name else OFS_DELTA
        entries.append(
            Entry(kind, packing.delta(data, changed), name if by_name else number, level=1)
        )
        data = changed
    return entries


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("memory", [0, 256 << 20])
def test_chains_thousands_deep(
    by_name: bool, memory: int, object_format: str, judges: dict[str, Path], tmp_path: Path
) -> None:
    pack = packing.write(chain(6000, by_name, object_format), object_format)
    judge = judges[object_format]
    assert_same(pack.data, object_format, judge, tmp_path, memory_limit=memory, threads=2)


def test_deltas_may_precede_their_bases(
    object_format: str, judges: dict[str, Path], tmp_path: Path
) -> None:
    entries = chain(200, True, object_format)
    for seed in range(5):
        random.Random(seed).shuffle(entries)
        pack = packing.write(entries, object_format)
        cuts = random.Random(seed).sample(range(len(entries)), 3)
        assert_same(
            pack.data,
            object_format,
            judges[object_format],
            tmp_path,
            segments=pack.segments(cuts),
            step=seed * 100,
        )


def test_large_objects_go_through_files(
    object_format: str, judges: dict[str, Path], tmp_path: Path
) -> None:
    noise = random.Random(1).randbytes(300_000)
    second, third = noise[:100_000] + b"!" + noise[100_001:], noise[:60_000]
    entries = [
        packing.whole("blob", noise),
        Entry(OFS_DELTA, packing.delta(noise, second), 0),
        Entry(OFS_DELTA, packing.delta(second, second[::-1]), 1),
        Entry(OFS_DELTA, packing.delta(second, third), 1),
        Entry(OFS_DELTA, packing.delta(third, third[:-1]), 3),
    ]
    blob_ids = [packing.object_id("blob", data, object_format) for data in (noise, second)]
    rows = [("100644", b"name-%05d" % number, blob_ids[0]) for number in range(5000)]
    tree = packing.tree(*rows)
    changed = packing.tree(*rows[:2500], ("100644", b"name-02500x", blob_ids[1]), *rows[2501:])
    entries += [packing.whole("tree", tree), Entry(OFS_DELTA, packing.delta(tree, changed), 5)]
    pack = packing.write(entries, object_format)
    # With the least memory, objects above 512 KiB / 16 are streamed, several times over.
    assert_same(pack.data, object_format, judges[object_format], tmp_path, memory_limit=0)
    assert_same(
        pack.data, object_format, judges[object_format], tmp_path, memory_limit=0, step=5000
    )
    assert [path.name for path in tmp_path.iterdir()] == ["case.pack"]


def test_an_empty_pack(object_format: str, judges: dict[str, Path], tmp_path: Path) -> None:
    pack = packing.write([], object_format)
    assert_same(pack.data, object_format, judges[object_format], tmp_path)


def test_pack_version_3(judges: dict[str, Path], tmp_path: Path) -> None:
    pack = packing.write([packing.whole("blob", b"x")], version=3)
    assert_same(pack.data, "sha1", judges["sha1"], tmp_path)
    pack = packing.write([packing.whole("blob", b"x")], version=4)
    assert not by_native(place(pack.data, tmp_path), tmp_path).good


def test_files_are_read_only_and_nothing_else_is_left(tmp_path: Path) -> None:
    pack = place(packing.write([packing.whole("blob", b"x")]).data, tmp_path)
    indexer = open_native(pack, "sha1")
    indexer.advance(pack.stat().st_size)
    indexer.finish(tmp_path / "case.idx", tmp_path / "case.rev")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case.idx", "case.pack", "case.rev"]
    assert (tmp_path / "case.idx").stat().st_mode & 0o777 == 0o444
