"""Tells the peers of a repository of reels that are new here, whoever made them.

A publication makes reels, so do the node that signs (`gittorrent.node.reel_builder`) and the one
that follows (`gittorrent.node.reel_follower`), each in a process of its own. So it is looked what
is there, once its directory has changed. Tracks which reels were. Those that are there at the start
are no news: whoever begins a conversation asks for all of them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gittorrent.transfer.off_loop import SlowError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import ManifestId
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.transfer.off_loop import Reading


class ReelNews:
    """The reels of one repository.

    Args:
        reels: returns those that are there; called by ``reading`` alone.
        reading: in which files are read.
        say: tells the peers of one.
    """

    def __init__(
        self,
        reels: Callable[[], list[StoredReel]],
        reading: Reading,
        say: Callable[[StoredReel], None],
    ) -> None:
        self._reels = reels
        self._reading = reading
        self._say = say
        self._known: set[ManifestId] | None = None

    async def look(self) -> None:
        """Tell of what came since the last look; a disk that is slow is looked at later."""
        with contextlib.suppress(SlowError):
            for reel in await self._reading(self._new):
                self._say(reel)

    def _new(self) -> list[StoredReel]:
        reels = [reel for reel in self._reels() if reel.is_available]
        known, self._known = self._known, {reel.id for reel in reels}
        return [] if known is None else [reel for reel in reels if reel.id not in known]
