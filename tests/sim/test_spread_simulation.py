"""Mirrors that tell each other of pushes, and a keeper that signs them; a seed replays its history.

``GITTORRENT_SPREAD_SEEDS=FROM-TO`` runs others than the usual ones.
"""

from __future__ import annotations

import os

import pytest
from sim_spread import Network


def seeds() -> range:
    """Return the seeds to run."""
    first, _, last = os.environ.get("GITTORRENT_SPREAD_SEEDS", "0-23").partition("-")
    return range(int(first), int(last) + 1)


@pytest.mark.parametrize("seed", seeds())
def test_history(seed: int) -> None:
    network = Network(seed, 3 + seed % 6, liars=seed % 3)
    network.run(5)
    network.history(60)
    network.settle()
