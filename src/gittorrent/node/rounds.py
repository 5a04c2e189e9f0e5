"""Steps that a node takes again and again until it ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def in_rounds(
    step: Callable[[], Awaitable[None]],
    wake: asyncio.Event,
    seconds: float,
    note: Callable[[Exception], None],
) -> None:
    """Take a step, wait, and take the next one, until cancelled.

    Args:
        step: what is done.
        wake: set when the next step should not wait; cleared before it.
        seconds: until the next step otherwise.
        note: is told, while it is handled, of what a step raised: a mistake with one thing must
            not end all others for good.
    """
    while True:
        try:
            await step()
        except Exception as error:
            note(error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await wake.wait()
        wake.clear()
