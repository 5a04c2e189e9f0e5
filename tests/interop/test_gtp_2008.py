"""A stand-in for the peer of 2008, dying of what killed it, against our daemon and cloner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.git import scratch
from gittorrent.git.refs import read_refs
from gittorrent.git.runner import Git
from gittorrent.gtp.messages import BEGINNING
from gittorrent.gtp.metainfo import parse_metainfo
from gittorrent.gtp.node.listing import list_reel
from gittorrent.gtp.node.packing import pack_block
from gittorrent.gtp.reference import Tagger, reference_id, write_reference
from gittorrent.ids import SHA1
from support import gitcmd, gtp
from support.gtp import PERL_2008, finished, leech, seed
from support.repositories import Made

pytestmark = pytest.mark.slow

AD_HOC = b"d10:referenceslee"
REPO_HASH = bytes.fromhex("0a1a2dfbf0bc5dac711c65d98461a2da8222483f")
REFERENCES, REELS, BLOCKS, PLAY = 5, 6, 7, 10


class Died(AssertionError):
    """The peer of 2008 would not have survived this."""


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def frame(kind: int, payload: bytes = b"") -> bytes:
    return u32(4 + len(payload)) + u32(kind) + payload


class Peer2008:
    """Speaks by bytes alone, shares no code with the codec under test, and is as fragile."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.seen: list[int] = []

    async def read(self) -> tuple[int, bytes] | None:
        """Read a message; None at a clean end."""
        head = await self.reader.read(1)
        if not head:
            return None
        try:
            length = int.from_bytes(head + await self.reader.readexactly(3), "big")
            kind = int.from_bytes(await self.reader.readexactly(4), "big")
            payload = await self.reader.readexactly(length - 4)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Died("the connection ended in the middle of a message") from error
        if kind not in (0, 1, 4, 5, 6, 7, 10):
            raise Died(f"message {kind}")
        if kind == REELS and len(payload) % 44:
            raise Died("reels of another size than 44 bytes")
        if kind == REFERENCES and payload:
            self._check_references(payload)
        self.seen.append(kind)
        return kind, payload

    @staticmethod
    def _check_references(payload: bytes) -> None:
        while payload:
            size = int.from_bytes(payload[20:24], "big")
            body = payload[24 : 24 + size]
            if not body or reference_id(body) != payload[:20]:
                raise Died("a reference without a body or under another id")
            payload = payload[24 + size :]


def test_our_daemon_gives_to_a_peer_of_2008(copied: Callable[[str], Made]) -> None:
    source = copied("linear").git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, PERL_2008)
        giver = await seed(info, source)
        reader, writer = await asyncio.open_connection(*giver.address)
        peer = Peer2008(reader, writer)
        writer.write(b"\7GTP/0.1" + bytes(8) + info.repo_hash + b"peer-of-2008-leechin")
        assert (await reader.readexactly(56))[16:36] == info.repo_hash
        writer.write(frame(REELS) + frame(REFERENCES))
        packs: dict[int, bytes] = {}
        count = 0
        while not count or len(packs) < count:
            found = await asyncio.wait_for(peer.read(), 20)
            assert found is not None
            kind, payload = found
            if kind == REELS and payload:
                writer.write(frame(BLOCKS, payload[:40]))
            elif kind == BLOCKS:
                count = int.from_bytes(payload[40:44], "big")
                assert payload[44:] == ((1 << count) - 1).to_bytes((count + 7) // 8, "little")
                for index in range(count):
                    writer.write(frame(PLAY, payload[:40] + u32(index)))
            elif kind == PLAY:
                size = int.from_bytes(payload[44:48], "big")
                assert size == len(payload) - 48
                packs[int.from_bytes(payload[40:44], "big")] = payload[48:]
        assert sorted(packs) == list(range(count))
        writer.write_eof()
        assert await peer.read() is None
        writer.close()
        await writer.wait_closed()
        await giver.stop()
        target = gitcmd.init(source.parent / "by-hand.git")
        for index in range(count):
            gitcmd.git(target, "index-pack", "--stdin", "--fix-thin", stdin=packs[index])
        main = gitcmd.text(source, "rev-parse", "refs/heads/main")
        gitcmd.git(target, "rev-list", "--objects", "--quiet", main)

    gtp.run(scenario())


def test_our_cloner_takes_from_a_peer_of_2008(
    copied: Callable[[str], Made], tmp_path: Path
) -> None:
    """It answers for references once, and only before it has received any."""
    source, target = copied("merges").git_dir, tmp_path / "clone.git"
    refs = read_refs(Git(source), "refs/heads")
    body = write_reference(refs, next(iter(refs.values())), None, Tagger(b"A <a@b>", 9), b" ")
    pair = BEGINNING + reference_id(body)
    deaths: list[BaseException] = []
    ended = asyncio.Event()

    with scratch.borrowing(source / "objects", SHA1) as git:
        index = list_reel(git, [], sorted(set(refs.values())), PERL_2008)
        packs = [pack_block(git, index.block(at, 0)) for at in range(index.count(0))]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer2008(reader, writer)
        try:
            hello = await reader.readexactly(56)
            assert hello[:16] == b"\7GTP/0.1" + bytes(8)
            writer.write(hello[:36] + b"peer-of-2008-seeding")
            writer.write(frame(REELS) + frame(REFERENCES))
            while (found := await peer.read()) is not None:
                kind, payload = found
                if kind == REELS and not payload:
                    writer.write(frame(REELS, pair + u32(index.size)))
                elif kind == REFERENCES and not payload:
                    first = peer.seen.count(REFERENCES) == 1
                    said = reference_id(body) + u32(len(body)) + body if first else b""
                    writer.write(frame(REFERENCES, said))
                elif kind == BLOCKS:
                    bits = (1 << len(packs)) - 1
                    raw = bits.to_bytes((len(packs) + 7) // 8, "little")
                    writer.write(frame(BLOCKS, pair + u32(len(packs)) + raw))
                elif kind == PLAY:
                    pack = packs[int.from_bytes(payload[40:44], "big")]
                    writer.write(frame(PLAY, payload[:44] + u32(len(pack)) + pack))
            assert peer.seen.count(REFERENCES) == 1
            writer.close()
        except BaseException as error:
            deaths.append(error)
        finally:
            ended.set()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        place = server.sockets[0].getsockname()[:2]
        info = parse_metainfo(AD_HOC)
        assert info.repo_hash == REPO_HASH
        taker = await leech(info, target, place, allow_unverified=True)
        await finished(taker)
        assert gitcmd.refs(target) == {bytes(name): oid for name, oid in refs.items()}
        await taker.stop()
        await asyncio.wait_for(ended.wait(), 20)
        server.close()
        await server.wait_closed()
        assert deaths == []

    gtp.run(scenario())
