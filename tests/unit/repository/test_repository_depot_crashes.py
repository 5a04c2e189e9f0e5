"""A depot that dies at any step of accepting a push has done nothing, or all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gittorrent.repository.carried import MIRROR, ORIGIN
from support import crashing_depot


@pytest.mark.parametrize(
    ("role", "files", "stride"),
    [
        pytest.param(role, files, stride, marks=marks)
        for role, files in ((MIRROR, 0), (MIRROR, 120), (ORIGIN, 0))  # of 120, the pack is kept
        for stride, marks in ((3, pytest.mark.slow), (1, pytest.mark.exhaustive))
    ],
)
def test_dying_while_accepting(tmp_path: Path, role: str, files: int, stride: int) -> None:
    words = [crashing_depot.__file__, str(tmp_path), str(stride), role, str(files)]
    done = subprocess.run(
        [sys.executable, "-W", "error", *words],
        capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert results[0]["acknowledged"]
    # How many steps there are depends a little on the ids of the objects.
    assert sum(result["died"] for result in results) >= 40 // stride
    for result in results:
        # What was acknowledged is there; what is not there can be pushed again.
        assert result["was there"] or not result["acknowledged"], result
        taken = "this push was taken before" if result["was there"] else "accepted"
        assert result["again"] == taken, result
        assert result["is there"], result
        assert result["refs follow"], result
        assert result["replayed"], result
        assert result["litter"] == [], result
