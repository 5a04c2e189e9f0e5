"""Numbers of bytes as users write them, in git's configuration and on the command line, and read
them.

Pure. Must not know what the bytes are for: whoever reads a setting says so in its own words.
"""

from __future__ import annotations

import re

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)([kmg]?)", re.IGNORECASE)
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30}


def parse_size(text: str) -> int | None:
    """Return the bytes that ``500K``, ``1.5M``, ``2g`` or ``4096`` stand for, None for other words.

    K, M and G are 2^10, 2^20 and 2^30; of a fraction of a byte nothing is left.
    """
    found = _SIZE.fullmatch(text.strip())
    return None if found is None else int(float(found[1]) * (1 << _SHIFTS[found[2].lower()]))


def show_bytes(count: float) -> str:
    """Return a size in the units git uses, such as ``3.41 MiB``."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{int(count)} bytes"
