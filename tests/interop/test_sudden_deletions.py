"""A log that suddenly deletes many refs: a mirror follows it, and loses nothing before a word."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gittorrent.repository.kept_refs import PREFIX
from gittorrent.store.database import Database
from gittorrent.store.held import HeldKind, HeldRow, HeldTable
from support import gitcmd, nodes
from support.disks import small_disk
from support.programs import Daemon, Person, serve

BRANCHES = [f"refs/heads/b{number}" for number in range(12)]


class Site:
    """A repository of many branches, its owner, and a mirror of it that serves."""

    def __init__(self, owner: Person, operator: Person) -> None:
        self.owner, self.operator = owner, operator
        self.origin = gitcmd.init(owner.root / "project.git")
        self.values = {
            name: nodes.add_commit(self.origin, name, "file", name.encode())
            for name in ["refs/heads/main", *BRANCHES]
        }
        self.publish("--new-key")

    @property
    def mirror(self) -> Path:
        return self.operator.node / "repositories" / "project.git"

    def publish(self, *words: str) -> None:
        self.owner.gittorrent("publish", self.origin, "--wait", *words).ok()

    def follow(self, origin: Daemon) -> None:
        self.operator.gittorrent("mirror", origin.url(), "--once", "-q").ok()

    def delete_branches(self) -> None:
        for name in BRANCHES:
            gitcmd.git(self.origin, "update-ref", "-d", name)
        self.publish()

    def kept(self) -> dict[str, str]:
        found = {name.decode(): oid for name, oid in gitcmd.refs(self.mirror).items()}
        return {
            "refs/" + name.removeprefix(PREFIX).partition("/")[2]: oid
            for name, oid in found.items()
            if name.startswith(PREFIX)
        }

    def held(self) -> list[dict[str, object]]:
        found = json.loads(self.operator.gittorrent("status", "--json").ok().out)["held"]
        assert isinstance(found, list)
        return found


@pytest.fixture
def site(people: Callable[[str], Person]) -> Site:
    return Site(people("owner"), people("operator"))


@pytest.fixture
def origin(site: Site) -> Iterator[Daemon]:
    with serve(site.owner, site.origin) as running:
        yield running


def test_what_is_deleted_at_once_can_be_got_back_until_it_is_confirmed(
    site: Site, origin: Daemon, people: Callable[[str], Person]
) -> None:
    stranger = people("stranger")
    site.follow(origin)
    site.delete_branches()
    site.follow(origin)
    shown = [name for name in gitcmd.refs(site.mirror) if not name.startswith(b"refs/gittorrent/")]
    assert shown == [b"refs/heads/main"]
    lost = {name: site.values[name] for name in BRANCHES}
    assert site.kept() == lost
    (held,) = site.held()
    assert (held["kind"], held["title"], held["held"], held["total"]) == ("refs", "project", 12, 13)
    assert held["names"] == sorted(BRANCHES)
    gitcmd.git(site.mirror, "gc", "--quiet", "--prune=now")
    # Nobody is shown any of it.
    with serve(site.operator) as node:
        clone = gitcmd.init(stranger.root / "clone.git")
        for base in (node.git, node.http):
            url = f"{base}/project.git"
            listed = stranger.git("ls-remote", url).ok().out
            assert listed.split() == [
                site.values["refs/heads/main"], "HEAD",
                site.values["refs/heads/main"], "refs/heads/main",
            ]  # fmt: skip
            spec = f"{PREFIX}{held['since']}/heads/b0"
            assert stranger.git("fetch", url, spec, cwd=clone).status != 0
        stranger.run("git", "clone", "-q", "--mirror", node.url(), "whole.git").ok()
        known = gitcmd.git(stranger.root / "whole.git", "rev-list", "--all", "--objects")
        assert lost[BRANCHES[0]].encode() not in known
    # The operator sees it, and gets it back.
    spec = f"{PREFIX}{held['since']}/*:refs/recovered/*"
    clone = gitcmd.init(site.operator.root / "back.git")
    site.operator.git("fetch", "-q", site.mirror, spec, cwd=clone).ok()
    back = {name.decode(): oid for name, oid in gitcmd.refs(clone).items()}
    assert back == {name.replace("refs/", "refs/recovered/"): o for name, o in lost.items()}
    said = site.operator.gittorrent("confirm", "project").ok().out
    assert "12 of 13 refs were deleted or rewritten" in said
    assert (site.kept(), site.held()) == ({}, [])


def test_what_is_kept_on_a_disk_that_is_read_only_now_is_shown(site: Site, origin: Daemon) -> None:
    """Nobody saw it before, so that the database does not have it; nor what is held no more."""
    with small_disk(site.operator.node, "10m") as disk:
        site.follow(origin)
        with contextlib.closing(Database(site.operator.node / "node.sqlite")) as database:
            HeldTable(database).hold(HeldRow(HeldKind.REFS, "a" * 52, "old", {"x": ""}, 1, 7))
        site.delete_branches()
        site.follow(origin)
        disk.protect()
        (held,) = site.held()
        assert (held["number"], held["title"], held["held"]) == (0, "project", 12)
        said = site.operator.gittorrent("confirm").ok().out
        assert said.startswith("project: 12 of 13 refs were deleted or rewritten")
        assert "until 'gittorrent confirm project'" in said
        site.operator.gittorrent("confirm", "project").failed(7, "its file system is read-only")


def test_what_was_refused_is_kept_for_good_and_what_comes_back_is_not(
    site: Site, origin: Daemon
) -> None:
    site.follow(origin)
    site.delete_branches()
    site.follow(origin)
    site.operator.gittorrent("confirm", "--refuse", "project").ok()
    (held,) = site.held()
    assert (held["decision"], held["until"]) == ("refused", None)
    for name in BRANCHES:
        gitcmd.git(site.origin, "update-ref", name, site.values[name])
    site.publish()
    site.follow(origin)
    assert (site.kept(), site.held()) == ({}, [])
