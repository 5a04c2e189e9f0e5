"""Steps that a node takes again and again until it ends, all of them at the same moments.

A node that has nothing to do is woken once a second and looks at everything then. Were each of its
watches to count its own seconds, it would be woken for each of them: on a machine that does other
work that costs more than the looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EARLIEST = 0.25
"""Share of a round after which the next one may begin at the earliest."""

_PHASE = random.SystemRandom().random()
"""Where in a second rounds begin: the nodes of one machine do not all look at once."""


async def next_round(seconds: float) -> None:
    """Wait until the next round of so many seconds, which others of that length begin with, too.

    Args:
        seconds: between two rounds; the wait is between `EARLIEST` of that and that much more.
    """
    await asyncio.sleep(until_round(asyncio.get_running_loop().time(), seconds))


def until_round(now: float, seconds: float) -> float:
    """Return the seconds from a moment of the loop's clock until such a round."""
    wait = seconds - (now - _PHASE) % seconds
    return wait if wait >= EARLIEST * seconds else wait + seconds


async def in_rounds(
    step: Callable[[], Awaitable[None]],
    wake: asyncio.Event,
    seconds: float,
    note: Callable[[Exception], None],
) -> None:
    """Take a step, wait for the next round, and take the next one, until cancelled.

    Args:
        step: what is done.
        wake: set when the next step should not wait; cleared before it.
        seconds: between two rounds, see `next_round`.
        note: is told, while it is handled, of what a step raised: a mistake with one thing must
            not end all others for good.
    """
    while True:
        try:
            await step()
        except Exception as error:
            note(error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until_round(asyncio.get_running_loop().time(), seconds)):
                await wake.wait()
        wake.clear()
