"""Runs a fuzz target: under atheris where it is installed, else on mutated seeds for a while.

Usage: ``python tests/fuzz/fuzz_<what>.py [atheris arguments]``. A target offers
``one_input(data)``, which raises only on a defect, and ``SEEDS``, inputs to begin from.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Sequence

ROUNDS_WITHOUT_ATHERIS = 100_000


def mutate(source: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Make an input out of the seeds by a few random cuts, copies and changes of bytes."""
    if not seeds or source.random() < 0.05:
        return source.randbytes(source.randrange(200))
    data = bytearray(source.choice(seeds))
    for _ in range(source.randrange(5)):
        at = source.randrange(len(data) + 1)
        match source.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << source.randrange(8)
            case 1:
                data[at:at] = source.randbytes(source.randrange(1, 5))
            case 2:
                del data[at : at + source.randrange(1, 20)]
            case 3:
                other = source.choice(seeds)
                start = source.randrange(len(other) + 1)
                data[at:at] = other[start : start + source.randrange(64)]
            case 4 if at < len(data):
                data[at] = source.choice(b"\x00\n 0149:-/\xff")
            case _:
                data[at:at] = data[at : at + source.randrange(32)]
    return bytes(data)


def run(one_input: Callable[[bytes], None]) -> None:
    """Fuzz ``one_input`` until it fails, is stopped, or (without atheris) ran its rounds."""
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        module = sys.modules[one_input.__module__]
        _run_plain(one_input, getattr(module, "SEEDS", [b""]))
        return
    atheris.instrument_all()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


def _run_plain(one_input: Callable[[bytes], None], seeds: Sequence[bytes]) -> None:
    seed = random.randrange(2**32)
    print(f"atheris is not installed; {ROUNDS_WITHOUT_ATHERIS} mutations with seed {seed}")
    source = random.Random(seed)
    for _ in range(ROUNDS_WITHOUT_ATHERIS):
        data = mutate(source, seeds)
        try:
            one_input(data)
        except Exception:
            print(f"failing input: {data!r}")
            raise
