"""Asks the node that runs on this machine to download, to go on seeding, or to look for mirrors.

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

from gittorrent.discovery.ports import Place, Way
from gittorrent.errors import GitTorrentError, LocalError, ProtocolError
from gittorrent.store import control_socket
from gittorrent.store.processes import DownloadFigures, MirrorFigures
from gittorrent.wire.control import (
    MAX_LINE,
    VERSION,
    At,
    Done,
    Failed,
    Find,
    Greeting,
    Hint,
    MirrorLine,
    No,
    Note,
    Phase,
    PlaceLine,
    Problem,
    Progress,
    Reload,
    Taken,
    parse_answer,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from gittorrent.ids import RepositoryId
    from gittorrent.transfer.context import Reporter
    from gittorrent.wire.control import Answer, Fetch, Follow, Keep, LookAt, Request

GREETING_SECONDS = 2.0
"""Time a node gets for its first line: it is on this machine and has nothing to look up."""

SILENCE_SECONDS = 30.0
"""Silence after which a node that works on a request is given up; it says ``alive`` before that."""

MAX_MIRROR_LINES = 200
"""Mirrors one progress line may speak of."""


FOUND_WAYS = frozenset({Way.LAN.value, Way.DHT.value})
"""In which ways a node may say that it found somebody."""


class _NodeFailed(GitTorrentError):
    """The node does not do it; the text says why."""


class NoNodeError(GitTorrentError):
    """No node of this machine looks for mirrors; the text says why."""


class _Outcome(Struct):
    """What came of a request."""

    seconds: int = 0
    directories: list[Path] = field(default_factory=list)


class HandedOverError(GitTorrentError):
    """The node could not do what was handed over to it; it ends a command as if it had tried."""

    def __init__(self, status: int, reason: str, hint: str) -> None:
        super().__init__(reason, hint=hint)
        self.exit_code = status


class Refusal(Struct, frozen=True):
    """A node is there and does not do what it is asked for; ``reason`` says why."""

    reason: str


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

    async def follow(self, request: Follow, taken: Callable[[int], None]) -> Refusal | bool:
        """Hand a repository over, and wait until it is here and up to date.

        Args:
            request: what to carry.
            taken: told which process follows it from now on, whatever becomes of this one.

        Returns:
            Whether a node runs here; a refusal if it does and does not take it.

        Raises:
            HandedOverError: the node tried, and failed.
            LocalError: it took the repository over, and has gone.
        """
        return await self._hand_over(request, taken)

    async def look_at(self, request: LookAt, taken: Callable[[int], None]) -> Refusal | bool:
        """Let the node look at an upstream that it tracks; see `follow`."""
        return await self._hand_over(request, taken)

    async def reload(self) -> Refusal | bool:
        """Let the node go by its configuration as it is now; returns what `follow` does.

        Raises:
            HandedOverError: the configuration is wrong; all that is wrong was noted.
        """
        return await self._hand_over(Reload(), lambda _: None)

    async def _hand_over(
        self, request: Follow | LookAt | Reload, taken: Callable[[int], None]
    ) -> Refusal | bool:
        sock = control_socket.connect(self._control)
        if sock is None:
            return False
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE)
        is_taken, hint = False, ""
        try:
            greeting = await _read(reader, min(GREETING_SECONDS, self._silence_seconds))
            if greeting != Greeting(VERSION):
                return Refusal("it is of another version")
            writer.write(request.encode())
            while not isinstance(answer := await _read(reader, self._silence_seconds), Done):
                if isinstance(answer, No):
                    return Refusal(answer.reason)
                if isinstance(answer, Failed):
                    raise HandedOverError(answer.status, answer.reason, hint)
                if isinstance(answer, Taken):
                    is_taken = True
                    taken(answer.pid)
                elif isinstance(answer, Hint):
                    hint = answer.text
                else:
                    self._show(answer)
        except (_NodeFailed, ProtocolError, OSError) as error:
            if not is_taken:
                return Refusal(str(error))
            raise LocalError(
                f"the node on this machine does not go on: {error}",
                hint="'gittorrent serve' goes on with it once it runs again",
            ) from error
        finally:
            writer.close()
        return True

    async def find(self, repository: RepositoryId) -> AsyncGenerator[Sequence[Place], None]:
        """Yield the places where the node finds mirrors of a repository, as it finds them.

        Raises:
            NoNodeError: there is none that looks for mirrors; nothing was yielded then.
        """
        sock = control_socket.connect(self._control)
        if sock is None:
            raise NoNodeError("no node runs here")
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE)
        began = False
        try:
            greeting = await _read(reader, min(GREETING_SECONDS, self._silence_seconds))
            if greeting != Greeting(VERSION):
                raise _NodeFailed("it speaks another version")
            writer.write(Find(repository).encode())
            while not isinstance(answer := await _read(reader, self._silence_seconds), Done):
                if isinstance(answer, No):
                    raise _NodeFailed(answer.reason)
                if isinstance(answer, PlaceLine) and answer.way in FOUND_WAYS:
                    began = True
                    yield [Place(answer.address, answer.port, Way(answer.way))]
        except (_NodeFailed, ProtocolError, OSError) as error:
            if not began:
                raise NoNodeError(str(error)) from error
        finally:
            writer.close()

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
        except (_NodeFailed, ProtocolError, OSError) as error:
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
        elif isinstance(answer, Note | Problem):
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
