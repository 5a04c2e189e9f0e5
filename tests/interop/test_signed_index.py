"""Clones by signed indexes: usable without looking into the pack, and checked afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gittorrent.durable import locked
from gittorrent.git.alternates import alternates_file
from gittorrent.repository.carried import Carried
from gittorrent.repository.layout import Layout
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.hostile import spoil
from support.programs import GITS, Person, somebody, wait_until
from support.signed_indexes import (
    ALARM,
    SETTING,
    is_checked,
    is_refused,
    published,
    serving,
    sign_false_index,
    spoil_the_pack,
    url_of,
)

pytestmark = pytest.mark.git_in_turn


@pytest.fixture(params=["sha1", "sha256"])
def any_origin(request: pytest.FixtureRequest, tmp_path: Path, owner_key: Signer) -> Carried:
    return published(tmp_path / "r.git", owner_key, request.param)


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    return published(tmp_path / "r.git", owner_key)


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


@pytest.mark.parametrize("git", GITS)
def test_repositories_that_borrow_from_a_false_one_hear_the_alarm(
    origin: Carried, owner_key: Signer, tmp_path: Path, git: str
) -> None:
    """Also where the pack cannot be mended: what was borrowed from it is gone for good."""
    person = somebody(tmp_path / "person", git)
    spoil_the_pack(origin, owner_key)
    with serving(origin, tmp_path / "h") as served:
        person.git(*SETTING, "clone", "-q", "--no-checkout", url_of(served), "clone").ok()
    objects = Layout(person.root / "clone" / ".git").objects
    person.git("init", "-q", "borrower").ok()
    alternates_file(Layout(person.root / "borrower" / ".git").objects).write_text(f"{objects}\n")
    wait_until(lambda: is_refused(person), "the alarm is raised")
    wait_until(lambda: not (objects / "pack").exists(), "its packs are gone")
    main = gitcmd.refs(origin.layout.git_dir)[b"refs/heads/main"]
    done = person.git("-C", "borrower", "log", "-1", main)
    assert done.status != 0
    assert ALARM in done.err
    for words in (("publish", "borrower"), ("seed", "borrower"), ("verify", "borrower")):
        said = person.gittorrent(*words)
        assert said.status != 0
        assert "is not to be used" in said.err


@pytest.mark.parametrize("git", GITS)
def test_git_takes_no_keep_file_away_that_belongs_to_the_check(
    origin: Carried, tmp_path: Path, git: str
) -> None:
    """Git removes the one that a helper names, as soon as refs point into the pack."""
    person = somebody(tmp_path / "person", git)
    clone = Layout(person.root / "clone")
    person.git("init", "-q", "--bare", "clone").ok()
    with serving(origin, tmp_path / "h") as served, locked(clone.building_lock):
        words = (*SETTING, "-C", "clone", "fetch", "-q", url_of(served), "refs/*:refs/*")
        person.git(*words).ok()
        (keep,) = clone.objects.glob("pack/*.keep")
        assert "not checked yet" in keep.read_text()
        assert list(clone.unchecked.glob("*.keep")) == []
        assert clone.copy_guard.is_symlink()
    wait_until(lambda: is_checked(clone.git_dir), "the check has come to its end")
    assert not keep.exists()
    assert not clone.copy_guard.is_symlink()


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


@pytest.mark.parametrize("first", ["honest", "damaged"])
def test_an_index_that_was_damaged_on_its_way_comes_from_others(
    origin: Carried, person: Person, tmp_path: Path, first: str
) -> None:
    """A mirror sends other bytes of the same length: no part of them is taken."""
    bad = tmp_path / "bad.git"
    (index,) = origin.indexes.all()
    with serving(origin, tmp_path / "h") as honest:
        mirror = nodes.copy_as_mirror(origin, bad, honest.git)
        (copy,) = mirror.indexes.all()
        copy.pack.chmod(0o644)
        spoil(copy.pack, 1500)
        home = nodes.make_home(tmp_path / "m")
        nodes.list_mirrors(home, mirror, f"{honest.git}/project.git")
        with nodes.serving(mirror, home=home) as damaged:
            asked = honest if first == "honest" else damaged
            person.git(*SETTING, "clone", "-q", "--bare", url_of(asked), "clone").ok()
    clone = person.root / "clone"
    wait_until(lambda: is_checked(clone), "the check has come to its end")
    assert (clone / "objects" / "pack" / index.pack.name).read_bytes() == index.pack.read_bytes()
    assert not Layout(clone).alarm.exists()
    gitcmd.git(clone, "fsck", "--strict")


def test_an_index_that_nobody_gives_rightly_is_none(
    origin: Carried, person: Person, tmp_path: Path
) -> None:
    (index,) = origin.indexes.all()
    index.pack.chmod(0o644)
    spoil(index.pack, 1500)
    # As long as reels are built there the node cannot put it right, which would be soon enough.
    with locked(origin.layout.building_lock), serving(origin, tmp_path / "h") as served:
        done = person.git(*SETTING, "clone", "-q", "--bare", url_of(served), "clone")
    assert done.status != 0
    assert not (person.root / "clone").exists()


def test_a_swarm_shares_indexes(origin: Carried, tmp_path: Path) -> None:
    """Several mirrors give parts of one index; what each has is what it made itself."""
    keeper = somebody(tmp_path / "keeper")
    person = somebody(tmp_path / "person")
    with serving(origin, tmp_path / "h") as served:
        keeper.gittorrent("mirror", url_of(served), "--once").ok()
        mirror = Carried(keeper.node / "repositories" / "project.git", origin.object_format)
        home = nodes.make_home(tmp_path / "m")
        nodes.list_mirrors(home, mirror, f"{served.git}/project.git")
        with nodes.serving(mirror, home=home) as other:
            person.git(*SETTING, "clone", "-q", "--bare", url_of(other), "clone").ok()
    clone = person.root / "clone"
    wait_until(lambda: is_checked(clone), "the check has come to its end")
    gitcmd.git(clone, "fsck", "--strict")
