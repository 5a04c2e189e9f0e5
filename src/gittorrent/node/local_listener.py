"""Listens at a socket file of this machine, where one process at a time does.

Tracks the place, which is held as long as this process listens, and the callers. Must not know what
is said.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gittorrent.store import control_socket
from gittorrent.transfer.task_set import TaskSet

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any


class LocalListener:
    """A socket file that others of this machine connect to.

    Args:
        path: of the socket.
        serve: serves one caller to its end.
        max_line: the longest line that callers send, in bytes.
    """

    def __init__(
        self,
        path: Path,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
        max_line: int,
    ) -> None:
        self.path = path
        self._serve = serve
        self._max_line = max_line
        self._place: int | None = None
        self._server: asyncio.Server | None = None
        self._tasks = TaskSet()

    @property
    def callers(self) -> int:
        """How many there are."""
        return len(self._tasks)

    @property
    def is_listening(self) -> bool:
        """Whether this process listens now."""
        return self._server is not None

    async def start(self, mode: int | None = None) -> bool:
        """Begin to listen; returns whether this process does, and no other one.

        Args:
            mode: of the socket file; None for this user alone.

        Raises:
            OSError: there can be no socket.
        """
        self._place = control_socket.take_place(self.path)
        if self._place is None:
            return False
        sock = control_socket.listen(self.path)
        if mode is not None:
            self.path.chmod(mode)
        self._server = await asyncio.start_unix_server(
            self._accept, sock=sock, limit=self._max_line
        )
        return True

    async def stop(self) -> None:
        """Stop listening, and hang up on everybody."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        await self._tasks.stop()
        if self._place is not None:
            os.close(self._place)
            self._place = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.start(self._serve(reader, writer))
