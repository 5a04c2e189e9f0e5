"""Has statements of freshness judged that peers pass on, one after the other.

To judge one takes a thread and the repository's log, which what people push needs as well. Rules:
one is judged at a time; of each peer the newest waits, and peers take turns, so whoever says
thousands has them judged as slowly as who says one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from gittorrent.push.spreading import PeerKey
    from gittorrent.wire.messages import FreshLine


class FreshIntake:
    """The statements that wait, of one repository.

    Args:
        judge: judges one, and does with it what is to be done.
        start: has a coroutine run.
    """

    def __init__(
        self,
        judge: Callable[[FreshLine], Awaitable[None]],
        start: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        self._judge = judge
        self._start = start
        self._waiting: dict[PeerKey, FreshLine] = {}
        self._is_judging = False

    def heard(self, peer: PeerKey, line: FreshLine) -> None:
        """Take a statement, in place of another one by the same peer that still waits."""
        self._waiting[peer] = line
        if not self._is_judging:
            self._is_judging = True
            self._start(self._judge_all())

    def left(self, peer: PeerKey) -> None:
        """Forget what waits of a peer that is gone."""
        self._waiting.pop(peer, None)

    async def _judge_all(self) -> None:
        try:
            while self._waiting:
                await self._judge(self._waiting.pop(next(iter(self._waiting))))
        finally:
            self._is_judging = False
