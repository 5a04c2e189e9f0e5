"""How long a mirror that is busy is waited for."""

from __future__ import annotations

import pytest

from gittorrent.transfer.candidates import _waits
from gittorrent.wire.fields import is_busy


@pytest.mark.parametrize("seconds", [0.0, 0.2, 30.0])
def test_waits_become_longer_and_have_an_end(seconds: float) -> None:
    waits = list(_waits(seconds))
    assert sum(waits) == pytest.approx(seconds)
    assert len(waits) <= 7
    assert all(wait > 0 for wait in waits)


def test_callers_who_were_turned_away_together_come_back_one_by_one() -> None:
    assert len({next(_waits(30.0)) for _ in range(20)}) > 10


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("busy", True),
        ("busy: come back", True),
        ("busybody", False),
        ("", False),
        ("not busy", False),
    ],
)
def test_only_who_says_so_is_busy(reason: str, expected: bool) -> None:
    assert is_busy(reason) is expected
