"""The shortest kill loop: each scenario with two kills; ``kill_loop.py`` goes on for hours."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import make_ssh_key
from support import bulk
from support.kill_scenarios import SCENARIOS, Stage
from support.nodes import Served

SEED = 4
QUICK = ("clone",)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else (pytest.mark.slow,))
        for name in sorted(SCENARIOS)
    ],
)
def test_nothing_is_lost_by_kills(
    name: str, project: Carried, project_node: Served, tmp_path: Path
) -> None:
    (tmp_path / "key").mkdir()
    make_ssh_key(tmp_path / "key" / "key", "test")
    source = bulk.make_small(tmp_path / "source.git")
    key = tmp_path / "key" / "key"
    root = tmp_path / "root"
    root.mkdir()
    stage = Stage(source, project, key, project_node, random.Random(SEED), root, 2)
    print(f"seed {SEED}: killed {'; '.join(SCENARIOS[name](stage))}")
