"""The ledger and a second model of it, written by somebody else, agree on random histories.

``GITTORRENT_MODEL_SEEDS=FROM-TO`` runs others than the usual ones; a seed replays its history.
"""

from __future__ import annotations

import pytest
from push_histories import History

from support.seeds import seeds


@pytest.mark.parametrize("seed", seeds("GITTORRENT_MODEL_SEEDS", usual=150, exhaustive=400))
def test_both_say_the_same(seed: int) -> None:
    History(seed).run(20 + seed % 30)
