"""Which seeds random tests run."""

from __future__ import annotations

import os
from typing import Any

import pytest


def seeds(variable: str, *, usual: int, exhaustive: int) -> list[Any]:
    """Return the parameters of a test that takes a seed.

    Args:
        variable: of the environment; ``FROM-TO`` names those to run instead of the usual ones.
        usual: how many run each time, from 0 on.
        exhaustive: how many run where the marker of that name is asked for.
    """
    if chosen := os.environ.get(variable):
        first, _, last = chosen.partition("-")
        return list(range(int(first), int(last) + 1))
    more = (pytest.param(n, marks=pytest.mark.exhaustive) for n in range(usual, exhaustive))
    return [*range(usual), *more]
