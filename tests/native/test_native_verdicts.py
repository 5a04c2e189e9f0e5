"""What the native indexer refuses, how it says so, and what it leaves to the caller."""

from __future__ import annotations

import gc
import random
from pathlib import Path
from typing import Any

import gittorrent_native as native
import packing
import pytest
from differential import Seeds, one
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judging import by_git, by_native, open_native
from msgspec.structs import replace
from packing import OFS_DELTA, REF_DELTA, Entry

BLOB = packing.whole("blob", b"content of a blob")
BLOB_ID = packing.object_id("blob", BLOB.payload)


def feed_and_finish(indexer: native.Indexer, size: int, idx: Path) -> None:
    """Announce all bytes and finish; either may be what raises."""
    indexer.advance(size)
    indexer.finish(idx)


def refusal(entries: list[Entry], directory: Path, **options: object) -> native.CorruptPack:
    """Return the error with which a pack is refused."""
    path = directory / "case.pack"
    path.write_bytes(packing.write(entries).data)
    indexer = open_native(path, "sha1", **options)
    with pytest.raises(native.CorruptPack) as caught:
        feed_and_finish(indexer, path.stat().st_size, directory / "case.idx")
    assert not (directory / "case.idx").exists()
    return caught.value


def test_an_error_says_what_and_where(tmp_path: Path) -> None:
    broken = Entry(OFS_DELTA, packing.varint(17) + packing.varint(3) + packing.copy(15, 3), 0)
    error = refusal([BLOB, broken], tmp_path)
    assert error.what == "delta copies from beyond its base"
    assert error.offset == packing.write([BLOB, broken]).offsets[1]
    assert str(error.offset) in str(error)


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ([BLOB, BLOB], "twice"),
        ([BLOB, Entry(OFS_DELTA, packing.delta(BLOB.payload, BLOB.payload), 0)], "twice"),
        ([replace(BLOB, stated_size=3)], "another size"),
        ([replace(BLOB, stated_size=30)], "another size"),
        ([replace(BLOB, number=5)], "unknown object type 5"),
        ([Entry(REF_DELTA, packing.delta(b"x", b"y"), bytes(20))], "base"),
        ([packing.whole("tree", packing.tree(("40000", b".git", BLOB_ID)))], "hasDotgit"),
        ([packing.whole("commit", b"tree x")], "badTreeSha1"),
        ([packing.whole("tag", b"object x")], "missingObject"),
        ([BLOB, packing.whole("tree", packing.tree(("40000", b"a", BLOB_ID)))], "wanted"),
    ],
)
def test_refusals(entries: list[Entry], what: str, tmp_path: Path) -> None:
    assert what in refusal(entries, tmp_path).what


def test_rules_may_be_left_out(tmp_path: Path) -> None:
    blob = packing.whole("blob", b"x")
    tree = packing.whole("tree", packing.tree(("40000", b".git", BLOB_ID)))
    path = tmp_path / "case.pack"
    path.write_bytes(packing.write([blob, tree]).data)
    assert not by_native(path, tmp_path).good
    indexer = open_native(path, "sha1", fsck=False)
    indexer.advance(path.stat().st_size)
    assert indexer.finish(tmp_path / "x.idx").missing == [(BLOB_ID.hex(), "tree")]
    assert by_native(path, tmp_path, check_objects=False).good


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    gone = bytes(range(20))
    modules = bytes(range(1, 21))
    tree = packing.tree(
        ("100644", b".gitmodules", modules), ("100644", b"a", BLOB_ID), ("160000", b"s", b"\1" * 20)
    )
    commit = packing.commit(packing.object_id("tree", tree), gone)
    entries = [BLOB, packing.whole("tree", tree), packing.whole("commit", commit)]
    path = tmp_path / "case.pack"
    path.write_bytes(packing.write(entries).data)
    commit_id = packing.object_id("commit", commit).hex()
    for read, unchecked in (
        (None, [(modules.hex(), ".gitmodules")]),
        (lambda oid: ("blob", b""), []),
    ):
        indexer = open_native(path, "sha1")
        indexer.advance(path.stat().st_size)
        summary = indexer.finish(tmp_path / "x.idx", read_object=read, tips=[commit_id, "f" * 40])
        assert summary.missing == [
            (gone.hex(), "commit"),
            (modules.hex(), "blob"),
            ("f" * 40, None),
        ]
        assert summary.unchecked == unchecked


@pytest.mark.parametrize(
    ("name", "good"), [(b".gitmodules", True), (b".GITMODULES ", True), (b".gitattributes", False)]
)
def test_submodules_with_the_name_of_a_file_git_obeys(
    name: bytes, good: bool, judges: dict[str, Path], tmp_path: Path
) -> None:
    # Found by differential fuzzing: git looks for the one commit and not for the other.
    tree = packing.tree(("160000", name, b"\1" * 20), ("100644", b"a", BLOB_ID))
    path = tmp_path / "case.pack"
    path.write_bytes(packing.write([BLOB, packing.whole("tree", tree)]).data)
    assert by_git(path, judges["sha1"]).good is good
    assert by_native(path, tmp_path).good is good


def test_gitmodules_of_the_callers_repository_are_checked(tmp_path: Path) -> None:
    text = b'[submodule "a"]\nurl = -u\n'
    tree = packing.tree(("100644", b".gitmodules", packing.object_id("blob", text)))
    path = tmp_path / "case.pack"
    path.write_bytes(packing.write([packing.whole("tree", tree)]).data)
    indexer = open_native(path, "sha1")
    indexer.advance(path.stat().st_size)
    with pytest.raises(native.CorruptPack, match="gitmodulesUrl"):
        indexer.finish(tmp_path / "x.idx", read_object=lambda oid: ("blob", text))


def test_a_byte_order_mark_hides_nothing(judges: dict[str, Path], tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf[submodule "a"]\nurl = -u\n'
    tree = packing.tree(("100644", b".gitmodules", packing.object_id("blob", text)))
    path = tmp_path / "case.pack"
    path.write_bytes(packing.write([packing.whole("tree", tree), packing.whole("blob", text)]).data)
    assert not by_native(path, tmp_path).good


def test_wrong_use_is_told(tmp_path: Path) -> None:
    path = tmp_path / "case.pack"
    path.write_bytes(packing.write([BLOB]).data)
    size = path.stat().st_size
    wrong: list[dict[str, Any]] = [
        {"objects": 1000},
        {"size": 20},
        {"segments": [(13, 1)]},
        {"segments": [(12, 2)]},
        {"segments": [(12, 0), (14, 1)]},
        {"object_format": "md5"},
        {"checksum_hex": "xyz"},
        {"checksum_hex": "0" * 64},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match=r"."):
            native.Indexer(path, **{"size": size, "objects": 1, **options})
    with pytest.raises(OSError, match="opening"):
        native.Indexer(tmp_path / "nowhere", size=size, objects=1)
    indexer = native.Indexer(path, size=size, objects=1)
    with pytest.raises(ValueError, match="not arrived"):
        indexer.finish(tmp_path / "x.idx")
    with pytest.raises(ValueError, match="beyond"):
        indexer.advance(size + 1)
    with pytest.raises(ValueError, match="no such segment"):
        indexer.segment_ready(1)
    with pytest.raises(ValueError, match="no object id"):
        indexer.finish(tmp_path / "x.idx", tips=["xyz"])
    indexer.advance(size)
    indexer.finish(tmp_path / "x.idx")
    with pytest.raises(ValueError, match="finished before"):
        indexer.finish(tmp_path / "x.idx")


def test_claims_are_held_against_the_pack(tmp_path: Path) -> None:
    path = tmp_path / "case.pack"
    pack = packing.write([BLOB, packing.whole("blob", b"y")])
    path.write_bytes(pack.data)
    size = len(pack.data)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"objects": 1}, "end here"),
        ({"objects": 3}, "pack ends"),
        ({"checksum_hex": "0" * 40}, "announced"),
        ({"segments": [(12, 1), (pack.offsets[1] + 1, 1)]}, "end here, not at"),
        ({"segments": [(12, 1), (pack.offsets[1] - 1, 1)]}, "segment"),
    ]
    for options, what in cases:
        # Each pack is at fault in two ways; which is told first is chance with more workers.
        indexer = native.Indexer(path, **{"size": size, "objects": 2, "threads": 1, **options})
        with pytest.raises(native.CorruptPack, match=what):
            feed_and_finish(indexer, size, tmp_path / "x.idx")


def test_claimed_sizes_cost_nothing(tmp_path: Path) -> None:
    """A header that promises terabytes is refused without their being allocated."""
    huge = replace(BLOB, stated_size=1 << 50)
    assert "limit" in refusal([huge], tmp_path).what
    assert "another size" in refusal([replace(BLOB, stated_size=60 << 30)], tmp_path).what
    bomb = packing.varint(17) + packing.varint(1 << 45) + packing.copy(0, 17)
    assert "less than it says" in refusal([BLOB, Entry(OFS_DELTA, bomb, 0)], tmp_path).what
    million = 1 << 20
    base = packing.whole("blob", bytes(million))
    grown = packing.varint(million) + packing.varint(64 * million)
    grown += b"".join(packing.copy(at, 1 << 15) for at in range(0, million, 1 << 15)) * 64
    error = refusal([base, Entry(OFS_DELTA, grown, 0)], tmp_path, largest_object=32 * million)
    assert "limit" in error.what


def running_threads() -> int:
    """Return the number of threads of this process, native ones included."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc")
def test_cancelling_stops_everything(tmp_path: Path) -> None:
    path = tmp_path / "case.pack"
    noise = random.Random(3).randbytes(2 << 20)
    pack = packing.write([packing.whole("blob", noise + bytes([n])) for n in range(8)])
    path.write_bytes(pack.data)
    before = running_threads()
    indexer = open_native(path, "sha1")
    indexer.advance(len(pack.data) // 2)
    indexer.cancel()
    with pytest.raises(native.Cancelled):
        indexer.advance(len(pack.data))
    with pytest.raises(native.Cancelled):
        indexer.finish(tmp_path / "x.idx")
    del indexer
    dropped = open_native(path, "sha1")
    dropped.advance(100)
    del dropped
    gc.collect()
    assert running_threads() == before


def test_both_judges_agree_on_mutated_packs(tmp_path: Path) -> None:
    """A short run of the differential fuzzer; see differential.py for long ones."""
    seeds = Seeds(tmp_path)
    good = sum(one(seed, seeds, tmp_path)[1].good for seed in range(400))
    assert 20 < good < 380


@st.composite
def forests(draw: st.DrawFn) -> tuple[list[Entry], list[int], int]:
    """Blobs in any order, each whole or a delta against another, cut into segments."""
    count = draw(st.integers(1, 12))
    contents = draw(st.lists(st.binary(max_size=200), min_size=count, max_size=count, unique=True))
    entries: list[Entry] = []
    for at, data in enumerate(contents):
        how = draw(st.sampled_from(["whole", "offset", "name"]))
        base = draw(st.integers(0, max(0, at - 1)))
        if at == 0 or how == "whole":
            entries.append(packing.whole("blob", data))
        elif how == "offset":
            entries.append(Entry(OFS_DELTA, packing.delta(contents[base], data), base))
        else:
            name = packing.object_id("blob", contents[base])
            entries.append(Entry(REF_DELTA, packing.delta(contents[base], data), name))
    if not any(isinstance(entry.base, int) for entry in entries):
        entries = draw(st.permutations(entries))
    cuts = draw(st.lists(st.integers(0, count), max_size=4))
    return entries, cuts, draw(st.integers(0, 300))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(forest=forests())
def test_any_forest_of_deltas_is_indexed_as_by_git(
    forest: tuple[list[Entry], list[int], int], judges: dict[str, Path], tmp_path: Path
) -> None:
    entries, cuts, step = forest
    pack = packing.write(entries)
    path = tmp_path / "case.pack"
    path.write_bytes(pack.data)
    want = by_git(path, judges["sha1"])
    got = by_native(path, tmp_path, step=step, segments=pack.segments(cuts), threads=2)
    assert (want.idx, want.rev) == (got.idx, got.rev), (want.reason, got.reason)
