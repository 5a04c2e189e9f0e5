"""Reels are built from a clone's objects in a process that can be ended at any moment."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import pytest

from gittorrent.durable import locked
from gittorrent.git.repository import find_repository
from gittorrent.repository.carried import Carried
from gittorrent.repository.layout import Layout
from gittorrent.repository.rebuilding import Job, RebuildOutcome, Result, rebuild_reels
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes, publishing
from support.programs import GITS, processes, somebody, wait_until


def jobs_of(carried: Carried) -> list[Job]:
    """Return what it takes to build the reels of a published repository, oldest first."""
    log = carried.log()
    places = {push: at for at, push in enumerate(log.ids)}
    made = []
    for reel in sorted(carried.reels.all(), key=lambda reel: places[reel.manifest.end]):
        start, end = reel.manifest.start, reel.manifest.end
        before = () if start is None else log.refs_at(start).values()
        after = log.refs_at(end).values()
        made.append(Job(reel.manifest_file, sorted(set(before)), sorted(set(after))))
    return made


def build(clone: Path, jobs: list[Job]) -> list[Result]:
    found = find_repository(clone)
    carried = Carried(found.git_dir, found.object_format)
    return asyncio.run(rebuild_reels(carried, jobs, lambda _phase, _done, _total: None))


def outcomes(results: list[Result]) -> list[RebuildOutcome]:
    return [result.outcome for result in results]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, owner_key: Signer) -> Carried:
    """Three pushes: the second takes a branch away, the third is more than a few objects."""
    git_dir = tmp_path_factory.mktemp("origin") / "project.git"
    b = publishing.builder(git_dir)
    publishing.grow(b, 3)
    publishing.grow(b, 2, "topic", "t")
    nodes.publish(git_dir, owner_key, "project")
    gitcmd.git(git_dir, "update-ref", "-d", "refs/heads/topic")
    publishing.grow(b, 2)
    nodes.publish(git_dir, owner_key, "project")
    publishing.grow(b, 40)
    return nodes.publish(git_dir, owner_key, "project")


@pytest.mark.parametrize("git_program", GITS)
def test_a_lost_branch_costs_its_reel_only(
    origin: Carried, tmp_path: Path, git_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", git_program)
    jobs = jobs_of(origin)
    clone = tmp_path / "clone.git"
    gitcmd.git(tmp_path, "clone", "-q", "--mirror", origin.layout.git_dir.as_uri(), str(clone))
    first, second, third = build(clone, jobs)
    assert outcomes([first, second, third]) == [
        RebuildOutcome.MISSING,
        RebuildOutcome.BUILT,
        RebuildOutcome.BUILT,
    ]
    assert first.lacking in jobs[0].end
    assert outcomes(build(clone, jobs)) == [
        RebuildOutcome.MISSING,
        RebuildOutcome.HELD,
        RebuildOutcome.HELD,
    ]
    theirs = {reel.id: reel.pack.read_bytes() for reel in origin.reels.all()}
    found = find_repository(clone)
    carried = Carried(found.git_dir, found.object_format)
    for reel in carried.reels.all():
        assert not list(reel.damaged_parts())
        assert reel.id in theirs
    assert not list(Layout(clone).building.glob("*"))
    gitcmd.git(clone, "fsck", "--strict")


def test_what_came_out_otherwise_is_not_kept(origin: Carried, tmp_path: Path) -> None:
    *_, last = jobs_of(origin)
    clone = tmp_path / "clone.git"
    gitcmd.git(tmp_path, "clone", "-q", "--mirror", origin.layout.git_dir.as_uri(), str(clone))
    (different,) = build(clone, [Job(last.manifest, [], last.end)])
    assert different.outcome is RebuildOutcome.DIFFERENT
    assert not list(Layout(clone).reels.glob("*"))
    assert outcomes(build(clone, [last])) == [RebuildOutcome.BUILT]


def test_objects_lost_within_the_history(origin: Carried, tmp_path: Path) -> None:
    """The tips are there, and something behind them is not."""
    clone = tmp_path / "clone.git"
    gitcmd.init(clone)
    gitcmd.git(clone, "fetch", "-q", str(origin.layout.git_dir), "refs/heads/main")
    for pack in clone.glob("objects/pack/pack-*.pack"):
        moved = pack.rename(tmp_path / pack.name)
        pack.with_suffix(".idx").unlink()
        with moved.open("rb") as packed:
            gitcmd.git(clone, "unpack-objects", "-q", stdin=packed.read())
    lost = gitcmd.text(clone, "rev-parse", "FETCH_HEAD~10:f")
    (clone / "objects" / lost[:2] / lost[2:]).unlink()
    *_, last = jobs_of(origin)
    (missing,) = build(clone, [last])
    assert missing.outcome is RebuildOutcome.MISSING
    assert missing.lacking in last.end


def test_a_worker_imports_nothing_of_where_it_is_started(
    origin: Carried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That may be the work tree of a repository that anybody wrote."""
    clone, mark = tmp_path / "clone", tmp_path / "mark"
    gitcmd.git(tmp_path, "clone", "-q", origin.layout.git_dir.as_uri(), str(clone))
    for name in ("msgspec.py", "enum.py", "sitecustomize.py", "gittorrent.py"):
        (clone / name).write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.chdir(clone)
    assert RebuildOutcome.BUILT in outcomes(build(clone, jobs_of(origin)))
    assert not mark.exists()


HANGING = """#!/bin/sh
case " $* " in
*" {phase} "*) : >"{mark}"; exec sleep {seconds} ;;
esac
exec {git} "$@"
"""


def sleeping(seconds: str) -> list[int]:
    return [pid for pid, _, line in processes() if f"sleep {seconds}" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("phase", ["rev-list", "pack-objects", "index-pack"])
def test_a_seed_ends_with_all_it_started(
    origin: Carried, tmp_path: Path, phase: str, number: signal.Signals
) -> None:
    """Whatever git does just then, and would do for long."""
    mark, hanging = tmp_path / "mark", tmp_path / "hanging"
    seconds = f"100{number}.{len(phase)}"
    real = shutil.which("git")
    hanging.write_text(HANGING.format(phase=phase, mark=mark, seconds=seconds, git=real))
    hanging.chmod(0o755)
    person = somebody(tmp_path / "person", str(hanging))
    person.variables["GITTORRENT_NATIVE"] = "0"
    clone = tmp_path / "clone.git"
    gitcmd.git(tmp_path, "clone", "-q", "--mirror", origin.layout.git_dir.as_uri(), str(clone))
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        running = person.start("gittorrent", "seed", clone, url, "--port", "0")
        try:
            wait_until(lambda: mark.exists() and bool(sleeping(seconds)), "git hangs")
            # Building holds up nobody who fetches into the clone meanwhile.
            with locked(Layout(clone).lock, wait=False):
                pass
            running.process.send_signal(number)
            # A service that is told to end has ended well; a person who interrupts it is told.
            assert running.wait() == (0 if number == signal.SIGTERM else 130)
            assert not sleeping(seconds)
            running.wait_all()
        finally:
            running.stop()
    assert not list(Layout(clone).building.glob("*"))
    assert not list((person.root / "tmp").iterdir())
    assert all(" INFO " in line for line in running.err.splitlines()), running.err


def test_a_worker_ends_with_its_starter(origin: Carried, tmp_path: Path) -> None:
    """Killed outright, the starter cleans up nothing; the next builder does."""
    mark, hanging = tmp_path / "mark", tmp_path / "hanging"
    real = shutil.which("git")
    hanging.write_text(HANGING.format(phase="index-pack", mark=mark, seconds="1009.1", git=real))
    hanging.chmod(0o755)
    person = somebody(tmp_path / "person", str(hanging))
    person.variables["GITTORRENT_NATIVE"] = "0"
    clone = tmp_path / "clone.git"
    gitcmd.git(tmp_path, "clone", "-q", "--mirror", origin.layout.git_dir.as_uri(), str(clone))
    with nodes.serving(origin, home=nodes.make_home(tmp_path / "node")) as served:
        url = f"gittorrent://{served.git.removeprefix('git://')}/project.git"
        running = person.start("gittorrent", "seed", clone, url, "--port", "0")
        try:
            wait_until(lambda: mark.exists() and bool(sleeping("1009.1")), "git hangs")
            running.process.kill()
            wait_until(lambda: not sleeping("1009.1"), "it is gone")
        finally:
            running.stop()
    assert list(Layout(clone).building.glob("*"))
    assert RebuildOutcome.BUILT in outcomes(build(clone, jobs_of(origin)))
    assert not list(Layout(clone).building.glob("*"))
