"""The ledger and a second model of it, written by somebody else, agree on random histories.

``GITTORRENT_MODEL_SEEDS=FROM-TO`` runs others than the usual ones; a seed replays its history.
"""

from __future__ import annotations

import os

import pytest
from push_histories import History


def seeds() -> range:
    """Return the seeds to run."""
    first, _, last = os.environ.get("GITTORRENT_MODEL_SEEDS", "0-399").partition("-")
    return range(int(first), int(last) + 1)


@pytest.mark.parametrize("seed", seeds())
def test_both_say_the_same(seed: int) -> None:
    History(seed).run(20 + seed % 30)
