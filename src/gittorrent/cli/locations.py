"""URLs that users type, in the short forms too that they taught git by ``url.*.insteadOf``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.git.remotes import url_of
from gittorrent.store.home import usable_home
from gittorrent.transfer.location import LocationError, parse_location

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import RepositoryId
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
        if not text:  # of which git says what is no help
            raise
        with usable_home() as home:  # any place that is no repository
            expanded = url_of(home.root, text)
        if expanded == text:
            raise
        return parse_location(expanded)


def typed_mirror(text: str, repository: RepositoryId) -> str:
    """Return the URL of a mirror as a policy, which everybody reads, is to name it.

    Args:
        text: what the user typed.
        repository: that it is a mirror of.

    Raises:
        LocationError: it leads nowhere, or has a password in it.
        UsageError: it is another repository's, or leads to no host.
        GitError: git could not be asked.
    """
    location = typed_location(text)
    if location.expected not in (None, repository):
        raise UsageError(
            f"{location.full_url} is of another repository: this one is {repository}",
            hint="leave the id out, if the mirror has this one there",
        )
    return location.require_endpoint().url


def find_mirror(text: str, named: Iterable[str]) -> str:
    """Return the URL in a policy that a user means, in whatever form it is there; else the text."""
    urls = list(named)
    place = None if text in urls else _place(text)
    return next((url for url in urls if place is not None and _place(url) == place), text)


def _place(text: str) -> str | None:
    try:
        return typed_location(text).require_endpoint().url
    except GitTorrentError:
        return None
