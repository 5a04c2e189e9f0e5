"""URLs that users type, in the short forms too that they taught git by ``url.*.insteadOf``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.git.remotes import url_of
from gittorrent.store.home import open_home
from gittorrent.transfer.location import LocationError, parse_location

if TYPE_CHECKING:
    from gittorrent.transfer.location import Location


def typed_location(text: str) -> Location:
    """Return where a word of the user's leads.

    What is a URL of ours counts as it stands; git is asked only what other words stand for.

    Raises:
        LocationError: it leads nowhere.
        GitError: git could not be asked.
    """
    try:
        return parse_location(text)
    except LocationError:
        expanded = url_of(open_home().root, text)
        if expanded == text:
            raise
        return parse_location(expanded)
