"""Seeds are announced to mirrors, and withdrawn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from gittorrent.ids import PushId, RepositoryId
from gittorrent.transfer.peer_announcer import ASKED_TTL, PeerAnnouncer
from gittorrent.transfer.reaching import named
from gittorrent.wire import notify, pktline
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorList, MirrorState
from gittorrent.wire.service import MIRROR_LIST, parse_request
from gittorrent.wire.urls import Endpoint, parse_learned_url

REPOSITORY = RepositoryId("a" * 52)
PUSH = PushId("1" * 40)
PATIENCE = 120.0


class Mirror:
    """A mirror that answers as it is told and remembers what it was told."""

    def __init__(self, answer: bytes | None = notify.encode_answer(600)) -> None:
        self.answer = answer
        self.others: list[str] = []
        self.heard: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Endpoint]:
        async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._attend(reader, writer)
            writer.close()

        async with await asyncio.start_server(attend, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            self.url = f"git://127.0.0.1:{port}/project.git"
            yield parse_learned_url(self.url)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = parse_request(await _packet(reader) or b"")
        if request.service == MIRROR_LIST:
            entries = [MirrorEntry(url, 600, MirrorState.CURRENT) for url in self.others]
            writer.write(MirrorList(REPOSITORY, (), PUSH, tuple(entries)).encode_packets())
            return
        said = {}
        while line := await _packet(reader):
            keyword, _, value = line.decode().strip().partition(" ")
            said[keyword] = value
        await self.heard.put((said["at"], int(said["ttl"])))
        if self.answer is None:
            await reader.read()  # until it hangs up
        else:
            writer.write(pktline.encode(self.answer))


async def _packet(reader: asyncio.StreamReader) -> bytes | None:
    length = int(await reader.readexactly(4), 16)
    return await reader.readexactly(length - 4) if length else None


def announcer(endpoint: Endpoint, note: Callable[[str], None]) -> PeerAnnouncer:
    async def latest() -> PushId:
        return PUSH

    return PeerAnnouncer(
        lambda: named(endpoint), lambda own: f"git://{own}:7000/{REPOSITORY}", latest, note
    )


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def run(scenario: Callable[[], object]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()  # type: ignore[misc]

    asyncio.run(bounded())


AT = f"git://127.0.0.1:7000/{REPOSITORY}"


def test_who_was_told_is_told_of_the_end() -> None:
    async def scenario() -> None:
        first, other = Mirror(), Mirror()
        async with first.running() as endpoint, other.running():
            first.others = [other.url, first.url]
            notes: list[str] = []
            this = announcer(endpoint, notes.append)
            running = asyncio.create_task(this.run())
            for mirror in (first, other):
                assert await mirror.heard.get() == (AT, ASKED_TTL)
            await ended(running)
            await this.withdraw()
            for mirror in (first, other):
                assert await mirror.heard.get() == (AT, 0)
                assert mirror.heard.empty()
            await this.withdraw()
            assert first.heard.empty()
            assert not notes

    run(scenario)


def test_who_refused_is_told_no_more() -> None:
    async def scenario() -> None:
        first = Mirror(notify.encode_refusal("not today"))
        async with first.running() as endpoint:
            noted = asyncio.Event()
            notes: list[str] = []

            def note(text: str) -> None:
                notes.append(text)
                noted.set()

            this = announcer(endpoint, note)
            running = asyncio.create_task(this.run())
            await noted.wait()
            await ended(running)
            assert "not today" in notes[0]
            assert await first.heard.get() == (AT, ASKED_TTL)
            await this.withdraw()
            assert first.heard.empty()

    run(scenario)


def test_a_mirror_that_says_nothing_keeps_nobody() -> None:
    """Nor is it left out of the goodbye: it may have listed us, and not said so yet."""

    async def scenario() -> None:
        first = Mirror(None)
        async with first.running() as endpoint:
            this = announcer(endpoint, lambda _text: None)
            running = asyncio.create_task(this.run())
            assert await first.heard.get() == (AT, ASKED_TTL)
            await ended(running)
            await this.withdraw()
            assert await first.heard.get() == (AT, 0)

    run(scenario)
