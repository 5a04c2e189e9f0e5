"""Signed indexes where reels are made: which are signed, which are given, what verify says."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from gittorrent.durable import locked
from gittorrent.reel.index_manifest import index_manifest
from gittorrent.repository.index_maker import IndexDamagedError, sign_lacking_indexes
from gittorrent.repository.reelstore import StoredReel
from gittorrent.repository.verify import Verifier
from gittorrent.shapes import index_of
from support import gitcmd
from support.indexes import swap_offsets
from support.publishing import builder, carried, grow, publish
from support.repositories import Builder
from support.signing import TestSigner


@pytest.fixture
def b(tmp_path: Path) -> Builder:
    made = builder(tmp_path / "project.git")
    grow(made, 40)
    gitcmd.git(made.git_dir, "config", "gittorrent.shapes", "always")
    publish(made.git_dir, name="project")
    return made


def base(b: Builder) -> StoredReel:
    (reel,) = [r for r in carried(b.git_dir).reels.all() if r.manifest.start is None]
    return reel


def sign(b: Builder) -> list[StoredReel]:
    this = carried(b.git_dir)
    with locked(this.layout.building_lock):
        return sign_lacking_indexes(this, TestSigner())


def lie(b: Builder, index: StoredReel) -> None:
    """Let the index call two commits by each other's id, with checksums that fit."""
    listed = gitcmd.text(b.git_dir, "rev-list", "-2", "refs/heads/main").split()
    swap_offsets(index.pack, *listed)


def test_a_new_reel_has_a_signed_index(b: Builder) -> None:
    (index,) = carried(b.git_dir).indexes.all()
    reel = base(b)
    assert index.manifest.shape == index_of(reel.id)
    assert index.pack == reel.pack.with_suffix(".idx")
    assert list(index.damaged_parts()) == []
    data = index.pack.read_bytes()
    assert index_manifest(reel.manifest, io.BytesIO(data), len(data)) == index.manifest
    assert Verifier(carried(b.git_dir)).run().findings == ()


@pytest.mark.parametrize("wanted", ["never", "auto"])
def test_none_is_signed_where_it_does_not_pay(tmp_path: Path, wanted: str) -> None:
    made = builder(tmp_path / "project.git")
    grow(made, 4)
    gitcmd.git(made.git_dir, "config", "gittorrent.shapes", wanted)
    publish(made.git_dir, name="project")
    assert carried(made.git_dir).indexes.all() == []


def test_indexes_alone(tmp_path: Path) -> None:
    made = builder(tmp_path / "project.git")
    grow(made, 4)
    gitcmd.git(made.git_dir, "config", "gittorrent.shapes", "indexes")
    publish(made.git_dir, name="project")
    assert len(carried(made.git_dir).indexes.all()) == 1
    assert carried(made.git_dir).shapes.all() == []


def test_later_reels_have_none(b: Builder) -> None:
    grow(b, 60)
    publish(b.git_dir)
    reels = carried(b.git_dir).reels.all()
    assert len(reels) == 2
    assert len(carried(b.git_dir).indexes.all()) == 1


def test_older_reels_get_one_if_the_index_is_right(b: Builder) -> None:
    (index,) = carried(b.git_dir).indexes.all()
    carried(b.git_dir).indexes.drop(index.id)
    assert carried(b.git_dir).indexes.all() == []
    assert [made.id for made in sign(b)] == [index.id]
    assert sign(b) == []
    carried(b.git_dir).indexes.drop(index.id)
    lie(b, index)
    with pytest.raises(IndexDamagedError, match="is not the index of its pack"):
        sign(b)
    assert carried(b.git_dir).indexes.all() == []


def test_verify_makes_the_index_again(b: Builder) -> None:
    (index,) = carried(b.git_dir).indexes.all()
    lie(b, index)
    found = {each.subject: each.problem for each in Verifier(carried(b.git_dir)).run().findings}
    assert "damaged" in found[f"reel {index.id}"]
    assert "is not the index of its pack" in found[f"index {index.id}"]
    # A keeper that signs such an index is found out too: its parts are right, the index is not.
    lying = index_manifest(base(b).manifest, io.BytesIO(data := index.pack.read_bytes()), len(data))
    this = carried(b.git_dir)
    this.indexes.drop(index.id)
    this.indexes.store(lying, TestSigner().sign(lying.text()))
    findings = Verifier(carried(b.git_dir)).run().findings
    assert f"index {lying.id}" in {finding.subject for finding in findings}


def test_it_goes_with_its_reel(b: Builder) -> None:
    this = carried(b.git_dir)
    (index,) = this.indexes.all()
    this.reels.drop(base(b))
    assert this.indexes.all() == []
    assert this.indexes.get(index.id) is None
    this.indexes.sweep()
    assert list(this.layout.indexes.iterdir()) == []


def test_one_of_another_size_is_not_given(b: Builder) -> None:
    (index,) = carried(b.git_dir).indexes.all()
    index.pack.chmod(0o644)
    with index.pack.open("ab") as file:
        file.write(bytes(8))
    assert carried(b.git_dir).indexes.all() == []


def test_a_damaged_manifest_is_not_there(b: Builder) -> None:
    this = carried(b.git_dir)
    (index,) = this.indexes.all()
    (file,) = this.layout.indexes.iterdir()
    file.write_bytes(file.read_bytes()[:-300])
    assert carried(b.git_dir).indexes.all() == []
    assert carried(b.git_dir).indexes.get(index.id) is None
    assert len(carried(b.git_dir).indexes.lacking()) == 1
