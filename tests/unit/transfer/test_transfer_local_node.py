"""A node of this machine that hangs does not keep anybody: its caller does the work itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.ids import PushId, RepositoryId
from gittorrent.store import control_socket
from gittorrent.store.processes import DownloadFigures
from gittorrent.transfer.local_node import LocalNode
from gittorrent.wire.control import Fetch, Greeting
from support.starving import PACE

ENOUGH = 120.0
ASKED = Fetch(RepositoryId("a" * 52), PushId("ab" * 20), None, "gittorrent://h/x")


class Quiet:
    """Tells nobody."""

    def note(self, text: str) -> None:
        raise AssertionError(text)

    def detail(self, text: str) -> None:
        raise AssertionError(text)

    def git_says(self, said: bytes) -> None:
        raise AssertionError(said)

    def close(self) -> None:
        pass

    def downloading(self, name: str, figures: DownloadFigures) -> None:
        raise AssertionError

    def phase(self, text: str) -> None:
        raise AssertionError(text)


Act = Callable[[asyncio.StreamWriter], None]


def ask(folder: Path, act: Act) -> list[Path]:
    """Ask a node that does as ``act`` says, and then nothing, for help."""
    path = folder / "run" / "control"
    path.parent.mkdir(mode=0o700)

    async def work() -> list[Path]:
        over = asyncio.Event()

        async def attend(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            act(writer)
            await over.wait()
            writer.transport.abort()

        server = await asyncio.start_unix_server(attend, sock=control_socket.listen(path))
        try:
            async with asyncio.timeout(ENOUGH):
                return await LocalNode(path, Quiet(), 0.3).fetch(ASKED)
        finally:
            over.set()
            server.close()

    return asyncio.run(work())


def _trickle(writer: asyncio.StreamWriter) -> None:
    writer.write(Greeting().encode())
    loop = asyncio.get_running_loop()

    def drip() -> None:
        with contextlib.suppress(RuntimeError):
            if not writer.transport.is_closing():
                writer.write(b"x")
                loop.call_later(PACE, drip)

    drip()


@pytest.mark.parametrize(
    "act",
    [
        lambda _: None,
        lambda writer: writer.write(b"gittorrent-con"),
        lambda writer: writer.write(Greeting().encode()),
        _trickle,
        lambda writer: writer.write(Greeting().encode() + b"x" * (1 << 20)),
    ],
    ids=["silent", "half a greeting", "greeting only", "trickle", "endless line"],
)
def test_a_node_that_hangs_is_of_no_help(tmp_path: Path, act: Act) -> None:
    assert ask(tmp_path, act) == []
