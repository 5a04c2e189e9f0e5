"""What git's trace shows of whether it held what it fetched to fsck's rules."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from gittorrent.git.fsck_trace import FsckTrace
from support import gitcmd
from support.programs import GITS


def event(*words: object, kind: str = "child_start") -> str:
    return json.dumps({"event": kind, "argv": list(words)})


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("checks", [False, True])
def test_a_fetch_of_gits_own_shows_it(tmp_path: Path, git: str, checks: bool) -> None:
    source = gitcmd.init(tmp_path / "source.git")
    gitcmd.git(source, "hash-object", "-w", "--stdin", stdin=b"content")
    tree = gitcmd.text(source, "mktree", stdin=b"")
    commit = gitcmd.text(source, "commit-tree", tree, "-m", "one")
    gitcmd.git(source, "update-ref", "refs/heads/main", commit)
    staging = gitcmd.init(tmp_path / "staging.git")
    trace = FsckTrace(staging)
    settings = ("-c", f"fetch.fsckObjects={checks}", "-c", "fetch.unpackLimit=1")
    words = [git, *settings, "fetch", "-q", f"file://{source}", "refs/heads/main"]
    environ = {**os.environ, **gitcmd.ENVIRONMENT, **trace.environ}
    subprocess.run(words, check=True, cwd=staging, env=environ)
    assert trace.shows_check() is checks


@pytest.mark.parametrize(
    "line",
    [
        "",
        "index-pack --strict",
        "[]",
        '{"event": "child_start", "argv": "index-pack --strict"}',
        event("git", "index-pack", "--stdin"),
        event("git", "fetch-pack", "--strict", "index-pack.git"),
        event("git", "index-pack", "--strict", kind="start"),
    ],
)
def test_what_shows_no_check_counts_as_none(tmp_path: Path, line: str) -> None:
    trace = FsckTrace(tmp_path)
    assert not trace.shows_check()
    Path(trace.environ["GIT_TRACE2_EVENT"]).write_text(f"{line}\n", encoding="utf-8")
    assert not trace.shows_check()


@pytest.mark.parametrize("word", ["--strict", "--strict=badEmail=ignore", "--fsck-objects"])
def test_each_way_to_check_counts(tmp_path: Path, word: str) -> None:
    trace = FsckTrace(tmp_path)
    lines = [event("git", "rev-list"), event("git", "index-pack", "--stdin", word)]
    Path(trace.environ["GIT_TRACE2_EVENT"]).write_text("\n".join(lines), encoding="utf-8")
    assert trace.shows_check()
