"""The time by which commands date what they sign here (`gittorrent.store.signing_time`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.cli.ages import how_long
from gittorrent.store.signing_time import SigningTime

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.store.home import Home

RIGHT = "gittorrent keeper clock --right"
"""What is run to say that the clock is right."""


def signing_clock(home: Home, say: Callable[[str], None]) -> Callable[[], float]:
    """Return what gives the time to sign by, in seconds since 1970.

    Args:
        home: of the node.
        say: told when that is not what the clock says.
    """
    signing = SigningTime(home.clock)
    if home.root.is_dir():  # who pushes into a shared repository may have none
        try:
            signing.heard(())  # whoever could be asked was; else there is only the clock
        except OSError as error:
            say(f"warning: what time it is cannot be kept in {home.clock}: {error.strerror}")
    if ahead := signing.ahead():
        say(f"warning: {ahead_words(ahead)}")
    return signing.now


def ahead_words(seconds: float) -> str:
    """Say that the clock is ahead, what comes of it, and what to do."""
    return (
        f"the clock is {how_long(int(seconds))} ahead of what it can be, so what is signed is dated"
        f" by the time that has passed: set the clock, or if it is right, run '{RIGHT}'"
    )
