"""Asks the node that runs on this machine to download, or to go on seeding.

The node is a convenience and is not believed: what it downloaded is verified by whoever takes it as
if a stranger had sent it. Whenever it is not there, is somebody else's, too old, silent, unwilling
or gone midway, the answer here is that nothing came of it, and the caller does the work itself.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.errors import GitTorrentError
from gittorrent.store import control_socket
from gittorrent.store.processes import DownloadFigures, MirrorFigures
from gittorrent.wire.control import (
    MAX_LINE,
    VERSION,
    At,
    Done,
    Greeting,
    MirrorLine,
    No,
    Note,
    Phase,
    Progress,
    parse_answer,
)
from gittorrent.wire.fields import MessageError

if TYPE_CHECKING:
    from gittorrent.transfer.context import Reporter
    from gittorrent.wire.control import Answer, Fetch, Keep, Request

GREETING_SECONDS = 2.0
"""Time a node gets for its first line: it is on this machine and has nothing to look up."""

SILENCE_SECONDS = 30.0
"""Silence after which a node that works on a request is given up; it says ``alive`` before that."""

MAX_MIRROR_LINES = 200
"""Mirrors one progress line may speak of."""


class _NodeFailed(GitTorrentError):
    """The node does not do it; the text says why."""


class _Outcome(Struct):
    """What came of a request."""

    seconds: int = 0
    directories: list[Path] = field(default_factory=list)


class LocalNode:
    """The node of this machine.

    Args:
        control: path of its control socket.
        reporter: tells the user.
        silence_seconds: silence after which it is given up.
    """

    def __init__(
        self, control: Path, reporter: Reporter, silence_seconds: float = SILENCE_SECONDS
    ) -> None:
        self._control = control
        self._reporter = reporter
        self._silence_seconds = silence_seconds
        self._mirrors: list[MirrorFigures] = []
        self._showed = False

    async def fetch(self, request: Fetch) -> list[Path]:
        """Let the node download what leads a repository to a push.

        Returns:
            Git directories that may have the reels now; none if the node is of no help.
        """
        outcome = await self._ask(request, self._silence_seconds)
        return [] if outcome is None else outcome.directories

    async def keep(self, request: Keep) -> int | None:
        """Hand a clone's reels over.

        Returns:
            The seconds for which the node seeds them; None if it does not.
        """
        outcome = await self._ask(request, self._silence_seconds)
        return None if outcome is None else outcome.seconds

    async def _ask(self, request: Request, silence: float) -> _Outcome | None:
        sock = control_socket.connect(self._control)
        if sock is None:
            return None
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE)
        try:
            greeting = await _read(reader, min(GREETING_SECONDS, silence))
            if greeting != Greeting(VERSION):
                return None
            writer.write(request.encode())
            return await self._hear(reader, silence)
        except (_NodeFailed, MessageError, OSError) as error:
            if self._showed:
                # The user saw it work, and is owed a word on why it begins again.
                self._reporter.note(f"the node on this machine does not go on: {error}")
            return None
        finally:
            writer.close()

    async def _hear(self, reader: asyncio.StreamReader, silence: float) -> _Outcome:
        outcome = _Outcome()
        while True:
            answer = await _read(reader, silence)
            if isinstance(answer, Done):
                outcome.seconds = answer.seconds
                return outcome
            if isinstance(answer, No):
                raise _NodeFailed(answer.reason)
            if isinstance(answer, At):
                outcome.directories.append(Path(os.fsdecode(answer.directory)))
            else:
                self._show(answer)

    def _show(self, answer: Answer | None) -> None:
        if isinstance(answer, MirrorLine):
            if len(self._mirrors) < MAX_MIRROR_LINES:
                figures = (
                    answer.url,
                    float(answer.rate),
                    answer.parts,
                    answer.received,
                    answer.fault,
                    answer.called_us,
                )
                self._mirrors.append(MirrorFigures(*figures))
        elif isinstance(answer, Progress):
            self._showed = True
            mirrors, self._mirrors = tuple(self._mirrors), []
            self._reporter.downloading(
                answer.manifest,
                DownloadFigures(answer.parts, answer.total, answer.size, answer.received, mirrors),
            )
        elif isinstance(answer, Phase):
            self._reporter.phase(answer.text)
        elif isinstance(answer, Note):
            self._reporter.note(answer.text)


async def _read(reader: asyncio.StreamReader, seconds: float) -> Answer | None:
    """Read a line of the node's; None if it says something that is not known here."""
    try:
        async with asyncio.timeout(seconds):
            line = await reader.readline()
    except TimeoutError as error:
        raise _NodeFailed(f"it is silent for {seconds:.0f} seconds") from error
    except ValueError as error:
        raise _NodeFailed("its answer is too long") from error
    if not line.endswith(b"\n"):
        raise _NodeFailed("it has gone")
    return parse_answer(line)
