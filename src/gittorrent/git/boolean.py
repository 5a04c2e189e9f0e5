"""Yes and no in git's configuration, read as git reads them (git-config(1), Values).

Pure. Must not know which setting is read: the caller names it.
"""

from __future__ import annotations

import re

from gittorrent.errors import UsageError

_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
    "": False,
}
_NUMBER = re.compile(r"[+-]?(0x[0-9a-f]{1,20}|[0-9]{1,20})[kmg]?", re.IGNORECASE)


def parse_boolean(name: str, text: str) -> bool:
    """Return what a value says.

    Args:
        name: of the setting, for the error.
        text: the value; of a name without one it is ``true``.

    Raises:
        UsageError: it is no boolean. Git stops there too, so a check is not left out in silence.
    """
    known = _WORDS.get(text.lower())
    if known is not None:
        return known
    if (number := _NUMBER.fullmatch(text)) is None:
        raise UsageError(f"{name} is {text!r}", hint="write true or false")
    digits = number[1].lower()
    return int(digits, 16 if digits.startswith("0x") else 10) != 0
