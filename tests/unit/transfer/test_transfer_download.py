"""A download that can no longer be watched over fails; it does not wait for ever."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import threading
from pathlib import Path
from typing import cast

import pytest

from gittorrent.ids import SHA1, PushId, RepositoryId
from gittorrent.reel.manifest import Manifest, Segment
from gittorrent.store.partial import PartialPack
from gittorrent.store.processes import DownloadFigures
from gittorrent.swarm.events import PeerKind
from gittorrent.transfer.mirror import Mirror, WantedPack
from gittorrent.transfer.pack_download import DownloadHandlers, NoSourceError, PackDownload
from gittorrent.wire.reelname import PackShape, ReelName
from support.programs import PATIENCE
from support.repositories import noise

PART = 1 << 12
PARTS = [noise(f"part {number}", PART) for number in range(3)]
MANIFEST = Manifest(
    repository=RepositoryId("a" * 52),
    object_format=SHA1,
    start=None,
    end=PushId("ab" * 20),
    encoder=1,
    target=1 << 30,
    part_size=PART,
    objects=3,
    pack_size=3 * PART,
    pack_checksum="cd" * 20,
    segments=(Segment(12, 3, 100, ()),),
    parts=tuple(hashlib.sha256(part).hexdigest() for part in PARTS),
)


def test_a_failure_to_report_ends_the_download(tmp_path: Path) -> None:
    def fails(figures: DownloadFigures) -> None:
        raise OSError(errno.EIO, f"after {figures.parts} parts")

    async def work() -> None:
        shape = PackShape(MANIFEST.pack_size, PART)
        wanted = WantedPack(ReelName(None, MANIFEST.end), MANIFEST.id, shape, 3)
        with PartialPack(tmp_path, MANIFEST, MANIFEST.text() + b"signature") as partial:
            download = PackDownload(
                wanted, partial, DownloadHandlers(on_progress=fails, is_growing=lambda: True)
            )
            async with asyncio.timeout(PATIENCE):
                await download.run()

    with pytest.raises(OSError, match="after 0 parts"):
        asyncio.run(work())


class _Silent:
    """A mirror that is asked in vain."""

    kind = PeerKind.SESSION
    url = name = "git://mirror.example/project"
    called_us = False

    def begin(self, *_: object) -> None: ...

    def ask(self, *_: object) -> None: ...

    def flowing(self) -> None: ...


def test_what_is_wrong_again_and_again_is_said_once(tmp_path: Path) -> None:
    async def work() -> None:
        shape = PackShape(MANIFEST.pack_size, PART)
        wanted = WantedPack(ReelName(None, MANIFEST.end), MANIFEST.id, shape, 3)
        with PartialPack(tmp_path, MANIFEST, MANIFEST.text() + b"signature") as partial:
            download = PackDownload(wanted, partial)
            for reason in ("it broke", "it hung up", "it broke"):
                mirror = cast("Mirror", _Silent())
                download.add(mirror, None)
                download.mirror_lost(mirror, reason)
            await download.run()

    place = _Silent.name
    with pytest.raises(NoSourceError, match=f"{place}: it broke, 2 times; {place}: it hung up[)]"):
        asyncio.run(work())


def test_being_cancelled_over_and_over_leaves_no_thread(tmp_path: Path) -> None:
    async def work() -> None:
        shape = PackShape(MANIFEST.pack_size, PART)
        wanted = WantedPack(ReelName(None, MANIFEST.end), MANIFEST.id, shape, 3)
        began, adopted = asyncio.Event(), asyncio.Event()

        def look(figures: DownloadFigures) -> None:
            began.set()
            if figures.parts:
                adopted.set()

        text = MANIFEST.text() + b"signature"
        with (
            PartialPack(tmp_path, MANIFEST, text) as partial,
            PartialPack(tmp_path, MANIFEST, text) as elsewhere,
        ):
            download = PackDownload(
                wanted, partial, DownloadHandlers(on_progress=look, is_growing=lambda: True)
            )
            running = asyncio.create_task(download.run())
            async with asyncio.timeout(PATIENCE):
                await began.wait()
                elsewhere.store(0, PARTS[0])
                await adopted.wait()
            assert threads()
            running.cancel()
            await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert not threads()  # while somebody still holds the download

    def threads() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name.startswith("parts")]

    asyncio.run(work())


class SlowPack(PartialPack):
    """A partial download whose parts are read when the test lets them be."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, MANIFEST, MANIFEST.text() + b"signature")
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.read: list[int] = []

    def holds(self, index: int) -> bool:
        """See `PartialPack.holds`."""
        self.begun.set()
        self.go_on.wait()
        self.read.append(index)
        return super().holds(index)


def test_cancelled_while_it_reads_what_is_here_it_waits_for_that(tmp_path: Path) -> None:
    """The files are closed afterwards: a thread must not go on reading them then."""

    async def work() -> None:
        shape = PackShape(MANIFEST.pack_size, PART)
        wanted = WantedPack(ReelName(None, MANIFEST.end), MANIFEST.id, shape, 3)
        with SlowPack(tmp_path) as partial:
            for number, part in enumerate(PARTS):
                assert partial.store(number, part)
            task = asyncio.ensure_future(PackDownload(wanted, partial).run())
            while not partial.begun.is_set():
                await asyncio.sleep(0)
            try:
                task.cancel()
                for _ in range(10):
                    await asyncio.sleep(0)
                assert not task.done()
            finally:
                partial.go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(partial.read) < len(PARTS), "it ends soon"

    asyncio.run(work())
