"""A small soak (`bench/soak.py`): mirrors that end, part and get clocks wrong come to the same.

Each step once, among pushes, in an order that is drawn; then all must be current everywhere, with
nothing lost and nothing left over. Long ones are run by hand.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import netns
from soak import Soak, prepared

SEED = int(os.environ.get("GITTORRENT_SOAK_SEED", "1"))
MIRRORS, REPOSITORIES, ROUNDS = 4, 6, 1

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(netns.obstacle()), reason=netns.obstacle() or "-"),
]


def test_a_small_soak(tmp_path: Path) -> None:
    print(f"GITTORRENT_SOAK_SEED={SEED}")
    with prepared(MIRRORS, tmp_path) as sites:
        outcome = Soak(sites, REPOSITORIES, 0.0, SEED, ROUNDS, tell=print).run()
    print(outcome.steps)
    assert outcome.wrong == []
    assert outcome.people.taken > 0
