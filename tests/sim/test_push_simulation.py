"""Random histories of mirrors, people, roots and keepers; a seed replays its history.

``GITTORRENT_PUSH_SEEDS=FROM-TO`` runs others than the usual ones.
"""

from __future__ import annotations

import os

import pytest
from sim_push import Simulation


def seeds() -> range:
    """Return the seeds to run."""
    first, _, last = os.environ.get("GITTORRENT_PUSH_SEEDS", "0-149").partition("-")
    return range(int(first), int(last) + 1)


@pytest.mark.parametrize("seed", seeds())
def test_history(seed: int) -> None:
    """Three to eight mirrors, a few dozen to two hundred events."""
    simulation = Simulation(seed, 3 + seed % 6)
    simulation.run(60 + 20 * (seed % 8))
    simulation.end()


@pytest.mark.parametrize("seed", range(3))
def test_fifty_mirrors(seed: int) -> None:
    simulation = Simulation(1_000_000 + seed, 50)
    simulation.run(300)
    simulation.end()
