"""Names and passwords in the user's ``~/.netrc``, which git's own HTTP finds there by way of curl.

Must not know git's credential helpers, which are asked when what is found here is not taken.
"""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit


def in_netrc(url: str) -> tuple[str, str] | None:
    """Return the name and password for a URL's server; None if there are none.

    A file that cannot be read or understood is passed over, as curl does.
    """
    try:
        entries = netrc.netrc(str(Path(os.environ["HOME"]) / ".netrc"))
    except (KeyError, OSError, UnicodeError, netrc.NetrcParseError):
        return None
    found = entries.authenticators(urlsplit(url).hostname or "")
    return (found[0], found[2]) if found is not None and found[2] else None
