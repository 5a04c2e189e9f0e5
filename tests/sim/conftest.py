"""Leaves the big swarms out unless they are asked for: ``pytest tests/sim -m slow``."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is marked slow here, unless the marker is part of the ``-m`` expression."""
    if "slow" in str(config.getoption("-m")):
        return
    skip = pytest.mark.skip(reason="a big swarm; run: pytest tests/sim -m slow")
    for item in items:
        if "slow" in item.keywords and "test_sim_" in item.nodeid:
            item.add_marker(skip)
