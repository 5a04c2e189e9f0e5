"""Manifests that are signed and wrong, manifests that compete, and mirrors that send us elsewhere.

The signer here is somebody the policy lets sign reels: what is left to check then are the objects.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.reel.manifest import Manifest, Segment
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, killing, nodes
from support.copying import copy_tree
from support.nodes import Served, list_mirrors
from support.programs import Person
from support.running_servers import running


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def copied(carried: Carried, target: Path) -> Carried:
    copy_tree(carried.layout.git_dir, target)
    return Carried(target, carried.object_format)


def add_reel(carried: Carried, manifest: Manifest, key: Signer) -> None:
    """Let a repository serve a reel under a signed manifest, whatever it is."""
    carried.reels.store_manifest(manifest, key.sign(manifest.text()))


def pack_of_some(carried: Carried) -> tuple[Path, int]:
    """Return a whole pack of only some of what the newest push needs, in the object store."""
    main = gitcmd.text(carried.layout.git_dir, "rev-parse", "refs/heads/main")
    folder = carried.layout.objects / "pack"
    base = folder / "pack"
    listed = gitcmd.git(carried.layout.git_dir, "rev-parse", main, f"{main}~1")
    words = ["pack-objects", "-q", "--no-reuse-delta", "--window=0", str(base)]
    name = gitcmd.text(carried.layout.git_dir, *words, stdin=listed)
    return folder / f"pack-{name}.pack", 2


def wrong_objects(carried: Carried, key: Signer) -> None:
    """Replace all reels by one whose every part is right and most of whose objects are missing."""
    (stored,) = carried.reels.all()
    pack, objects = pack_of_some(carried)
    data = pack.read_bytes()
    checksum = data[-20:].hex()
    target = carried.layout.pack(checksum)
    for suffix in (".idx", ".rev", ".pack"):
        if pack.with_suffix(suffix).exists():
            pack.with_suffix(suffix).rename(target.with_suffix(suffix))
    size = stored.manifest.part_size
    false = replace(
        stored.manifest,
        objects=objects,
        pack_size=len(data),
        pack_checksum=checksum,
        segments=(replace_frontier(stored.manifest.segments[-1], objects),),
        parts=tuple(
            hashlib.sha256(data[at : at + size]).hexdigest() for at in range(0, len(data), size)
        ),
    )
    carried.layout.manifest(stored.id).unlink()
    add_reel(Carried(carried.layout.git_dir, carried.object_format), false, key)


def replace_frontier(segment: Segment, objects: int) -> Segment:
    return replace(segment, offset=12, objects=objects, raw_size=500)


def smaller_parts(carried: Carried, key: Signer) -> None:
    """Add a second manifest of the same reel, as good as the first."""
    (stored,) = carried.reels.all()
    data = stored.pack.read_bytes()[: stored.manifest.pack_size]
    size = 1 << 14
    digests = tuple(
        hashlib.sha256(data[at : at + size]).hexdigest() for at in range(0, len(data), size)
    )
    add_reel(carried, replace(stored.manifest, part_size=size, parts=digests), key)


@pytest.mark.parametrize("fsck", ["false", "true"])
def test_a_signed_reel_without_the_objects_is_not_believed_twice(
    project: Carried, owner_key: Signer, tmp_path: Path, person: Person, fsck: str
) -> None:
    """The clone comes out whole by an ordinary fetch, and the signer's word counts no more."""
    carried = copied(project, tmp_path / "r.git")
    wrong_objects(carried, owner_key)
    person.git("config", "--global", "transfer.fsckObjects", fsck).ok()
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        first = person.git("clone", "--mirror", url_of(served), "c").ok()
        assert "lack objects that the push needs" in first.err or "is broken" in first.err
        assert not person.partial
        second = person.git("clone", "--mirror", url_of(served), "d").ok()
        assert "is not believed here" in second.err
        mirrored = person.gittorrent("mirror", url_of(served), "--once").ok()
        assert "is not believed here" in mirrored.err
    for name in ("c", "d"):
        killing.assert_equal(person.root / name, project)
    assert not list((person.root / "c" / "gittorrent" / "incoming").glob("*"))


def test_two_manifests_of_one_reel_are_nobodys_fault(
    project: Carried, owner_key: Signer, tmp_path: Path, person: Person
) -> None:
    carried = copied(project, tmp_path / "r.git")
    smaller_parts(carried, owner_key)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        done = person.git("clone", "--mirror", url_of(served), "c").ok()
    assert "believed" not in done.err
    assert " is out" not in done.err
    killing.assert_equal(person.root / "c", project)


def test_a_manifest_signed_by_a_stranger_is_not_used(
    project: Carried, tmp_path: Path, person: Person
) -> None:
    (tmp_path / "k").mkdir()
    stranger = nodes.signer(tmp_path / "k")
    carried = copied(project, tmp_path / "r.git")
    wrong_objects(carried, stranger)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h")) as served:
        done = person.git("clone", "--mirror", url_of(served), "c").ok()
    assert "may not sign reels" in done.err
    killing.assert_equal(person.root / "c", project)


# --- elsewhere -----------------------------------------------------------------------------------


@contextlib.contextmanager
def redirecting(target: str) -> Iterator[tuple[str, list[str]]]:
    """Run a web server that sends everybody to ``target``; yields HOST:PORT and what was asked."""
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    with running(server):
        yield f"127.0.0.1:{server.server_address[1]}", asked


def test_redirects_are_not_followed(project: Carried, tmp_path: Path, person: Person) -> None:
    """Neither by the mirror the user named nor by one it tells of."""
    with socket.create_server(("127.0.0.1", 0)) as victim:
        victim.settimeout(0.2)
        target = f"http://127.0.0.1:{victim.getsockname()[1]}/mirror-list"
        with redirecting(target) as (place, asked):
            done = person.gittorrent("clone", f"gittorrent::http://{place}/project.git", "c")
            assert done.status in (3, 6, 8), done
            home = nodes.make_home(tmp_path / "h")
            list_mirrors(home, project, f"http://{place}/listed.git")
            with nodes.serving(project, home=home) as served:
                person.git("clone", "--mirror", url_of(served), "d").ok()
            assert {path.split("/")[1] for path in asked} == {"project.git", "listed.git"}
        with pytest.raises(TimeoutError):
            victim.accept()
    assert gitcmd.refs(person.root / "d") == bulk.published(gitcmd.refs(project.layout.git_dir))
