"""Locks of a git that was killed: removed where only nodes write and nobody is at work, named
elsewhere. All gits here are real ones, killed with SIGKILL while they have their locks."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gittorrent.git.refs import apply_changes, read_refs
from gittorrent.git.repository import create_bare
from gittorrent.git.runner import Git, GitError
from gittorrent.git.stale_locks import MARK, remove_stale_locks, set_mark
from gittorrent.ids import SHA1, Oid, RefName
from support import gitcmd
from support.programs import GITS, wait_until

A, B = RefName(b"refs/heads/a"), RefName(b"refs/heads/deep/b")

KILLED_WHILE_IT_HAS_ITS_LOCKS = '#!/bin/sh\n[ "$1" = prepared ] && kill -9 $PPID; exit 0\n'


@pytest.fixture(params=GITS)
def git(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A repository that only nodes write."""
    monkeypatch.setenv("GITTORRENT_GIT", request.param)
    made = create_bare(tmp_path / "mirror.git", SHA1)
    set_mark(made.directory, is_ours=True)
    return made


@pytest.fixture
def commits(git: Git) -> list[Oid]:
    """Two commits in it."""
    tree = git.run("mktree", stdin=b"").decode().strip()
    who = {f"GIT_{x}_{y}": "x" for x in ("AUTHOR", "COMMITTER") for y in ("NAME", "EMAIL")}
    making = Git(git.directory, variables=who)
    return [Oid(making.run("commit-tree", "-m", m, tree).decode().strip()) for m in "xy"]


def locks(git: Git) -> set[str]:
    """Return the locks, and what was being written under one."""
    found = [*git.directory.rglob("*.lock"), *git.directory.glob("packed-refs.new")]
    return {str(path.relative_to(git.directory)) for path in found}


def kill_at_transaction(git: Git, *words: str, stdin: bytes | None = None) -> None:
    """Run a git that is killed when its transaction of refs is prepared."""
    hook = git.directory / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(KILLED_WHILE_IT_HAS_ITS_LOCKS)
    hook.chmod(0o755)
    with pytest.raises(GitError) as raised:
        git.run(*words, stdin=stdin)
    assert raised.value.status == -signal.SIGKILL
    hook.unlink()


def update(git: Git, values: list[Oid]) -> None:
    changes = [(name, None, oid) for name, oid in zip((A, B), values, strict=True)]
    apply_changes(git, changes, SHA1)


def kill_update_ref(git: Git, commits: list[Oid]) -> None:
    lines = [b"create %s %s\n" % (n, o.encode()) for n, o in zip((A, B), commits, strict=True)]
    kill_at_transaction(git, "update-ref", "--stdin", stdin=b"".join(lines))
    assert locks(git) >= {"refs/heads/a.lock", "refs/heads/deep/b.lock"}


def kill_fetch(git: Git, commits: list[Oid]) -> None:
    other = create_bare(git.directory.parent / "other.git", SHA1)
    (other.directory / "objects/info/alternates").write_text(f"{git.directory}/objects\n")
    update(other, commits)
    kill_at_transaction(git, "fetch", "--quiet", "--atomic", str(other.directory), "+refs/*:refs/*")
    assert "refs/heads/a.lock" in locks(git)


def kill_pack_refs(git: Git, commits: list[Oid]) -> None:
    """Kill it at any time, until that was while it had its lock."""
    names = [RefName(b"refs/heads/x%d" % number) for number in range(400)]
    apply_changes(git, [(name, None, commits[0]) for name in names], SHA1)

    def is_caught() -> bool:
        with git.start("pack-refs", "--all", "--no-prune") as process:
            while process.poll() is None and not locks(git):
                pass
            process.kill()
        return bool(locks(git))

    wait_until(is_caught, "pack-refs is killed while it has its lock")


KILLS = {"update-ref": kill_update_ref, "fetch": kill_fetch, "pack-refs": kill_pack_refs}
Kill = Callable[[Git, list[Oid]], None]


@pytest.fixture(params=KILLS)
def kill(request: pytest.FixtureRequest) -> Kill:
    return KILLS[request.param]


def go_on(git: Git, commits: list[Oid]) -> None:
    """Do what needs all of the locks."""
    update(git, commits)
    git.run("pack-refs", "--all")


def test_locks_of_a_killed_git_are_removed(
    git: Git, commits: list[Oid], kill: Kill, caplog: pytest.LogCaptureFixture
) -> None:
    kill(git, commits)
    left = locks(git)
    with caplog.at_level(logging.WARNING):
        go_on(git, commits)
    refs = read_refs(git)
    assert [refs[name] for name in (A, B)] == commits
    assert locks(git) == set()
    (said,) = caplog.messages
    assert str(git.directory) in said
    assert any(lock in said for lock in left)


def test_elsewhere_they_are_named(git: Git, commits: list[Oid], kill: Kill) -> None:
    set_mark(git.directory, is_ours=False)
    kill(git, commits)
    left = locks(git)
    with pytest.raises(GitError) as raised:
        go_on(git, commits)
    assert any(raised.value.hint.endswith(f"remove {git.directory / lock}") for lock in left)
    assert locks(git) == left


def test_settings_and_broken_refs(git: Git, commits: list[Oid]) -> None:
    (git.directory / "config.lock").touch()
    git.run("config", "a.b", "c")
    (git.directory / "packed-refs.new").touch()
    update(git, commits)
    git.run("pack-refs", "--all")
    assert locks(git) == set()


PARENT = """
import sys
from pathlib import Path
from gittorrent.git.runner import Git
process = Git(Path(sys.argv[1])).start("update-ref", "--stdin")
process.stdin.write(f"start\\ncreate refs/heads/a {sys.argv[2]}\\nprepare\\n".encode())
process.stdin.flush()
while True:
    assert process.stdout.readline()
    print(process.pid, flush=True)
"""


@pytest.fixture
def orphan(git: Git, commits: list[Oid]) -> Iterator[int]:
    """A git of a node that was killed: it has the lock of a ref, waits, and is still there."""
    words = [sys.executable, "-c", PARENT, str(git.directory), commits[0]]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: locks(git) == {"refs/heads/a.lock"}, "it has its lock")
        os.kill(pid, signal.SIGSTOP)  # it would see that its parent is gone
        parent.kill()
    yield pid
    end(pid)


def end(pid: int) -> None:
    """Kill a process that is no child of ours, and see it gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    wait_until(lambda: not is_running(pid), "it has ended")


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def test_a_git_that_outlives_its_node_keeps_its_locks(
    git: Git, commits: list[Oid], orphan: int
) -> None:
    with pytest.raises(GitError, match=r"a\.lock"):
        update(git, commits)
    assert locks(git) == {"refs/heads/a.lock"}
    end(orphan)
    update(git, commits)
    assert locks(git) == set()


@pytest.mark.parametrize("way", ["-C", "--git-dir", "GIT_DIR"])
def test_a_git_that_somebody_started_by_hand_keeps_its_locks(
    git: Git, commits: list[Oid], way: str
) -> None:
    place = str(git.directory)
    words = [] if way == "GIT_DIR" else [f"{way}={place}"] if "dir" in way else [way, place]
    extra = {"GIT_DIR": place} if way == "GIT_DIR" else {}
    with subprocess.Popen(
        ["git", *words, "update-ref", "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=gitcmd.ENVIRONMENT | extra,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(b"start\ncreate %s %s\nprepare\n" % (A, commits[0].encode()))
        process.stdin.flush()
        wait_until(lambda: locks(git) == {"refs/heads/a.lock"}, "it has its lock")
        assert not remove_stale_locks(git.directory)
        assert locks(git) == {"refs/heads/a.lock"}
        process.kill()
    assert remove_stale_locks(git.directory)
    assert locks(git) == set()


def test_gits_that_only_read_are_in_nobodys_way(git: Git, commits: list[Oid]) -> None:
    with git.start("cat-file", "--batch") as reader:
        kill_update_ref(git, commits)
        update(git, commits)
        assert reader.poll() is None
        reader.kill()


def test_locks_of_this_program_are_none_of_gits(git: Git) -> None:
    own = git.directory / "gittorrent" / "housekeeping.lock"
    own.touch()
    assert not remove_stale_locks(git.directory)
    assert own.exists()
    assert (git.directory / MARK).exists()
