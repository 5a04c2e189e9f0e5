"""Git's own housekeeping, and ours, while reels are served, downloaded and built."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.reel.splicing import LEFT_ALONE
from gittorrent.repository import housekeeping
from gittorrent.repository.carried import Carried
from gittorrent.repository.rebuilding import RebuildOutcome, jobs_of, rebuild_reels
from gittorrent.repository.receive import SignedManifest
from gittorrent.repository.verify import Verifier
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes, publishing
from support.nodes import Served
from support.programs import GITS, Person
from support.repositories import noise

COMMANDS = {
    "gc": [["gc", "--prune=now", "--quiet"]],
    "aggressive": [["gc", "--aggressive", "--prune=now", "--quiet"]],
    "auto": [["-c", "gc.auto=1", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"]],
    "repack": [["repack", "-a", "-d", "-q"], ["prune", "--expire=now"], ["prune-packed", "-q"]],
    "geometric": [["repack", "--geometric=2", "-d", "-q"], ["prune", "--expire=now"]],
    "reflog": [["reflog", "expire", "--expire=now", "--all"], ["gc", "--prune=now", "--quiet"]],
}


@pytest.fixture
def origin(tmp_path: Path, owner_key: Signer) -> Carried:
    """Large reels and small ones, spliced ones and what they cover, and a branch that is gone."""
    git_dir = tmp_path / "origin" / "project.git"
    b = publishing.builder(git_dir)
    publishing.grow(b, 40)
    publishing.grow(b, 3, "gone", "g")
    nodes.add_commit(git_dir, "refs/heads/large", "large", noise("large", 2 << 20))
    nodes.publish(git_dir, owner_key, "project")
    publishing.grow(b, 1, "gone", "g")
    nodes.publish(git_dir, owner_key, None)
    gitcmd.git(git_dir, "update-ref", "-d", "refs/heads/gone")
    for number in range(LEFT_ALONE):
        publishing.grow(b, 40 if number == 1 else 1)
        nodes.publish(git_dir, owner_key, None)
    return publishing.carried(git_dir)


def run(carried: Carried, commands: list[list[str]], git_program: str = "git") -> None:
    for words in commands:
        gitcmd.git(carried.layout.git_dir, *words, program=git_program)


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do something again and again, at least once, while the block runs."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def repeat() -> None:
        try:
            work()
            while not stop.is_set():
                work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failures == []


def assert_whole(carried: Carried) -> None:
    """Make sure that each reel that was there can be given, and is what its manifest says."""
    reels = carried.reels.all()
    assert reels
    for reel in reels:
        assert reel.is_available
        assert list(reel.damaged_parts()) == []
    assert Verifier(carried).run().findings == ()


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def assert_same_refs(origin: Carried, *copies: Path) -> None:
    shown = origin.log().refs
    for copy in copies:
        found = gitcmd.refs(copy)
        assert {name: found.get(name) for name in shown} == shown
        gitcmd.git(copy, "fsck", "--connectivity-only")


@pytest.mark.parametrize("git_program", GITS)
def test_what_an_owner_runs_in_an_origin_breaks_no_reel(
    origin: Carried, owner_key: Signer, git_program: str
) -> None:
    for number, (name, commands) in enumerate(COMMANDS.items()):
        before = {reel.id for reel in origin.reels.all()}
        run(origin, commands, git_program)
        assert {reel.id for reel in origin.reels.all()} == before, name
        assert_whole(origin)
        nodes.add_commit(origin.layout.git_dir, "refs/heads/main", "more", b"%d\n" % number)
        nodes.publish(origin.layout.git_dir, owner_key, None)
    assert_whole(publishing.carried(origin.layout.git_dir))


def test_gc_and_our_housekeeping_during_downloads(origin: Carried, tmp_path: Path) -> None:
    options = replace(nodes.LOOPBACK, up_limit=1 << 20, http=())
    home = nodes.make_home(tmp_path / "home")
    clone, stock = tmp_path / "clone.git", tmp_path / "stock.git"

    def clean() -> None:
        run(origin, COMMANDS["gc"])
        housekeeping.tidy_up(origin)

    with nodes.serving(origin, home=home, options=options) as served, meanwhile(clean):
        Person(tmp_path / "person").git("clone", "--mirror", url_of(served), str(clone)).ok()
        gitcmd.git(tmp_path, "clone", "-q", "--mirror", f"{served.git}/project.git", str(stock))
    assert_same_refs(origin, clone, stock)
    assert_whole(origin)


@pytest.mark.parametrize("git_program", GITS)
def test_gc_while_reels_are_built(
    origin: Carried, tmp_path: Path, git_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", git_program)
    mirror = nodes.copy_as_mirror(origin, tmp_path / "mirror.git", "")
    log = mirror.log()
    reels = mirror.reels.all()
    jobs = jobs_of(log, [SignedManifest(r.manifest, r.signature, owner) for r in reels
                         for owner in [log.policy.policy.keeper]])  # fmt: skip
    expected = {reel.id: reel.pack.name for reel in reels}
    for reel in reels:
        mirror.reels.drop(reel)

    def clean() -> None:
        run(mirror, [["gc", "--quiet"], ["repack", "-A", "-d", "-q", "-f"]], git_program)

    with meanwhile(clean):
        results = asyncio.run(rebuild_reels(mirror, jobs, lambda _phase, _done, _total: None))
    assert {result.outcome for result in results} == {RebuildOutcome.BUILT}
    fresh = Carried(mirror.layout.git_dir, mirror.object_format)
    assert {reel.id: reel.pack.name for reel in fresh.reels.all()} == expected
    assert_whole(fresh)
