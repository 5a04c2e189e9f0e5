"""Room for manifests that are on their way: nobody has verified them, and each may be long.

Bytes are counted for each mirror that is asked, since several may be asked for one manifest.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class ManifestRoom:
    """So many bytes; used inside one event loop.

    Args:
        size: bytes that may be under way; one manifest may be in any case.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def of(self, most: int) -> AsyncIterator[None]:
        """Wait until a manifest of ``most`` bytes may come, and hold room for it in the block."""
        while self._held and self._held + most > self._size:
            self._freed.clear()
            await self._freed.wait()
        self._held += most
        try:
            yield
        finally:
            self._held -= most
            self._freed.set()
