"""In which order statements of freshness are judged, and how many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from gittorrent.ids import PushId
from gittorrent.node.fresh_intake import FreshIntake
from gittorrent.push.spreading import PeerKey
from gittorrent.wire.messages import FreshLine

LOUD, QUIET, GONE = PeerKey(1), PeerKey(2), PeerKey(3)


def line(time: int) -> FreshLine:
    return FreshLine(PushId("a" * 40), time, b"")


async def judged() -> list[int]:
    """Return the times of what is judged, while one peer says a thousand."""
    times: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    async def judge(said: FreshLine) -> None:
        times.append(said.time)
        if len(times) == 1:
            for number in range(1, 1001):
                intake.heard(LOUD, line(number))
            intake.heard(GONE, line(3000))
            intake.heard(QUIET, line(2000))
            intake.left(GONE)

    def start(work: Coroutine[None, None, None]) -> None:
        tasks.append(asyncio.get_running_loop().create_task(work))

    intake = FreshIntake(judge, start)
    intake.heard(LOUD, line(0))
    await asyncio.gather(*tasks)
    intake.heard(QUIET, line(2001))
    await asyncio.gather(*tasks)
    return times


def test_of_each_peer_one_waits_and_they_take_turns() -> None:
    assert asyncio.run(judged()) == [0, 1000, 2000, 2001]
