"""Where small packs end, however they come in pieces; and what is given up."""

from __future__ import annotations

import hashlib
import random
import zlib

import pytest

from gittorrent.git.pack_extent import PackExtent
from gittorrent.git.small_pack import SmallPackError
from gittorrent.ids import SHA1
from gittorrent.reel.pack import HEADER_SIZE, pack_header
from support import gitcmd

MAX = 1 << 20


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A pack of git's with deltas by distance and by id, and one object that is empty."""
    root = tmp_path_factory.mktemp("extent")
    gitcmd.git(root, "init", "-q", "--bare", "r.git")
    lines = b"".join(b"%d\n" % number for number in range(2000))
    oids = [
        gitcmd.text(root / "r.git", "hash-object", "-w", "--stdin", stdin=content)
        for content in (lines, lines + b"more\n", b"", b"x" * 200_000)
    ]
    asked = "".join(f"{oid}\n" for oid in oids).encode()
    made = gitcmd.git(root / "r.git", "pack-objects", "--stdout", "-q", stdin=asked)
    delta = bytes([0xF5, 0x01]) + bytes.fromhex(oids[0])  # 5 + 16 bytes, on an object named by id
    more = delta + zlib.compress(bytes(21))
    count = int.from_bytes(made[8:12], "big") + 1
    body = pack_header(count) + made[HEADER_SIZE:-20] + more
    return body + hashlib.sha1(body).digest()


def extent(pack: bytes, max_bytes: int = MAX, max_inflated: int = MAX) -> PackExtent:
    return PackExtent(int.from_bytes(pack[8:12], "big"), SHA1, max_bytes, max_inflated)


@pytest.mark.parametrize("seed", range(20))
def test_cut_anywhere(pack: bytes, seed: int) -> None:
    chance, found, at = random.Random(seed), extent(pack), HEADER_SIZE
    while at < len(pack):
        size = chance.choice((1, 1, 7, 100, 100_000))
        is_done = found.feed(pack[at : at + size])
        at += size
        assert is_done == (at >= len(pack))
    assert bytes(found.data) == pack[HEADER_SIZE:]


def test_no_object(pack: bytes) -> None:
    empty = pack_header(0)
    assert extent(empty).feed(hashlib.sha1(empty).digest())


def test_what_is_given_up(pack: bytes) -> None:
    body = pack[HEADER_SIZE:]
    with pytest.raises(SmallPackError, match="too large"):
        extent(pack, max_inflated=100_000).feed(body)
    with pytest.raises(SmallPackError, match="more than 100 bytes"):
        extent(pack, max_bytes=100).feed(body[:-1])
    with pytest.raises(SmallPackError, match="after"):
        extent(pack).feed(body + b"x")
    with pytest.raises(SmallPackError, match="none of git's"):
        extent(pack).feed(b"\x00" + body)
    with pytest.raises(SmallPackError, match="number"):
        extent(pack).feed(b"\xb0" + b"\x80" * 20)
    with pytest.raises(SmallPackError, match="damaged"):
        extent(pack).feed(b"\x35not deflated at all")


def test_deltas_count_as_what_they_stand_for(pack: bytes) -> None:
    """A small one may stand for much; one that does not say how much is given up."""
    delta = b"\x05" + b"\xff" * 4 + b"\x01" + bytes(15)
    for head, size in ((delta, (1 << 28) + (1 << 28) - 1), (b"\x80" * 21, None)):
        body = bytes([0xF5, 0x01]) + bytes(20) + zlib.compress(head) + bytes(20)
        found = PackExtent(1, SHA1, MAX, MAX)
        assert found.feed(body)
        if size is None:
            with pytest.raises(SmallPackError, match="delta"):
                found.unpacked_size()
        else:
            assert found.unpacked_size() == size
    found = extent(pack)
    found.feed(pack[HEADER_SIZE:])
    assert found.unpacked_size() > 200_000


def test_an_object_that_is_larger_than_it_says(pack: bytes) -> None:
    """However little it takes up, and whatever it says."""
    with pytest.raises(SmallPackError, match="larger than it says"):
        extent(pack).feed(b"\x35" + zlib.compress(bytes(50 << 20)))
