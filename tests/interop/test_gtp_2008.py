"""A stand-in for the peer of 2008, dying of what killed it, against our daemon and cloner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.git import scratch
from gittorrent.git.refs import read_refs
from gittorrent.git.runner import Git
from gittorrent.gtp.blocks import COMMITS
from gittorrent.gtp.messages import BEGINNING, BlockName, ReelName
from gittorrent.gtp.metainfo import parse_metainfo
from gittorrent.gtp.node.assembling import Assembler
from gittorrent.gtp.node.blockstore import BlockStore
from gittorrent.gtp.node.listing import list_reel
from gittorrent.gtp.node.packing import pack_block
from gittorrent.gtp.received import most_bytes
from gittorrent.gtp.reference import Tagger, reference_id, write_reference
from gittorrent.ids import SHA1, Oid, RefName, Refs
from support import gitcmd, gtp
from support.gtp import PERL_2008, finished, leech, seed
from support.programs import PATIENCE
from support.repositories import Made, noise

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
            found = await asyncio.wait_for(peer.read(), PATIENCE)
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


def test_a_peer_of_2008_that_is_refused_sees_a_clean_end(copied: Callable[[str], Made]) -> None:
    """It believes us connected for ever if the connection breaks under its hands."""
    source = copied("linear").git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, PERL_2008)
        giver = await seed(info, source)
        reader, writer = await asyncio.open_connection(*giver.address)
        writer.write(b"\7GTP/0.1" + bytes(8) + info.repo_hash + giver.node.peer_id)
        writer.write(frame(REELS) + frame(REFERENCES))
        assert (await reader.readexactly(56))[36:] == giver.node.peer_id
        assert await reader.read() == b""
        # More than sockets hold: it is read to its end, and writing it breaks nothing.
        writer.write(bytes(16 << 20))
        await writer.drain()
        writer.write_eof()
        writer.close()
        await writer.wait_closed()
        await giver.stop()

    gtp.run(scenario())


class Seeder2008:
    """Gives packs, one a commit, as the peer of 2008 does.

    Answers for references once, and only before it has received any.
    """

    def __init__(self, body: bytes, size: int, packs: list[bytes]) -> None:
        self.body = body
        self.size = size
        self.packs = packs
        self.deaths: list[BaseException] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak with one cloner until it leaves."""
        peer = Peer2008(reader, writer)
        try:
            hello = await reader.readexactly(56)
            assert hello[:16] == b"\7GTP/0.1" + bytes(8)
            writer.write(hello[:36] + b"peer-of-2008-seeding")
            writer.write(frame(REELS) + frame(REFERENCES))
            while (found := await peer.read()) is not None:
                writer.write(self._answer(peer, *found))
            assert peer.seen.count(REFERENCES) == 1
            writer.close()
        except BaseException as error:
            self.deaths.append(error)
        finally:
            self.ended.set()

    def _answer(self, peer: Peer2008, kind: int, payload: bytes) -> bytes:
        pair = BEGINNING + reference_id(self.body)
        if kind == REELS and not payload:
            return frame(REELS, pair + u32(self.size))
        if kind == REFERENCES and not payload:
            first = peer.seen.count(REFERENCES) == 1
            said = reference_id(self.body) + u32(len(self.body)) + self.body if first else b""
            return frame(REFERENCES, said)
        if kind == BLOCKS:
            raw = ((1 << len(self.packs)) - 1).to_bytes((len(self.packs) + 7) // 8, "little")
            return frame(BLOCKS, pair + u32(len(self.packs)) + raw)
        if kind == PLAY:
            pack = self.packs[int.from_bytes(payload[40:44], "big")]
            return frame(PLAY, payload[:44] + u32(len(pack)) + pack)
        return b""


async def cloned_from(seeder: Seeder2008, target: Path) -> list[RefName]:
    """Clone from a seeder in the only swarm that the unmodified program knows.

    Returns:
        the refs that were left out.
    """
    server = await asyncio.start_server(seeder.serve, "127.0.0.1", 0)
    place = server.sockets[0].getsockname()[:2]
    info = parse_metainfo(AD_HOC)
    assert info.repo_hash == REPO_HASH
    leecher = await leech(info, target, place, allow_unverified=True)
    _, left_out = await finished(leecher)
    await leecher.stop()
    await asyncio.wait_for(seeder.ended.wait(), PATIENCE)
    server.close()
    await server.wait_closed()
    assert seeder.deaths == []
    return left_out


def reference_to(refs: Refs) -> bytes:
    """Return a reference object as the peer of 2008 writes it."""
    return write_reference(refs, next(iter(refs.values())), None, Tagger(b"A <a@b>", 9), b" ")


def test_our_cloner_takes_from_a_peer_of_2008(
    copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, target = copied("merges").git_dir, tmp_path / "clone.git"
    refs = read_refs(Git(source), "refs/heads")
    with scratch.borrowing(source / "objects", SHA1) as git:
        index = list_reel(git, [], sorted(set(refs.values())), PERL_2008)
        packs = [pack_block(git, index.block(at, 0)) for at in range(index.count(0))]
    assert gtp.run(cloned_from(Seeder2008(reference_to(refs), index.size, packs), target)) == []
    assert gitcmd.refs(target) == {bytes(name): oid for name, oid in refs.items()}


def test_a_peer_of_2008_may_send_an_object_with_every_commit_that_brings_it_back(
    tmp_path: Path,
) -> None:
    """What a file's two versions cost is sent 40 times: far more bytes than the reel has."""
    source, target = gitcmd.init(tmp_path / "source.git"), tmp_path / "clone.git"
    commits = toggled(source, 40)
    refs = read_refs(Git(source), "refs/heads")
    with scratch.borrowing(source / "objects", SHA1) as git:
        index = list_reel(git, [], sorted(set(refs.values())), PERL_2008)
    packs = [pack_by_difference(source, commit) for commit in commits]
    assert sum(map(len, packs)) > most_bytes(index.size, 0)
    assert gtp.run(cloned_from(Seeder2008(reference_to(refs), index.size, packs), target)) == []
    assert gitcmd.refs(target) == {bytes(name): oid for name, oid in refs.items()}
    gitcmd.git(target, "fsck", "--full", "--strict")


def test_repetitions_are_removed_on_disk_while_a_download_goes_on(tmp_path: Path) -> None:
    """What was received and what is kept of it: one pack, and blocks without anything."""
    source = gitcmd.init(tmp_path / "source.git")
    commits = toggled(source, 40)
    packs = [pack_by_difference(source, commit) for commit in commits]
    reel = ReelName(BEGINNING, b"e" * 20)
    target = gitcmd.init(tmp_path / "target.git")
    with scratch.receiving(tmp_path / "scratch", SHA1, (target / "objects",)) as git:
        store = BlockStore(tmp_path / "blocks")
        assembler = Assembler(git, store, tmp_path / "scratch")
        for index in range(30):
            store.put(BlockName(reel, index, COMMITS), 0, packs[index])
        kept = assembler.compact(reel)
        assert kept < 2 * 100_000 + 10_000 < sum(map(len, packs[:30]))
        for index in range(30, 40):
            store.put(BlockName(reel, index, COMMITS), 0, packs[index])
        assembler.compact(reel)
        assert store.have(reel, COMMITS) == set(range(40))
        assembler.take_reel(reel, COMMITS)
        assert assembler.lacking([Oid(commits[-1])], ()) == []


def test_what_lacks_its_bases_still_is_left_as_it_came(tmp_path: Path) -> None:
    source = gitcmd.init(tmp_path / "source.git")
    old, new = toggled(source, 2, similar=True)
    packs = [
        gitcmd.git(source, "pack-objects", "-q", "--stdout", "--revs", "--thin", stdin=revisions)
        for revisions in (f"{old}\n".encode(), f"{new}\n^{old}\n".encode())
    ]
    assert len(packs[1]) < 10_000
    reel = ReelName(BEGINNING, b"e" * 20)
    target = gitcmd.init(tmp_path / "target.git")
    with scratch.receiving(tmp_path / "scratch", SHA1, (target / "objects",)) as git:
        store = BlockStore(tmp_path / "blocks")
        assembler = Assembler(git, store, tmp_path / "scratch")
        store.put(BlockName(reel, 1, COMMITS), 0, packs[1])
        assembler.compact(reel)
        assert store.get(BlockName(reel, 1, COMMITS)) == (0, packs[1])
        store.put(BlockName(reel, 0, COMMITS), 0, packs[0])
        assembler.compact(reel)
        assert store.get(BlockName(reel, 1, COMMITS)) == (0, b"")
        assembler.take_reel(reel, COMMITS)
        assert assembler.lacking([Oid(new)], ()) == []


def test_tags_that_a_peer_of_2008_does_not_send_are_left_out(tmp_path: Path) -> None:
    """It sends what commits hold: neither tag objects nor what only a light tag names."""
    source, target = gitcmd.init(tmp_path / "source.git"), tmp_path / "clone.git"
    commits = toggled(source, 2)
    blob = gitcmd.text(source, "hash-object", "-w", "--stdin", stdin=b"named by a tag alone")
    gitcmd.git(source, "tag", "blob", blob.strip())
    gitcmd.git(source, "tag", "light", commits[0])
    gitcmd.git(source, "tag", "-a", "-m", "one", "v1", commits[1])
    refs = read_refs(Git(source), "refs/heads", "refs/tags")
    packs = [pack_by_difference(source, commit) for commit in commits]
    seeder = Seeder2008(reference_to(refs), 200_000, packs)
    left_out = gtp.run(cloned_from(seeder, target))
    assert left_out == [b"refs/tags/blob", b"refs/tags/v1"]
    assert gitcmd.refs(target) == {n: o for n, o in refs.items() if n not in left_out}
    gitcmd.git(target, "fsck", "--full", "--strict")


def toggled(repository: Path, count: int, *, similar: bool = False) -> list[str]:
    """Commit two contents of a file by turns; returns the commits, oldest first."""
    even, odd = noise("even", 100_000), noise("odd", 100_000)
    contents = [even, odd[:100] + even[100:] if similar else odd]
    stream = []
    for number in range(count):
        stamp = b"C O Mitter <committer@example.org> %d +0000" % (1_000_000_000 + number)
        stream.append(b"commit refs/heads/main\ncommitter " + stamp + b"\ndata 0\n")
        stream.append(b"M 100644 inline file\ndata 100000\n" + contents[number % 2] + b"\n")
    gitcmd.git(repository, "fast-import", "--quiet", stdin=b"".join(stream))
    return gitcmd.text(repository, "rev-list", "--reverse", "refs/heads/main").split()


def pack_by_difference(repository: Path, commit: str) -> bytes:
    """Return what a commit has and its parents have not, whether earlier commits had it or not."""
    parents = gitcmd.text(repository, "rev-list", "--no-walk", "--parents", commit).split()[1:]
    excluded = [f"^{parent}" for parent in parents]
    listed = gitcmd.git(repository, "rev-list", "--objects-edge", commit, *excluded)
    return gitcmd.git(repository, "pack-objects", "--stdout", "-q", stdin=listed)
