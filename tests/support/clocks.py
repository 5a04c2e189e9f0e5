"""Machines whose time of day is wrong: `bench/clock_shift.c`, preloaded into their programs."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

COMPILER = "cc"
_SOURCE = Path(__file__).parents[2] / "bench" / "clock_shift.c"
_SHIFT = struct.Struct("=q")

DAY = 86400


@dataclass(frozen=True)
class Clock:
    """The clock of one machine; programs that run see at once when it is set.

    Args:
        library: that is preloaded.
        path: the file that says how far the clock is off.
    """

    library: Path
    path: Path

    @property
    def variables(self) -> dict[str, str]:
        """What is in the environment of the machine's programs."""
        return {"LD_PRELOAD": str(self.library), "CLOCK_SHIFT_FILE": str(self.path)}

    def set(self, seconds: int) -> None:
        """Put the clock off by so many seconds."""
        with self.path.open("r+b") as file:  # programs have this file mapped
            file.write(_SHIFT.pack(seconds))


def make_clock(folder: Path) -> Clock:
    """Return a clock that is right; skips the test where there is no compiler."""
    if shutil.which(COMPILER) is None:
        pytest.skip(f"{COMPILER} is not here")
    library, path = folder / "clock_shift.so", folder / "clock"
    words = [COMPILER, "-O2", "-fPIC", "-shared", "-o", str(library), str(_SOURCE)]
    subprocess.run(words, check=True)
    path.write_bytes(_SHIFT.pack(0))
    return Clock(library, path)
