"""Fetching a reel: what a cancellation leaves."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, PushId, RepositoryId
from gittorrent.reel.manifest import Manifest, Segment
from gittorrent.store.database import Database
from gittorrent.store.partial import PartialPack
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.context import Context
from gittorrent.transfer.partial_content import PartialContent
from gittorrent.transfer.peer_manager import PeerManager, Sharing
from gittorrent.transfer.reel_fetcher import ReelFetcher
from support import nodes
from support.repositories import noise

if TYPE_CHECKING:
    from gittorrent.repository.receive import Receiver, SignedManifest

PACK = noise("pack", 1 << 12)
MANIFEST = Manifest(
    repository=RepositoryId("a" * 52),
    object_format=SHA1,
    start=None,
    end=PushId("ab" * 20),
    encoder=1,
    target=1 << 30,
    part_size=len(PACK),
    objects=3,
    pack_size=len(PACK),
    pack_checksum="cd" * 20,
    segments=(Segment(12, 3, 100, ()),),
    parts=(hashlib.sha256(PACK).hexdigest(),),
)


class Silent:
    """A reporter that says nothing."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args: None


class NoPeers:
    """The peers of an acquisition that has none."""

    def __init__(self) -> None:
        self.content = PartialContent()
        self.client_timeouts = ClientTimeouts()
        self.mirrors: list[object] = []

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args: None


class Indexing:
    """A receiver, and the indexer that it begins, which is slow to end."""

    def __init__(self) -> None:
        self.begun, self.abandoned = threading.Event(), threading.Event()
        self.go_on, self.ended = threading.Event(), threading.Event()

    def is_small(self, _manifest: Manifest) -> bool:
        """See `Receiver`."""
        return False

    def begin(self, _signed: object, _wire: Path) -> Indexing:
        """See `Receiver`."""
        return self

    def stop(self) -> None:
        """See `Receiver`."""

    def finish_indexing(self, _indexer: object, _signed: object) -> None:
        """See `Receiver`."""
        self.begun.set()
        self.go_on.wait()
        self.ended.set()

    def advance(self, _prefix: int) -> None:
        """See `Indexer`."""

    def segment_ready(self, _number: int) -> None:
        """See `Indexer`."""

    def abandon(self) -> None:
        """See `Indexer`."""
        self.abandoned.set()


def test_cancelled_while_it_indexes_it_waits_for_the_indexer(tmp_path: Path) -> None:
    """The staging repository is removed afterwards: nothing may write to it then."""
    home = nodes.make_home(tmp_path)
    signed = cast("SignedManifest", SimpleNamespace(manifest=MANIFEST, file=MANIFEST.text() + b"x"))
    with PartialPack(home.partial, MANIFEST, signed.file) as partial:
        assert partial.store(0, PACK)
    indexing = Indexing()

    async def work(database: Database) -> None:
        context = Context(
            database, home, Git(tmp_path), cast(Any, Silent()), Sharing(None), take_local=False
        )
        fetcher = ReelFetcher(cast(PeerManager, NoPeers()), context)
        taking = fetcher.take(signed, cast("Receiver", indexing), [], ClientTimeouts())
        task = asyncio.ensure_future(taking)
        while not indexing.begun.is_set():
            assert not task.done()
            await asyncio.sleep(0)
        try:
            task.cancel()
            while not indexing.abandoned.is_set():
                await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)
            assert not task.done()
        finally:
            indexing.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert indexing.ended.is_set()
        fetcher.close()

    database = Database(home.database)
    try:
        asyncio.run(work(database))
    finally:
        database.close()
