"""Big swarms, in message mode: minutes on one core.

python -m pytest tests/sim -m slow -s
"""

from __future__ import annotations

import pytest
from sim_node import Conduct
from sim_swarm import Line, Swarm, flash_crowd
from test_sim_scenarios import check_garbage, checked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

KIB = 1 << 10


def test_flash_crowd_of_a_thousand() -> None:
    made = flash_crowd(1000, 512, 1, part_size=256 * KIB)
    checked(made, 1.35, copies=1.5)


def test_five_hundred_under_trouble() -> None:
    made = Swarm(2, 128, 256 * KIB)
    origin = made.origin()
    conducts = [Conduct.LIAR] * 50 + [Conduct.GARBAGE] * 50 + [Conduct.SILENT] * 25
    for conduct in conducts:
        made.add(conduct=conduct, mirrors=(origin,), joins=made.draw.random())
    crowd = made.crowd(
        375, (origin,), lambda draw: Line(latency=draw.uniform(0.005, 0.05)), over=2.0
    )
    for node in made.draw.sample(crowd, 75):
        made.leave(node, made.draw.uniform(2.0, 20.0))
    checked(made, 2.5, copies=2.5, duplicates=0.06)
    assert check_garbage(made) > 100


def test_five_thousand() -> None:
    made = flash_crowd(5000, 64, 3)
    checked(made, 3.0, copies=2.3)
