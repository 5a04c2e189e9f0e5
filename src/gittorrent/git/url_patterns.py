"""Files that git's configuration includes where a remote has some URL.

Source: git-config(1), "Conditional includes", ``hasconfig:remote.*.url``.
"""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[*?\[\]\\]")


def included_where(pattern: str) -> str:
    """Return the name of the setting that includes a file where a remote's URL matches."""
    return f"includeIf.hasconfig:remote.*.url:{pattern}.path"


def escaped(text: str) -> str:
    """Return the pattern that matches a text and nothing else."""
    return _SPECIAL.sub(r"\\\g<0>", text)
