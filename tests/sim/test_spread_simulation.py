"""Mirrors that tell each other of pushes, and a keeper that signs them; a seed replays its history.

``GITTORRENT_SPREAD_SEEDS=FROM-TO`` runs others than the usual ones.
"""

from __future__ import annotations

import pytest
from sim_spread import Network

from support.seeds import seeds


@pytest.mark.parametrize("seed", seeds("GITTORRENT_SPREAD_SEEDS", usual=24, exhaustive=100))
def test_history(seed: int) -> None:
    network = Network(seed, 3 + seed % 6, liars=seed % 3)
    network.run(5)
    network.history(60)
    network.settle()
