"""Peers that lie, flood or vanish: the download ends well as long as one honest peer is there."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.git import scratch
from gittorrent.git.memory import INDEXING_MEMORY
from gittorrent.git.runner import GitError
from gittorrent.gtp.believed import ReferenceBook
from gittorrent.gtp.blocks import COMMITS
from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.exchange import Exchange
from gittorrent.gtp.framing import encode_frame
from gittorrent.gtp.handshake import Handshake
from gittorrent.gtp.limits import MIB
from gittorrent.gtp.messages import (
    BEGINNING,
    BlockName,
    ObjectsRequest,
    PeerAddress,
    ReelName,
    ReelOffer,
    ReferenceEntry,
    References,
    ScanEntry,
)
from gittorrent.gtp.metainfo import Metainfo
from gittorrent.gtp.node.addresses import Teller
from gittorrent.gtp.node.assembling import Assembler
from gittorrent.gtp.node.authoring import ReferenceAuthor, make_reference
from gittorrent.gtp.node.blockstore import BlockStore
from gittorrent.gtp.node.daemon import GtpNode
from gittorrent.gtp.node.holding import Holding
from gittorrent.gtp.node.room import Room
from gittorrent.gtp.node.swarm import Swarm
from gittorrent.gtp.node.target import load_references
from gittorrent.gtp.reference import reference_id
from gittorrent.ids import SHA1
from gittorrent.signing.gpg import OpenPgpSigner
from gittorrent.wire.urls import AddressClass
from support import gitcmd, gtp
from support.gtp import RFC, Running, finished, leech, seed, until, without_references
from support.inflating import entry, inflating_pack
from support.programs import GITS, PATIENCE
from support.repositories import Made

pytestmark = [
    pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg missing"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def signer() -> Iterator[OpenPgpSigner]:
    with gtp.gnupg_home() as made:
        yield made


class Smaller(Holding):
    """Says its reels are half as large as they are."""

    def offers(self) -> list[ReelOffer]:
        return [replace(offer, size=offer.size // 2) for offer in super().offers()]


class Larger(Holding):
    """Says its reels are three times as large as they are."""

    def offers(self) -> list[ReelOffer]:
        return [replace(offer, size=offer.size * 3) for offer in super().offers()]


class Overlapping(Holding):
    """Sends with each block what belongs into the one before."""

    def play(self, block: BlockName) -> tuple[int, bytes]:
        if block.index:
            before = self._index(block.reel).block(block.index - 1, block.size)
            here = self._index(block.reel).block(block.index, block.size)
            both = replace(here, objects=(*before.objects, *here.objects))
            return both.offset, _pack(self, both)
        return super().play(block)


class Elsewhere(Holding):
    """Sends the first block whatever it is asked for."""

    def play(self, block: BlockName) -> tuple[int, bytes]:
        return super().play(replace(block, index=0))


class Damaging(Holding):
    """Sends packs with damaged entries and a right checksum."""

    def play(self, block: BlockName) -> tuple[int, bytes]:
        offset, pack = super().play(block)
        body = bytearray(pack[:-20])
        for at in range(20, len(body)):
            body[at] ^= 0x55
        return offset, bytes(body) + hashlib.sha1(body).digest() if pack else pack


class Truncating(Holding):
    """Sends packs whose checksum is wrong."""

    def play(self, block: BlockName) -> tuple[int, bytes]:
        offset, pack = super().play(block)
        return offset, pack[:-1]


class Inflating(Holding):
    """Sends a delta of a few KiB that makes more than there may be."""

    def play(self, block: BlockName) -> tuple[int, bytes]:
        return super().play(block)[0], inflating_pack(INDEXING_MEMORY + (64 << 20))


class Smuggling(Holding):
    """Sends with the first block a commit that breaks fsck's rules, and that nothing refers to."""

    def play(self, block: BlockName) -> tuple[int, bytes]:
        offset, pack = super().play(block)
        return offset, pack if block.index else _with_entry(pack, entry(1, len(ODD), ODD))


ODD = (
    b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
    b"author A <a@example.org> 1312735823 +051800\n"
    b"committer A <a@example.org> 1312735823 +051800\n\nodd\n"
)


def _with_entry(pack: bytes, added: bytes) -> bytes:
    """Return a pack with one more object."""
    objects = int.from_bytes(pack[8:12], "big") + 1
    body = pack[:8] + objects.to_bytes(4, "big") + pack[12:-20] + added
    return body + hashlib.sha1(body).digest()


def _pack(holding: Holding, block: object) -> bytes:
    from gittorrent.gtp.node.packing import pack_block

    return pack_block(holding._staging, block)  # type: ignore[arg-type]


async def lie(kind: type[Holding], metainfo: Metainfo, path: Path) -> Running:
    """Start a node whose holding is of a lying kind."""
    node = GtpNode(("127.0.0.1", 0))
    book = ReferenceBook(metainfo)
    load_references(path, metainfo.repo_hash, book)
    holding = kind(path, metainfo.profile, book)
    have = holding.refresh()

    class Idle(Exchange):
        def _reconsider(self, now: float, *, gone: bool = False) -> None:
            pass

    swarm = Swarm(
        metainfo=metainfo,
        exchange=Idle(metainfo.profile, book, have),
        holding=holding,
        target=None,
        open_holding=lambda: holding,
        meet=lambda _link, _peers: None,
        remember=lambda _reference: None,
    )
    node.add(swarm)
    await node.start()
    return Running(node, swarm)


@pytest.mark.parametrize(
    "kind", [Smaller, Larger, Overlapping, Elsewhere, Damaging, Truncating, Inflating]
)
def test_lies_about_data_do_no_harm(
    kind: type[Holding],
    signer: OpenPgpSigner,
    copied: Callable[[str], Made],
    tmp_path: Path,
) -> None:
    source, target = copied("linear").git_dir, tmp_path / "clone.git"

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        liar = await lie(kind, info, source)
        honest = await seed(info, source)
        leecher = await leech(info, target, liar.address, honest.address, block_size=16384)
        await finished(leecher)
        assert gitcmd.refs(target) == {
            name: oid for name, oid in gitcmd.refs(source).items() if b"refs/private" not in name
        }
        gitcmd.git(target, "fsck", "--full")
        for running in (leecher, honest, liar):
            await running.stop()

    gtp.run(scenario())


@pytest.mark.parametrize("git", GITS)
def test_memory_of_all_that_reads_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git: str
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", git)
    pack = inflating_pack(INDEXING_MEMORY + (64 << 20))
    store, reel = BlockStore(tmp_path / "blocks"), ReelName(BEGINNING, b"x" * 20)
    with scratch.receiving(tmp_path, SHA1) as staging:
        assembler = Assembler(staging, store, tmp_path / "room")
        with pytest.raises(GitError, match="ut of memory"):
            assembler.take_objects(pack, [])
        store.put(BlockName(reel, 0, COMMITS), 0, pack)
        assembler.compact(reel)
        assert store.get(BlockName(reel, 0, COMMITS)) == (0, pack)
        assembler.splice(reel)
        assert len(gitcmd.text(staging.directory, *ALL_OBJECTS).splitlines()) == 1


ALL_OBJECTS = ("cat-file", "--batch-all-objects", "--batch-check")


@pytest.mark.parametrize("git", GITS)
def test_smuggled_objects_that_break_rules_end_nothing(
    signer: OpenPgpSigner,
    copied: Callable[[str], Made],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    git: str,
) -> None:
    """A clone that is held to fsck's rules is held to them in what refs lead to."""
    source, target = copied("linear").git_dir, tmp_path / "clone.git"
    odd = gitcmd.text(source, "hash-object", "-t", "commit", "--stdin", "--literally", stdin=ODD)

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        liar = await lie(Smuggling, info, source)
        monkeypatch.setenv("GITTORRENT_GIT", git)
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "transfer.fsckObjects")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
        leecher = await leech(info, target, liar.address, block_size=4096)
        await finished(leecher)
        for running in (leecher, liar):
            await running.stop()

    gtp.run(scenario())
    assert gitcmd.refs(target) == gitcmd.refs(source)
    gitcmd.git(target, "fsck", "--full", "--strict")
    assert odd not in gitcmd.text(target, *ALL_OBJECTS)


@pytest.mark.parametrize("kind", [Damaging, Truncating, Larger])
def test_a_liar_alone_leaves_no_refs(
    kind: type[Holding],
    signer: OpenPgpSigner,
    copied: Callable[[str], Made],
    tmp_path: Path,
) -> None:
    from gittorrent.errors import UnreachableError

    source, target = copied("pushes").git_dir, tmp_path / "clone.git"

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        liar = await lie(kind, info, source)
        leecher = await leech(info, target, liar.address, block_size=4096, timeout=1.5)
        with pytest.raises(UnreachableError, match="cannot clone"):
            await finished(leecher)
        assert gitcmd.refs(target) == {}
        await leecher.stop()
        await liar.stop()

    gtp.run(scenario())


async def raw_peer(info: Metainfo, data: bytes) -> tuple[asyncio.Server, asyncio.Event]:
    """Start a listener that greets properly, then says ``data``; tells when it was left."""
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(36)
        writer.write(Handshake(info.repo_hash, b"hostile-peer-id-0001").encode() + data)
        while await reader.read(4096):
            pass
        left.set()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0), left


def place(server: asyncio.Server) -> tuple[str, int]:
    name = server.sockets[0].getsockname()
    return str(name[0]), int(name[1])


def forged(source: Path, signer: OpenPgpSigner) -> bytes:
    """A reference object whose refs were changed after it was signed."""
    body = make_reference(source, ReferenceAuthor(gtp.PERSON, gtp.TIME + 9999, signer), None)
    return body.replace(b"refs/heads/main", b"refs/heads/evil")


@pytest.mark.parametrize("what", ["signature", "id", "length", "short", "reels", "bitmap"])
def test_a_peer_that_breaks_the_protocol_is_dropped(
    what: str, signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, target = copied("linear").git_dir, tmp_path / "clone.git"

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        body = forged(source, signer)
        said = {
            "signature": References((ReferenceEntry(reference_id(body), body),)),
            "id": References((ReferenceEntry(b"x" * 20, info.references[0]),)),
        }
        raw = {
            "length": b"\xff\xff\xff\xff\x0a" + b"x" * 100,
            "short": b"\0\0\0\2\7x",
            "reels": b"\0\0\0\x2e\6" + b"x" * 45,
            "bitmap": b"\0\0\0\x32\7" + b"x" * 40 + b"\0\0\0\0" + b"\xff" * 5,
        }
        data = encode_frame(RFC.codec, said[what]) if what in said else raw[what]
        server, left = await raw_peer(info, data)
        honest = await seed(info, source)
        learned = without_references(info)
        leecher = await leech(learned, target, place(server), honest.address)
        await asyncio.wait_for(left.wait(), PATIENCE)
        await finished(leecher)
        assert b"refs/heads/evil" not in gitcmd.refs(target)
        assert gitcmd.refs(target) == gitcmd.refs(source)
        await leecher.stop()
        await honest.stop()
        server.close()
        await server.wait_closed()

    gtp.run(scenario())


class OnlyDirect(Holding):
    """Offers the whole history in one reel, and lacks the second half of it."""

    def offers(self) -> list[ReelOffer]:
        return super().offers()[:1]

    def play(self, block: BlockName) -> tuple[int, bytes]:
        if 2 * block.index >= self.count(block.reel, block.size):
            raise MessageError("not here")
        return super().play(block)


class OnlySteps(Holding):
    """Offers history in two reels, and notes what it was asked."""

    scanned = 0
    requested = 0
    played = 0

    def offers(self) -> list[ReelOffer]:
        found = super().offers()
        return [o for o in found[1:] if len(found) > 1]

    def play(self, block: BlockName) -> tuple[int, bytes]:
        type(self).played += 1
        return super().play(block)

    def scan(self, block: BlockName) -> tuple[int, tuple[ScanEntry, ...]]:
        type(self).scanned += 1
        return super().scan(block)

    def objects(self, request: ObjectsRequest) -> bytes:
        type(self).requested += len(request.objects)
        return super().objects(request)


def test_another_path_is_taken_and_spliced_when_a_peer_vanishes(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    """What the first peer gave is not asked of the second again: it is scanned, and completed."""
    source, target = copied("linear").git_dir, tmp_path / "clone.git"
    OnlySteps.scanned = OnlySteps.requested = OnlySteps.played = 0

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        for number in range(5):
            parent = gitcmd.text(source, "rev-parse", "refs/heads/main")
            words = ("commit-tree", "-p", parent, "-m", str(number), f"{parent}^{{tree}}")
            gitcmd.git(source, "update-ref", "refs/heads/main", gitcmd.text(source, *words))
        gtp.list_again(source, info, signer, gtp.TIME + 60)
        direct = await lie(OnlyDirect, info, source)
        steps = await lie(OnlySteps, info, source)
        leecher = await leech(info, target, direct.address, block_size=4096)
        exchange = leecher.swarm.exchange
        await until(lambda: 2 * exchange.progress()[0] >= exchange.progress()[1] > 0)
        leecher.node._members[info.repo_hash].addresses.add(*steps.address)
        await until(lambda: len(leecher.swarm.links) == 2)
        await direct.stop()
        await finished(leecher)
        assert gitcmd.refs(target) == gitcmd.refs(source)
        gitcmd.git(target, "fsck", "--full")
        await leecher.stop()
        await steps.stop()

    gtp.run(scenario())
    assert OnlySteps.scanned > 0
    assert OnlySteps.played < OnlySteps.scanned


def test_objects_outside_the_reels_are_never_given(
    signer: OpenPgpSigner, copied: Callable[[str], Made]
) -> None:
    source = copied("one").git_dir
    info = gtp.metainfo_for(source, RFC, signer)
    secret = gitcmd.text(source, "hash-object", "-w", "--stdin", stdin=b"secret\n")
    book = ReferenceBook(info)
    holding = Holding(source, RFC, book)
    holding.refresh()
    known = bytes.fromhex(gitcmd.text(source, "rev-parse", "refs/heads/main"))
    assert holding.objects(ObjectsRequest((known,))).startswith(b"PACK")
    with pytest.raises(MessageError):
        holding.objects(ObjectsRequest((known, bytes.fromhex(secret))))
    with pytest.raises(MessageError):
        holding.objects(ObjectsRequest((bytes(20),)))
    assert holding.offers()[0].reel.start == BEGINNING
    holding.close()


def test_strangers_are_turned_away_without_an_answer(
    signer: OpenPgpSigner, copied: Callable[[str], Made]
) -> None:
    """Neither another protocol, nor an unknown repository, nor our own peer id gets anything."""
    source = copied("one").git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        giver = await seed(info, source)
        own = Handshake(info.repo_hash, giver.node.peer_id).encode()
        for data, expected in (
            (b"GET / HTTP/1.0\r\n\r\n", 0),
            (Handshake(b"z" * 20, b"p" * 20).encode(), 0),
            (own, 56),
        ):
            reader, writer = await asyncio.open_connection(*giver.address)
            writer.write(data)
            assert len(await reader.read()) == expected
            writer.close()
            await writer.wait_closed()
        await giver.stop()

    gtp.run(scenario())


def test_a_second_connection_of_one_peer_is_dropped(
    signer: OpenPgpSigner, copied: Callable[[str], Made]
) -> None:
    source = copied("one").git_dir

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        giver = await seed(info, source)
        hello = Handshake(info.repo_hash, b"the-very-same-peer-1").encode()
        reader, writer = await asyncio.open_connection(*giver.address)
        writer.write(hello)
        await reader.readexactly(56)
        again, other = await asyncio.open_connection(*giver.address)
        other.write(hello)
        assert len(await again.read()) == 56
        assert len(giver.swarm.links) == 1
        for each in (writer, other):
            each.close()
            await each.wait_closed()
        await giver.stop()

    gtp.run(scenario())


def test_who_sends_messages_that_do_not_end_keeps_nobody_out(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, target = copied("one").git_dir, tmp_path / "clone.git"
    room = Room(talk=2 * MIB)

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        honest = await seed(info, source, room=room)
        endless = encode_frame(RFC.codec, References((ReferenceEntry(b"i" * 20, bytes(MIB)),)))
        flood = []
        for number in range(8):
            reader, writer = await asyncio.open_connection(*honest.address)
            writer.write(Handshake(info.repo_hash, b"hostile-peer-%07d" % number).encode())
            await reader.readexactly(56)
            writer.write(endless[:-1])
            flood.append(writer)
        await until(lambda: room.talk > MIB)
        leecher = await leech(without_references(info), target, honest.address)
        await finished(leecher)
        assert gitcmd.refs(target) == gitcmd.refs(source)
        assert room.talk <= 2 * MIB
        for writer in flood:
            writer.close()
        await leecher.stop()
        await honest.stop()

    gtp.run(scenario())


@pytest.mark.parametrize("conduct", ["silent", "banned"])
def test_who_shows_the_id_of_another_keeps_nobody_out(
    signer: OpenPgpSigner, copied: Callable[[str], Made], tmp_path: Path, conduct: str
) -> None:
    """It stays connected under that id, or lies under it."""
    source, target = copied("one").git_dir, tmp_path / "clone.git"
    came, ended = asyncio.Event(), asyncio.Event()

    async def scenario() -> None:
        info = gtp.metainfo_for(source, RFC, signer)
        honest = await seed(info, source)

        async def show(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(56)
            writer.write(Handshake(info.repo_hash, honest.node.peer_id).encode())
            if conduct == "banned":
                body = b"no reference"
                lie = References((ReferenceEntry(reference_id(body), body),))
                writer.write(encode_frame(RFC.codec, lie))
            came.set()
            while await reader.read(4096):
                pass
            ended.set()
            writer.close()

        server = await asyncio.start_server(show, "127.0.0.1", 0)
        leecher = await leech(info, target, server.sockets[0].getsockname()[:2])
        await came.wait()
        if conduct == "banned":
            await ended.wait()
        else:
            await until(lambda: bool(leecher.swarm.links))
        leecher.node.meet(
            info.repo_hash,
            (PeerAddress(honest.node.peer_id, *honest.address),),
            Teller("a tracker", AddressClass.LOOPBACK),
        )
        await finished(leecher)
        for running in (leecher, honest):
            await running.stop()
        server.close()

    gtp.run(scenario())
