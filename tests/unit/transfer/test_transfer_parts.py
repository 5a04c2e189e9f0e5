"""Parts that are begun and do not come: others give them, and without others the download ends."""

from __future__ import annotations

import asyncio
import hashlib
import math
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest

from gittorrent.ids import SHA1, PushId, RepositoryId
from gittorrent.reel.manifest import Manifest, Segment
from gittorrent.store.partial import PartialPack
from gittorrent.swarm.events import PeerKind
from gittorrent.swarm.settings import Settings
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.git_mirror import ConversationContext
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.mirror import Mirror, PartSink, WantedPack
from gittorrent.transfer.opening import open_mirror
from gittorrent.transfer.pack_download import DownloadHandlers, NoSourceError, PackDownload
from gittorrent.transfer.partial_content import PartialContent
from gittorrent.wire.reelname import PackShape, ReelName
from support.logs import Writer
from support.repositories import noise
from support.starving import Manner, Starver, Step

ENOUGH = 120.0
PART = 1 << 12

IMPATIENT = Settings(first_patience=0.3, patience=0.3, untried=0.3)


def manifest_of(pack: bytes) -> Manifest:
    cut = [pack[at : at + PART] for at in range(0, len(pack), PART)]
    return Manifest(
        repository=RepositoryId("a" * 52),
        object_format=SHA1,
        start=None,
        end=PushId("ab" * 20),
        encoder=1,
        target=1 << 30,
        part_size=PART,
        objects=3,
        pack_size=len(pack),
        pack_checksum="cd" * 20,
        segments=(Segment(12, 3, 100, ()),),
        parts=tuple(hashlib.sha256(part).hexdigest() for part in cut),
    )


def download(
    folder: Path, pack: bytes, mirrors: list[Starver], client_timeouts: ClientTimeouts
) -> bytes:
    """Download a pack from mirrors, the first of which has the first say; returns it."""
    manifest = manifest_of(pack)
    shape = PackShape(len(pack), PART)
    wanted = WantedPack(ReelName(None, manifest.end), manifest.id, shape, len(manifest.parts))

    async def work() -> None:
        exchange = ConversationContext("tester", PartialContent(), Limits())
        async with AsyncExitStack() as stack:
            opened = []
            for mirror in mirrors:
                await stack.enter_async_context(mirror.open())
                found = await open_mirror(mirror.endpoint, exchange)
                stack.push_async_callback(found.close)
                opened.append(found)
            file = manifest.text() + b"signature"
            with PartialPack(folder, manifest, file) as partial:
                running = PackDownload(
                    wanted,
                    partial,
                    client_timeouts=client_timeouts,
                    settings=IMPATIENT,
                )
                for found in opened:
                    running.add(found, None)
                async with asyncio.timeout(ENOUGH):
                    await running.run()
                whole.append(partial.pack.read_bytes())

    whole: list[bytes] = []
    asyncio.run(work())
    return whole[0]


@pytest.mark.parametrize("parts", [1, 5])
@pytest.mark.parametrize("manner", [Manner.SILENT, Manner.TRICKLE])
@pytest.mark.parametrize("scheme", ["git", "http"])
def test_another_mirror_gives_what_is_withheld(
    tmp_path: Path, scheme: str, manner: Manner, parts: int
) -> None:
    pack = noise("pack", parts * PART)
    mirrors = [
        Starver(Writer(), step, manner, scheme, pack=pack) for step in (Step.PARTS, Step.NEVER)
    ]
    assert download(tmp_path, pack, mirrors, ClientTimeouts()) == pack


@pytest.mark.parametrize("manner", [Manner.SILENT, Manner.TRICKLE])
@pytest.mark.parametrize("scheme", ["git", "http"])
def test_alone_it_is_given_up(tmp_path: Path, scheme: str, manner: Manner) -> None:
    pack = noise("pack", 2 * PART)
    mirror = Starver(Writer(), Step.PARTS, manner, scheme, pack=pack)
    with pytest.raises(NoSourceError, match="almost nothing was received"):
        download(tmp_path, pack, [mirror], ClientTimeouts(nothing=0.5))


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_silence_of_who_is_asked_ends_it_sooner(tmp_path: Path, scheme: str) -> None:
    pack = noise("pack", 2 * PART)
    mirror = Starver(Writer(), Step.PARTS, Manner.SILENT, scheme, pack=pack)
    with pytest.raises(NoSourceError, match="nor a word on why"):
        download(tmp_path, pack, [mirror], ClientTimeouts(silence=0.5))


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_so_does_a_trickle(tmp_path: Path, scheme: str) -> None:
    pack = noise("pack", 2 * PART)
    mirror = Starver(Writer(), Step.PARTS, Manner.TRICKLE, scheme, pack=pack)
    with pytest.raises(NoSourceError, match="almost nothing was received"):
        download(tmp_path, pack, [mirror], ClientTimeouts(silence=0.5))


class Queueing:
    """A mirror that says of a part that it waits, each time anybody looks, and then gives it."""

    kind = PeerKind.SESSION
    url = name = "git://127.0.0.1/x"
    address = ""
    called_us = False

    def __init__(self, pack: bytes, words: float = 12) -> None:
        self._pack = pack
        self.words = words

    def begin(self, pack: WantedPack, sink: PartSink) -> None:
        del pack
        self._sink = sink

    def ask(self, first: int, last: int) -> None:
        """Answer later."""

    def flowing(self) -> tuple[int, int] | None:
        self.words -= 1
        if self.words > 0:
            self._sink.part_queued(cast("Mirror", self))
        elif self.words == 0:
            self._sink.part_arrived(cast("Mirror", self), 0, self._pack)
        return None


def test_who_says_that_parts_wait_for_their_turn_is_waited_for(tmp_path: Path) -> None:
    pack = noise("pack", PART)
    manifest = manifest_of(pack)
    wanted = WantedPack(ReelName(None, manifest.end), manifest.id, PackShape(PART, PART), 1)

    async def work() -> None:
        with PartialPack(tmp_path, manifest, manifest.text() + b"signature") as partial:
            times = ClientTimeouts(silence=0.5)
            running = PackDownload(wanted, partial, client_timeouts=times)
            running.add(cast("Mirror", Queueing(pack)), None)
            async with asyncio.timeout(ENOUGH):
                await running.run()
            assert partial.pack.read_bytes() == pack

    asyncio.run(work())


class Idle(Queueing):
    """A mirror that has nothing of what is wanted, and says that parts wait all the same."""

    url = name = "git://127.0.0.1/y"


@pytest.mark.parametrize("stands_in", [False, True])
def test_who_says_so_for_ever_holds_nobody_up_whom_another_can_serve(
    tmp_path: Path, stands_in: bool
) -> None:
    pack = noise("pack", PART)
    manifest = manifest_of(pack)
    wanted = WantedPack(ReelName(None, manifest.end), manifest.id, PackShape(PART, PART), 1)

    async def work() -> None:
        with PartialPack(tmp_path, manifest, manifest.text() + b"signature") as partial:
            handlers = DownloadHandlers(
                stands_in=lambda mirror: stands_in and mirror.url == Idle.url
            )
            times = ClientTimeouts(silence=0.5, nothing=3600.0 if stands_in else 3.0)
            running = PackDownload(wanted, partial, handlers, times)
            running.add(cast("Mirror", Queueing(pack, math.inf)), None)
            running.add_empty(cast("Mirror", Idle(pack, math.inf)))
            async with asyncio.timeout(ENOUGH):
                await running.run()

    with pytest.raises(NoSourceError, match="others are there" if stands_in else "almost nothing"):
        asyncio.run(work())


def test_who_owes_nothing_excuses_nobody(tmp_path: Path) -> None:
    """Somebody who has nothing says again and again that parts wait for their turn."""
    pack = noise("pack", 2 * PART)
    manifest = manifest_of(pack)
    wanted = WantedPack(ReelName(None, manifest.end), manifest.id, PackShape(2 * PART, PART), 2)

    async def work() -> None:
        with PartialPack(tmp_path, manifest, manifest.text() + b"signature") as partial:
            running = PackDownload(wanted, partial, client_timeouts=ClientTimeouts(silence=0.5))
            silent = Queueing(pack)
            silent.flowing = lambda: None  # type: ignore[method-assign]
            running.add(cast("Mirror", silent), None)
            running.add_empty(cast("Mirror", Idle(pack, math.inf)))
            async with asyncio.timeout(ENOUGH):
                await running.run()

    with pytest.raises(NoSourceError, match="nor a word on why"):
        asyncio.run(work())
