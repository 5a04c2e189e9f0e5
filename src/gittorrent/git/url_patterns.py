"""Patterns of URLs in the conditions of git's configuration.

Source: git-config(1), "Conditional includes", ``hasconfig:remote.*.url``.
"""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[*?\[\]\\]")


def escaped(text: str) -> str:
    """Return what matches a text and nothing else."""
    return _SPECIAL.sub(r"\\\g<0>", text)
