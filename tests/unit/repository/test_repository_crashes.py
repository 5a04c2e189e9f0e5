"""Publishing survives dying at any step: the next publication ends where one in peace would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gittorrent.reel.splicing import LEFT_ALONE
from support import crashing
from support.publishing import builder, grow, publish


def crashes(base: Path, work: Path) -> list[dict[str, Any]]:
    # Whoever dies leaves its temporary rooms behind; the test's directory goes with the test.
    done = subprocess.run(
        [sys.executable, "-W", "error", crashing.__file__, str(base), str(work)],
        capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(work)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(results: list[dict[str, Any]], least: int) -> None:
    in_peace, *others = results
    assert in_peace["findings"] == []
    assert in_peace["incoming"] == []
    assert in_peace["log ref"]
    assert sum(result["died"] for result in others) >= least
    for result in results:
        assert result["is its own"]
        for key in ("refs", "kinds", "reels", "kept", "findings", "log ref", "replayed", "name"):
            assert result[key] == in_peace[key], f"{key} after a crash at step {result['step']}"


@pytest.mark.slow
def test_dying_in_the_first_publication(tmp_path: Path) -> None:
    b = builder(tmp_path / "base.git")
    grow(b, 3)
    results = crashes(b.git_dir, tmp_path)
    check(results, 10)


@pytest.mark.slow
def test_dying_in_a_small_publication(tmp_path: Path) -> None:
    b = builder(tmp_path / "base.git")
    grow(b, 3)
    publish(b.git_dir, name="crashed")
    grow(b, 2)
    check(crashes(b.git_dir, tmp_path), 8)


@pytest.mark.slow
def test_dying_in_a_publication_whose_reel_becomes_a_pack(tmp_path: Path) -> None:
    b = builder(tmp_path / "base.git")
    grow(b, 3)
    publish(b.git_dir, name="crashed")
    b.set_ref("refs/heads/main", _many(b))
    check(crashes(b.git_dir, tmp_path), 10)


@pytest.mark.slow
@pytest.mark.parametrize("is_large", [False, True])
def test_dying_in_a_publication_that_splices(tmp_path: Path, is_large: bool) -> None:
    """Large reels are packs that git reads from, small ones are files."""
    b = builder(tmp_path / "base.git")
    grow(b, 60)
    publish(b.git_dir, name="crashed")
    for number in range(LEFT_ALONE - 1):
        if is_large and number == 1:
            b.set_ref("refs/heads/main", _many(b))
        else:
            grow(b, 1)
        publish(b.git_dir)
    grow(b, 1)
    results = crashes(b.git_dir, tmp_path)
    spliced = [reel for reel in results[0]["reels"] if reel[1] - reel[0] > 1 and reel[0] >= 0]
    assert len(spliced) == 1
    check(results, 14)


def _many(b: Any) -> str:
    tip = b.commit("refs/heads/x", [], {b"a%d" % n: b"%d\n" % n for n in range(120)})
    oid: str = b.oid(tip)
    b.delete_ref("refs/heads/x")
    return oid
