"""Repositories whose indexes are signed, by honest keepers and others, and their clones."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from gittorrent.reel.index_manifest import index_manifest
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.indexes import swap_offsets
from support.nodes import Served
from support.programs import Person

SETTING = ("-c", "gittorrent.index=signed")
ALARM = "not-verified-see-gittorrent-alarm"


def published(git_dir: Path, key: Signer, object_format: str = "sha1") -> Carried:
    bulk.make_small(git_dir, object_format)
    gitcmd.git(git_dir, "config", "gittorrent.shapes", "always")
    return nodes.publish(git_dir, key, "project")


@contextmanager
def serving(origin: Carried, home: Path) -> Iterator[Served]:
    with nodes.serving(origin, home=nodes.make_home(home)) as served:
        yield served


def url_of(served: Served, way: str = "git") -> str:
    if way == "http":
        return f"gittorrent::{served.http}/project.git"
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def sign_false_index(origin: Carried, key: Signer) -> None:
    """Let the origin's keeper sign an index that calls two commits by each other's id."""
    (index,) = origin.indexes.all()
    assert index.manifest.shape.manifest is not None
    reel = origin.reels.get(index.manifest.shape.manifest)
    assert reel is not None
    origin.indexes.drop(index.id)
    # Not those that refs point at: git looks at them when it writes refs.
    commits = gitcmd.text(origin.layout.git_dir, "rev-list", "refs/heads/main").split()
    swap_offsets(index.pack, *commits[5:7])
    data = index.pack.read_bytes()
    manifest = index_manifest(reel.manifest, io.BytesIO(data), len(data))
    origin.indexes.store(manifest, key.sign(manifest.text()))


def is_checked(clone: Path) -> bool:
    return not list((clone / "gittorrent" / "unchecked").iterdir())


def is_refused(person: Person, clone: str = "clone") -> bool:
    done = person.git("-C", clone, "log", "-1")
    return done.status != 0 and ALARM in done.err


def spoil_the_pack(origin: Carried, key: Signer) -> None:
    """Damage a blob of the origin's pack, and sign manifests that describe it so."""
    (index,) = origin.indexes.all()
    assert index.manifest.shape.manifest is not None
    reel = origin.reels.get(index.manifest.shape.manifest)
    assert reel is not None
    data = bytearray(reel.pack.read_bytes())
    data[len(data) // 2] ^= 1
    data[-20:] = hashlib.sha1(bytes(data[:-20])).digest()
    idx = bytearray(index.pack.read_bytes())
    idx[-40:-20] = data[-20:]
    idx[-20:] = hashlib.sha1(bytes(idx[:-20])).digest()
    size = reel.manifest.part_size
    parts = [hashlib.sha256(data[at : at + size]).hexdigest() for at in range(0, len(data), size)]
    manifest = replace(reel.manifest, pack_checksum=bytes(data[-20:]).hex(), parts=tuple(parts))
    origin.indexes.drop(index.id)
    origin.layout.manifest(reel.id).unlink()
    place = origin.layout.pack(manifest.pack_checksum)
    place.write_bytes(data)
    place.with_suffix(".idx").write_bytes(idx)
    origin.reels.store_manifest(manifest, key.sign(manifest.text()))
    found = index_manifest(manifest, io.BytesIO(bytes(idx)), len(idx))
    origin.indexes.store(found, key.sign(found.text()))
