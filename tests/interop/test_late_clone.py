"""Clones of a repository with a long past: their logs begin late, and its first reel is older."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.repository.carried import CLONE, Carried
from gittorrent.signing.keys import Signer
from gittorrent.store.database import Database
from gittorrent.transfer.repository_content import RepositoryContent
from support import gitcmd, nodes
from support.programs import Person, serve
from support.repositories import noise

START = 1_600_000_000
DAY = 86400
PUBLICATIONS = 6

SIZES = [100_000 * 5**n // 2**n for n in reversed(range(PUBLICATIONS))]
"""Bytes that come with each publication: so much less each time that no reels are spliced."""


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    """Published six times, forty days apart; each time with a reel of its own."""
    git_dir = gitcmd.init(tmp_path / "project.git")
    for number, size in enumerate(SIZES):
        name = f"file{number}"
        nodes.add_commit(git_dir, "refs/heads/main", name, noise(name, size))
        carried = nodes.publish(git_dir, owner_key, "project", now=START + number * 40 * DAY)
    return carried


def clone_of(person: Person, origin: Carried) -> Carried:
    git_dir = person.root / "clone" / ".git"
    return Carried(git_dir, origin.object_format, origin.info.repository_id)


def test_who_is_behind_where_the_log_begins_is_no_liar(
    origin: Carried, person: Person, owner_key: Signer, tmp_path: Path
) -> None:
    """Its newest checkpoint is one that a new clone does not hear of."""
    stale = nodes.copy_as_mirror(origin, tmp_path / "stale.git", "")
    for number in range(3):
        nodes.add_commit(origin.layout.git_dir, "refs/heads/main", f"new{number}", b"new\n")
        now = START + (PUBLICATIONS + number) * 40 * DAY
        nodes.publish(origin.layout.git_dir, owner_key, None, now=now)
    current = nodes.copy_as_mirror(origin, tmp_path / "current.git", "")
    home = nodes.make_home(tmp_path / "node")
    with (
        nodes.serving(stale, home=nodes.make_home(tmp_path / "stale-node")) as behind,
        nodes.serving(current, home=nodes.make_home(tmp_path / "current-node")) as mirror,
    ):
        urls = [f"{mirror.git}/project.git", f"{behind.git}/project.git"]
        nodes.list_mirrors(home, origin, *urls)
        with nodes.serving(origin, home=home) as served:
            url = f"gittorrent::{served.git}/project.git"
            person.git("clone", "-q", url, "before").ok()
        with contextlib.closing(Database(person.node / "node.sqlite")) as database:
            database.mirror_served(origin.info.repository_id, urls[0], 1 << 40)
        done = person.git("clone", "--progress", url, "clone").ok()
    log = clone_of(person, origin).log()
    assert log.head == origin.log_store.head(), done.err
    assert stale.log_store.head() not in log.ids
    assert "left out" not in done.err


@pytest.mark.parametrize("transport", ["git", "http"])
def test_reels_from_before_its_log_begins_are_taken(
    origin: Carried, owner_key: Signer, person: Person, tmp_path: Path, transport: str
) -> None:
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent::{getattr(served, transport)}/project.git"
        done = person.git("clone", "--progress", url, "clone").ok()
        log = clone_of(person, origin).log()
        assert log.number == PUBLICATIONS + 1
        assert len(log.ids) < log.number, "it does not know the oldest checkpoints"
        assert len(clone_of(person, origin).reels.all()) == PUBLICATIONS, done.err
        gitcmd.git(person.root / "clone", "fsck", "--strict")
        nodes.add_commit(origin.layout.git_dir, "refs/heads/main", "more", b"more\n")
        nodes.publish(origin.layout.git_dir, owner_key, None, now=START + 500 * DAY)
        person.git("-C", "clone", "fetch", "-q").ok()
        assert clone_of(person, origin).log().number == PUBLICATIONS + 2


def test_a_clone_from_long_ago_goes_on_from_where_it_was(
    origin: Carried, owner_key: Signer, person: Person, tmp_path: Path
) -> None:
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent::{served.http}/project.git"
        person.git("clone", "-q", url, "clone").ok()
        before = clone_of(person, origin).log()
        for number in range(4):
            name = f"more{number}"
            nodes.add_commit(origin.layout.git_dir, "refs/heads/main", name, b"more\n")
            now = START + (PUBLICATIONS + number) * 40 * DAY
            nodes.publish(origin.layout.git_dir, owner_key, None, now=now)
        person.git("-C", "clone", "fetch", "-q").ok()
        log = clone_of(person, origin).log()
        assert (log.number, log.head) == (before.number + 4, origin.log_store.head())
        assert set(before.ids) <= set(log.ids), "what was verified is what it builds on"


def test_what_a_late_clone_has_can_be_cloned_from_it(
    origin: Carried, person: Person, tmp_path: Path
) -> None:
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent::{served.git}/project.git"
        person.git("clone", "-q", url, "clone").ok()
    clone = clone_of(person, origin)
    clone.set_info(replace(origin.info, role=CLONE))
    content = RepositoryContent(clone)
    assert len(content.all_offers()) == PUBLICATIONS
    for offer in content.all_offers():
        assert content.pack(offer.manifest) is not None


def kept_reels(person: Person, origin: Carried) -> int:
    """Return how many reels the person's node keeps of a repository."""
    repository = origin.info.repository_id
    path = person.node / "cache" / f"{repository}.git"
    return len(Carried(path, origin.object_format, repository).reels.all())


def test_a_node_keeps_them_for_the_next_clones(
    origin: Carried, owner_key: Signer, person: Person, tmp_path: Path
) -> None:
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served, serve(person):
        url = f"gittorrent::{served.git}/project.git"
        person.git("clone", "-q", url, "clone").ok()
        assert kept_reels(person, origin) == PUBLICATIONS
        nodes.add_commit(origin.layout.git_dir, "refs/heads/main", "more", noise("more", 100_000))
        nodes.publish(origin.layout.git_dir, owner_key, None, now=START + 500 * DAY)
        done = person.git("-C", "clone", "fetch").ok()
        assert "without a download" in done.err
        assert kept_reels(person, origin) == PUBLICATIONS + 1


def test_a_clone_hands_them_over(origin: Carried, person: Person, tmp_path: Path) -> None:
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent::{served.git}/project.git"
        person.git("clone", "-q", url, "clone").ok()
        with serve(person):
            words = ("seed", "clone", url, "--hand-over", "--for", "600")
            assert "for 600 s" in person.gittorrent(*words).ok().out
            assert kept_reels(person, origin) == PUBLICATIONS


def test_what_a_clone_cannot_download_it_builds(
    origin: Carried, person: Person, tmp_path: Path
) -> None:
    """The packs are gone, as git repacks; to build them anew takes the refs of long ago."""
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent::{served.git}/project.git"
        person.git("clone", "-q", url, "clone").ok()
        assert clone_of(person, origin).log().begins_late
        person.git("-C", "clone", "repack", "-adq").ok()
        done = person.gittorrent("seed", "clone", url, "--for", "0").ok()
    assert f"{PUBLICATIONS - 1} reels held, 1 built, 0 not possible" in done.out, "the oldest"
    log = clone_of(person, origin).log()
    assert (log.number, log.begins_late) == (PUBLICATIONS + 1, False)
