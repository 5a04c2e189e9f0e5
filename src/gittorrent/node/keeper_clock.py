"""Asks mirrors what time it is, for the keepers of this node, where its own clock may be ahead.

The shell around `gittorrent.push.signing_clock`. Tracks when it was asked last, and what was said
of the clock in the log. Rules: nobody is asked while the clock is believed; one word counts of each
host, since anybody may list many URLs; what is signed meanwhile is dated by the time passed.
Source: docs/protocol/push.md, Keeping.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.transfer.opening import ask_list

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gittorrent.store.signing_time import SigningTime
    from gittorrent.transfer.reaching import Source

    Sources = Callable[[], Awaitable[Sequence[Source]]]
    Ask = Callable[[Source], Awaitable[float | None]]

MAX_ASKED = 8
"""Hosts that are asked: a few that are wrong must not be most of them."""

ANSWER_SECONDS = 3.0
"""Time they get: what has to be signed waits for them."""

AGAIN_SECONDS = 30.0
"""Time after which they are asked again while the clock is not believed, whatever repository it is
about: all are of one machine."""

_log = EventLog(__name__)


class KeeperClock:
    """The time by which the keepers of one node sign.

    Args:
        signing: it, as all processes of this machine know it.
        ask: returns what time it is at a mirror; None where it does not say it.
    """

    def __init__(self, signing: SigningTime, ask: Ask | None = None) -> None:
        self._signing = signing
        self._ask = ask or _ask
        self._asking = asyncio.Lock()
        self._asked_at = self._looked_at = -math.inf
        self._is_ahead = False

    @property
    def now(self) -> Callable[[], float]:
        """Returns the time to sign by, in seconds since 1970; to be called in any thread."""
        return self._signing.now

    @property
    def ahead(self) -> float:
        """Seconds by which the clock is ahead of what it can be; 0.0 if it is not."""
        return self._signing.ahead()

    def is_due(self, now: float) -> bool:
        """Tell whether to `look` though nothing is to be signed: mirrors hold things back by it.

        Args:
            now: seconds of the loop's clock.
        """
        if now < self._looked_at + AGAIN_SECONDS:
            return False
        self._looked_at = now
        return self._signing.wants_others()

    async def look(self, sources: Sources, *, may_wait: bool = False) -> None:
        """Find out whether the clock is to be believed, if that is in doubt.

        Args:
            sources: returns mirrors that can be asked.
            may_wait: whether to leave it in doubt where none of them says the time yet.
        """
        async with self._asking:
            self._tell()
            if not self._signing.wants_others():
                return
            now = asyncio.get_running_loop().time()
            times: Sequence[float] = ()
            if now >= self._asked_at + AGAIN_SECONDS:
                times = await self._times(await sources())
                self._asked_at = now if times or not may_wait else self._asked_at
            if times or not may_wait:
                self._signing.heard(times)
            self._tell()

    async def _times(self, sources: Sequence[Source]) -> Sequence[float]:
        """Return what time it is at some mirrors, as far as they say."""
        hosts = {each.endpoint.host: each for each in sources if each.endpoint is not None}
        asked = [self._ask(each) for each in list(hosts.values())[:MAX_ASKED]]
        return [each for each in await asyncio.gather(*asked) if each is not None]

    def _tell(self) -> None:
        """Say once that the clock is ahead, and that it is not any more."""
        ahead = self._signing.ahead()
        if ahead and not self._is_ahead:
            _log.warning(
                "clock-ahead",
                "the clock is {seconds:.0f} s ahead of what it can be: what keepers here sign is"
                " dated by the time that has passed instead; set the clock, or if it is right, run"
                " 'gittorrent keeper clock --right'",
                seconds=ahead,
            )
        elif self._is_ahead and not ahead:
            _log.info("clock-right", "keepers here go by the clock again")
        self._is_ahead = ahead > 0.0


async def _ask(source: Source) -> float | None:
    """Ask one mirror for its list, which says the time."""
    assert source.endpoint is not None
    with contextlib.suppress(GitTorrentError, TimeoutError):  # then it is not counted
        async with asyncio.timeout(ANSWER_SECONDS):
            found, _ = await ask_list(source.endpoint, source.trusted)
            return found.time
    return None
