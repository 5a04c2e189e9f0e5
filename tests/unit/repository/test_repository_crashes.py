"""Publishing survives dying at any step: the next publication ends where one in peace would.

Most steps are in all of these publications. Each dies at every third one, from another one on; with
``-m exhaustive`` at each.
"""

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

STRIDE = 3


def at(first: int) -> pytest.MarkDecorator:
    """Give a test the steps to die at: where it begins, and the stride."""
    every = pytest.param((1, 1), id="at each", marks=pytest.mark.exhaustive)
    return pytest.mark.parametrize("steps", [pytest.param((first, STRIDE), id="at some"), every])


def crashes(base: Path, work: Path, steps: tuple[int, int]) -> list[dict[str, Any]]:
    # Whoever dies leaves its temporary rooms behind; the test's directory goes with the test.
    done = subprocess.run(
        [sys.executable, "-W", "error", crashing.__file__, str(base), str(work), *map(str, steps)],
        capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(work)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(results: list[dict[str, Any]], steps: tuple[int, int], least: int) -> None:
    """Compare what is left after each crash with a publication that had ``least`` steps or more."""
    in_peace, *others = results
    assert in_peace["findings"] == []
    assert in_peace["incoming"] == []
    assert in_peace["log ref"]
    assert sum(result["died"] for result in others) >= least // steps[1]
    for result in results:
        assert result["is its own"]
        for key in ("refs", "kinds", "reels", "kept", "findings", "log ref", "replayed", "name"):
            assert result[key] == in_peace[key], f"{key} after a crash at step {result['step']}"


@pytest.mark.slow
@at(1)
def test_dying_in_the_first_publication(tmp_path: Path, steps: tuple[int, int]) -> None:
    b = builder(tmp_path / "base.git")
    grow(b, 3)
    results = crashes(b.git_dir, tmp_path, steps)
    check(results, steps, 10)


@pytest.mark.slow
@at(2)
def test_dying_in_a_small_publication(tmp_path: Path, steps: tuple[int, int]) -> None:
    b = builder(tmp_path / "base.git")
    grow(b, 3)
    publish(b.git_dir, name="crashed")
    grow(b, 2)
    check(crashes(b.git_dir, tmp_path, steps), steps, 8)


@pytest.mark.slow
@at(3)
def test_dying_in_a_publication_whose_reel_becomes_a_pack(
    tmp_path: Path, steps: tuple[int, int]
) -> None:
    b = builder(tmp_path / "base.git")
    grow(b, 3)
    publish(b.git_dir, name="crashed")
    b.set_ref("refs/heads/main", _many(b))
    check(crashes(b.git_dir, tmp_path, steps), steps, 10)


@pytest.mark.slow
@pytest.mark.parametrize("is_large", [False, True])
@at(2)
def test_dying_in_a_publication_that_splices(
    tmp_path: Path, is_large: bool, steps: tuple[int, int]
) -> None:
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
    results = crashes(b.git_dir, tmp_path, steps)
    spliced = [reel for reel in results[0]["reels"] if reel[1] - reel[0] > 1 and reel[0] >= 0]
    assert len(spliced) == 1
    check(results, steps, 14)


def _many(b: Any) -> str:
    tip = b.commit("refs/heads/x", [], {b"a%d" % n: b"%d\n" % n for n in range(120)})
    oid: str = b.oid(tip)
    b.delete_ref("refs/heads/x")
    return oid
