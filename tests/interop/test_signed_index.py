"""Clones by signed indexes: usable without looking into the pack, and checked afterwards."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.reel.index_manifest import index_manifest
from gittorrent.repository.carried import Carried
from gittorrent.repository.layout import Layout
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.indexes import swap_offsets
from support.nodes import Served
from support.programs import GITS, Person, somebody, wait_until

SETTING = ("-c", "gittorrent.index=signed")
ALARM = "not-verified-see-gittorrent-alarm"


@pytest.fixture(params=["sha1", "sha256"])
def any_origin(request: pytest.FixtureRequest, tmp_path: Path, owner_key: Signer) -> Carried:
    return published(tmp_path / "r.git", owner_key, request.param)


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    return published(tmp_path / "r.git", owner_key)


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
    commits = gitcmd.text(origin.layout.git_dir, "rev-list", "--all", "-2").split()
    swap_offsets(index.pack, *commits)
    data = index.pack.read_bytes()
    manifest = index_manifest(reel.manifest, io.BytesIO(data), len(data))
    origin.indexes.store(manifest, key.sign(manifest.text()))


def is_checked(clone: Path) -> bool:
    return not list((clone / "gittorrent" / "unchecked").iterdir())


def is_refused(person: Person, clone: str = "clone") -> bool:
    done = person.git("-C", clone, "log", "-1")
    return done.status != 0 and ALARM in done.err


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", ["git", "http"])
def test_a_clone_is_used_at_once_and_checked_behind(
    any_origin: Carried, way: str, git: str, tmp_path: Path
) -> None:
    person = somebody(tmp_path / "person", git)
    (index,) = any_origin.indexes.all()
    with serving(any_origin, tmp_path / "h") as served:
        done = person.git(*SETTING, "clone", "--bare", url_of(served, way), "clone").ok()
    clone = person.root / "clone"
    assert "used as it was signed" in done.err
    assert "indexing" not in done.err
    assert gitcmd.refs(clone) == bulk.published(gitcmd.refs(any_origin.layout.git_dir))
    wait_until(lambda: is_checked(clone), "the check has come to its end")
    pack = clone / "objects" / "pack" / index.pack.name
    assert pack.read_bytes() == index.pack.read_bytes()
    assert not Layout(clone).alarm.exists()
    gitcmd.git(clone, "fsck", "--strict")
    said = person.gittorrent("verify", "clone").ok().out
    assert "no index check is owed" in said


def test_without_the_setting_nothing_changes(
    origin: Carried, person: Person, tmp_path: Path
) -> None:
    with serving(origin, tmp_path / "h") as served:
        for words in ((), ("-c", "gittorrent.index=own")):
            person.git(*words, "clone", "-q", "--bare", url_of(served), f"c{len(words)}").ok()
    for name in ("c0", "c2"):
        layout = Layout(person.root / name)
        assert not layout.unchecked.exists()
        assert not layout.indexes.exists()


def test_a_word_that_nobody_knows(origin: Carried, person: Person, tmp_path: Path) -> None:
    with serving(origin, tmp_path / "h") as served:
        done = person.git("-c", "gittorrent.index=yes", "clone", url_of(served), "clone")
    assert done.status != 0
    assert "write own or signed" in done.err


@pytest.mark.parametrize(
    "setting", ["fetch.fsckObjects", "transfer.fsckObjects", "gittorrent.paranoid"]
)
def test_checks_that_are_wanted_first_come_first(
    origin: Carried, person: Person, tmp_path: Path, setting: str
) -> None:
    with serving(origin, tmp_path / "h") as served:
        words = (*SETTING, "-c", f"{setting}=true", "clone", "--bare")
        done = person.git(*words, url_of(served), "clone").ok()
    assert "gittorrent.index=signed is left out" in done.err
    assert not Layout(person.root / "clone").unchecked.exists()


def test_repositories_without_one_come_as_ever(
    origin: Carried, person: Person, tmp_path: Path
) -> None:
    (index,) = origin.indexes.all()
    origin.indexes.drop(index.id)
    with serving(origin, tmp_path / "h") as served:
        person.git(*SETTING, "clone", "-q", "--bare", url_of(served), "clone").ok()
    assert not Layout(person.root / "clone").unchecked.exists()
    gitcmd.git(person.root / "clone", "fsck", "--strict")


def test_later_reels_are_indexed_on_top(
    origin: Carried, owner_key: Signer, person: Person, tmp_path: Path
) -> None:
    git_dir = origin.layout.git_dir
    nodes.add_commit(git_dir, "refs/heads/main", "more", b"more\n" * 300)
    nodes.publish(git_dir, owner_key, "project")
    assert len(origin.reels.all()) == 2
    with serving(origin, tmp_path / "h") as served:
        person.git(*SETTING, "clone", "-q", "--bare", url_of(served), "clone").ok()
    clone = person.root / "clone"
    assert gitcmd.refs(clone) == bulk.published(gitcmd.refs(git_dir))
    wait_until(lambda: is_checked(clone), "the check has come to its end")
    gitcmd.git(clone, "fsck", "--strict")


@pytest.mark.parametrize("git", GITS)
def test_a_false_index_makes_git_refuse_the_clone(
    origin: Carried, owner_key: Signer, tmp_path: Path, git: str
) -> None:
    """The keeper lies. The clone works, and shows wrong things, until the check behind it."""
    person = somebody(tmp_path / "person", git)
    true = origin.indexes.all()[0].pack.read_bytes()
    sign_false_index(origin, owner_key)
    with serving(origin, tmp_path / "h") as served:
        person.git(*SETTING, "clone", "-q", "--bare", url_of(served), "clone").ok()
        clone = person.root / "clone"
        wait_until(lambda: is_refused(person), "the alarm is raised")
        for words in (("log", "-1"), ("fetch",), ("fsck",), ("status",)):
            done = person.git("-C", "clone", *words)
            assert done.status != 0
            assert ALARM in done.err
        assert str(owner_key.key) in Layout(clone).alarm.read_text()
        # The pack was whole: its true index takes the place, once the user has read why.
        wait_until(lambda: is_checked(clone), "the true index is in place")
        seed = person.gittorrent("seed", "clone", url_of(served), "--for", "0")
        assert seed.status != 0
        assert "is not to be used" in seed.err
        said = person.gittorrent("verify", "clone").ok().out
        assert "git may use the repository again" in said
        gitcmd.git(clone, "fsck", "--strict")
        # The key is believed no more here: the next clone goes by an ordinary fetch.
        origin.indexes.all()[0].pack.write_bytes(true)
        person.git(*SETTING, "clone", "-q", "--bare", url_of(served), "again").ok()
        assert not Layout(person.root / "again").unchecked.exists()


def test_a_pack_that_lacks_something_is_not_mended(
    origin: Carried, owner_key: Signer, person: Person, tmp_path: Path
) -> None:
    """One byte of the pack differs: the parts are as signed, an object is not."""
    spoil_the_pack(origin, owner_key)
    with serving(origin, tmp_path / "h") as served:
        person.git(*SETTING, "clone", "-q", "--bare", url_of(served), "clone").ok()
    clone = person.root / "clone"
    wait_until(lambda: is_refused(person), "the alarm is raised")
    assert "Remove it and clone again" in Layout(clone).alarm.read_text()
    assert not is_checked(clone)
    done = person.gittorrent("verify", "clone")
    assert done.status == 5
    assert "is broken" in done.err
    assert is_refused(person)


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


def test_nothing_is_published_from_a_clone_that_is_not_checked(
    origin: Carried, owner_key: Signer, person: Person, tmp_path: Path
) -> None:
    spoil_the_pack(origin, owner_key)
    with serving(origin, tmp_path / "h") as served:
        person.git(*SETTING, "clone", "-q", url_of(served), "clone", "--no-checkout").ok()
    git_dir = person.root / "clone" / ".git"
    wait_until(Layout(git_dir).alarm.exists, "the alarm is raised")
    done = person.gittorrent("publish", "clone", "--key", str(tmp_path / "no-key"))
    assert done.status != 0
    assert "is not to be used" in done.err


def test_verify_says_json(origin: Carried, person: Person, tmp_path: Path) -> None:
    with serving(origin, tmp_path / "h") as served:
        person.git(*SETTING, "clone", "-q", "--bare", url_of(served), "clone").ok()
    said = json.loads(person.gittorrent("verify", "--json", "clone").ok().out)
    assert said["ok"] is True
    assert said["admitted"] is False
