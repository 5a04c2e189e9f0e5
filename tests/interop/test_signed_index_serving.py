"""Signed indexes where they are served: by mirrors and seeds that made them, and over HTTP."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import replace

from gittorrent.ids import ManifestId
from gittorrent.repository.carried import Carried
from gittorrent.repository.index_maker import manifest_of_index
from gittorrent.repository.verify import Verifier
from gittorrent.signing.keys import Signer
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.wire.messages import HaveBundle
from gittorrent.wire.reelname import ReelName
from support import bulk, gitcmd, hostile, nodes
from support.indexes import swap_offsets
from support.programs import Person, somebody


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    git_dir = bulk.make_small(tmp_path / "r.git")
    gitcmd.git(git_dir, "config", "gittorrent.shapes", "always")
    return nodes.publish(git_dir, owner_key, "project")


def read(url: str, **headers: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.status, answer.read()


def test_it_is_a_resource_of_http_like_a_reel(origin: Carried, tmp_path: Path) -> None:
    (index,) = origin.indexes.all()
    data = index.pack.read_bytes()
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "h")) as served:
        base = f"{served.http}/project.git/reels/"
        lines = read(f"{base}index")[1].decode().splitlines()
        assert sum(f"have shape {index.manifest.shape.word} :" in line for line in lines) == 1
        assert read(f"{base}{index.id}.manifest")[1] == index.manifest_file
        assert read(f"{base}{index.id}.pack") == (200, data)
        assert read(f"{base}{index.id}.pack", Range="bytes=8-1031") == (206, data[8:1032])
    assert hashlib.sha256(data).hexdigest() == index.manifest.parts[0]


def test_a_mirror_serves_the_one_that_it_made(
    origin: Carried, tmp_path: Path, person: Person
) -> None:
    keeper = somebody(tmp_path / "keeper")
    (index,) = origin.indexes.all()
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "h")) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        keeper.gittorrent("mirror", url, "--once").ok()
        mirror = Carried(keeper.node / "repositories" / "project.git", origin.object_format)
        (ours,) = mirror.indexes.all()
        assert ours.manifest_file == index.manifest_file
        assert ours.pack.read_bytes() == index.pack.read_bytes()
        assert not ours.pack.samefile(index.pack)
        assert Verifier(mirror).run().findings == ()
        # So does a seed, of a clone that came by other means.
        person.git("clone", "-q", url, "clone").ok()
        person.gittorrent("seed", "clone", url, "--for", "0").ok()
        seed = Carried(person.root / "clone" / ".git", origin.object_format)
        assert [found.id for found in seed.indexes.all()] == [index.id]


def test_a_mirror_does_not_pass_on_another_one(
    origin: Carried, owner_key: Signer, tmp_path: Path
) -> None:
    """A keeper signs an index that lies: who makes the index anew sees that, and says so."""
    keeper = somebody(tmp_path / "keeper")
    (index,) = origin.indexes.all()
    commits = gitcmd.text(origin.layout.git_dir, "rev-list", "--all", "-2").split()
    false = tmp_path / "false.idx"
    false.write_bytes(index.pack.read_bytes())
    swap_offsets(false, *commits)
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "h")) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        sign_index(origin, owner_key, false)
        done = keeper.gittorrent("mirror", url, "--once").ok()
    assert "signed another index" in done.err
    mirror = Carried(keeper.node / "repositories" / "project.git", origin.object_format)
    assert mirror.indexes.all() == []


class MakesIndexesUp(RepositoryContent):
    """Offers indexes of its packs by the hundred, and has none of them."""

    asked: ClassVar[list[ManifestId]] = []

    def offers(self, reel: ReelName) -> list[HaveBundle]:
        true = list(super().offers(reel))
        (index,) = (offer for offer in true if offer.shape.manifest is not None)
        false = [replace(index, manifest=ManifestId(f"{n:064x}")) for n in range(300)]
        return [*true, *false]

    def manifest(self, manifest: ManifestId) -> bytes | None:
        if manifest.startswith("0" * 60):
            self.asked.append(manifest)
            return b"not a manifest"
        of = self.carried.indexes.get(manifest)
        return None if of is not None else super().manifest(manifest)


def test_a_mirror_asks_for_few_of_the_indexes_that_are_made_up(
    origin: Carried, tmp_path: Path
) -> None:
    keeper = somebody(tmp_path / "keeper")
    with hostile.lying(origin, nodes.make_home(tmp_path / "h"), MakesIndexesUp) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        keeper.gittorrent("mirror", url, "--once").ok()
    mirror = Carried(keeper.node / "repositories" / "project.git", origin.object_format)
    assert mirror.indexes.all() == []
    assert len(MakesIndexesUp.asked) < 10


def sign_index(origin: Carried, key: Signer, false: Path) -> None:
    """Put an index in place of that of the origin's reel, signed."""
    (index,) = origin.indexes.all()
    assert index.manifest.shape.manifest is not None
    reel = origin.reels.get(index.manifest.shape.manifest)
    assert reel is not None
    origin.indexes.drop(index.id)
    false.replace(index.pack)
    manifest = manifest_of_index(reel)
    origin.indexes.store(manifest, key.sign(manifest.text()))
