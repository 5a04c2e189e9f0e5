"""Whatever arrives in whichever order, and wherever it is cut short: the same repository.

Mirrors here implement the port and live in the same event loop; which of them answers next, and
with what, is drawn.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gittorrent.git import scratch
from gittorrent.git.packs import index_file
from gittorrent.git.runner import Git
from gittorrent.ids import ManifestId, PushId
from gittorrent.native import is_available
from gittorrent.reel.manifest import Manifest
from gittorrent.repository.carried import Carried
from gittorrent.repository.index_settings import IndexSettings
from gittorrent.repository.indexing import GitIndexer, Indexer, feeding
from gittorrent.repository.native_indexing import NativeIndexer
from gittorrent.store.partial import PartialPack
from gittorrent.swarm.events import PeerKind
from gittorrent.transfer.mirror import PartSink, WantedPack
from gittorrent.transfer.pack_download import DownloadHandlers, NoSourceError, PackDownload
from gittorrent.wire.reelname import PackShape, ReelName
from support import nodes
from support.nodes import signer
from support.repositories import make

PART = 4096
"""Bytes of a part: the smallest allowed, so that a small pack has many."""


class Loaded:
    """A published reel, cut anew in small parts."""

    def __init__(self, carried: Carried) -> None:
        stored = carried.reels.all()[0]
        whole = bytearray()
        with stored.pack.open("rb") as file:
            for piece in stored.view.pieces(0, stored.manifest.pack_size):
                if isinstance(piece, bytes):
                    whole += piece
                else:
                    file.seek(piece.offset)
                    whole += file.read(piece.count)
        self.data = bytes(whole)
        cut = [self.data[i : i + PART] for i in range(0, len(self.data), PART)]
        digests = tuple(hashlib.sha256(part).hexdigest() for part in cut)
        self.manifest: Manifest = replace(stored.manifest, part_size=PART, parts=digests)
        self.objects = carried.object_format
        with scratch.blank(self.objects) as staging:
            path = staging.directory / "whole.pack"
            path.write_bytes(self.data)
            self.index = index_file(staging, path, thin=False).with_suffix(".idx").read_bytes()

    def wanted(self) -> WantedPack:
        manifest = self.manifest
        shape = PackShape(manifest.pack_size, manifest.part_size)
        name = ReelName(manifest.start, manifest.end)
        return WantedPack(name, manifest.id, shape, len(manifest.parts))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen missing")
    root = tmp_path_factory.mktemp("loaded")
    return Loaded(nodes.publish(make("linear", root / "r.git").git_dir, signer(root), "linear"))


class Exchange:
    """Delivers what mirrors owe, one thing at a time, in an order that is drawn."""

    def __init__(self, draw: random.Random, stop_after: int | None) -> None:
        self._draw = draw
        self._stop_after = stop_after
        self._owed: list[tuple[FakeMirror, int]] = []
        self._due = False
        self.delivered = 0
        self.stopped = asyncio.Event()

    def owe(self, mirror: FakeMirror, part: int) -> None:
        self._owed.append((mirror, part))
        self._schedule()

    def withdraw(self, mirror: FakeMirror, first: int, last: int) -> None:
        self._owed = [(m, p) for m, p in self._owed if m is not mirror or not first <= p <= last]

    def _schedule(self) -> None:
        if not self._due and self._owed:
            self._due = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._due = False
        if self._stop_after is not None and self.delivered >= self._stop_after:
            self.stopped.set()
            return
        if self._owed:
            mirror, part = self._owed.pop(self._draw.randrange(len(self._owed)))
            self.delivered += 1
            mirror.give(part)
        self._schedule()


class FakeMirror:
    """A mirror that keeps its word, or breaks it as ``faults`` says: wrong, missing, lost."""

    kind = PeerKind.SESSION
    heads: Sequence[PushId] = ()
    address = ""
    called_us = False
    may_return = False
    is_busy = False
    has_ended = False
    has_given = False

    def __init__(self, number: int, data: bytes, exchange: Exchange, faults: str = "") -> None:
        self.url = self.name = f"fake://{number}"
        self._data = data
        self._exchange = exchange
        self._faults = faults
        self._sink: PartSink | None = None
        self._given = 0

    def begin(self, pack: WantedPack, sink: PartSink) -> None:
        self._pack = pack
        self._sink = sink

    def ask(self, first: int, last: int) -> None:
        for part in range(first, last + 1):
            self._exchange.owe(self, part)

    def cancel(self, first: int, last: int) -> None:
        self._exchange.withdraw(self, first, last)

    def give(self, part: int) -> None:
        if self._sink is None:
            return
        self._given += 1
        begin = part * PART
        data = bytearray(self._data[begin : begin + PART])
        if self._faults and self._given > 2:
            if self._faults == "wrong":
                data[-1] ^= 1
            elif self._faults == "short":
                del data[-1:]
            elif self._faults == "missing":
                self._sink.parts_missing(self, part, part)
                return
            else:
                sink, self._sink = self._sink, None
                sink.mirror_lost(self, "the connection broke")
                return
        self._sink.part_arrived(self, part, data)

    def flowing(self) -> tuple[int, int] | None:
        return None

    def tell(self, message: object) -> None:
        del message

    async def fetch_log(self, question: object, is_held: object, admit: object) -> None:
        raise AssertionError("only parts are asked for")

    async def offers(self, reel: ReelName, take: object, *, shapes: bool = False) -> None:
        raise AssertionError("only parts are asked for")

    async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
        raise AssertionError("only parts are asked for")

    async def fetch_push(self, push: PushId, most: int) -> bytes:
        raise AssertionError("only parts are asked for")

    async def wait_closed(self) -> None:
        raise AssertionError("only a dialler waits for that")

    async def close(self) -> None:
        self._sink = None


@contextmanager
def room_in(root: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def make_indexer(staging: Git, pack: Path, manifest: Manifest, draw: random.Random) -> Indexer:
    """Return git's indexer or, where it is installed, perhaps the compiled one."""
    if is_available() and draw.random() < 0.5:
        return NativeIndexer(staging, pack, manifest, IndexSettings())
    return GitIndexer(staging, pack, manifest.pack_size, thin=False)


async def run(
    loaded: Loaded, root: Path, draw: random.Random, faults: list[str], stop_after: int | None
) -> tuple[bytes, bytes] | None:
    """Download and index once; returns pack and index, or None when it was cut short."""
    exchange = Exchange(draw, stop_after)
    with (
        PartialPack(root, loaded.manifest, b"manifest") as partial,
        scratch.receiving(root / "incoming", loaded.objects) as staging,
    ):
        indexer = make_indexer(staging, partial.pack, loaded.manifest, draw)
        try:
            download = PackDownload(
                loaded.wanted(),
                partial,
                DownloadHandlers(feeding(indexer, loaded.manifest)),
            )
            for number, fault in enumerate(faults):
                download.add(FakeMirror(number, loaded.data, exchange, fault), None)
            work = asyncio.ensure_future(download.run())
            stop = asyncio.ensure_future(exchange.stopped.wait())
            await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                indexer.abandon()
                return None
            work.result()
        except BaseException:
            indexer.abandon()
            raise
        indexed = await asyncio.to_thread(indexer.finish)
        return indexed.path.read_bytes(), indexed.path.with_suffix(".idx").read_bytes()


FAULTS = st.sampled_from(["", "wrong", "short", "missing", "lost"])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32),
    faults=st.lists(FAULTS, max_size=3),
    kills=st.lists(st.integers(0, 60), max_size=3),
)
def test_any_order_any_fault_any_end(
    loaded: Loaded, tmp_path: Path, seed: int, faults: list[str], kills: list[int]
) -> None:
    draw = random.Random(seed)
    mirrors = [*faults, ""]
    with room_in(tmp_path) as root:
        for moment in kills:
            cut = asyncio.run(run(loaded, root, draw, mirrors, moment))
            if cut is not None:
                assert cut == (loaded.data, loaded.index)
            assert not list((root / "incoming").iterdir())
        assert asyncio.run(run(loaded, root, draw, mirrors, None)) == (loaded.data, loaded.index)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), faults=st.lists(st.sampled_from(["wrong", "lost"]), min_size=1))
def test_no_honest_mirror_is_an_error_and_keeps_what_held(
    loaded: Loaded, tmp_path: Path, seed: int, faults: list[str]
) -> None:
    draw = random.Random(seed)
    with room_in(tmp_path) as root:
        with pytest.raises(NoSourceError, match="the download stopped"):
            asyncio.run(run(loaded, root, draw, faults[:4], None))
        kept = sum(
            (p / "parts").read_bytes().count(1) for p in root.iterdir() if p.name != "incoming"
        )
        assert 1 <= kept < len(loaded.manifest.parts)
        assert asyncio.run(run(loaded, root, draw, [""], None)) == (loaded.data, loaded.index)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.integers(0, 20_000), max_size=20))
def test_any_split_of_the_stream(loaded: Loaded, tmp_path: Path, steps: list[int]) -> None:
    """The indexer is told of its bytes in whatever steps; the pack is the same."""
    with room_in(tmp_path) as root, scratch.receiving(root, loaded.objects) as staging:
        pack = root / "growing"
        pack.write_bytes(loaded.data)
        indexer = GitIndexer(staging, pack, len(loaded.data), thin=False)
        position = 0
        for step in steps:
            position = min(position + step, len(loaded.data))
            indexer.advance(position)
        indexed = indexer.finish()
        assert indexed.self_contained
        assert indexed.path.read_bytes() == loaded.data
        assert indexed.path.with_suffix(".idx").read_bytes() == loaded.index
