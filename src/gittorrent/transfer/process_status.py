"""Keeps the snapshot of an idle mirror or seed up to date, for ``gittorrent status``.

Downloads write their snapshot as parts arrive. A mirror or seed may have nothing to do for hours,
and is shown all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gittorrent.store.snapshot import INTERVAL_SECONDS, Snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gittorrent.store.processes import AnyProcess


@contextlib.asynccontextmanager
async def shown(
    directory: Path, kind: str, describe: Callable[[], AnyProcess]
) -> AsyncIterator[None]:
    """Let ``gittorrent status`` see this process for as long as the block lasts.

    Args:
        directory: ``GITTORRENT_HOME/run``.
        kind: of the process, for the name of its file.
        describe: says what the process does now.

    Raises:
        OSError: it could not be written, for another reason than a full disk.
    """
    snapshot = Snapshot(directory, kind)
    renewing = asyncio.get_running_loop().create_task(_renew(snapshot, describe))
    try:
        yield
    finally:
        renewing.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await renewing
        finally:
            snapshot.remove()


async def _renew(snapshot: Snapshot, describe: Callable[[], AnyProcess]) -> None:
    while True:
        snapshot.write(describe)
        await asyncio.sleep(INTERVAL_SECONDS)
