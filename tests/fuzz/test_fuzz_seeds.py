"""Every fuzz target survives its seeds and 2,000 mutations of them, the same ones each time."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest
from harness import mutate

ROUNDS = 2000
TARGETS = sorted(Path(__file__).parent.glob("fuzz_*.py"))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", TARGETS, ids=lambda path: path.stem)
def test_target_survives(path: Path) -> None:
    target = _load(path)
    seeds = list(target.SEEDS)
    assert seeds, "a target needs inputs to begin from"
    source = random.Random(path.stem)
    inputs = [*seeds, *(mutate(source, seeds) for _ in range(ROUNDS))]
    for data in inputs:
        try:
            target.one_input(data)
        except Exception as error:
            error.add_note(f"input: {data!r}")
            raise
