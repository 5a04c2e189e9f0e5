"""Asks a repository's trackers for peers, one at a time, again and again, and says goodbye.

Rules: a tracker is asked when its answer expires, not before; one that fails or says it is busy
(HTTP 503) gives way to another (`gittorrent.gtp.tracker_rotation`); an answer that never expires is
a file, which is read again now and then. Source: docs/protocol/gtp01.md, Tracker.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import time
from typing import TYPE_CHECKING

from gittorrent.gtp.errors import TrackerError
from gittorrent.gtp.limits import MAX_TRACKER_ANSWER
from gittorrent.gtp.node.addresses import Teller
from gittorrent.gtp.tracker_messages import (
    TrackerAnswer,
    TrackerEvent,
    TrackerRequest,
    parse_answer,
)
from gittorrent.gtp.tracker_rotation import LONGEST_RETRY, TrackerRotation
from gittorrent.transfer.http_resolvers import Pinned
from gittorrent.transfer.looking_up import look_up
from gittorrent.wire.urls import AddressClass, address_class, less_trusted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.gtp.node.swarm import Swarm

_log = logging.getLogger(__name__)

FILE_SECONDS = 3600.0
"""How often a tracker that is a file is read."""

ANSWER_SECONDS = 30.0
LOOK_UP_SECONDS = 10.0
LEAVE_SECONDS = 3.0


class BusyTrackerError(TrackerError):
    """The tracker asks to be left alone for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the tracker is busy for {seconds:.0f} seconds")
        self.seconds = seconds


class TrackerClient:
    """The trackers of one swarm.

    Args:
        urls: of the trackers, in an order of chance.
        swarm: whose peers are wanted.
        peer_id: ours.
        port: at which we listen; 0 not at all, and then we are not listed for long.
        told: given each answer, and who gave it.
    """

    def __init__(
        self,
        urls: Sequence[str],
        swarm: Swarm,
        peer_id: bytes,
        port: int,
        told: Callable[[Swarm, TrackerAnswer, Teller], None],
    ) -> None:
        self._rotation = TrackerRotation(urls)
        self._swarm = swarm
        self._peer_id = peer_id
        self._port = port
        self._told = told
        self._listed: set[str] = set()
        self._perhaps_listed: set[str] = set()
        """Trackers that were asked and did not fail: one whose answer did not come may list us."""
        self._kind: AddressClass | None = None

    async def run(self) -> None:
        """Ask for ever."""
        rotation = self._rotation
        while True:
            # Patience is no secret.
            wait = (rotation.due - time.monotonic()) * random.uniform(0.9, 1.1)  # noqa: S311
            await asyncio.sleep(max(wait, 0.0))
            url = rotation.url
            try:
                answer = await self.ask(url)
            except BusyTrackerError as error:
                rotation.failed(time.monotonic(), error.seconds)
                continue
            except (TrackerError, OSError, TimeoutError) as error:
                _log.warning("tracker %s: %s", url, error)
                rotation.failed(time.monotonic())
                continue
            assert self._kind is not None
            self._told(self._swarm, answer, Teller(url, self._kind))
            # A little early, so that the listing never lapses.
            lasting = answer.expires * 0.8 if answer.expires else FILE_SECONDS
            rotation.answered(time.monotonic(), lasting)

    async def leave(self) -> None:
        """Say to those trackers that know us that we are going."""
        asked = [
            asyncio.wait_for(self._ask(url, TrackerEvent.STOPPED), LEAVE_SECONDS)
            for url in sorted(self._listed | self._perhaps_listed)
        ]
        await asyncio.gather(*asked, return_exceptions=True)  # who hears nothing finds out in time

    async def ask(self, url: str) -> TrackerAnswer:
        """Ask one tracker, once.

        Raises:
            OSError: its name has no address.
            TimeoutError: it takes too long.
            TrackerError: it refuses, or gives no answer that can be read.
        """
        event = TrackerEvent.NONE if url in self._listed else TrackerEvent.STARTED
        self._perhaps_listed.add(url)
        try:
            answer = await self._ask(url, event)
        except TimeoutError:
            raise
        except (TrackerError, OSError):
            self._perhaps_listed.discard(url)
            raise
        self._listed.add(url)
        return answer

    def request(self, event: TrackerEvent) -> TrackerRequest:
        """Return what to ask a tracker with."""
        return TrackerRequest(
            repo_hash=self._swarm.metainfo.repo_hash,
            peer_id=self._peer_id,
            # Port 9 (discard) stands for "does not listen": the field must not be empty.
            port=self._port or 9,
            uploaded=self._swarm.sent,
            downloaded=self._swarm.received,
            completed=self._swarm.exchange.has_newest,
            event=event,
            valid=0 if self._port else 60,
        )

    async def _ask(self, tracker: str, event: TrackerEvent) -> TrackerAnswer:
        import aiohttp
        from yarl import URL

        separator = "&" if "?" in tracker else "?"
        try:
            url = URL(tracker + separator + self.request(event).query(), encoded=True)
            host, port = url.host or "", url.port or 80
        except ValueError as error:  # whoever wrote the metainfo may write anything
            raise TrackerError(f"it is no URL: {error}") from error
        addresses = await self._find(host, port)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            pinned = aiohttp.TCPConnector(resolver=Pinned(*addresses))
            async with aiohttp.ClientSession(timeout=timeout, connector=pinned) as session:
                async with session.get(url, allow_redirects=False) as response:
                    if response.status in (429, 503):
                        raise BusyTrackerError(_seconds(response.headers.get("Retry-After")))
                    if response.status != 200:
                        raise TrackerError(f"HTTP status {response.status}")
                    data = await response.content.read(MAX_TRACKER_ANSWER + 1)
                    while not response.content.at_eof() and len(data) <= MAX_TRACKER_ANSWER:
                        data += await response.content.read(MAX_TRACKER_ANSWER + 1 - len(data))
        except (aiohttp.ClientError, ValueError) as error:
            raise TrackerError(str(error) or type(error).__name__) from error
        return parse_answer(data)

    async def _find(self, host: str, port: int) -> list[str]:
        """Look the tracker up, once for each request, and note how far to trust what it tells.

        Returns:
            its IP addresses; those that are nobody's are left out.

        Raises:
            OSError: its name has no address.
            TrackerError: it has none that can be asked.
        """
        found = [str(each[4][0]) for each in await look_up(host, port, LOOK_UP_SECONDS)]
        kinds = {address: address_class(address) for address in found}
        usable = [each for each in kinds if kinds[each] is not AddressClass.RESERVED]
        if not usable:
            raise TrackerError(f"{host} is {', '.join(kinds)}, a reserved address range")
        # Whichever of them answers, its word counts as that of the least trusted.
        self._kind = functools.reduce(less_trusted, (kinds[each] for each in usable))
        return usable


def _seconds(value: str | None) -> float:
    if value is not None and value.isascii() and value.isdigit():
        return min(float(value), LONGEST_RETRY)
    return 60.0
