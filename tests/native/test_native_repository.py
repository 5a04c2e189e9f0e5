"""The compiled indexer in a repository: what it leaves there is what git's would."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import packing
import pytest
from msgspec.structs import replace
from packing import REF_DELTA, Entry

from gittorrent.errors import LocalError
from gittorrent.git import scratch
from gittorrent.git.fsckrules import RulesBrokenError
from gittorrent.git.runner import Git
from gittorrent.ids import OBJECT_FORMATS, SHA1, Oid, PushId, RepositoryId
from gittorrent.native import SWITCH
from gittorrent.reel.build import build_reel
from gittorrent.reel.manifest import Manifest, Segment
from gittorrent.repository.index_settings import IndexSettings
from gittorrent.repository.indexing import GitIndexer, Indexer, PackBrokenError, feeding
from gittorrent.repository.native_indexing import NativeIndexer, choose_indexer, index_own_pack
from support import gitcmd
from support.repositories import Builder, prose

PART = 4096
RULES = ("gitmodulesUrl",)
PLAIN, STRICT = IndexSettings(), IndexSettings(fsck=True)
REPOSITORY = RepositoryId("a2" * 26)


@dataclass(frozen=True)
class Reel:
    """A reel A:B, and a repository that has A and not B."""

    pack: Path
    manifest: Manifest
    here: Path

    @contextmanager
    def room(self, root: Path) -> Iterator[Git]:
        """Give a scratch repository that borrows what is here."""
        with scratch.receiving(root, self.manifest.object_format, (self.here / "objects",)) as room:
            yield room


@pytest.fixture(scope="module")
def reel(object_format: str, tmp_path_factory: pytest.TempPathFactory) -> Reel:
    """A thin reel of several segments."""
    root = tmp_path_factory.mktemp("reel")
    made = Builder(gitcmd.init(root / "whole.git", object_format), object_format)
    tip: list[int] = []
    tips: list[int] = []
    for number in range(60):
        text = prose(f"{number % 5}", 40 + number)
        files: dict[bytes, bytes | int | None] = {b"d/%d" % (number % 5): text, b"top": text[:900]}
        tip = [made.commit("refs/heads/main", tip, files)]
        tips += tip
    made.flush()
    start, end = made.oid(tips[29]), made.oid(tips[59])
    here = gitcmd.init(root / "here.git", object_format)
    gitcmd.git(made.git_dir, "update-ref", "refs/heads/old", start)
    gitcmd.git(here, "fetch", "-q", str(made.git_dir), "refs/heads/old:refs/heads/old")
    work = root / "work"
    work.mkdir()
    form = OBJECT_FORMATS[object_format]
    pack = build_reel(
        made.git_dir / "objects",
        form,
        [Oid(start)],
        [Oid(end)],
        work,
        processes=1,
        smallest_target=1 << 13,
    )
    assert pack is not None
    ids = PushId("12" * form.raw_size), PushId("34" * form.raw_size)
    manifest = replace(pack.manifest(REPOSITORY, form, *ids), part_size=PART)
    manifest = replace(manifest, parts=("",) * -(-pack.size // PART))
    assert len(manifest.segments) > 3
    return Reel(pack.path, manifest, here)


def result(indexer: Indexer) -> dict[str, bytes]:
    """Finish and return the files made."""
    pack = indexer.finish().path
    return {end: pack.with_suffix(end).read_bytes() for end in (".pack", ".idx", ".rev")}


def by_git(reel: Reel, root: Path) -> dict[str, bytes]:
    with reel.room(root) as room:
        return result(GitIndexer(room, reel.pack, reel.manifest.pack_size, thin=True))


@pytest.mark.parametrize("seed", range(6))
def test_a_thin_reel_is_completed_as_by_git_and_the_download_left_alone(
    seed: int, reel: Reel, tmp_path: Path
) -> None:
    want = by_git(reel, tmp_path)
    whole = reel.pack.read_bytes()
    growing = tmp_path / "growing"
    growing.write_bytes(bytes(len(whole)))
    parts = list(range(len(reel.manifest.parts)))
    random.Random(seed).shuffle(parts)
    with reel.room(tmp_path) as room, growing.open("r+b") as file:
        indexer = NativeIndexer(room, growing, reel.manifest, STRICT if seed % 2 else PLAIN)
        feed = feeding(indexer, reel.manifest)
        for part in parts:
            file.seek(part * PART)
            file.write(whole[part * PART : (part + 1) * PART])
            file.flush()
            feed(part)
        assert result(indexer) == want
    assert want[".pack"] != whole
    assert growing.read_bytes() == whole


def test_nothing_of_a_thin_reel_is_taken_as_self_contained(reel: Reel, tmp_path: Path) -> None:
    with reel.room(tmp_path) as room:
        assert not NativeIndexer(room, reel.pack, reel.manifest, PLAIN).finish().self_contained


def test_an_own_pack_is_indexed_alike_with_and_without(
    reel: Reel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for switch in ("1", "0"):
        monkeypatch.setenv(SWITCH, switch)
        with reel.room(tmp_path) as room:
            pack = index_own_pack(room, reel.pack, reel.manifest, PLAIN)
            made.append([pack.with_suffix(end).read_bytes() for end in (".pack", ".idx", ".rev")])
    assert made[0] == made[1]


def test_who_indexes(reel: Reel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[tuple[str, IndexSettings, type[Indexer]]] = [
        ("1", PLAIN, NativeIndexer),
        ("0", PLAIN, GitIndexer),
        ("1", IndexSettings(fsck=True, paranoid=True), GitIndexer),
    ]
    for switch, settings, expected in cases:
        monkeypatch.setenv(SWITCH, switch)
        with reel.room(tmp_path) as room:
            indexer = choose_indexer(room, reel.pack, reel.manifest, settings)
            assert type(indexer) is expected
            indexer.abandon()


# --- what is refused -----------------------------------------------------------------------------


def manifest_of(pack: packing.Pack, objects: int, **changes: object) -> Manifest:
    """Describe a pack of one segment that begins after some push."""
    made = Manifest(
        repository=REPOSITORY,
        object_format=SHA1,
        start=PushId("12" * 20),
        end=PushId("34" * 20),
        encoder=1,
        target=1 << 30,
        part_size=PART,
        objects=objects,
        pack_size=len(pack.data),
        pack_checksum=pack.data[-20:].hex(),
        segments=(Segment(12, objects, 1, ()),),
        parts=("",) * -(-len(pack.data) // PART),
    )
    return replace(made, **changes)


Judge = Callable[..., None]


@pytest.fixture
def refused(tmp_path: Path) -> Judge:
    """Return what requires a pack of some entries to be refused in a repository of some blobs."""

    def check(
        entries: list[Entry], blobs: list[bytes], reason: str, settings: IndexSettings = PLAIN
    ) -> None:
        here = gitcmd.init(tmp_path / "here.git", "sha1")
        for blob in blobs:
            gitcmd.git(here, "hash-object", "-w", "--stdin", stdin=blob)
        pack = packing.write(entries)
        path = tmp_path / "case"
        path.write_bytes(pack.data)
        with scratch.receiving(tmp_path, SHA1, (here / "objects",)) as room:
            indexer = NativeIndexer(room, path, manifest_of(pack, len(entries)), settings)
            with pytest.raises((PackBrokenError, RulesBrokenError), match=reason) as caught:
                indexer.finish()
            assert isinstance(caught.value, RulesBrokenError) is (reason in RULES)
        assert path.read_bytes() == pack.data
        shutil.rmtree(here)

    return check


FIRST, SECOND = b"first " * 20, b"first " * 19 + b"second"


def test_bases_and_links_must_be_here(refused: Judge) -> None:
    base = packing.object_id("blob", FIRST)
    delta = Entry(REF_DELTA, packing.delta(FIRST, SECOND), base)
    refused([delta], [], f"the base {base.hex()} of a delta is missing")
    tree = packing.whole("tree", packing.tree(("100644", b"a", base)))
    refused([tree], [], f"refers to blob {base.hex()}, which is nowhere")
    tree = packing.whole("tree", packing.tree(("40000", b"a", base)))
    refused([tree], [FIRST], f"refers to tree {base.hex()}, which is a blob")


def test_files_git_obeys_are_checked_here_too_where_rules_are_wanted(refused: Judge) -> None:
    modules = b'[submodule "a"]\n\tpath = a\n\turl = -oops\n'
    oid = packing.object_id("blob", modules)
    tree = packing.whole("tree", packing.tree(("100644", b".gitmodules", oid)))
    refused([tree], [modules], "gitmodulesUrl", STRICT)
    refused([tree], [], "nowhere", STRICT)


def test_impossible_claims_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    pack = packing.write([packing.whole("blob", b"x")])
    path = tmp_path / "case"
    path.write_bytes(pack.data)
    with scratch.receiving(tmp_path, SHA1) as room:
        with pytest.raises(PackBrokenError, match="do not fit"):
            NativeIndexer(room, path, manifest_of(pack, 7), PLAIN)
        with pytest.raises(LocalError, match="cannot index"):
            NativeIndexer(room, tmp_path / "nowhere", manifest_of(pack, 1), PLAIN)


def test_a_fault_is_kept_for_the_end(tmp_path: Path) -> None:
    pack = packing.write([packing.whole("blob", b"x" * 50), packing.whole("blob", b"y")])
    data = bytearray(pack.data)
    data[14] ^= 0xFF
    path = tmp_path / "case"
    path.write_bytes(data)
    with scratch.receiving(tmp_path, SHA1) as room:
        indexer = NativeIndexer(room, path, manifest_of(pack, 2, start=None), PLAIN)
        for prefix in range(1, len(data) + 1):
            indexer.advance(prefix)
        indexer.segment_ready(0)
        with pytest.raises(PackBrokenError):
            indexer.finish()
        indexer.abandon()
        assert list((room.directory / "objects" / "pack").iterdir()) == []
