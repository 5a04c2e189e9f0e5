"""The file of a damaged reel as a place for parts: it takes right bytes, and no other ones."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from gittorrent.repository.reelstore import StoredReel
from gittorrent.transfer.reel_mending import ReelFile
from support import bulk, nodes
from support.hostile import spoil


@pytest.fixture
def reel(tmp_path: Path) -> StoredReel:
    carried = nodes.publish(bulk.make_small(tmp_path / "r.git"), nodes.signer(tmp_path), "project")
    (found,) = carried.reels.all()
    assert found.pack.parent.name == "pack"
    return found


def test_what_is_not_right_is_not_written(reel: StoredReel, tmp_path: Path) -> None:
    """Whoever gives it: what is wrong stays as wrong as it was, and what is right stays right."""
    (right,) = reel.sound_parts()
    whole = reel.pack.read_bytes()
    other = tmp_path / "link"
    os.link(reel.pack, other)
    spoil(reel.pack, 1000)
    damaged = reel.pack.read_bytes()
    with closing(ReelFile(reel)) as file:
        assert list(file.recover()) == []
        wrong = (bytes(len(right)), right[:-1], right + b"x", b"", damaged[: len(right)])
        for data in wrong:
            assert not file.store(0, data)
            assert reel.pack.read_bytes() == damaged
        assert not file.holds(0)
        assert not file.marked(0)
        assert file.store(0, right)
        assert file.marked(0)
        assert file.mended == 1
    assert reel.pack.read_bytes() == whole
    assert other.read_bytes() == whole, "it is right wherever it is linked to"


def test_it_is_as_it_was_until_it_is_right_as_a_whole(reel: StoredReel) -> None:
    """What is known of its damage goes by its time; and git's packs stay read-only."""
    (right,) = reel.sound_parts()
    spoil(reel.pack, 1000)
    reel.pack.chmod(0o444)
    before = reel.pack.stat()
    with closing(ReelFile(reel)) as file:
        assert reel.pack.stat().st_mode == before.st_mode
        file.store(0, right)
        assert reel.pack.stat().st_mtime_ns == before.st_mtime_ns
        file.finish()
    assert reel.pack.stat().st_mtime_ns > before.st_mtime_ns
    assert reel.pack.stat().st_mode == before.st_mode
