"""Random histories of mirrors, people, roots and keepers; a seed replays its history.

``GITTORRENT_PUSH_SEEDS=FROM-TO`` runs others than the usual ones.
"""

from __future__ import annotations

import pytest
from sim_push import Simulation

from support.seeds import seeds


@pytest.mark.parametrize("seed", seeds("GITTORRENT_PUSH_SEEDS", usual=60, exhaustive=150))
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
