"""What is needed to judge pushes: asked of a mirror that may give none of it, or not in time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.git.runner import Git
from gittorrent.ids import SHA1
from gittorrent.push.log import VerifiedLog
from gittorrent.repository.layout import Layout
from gittorrent.repository.logstore import LogStore
from gittorrent.store.database import Database
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.context import Context
from gittorrent.transfer.peer_manager import Sharing
from gittorrent.transfer.reaching import named
from gittorrent.transfer.untaken import MAX_SINGLE, UntakenPushes
from gittorrent.wire.urls import Endpoint
from support import gitcmd, nodes
from support.logs import MAIN, Writer, oid
from support.notes import Notes

PUSHES = 3


@pytest.fixture
def writer() -> Writer:
    writer = Writer()
    writer.publish({MAIN: oid(1)})
    for number in range(PUSHES):
        writer.push({MAIN: oid(2 + number)})
    return writer


REFUSAL = b"000bERR no\n"


@pytest.mark.parametrize(
    ("how", "answer", "calls"),
    [(how, *case) for how in ("look", "bring") for case in ((None, 1), (REFUSAL, 1 + PUSHES))],
)
def test_a_mirror_that_gives_nothing_holds_up_little(
    tmp_path: Path, writer: Writer, how: str, answer: bytes | None, calls: int
) -> None:
    """Each push is asked for by itself where all together are not given; not in vain for long."""
    assert PUSHES <= MAX_SINGLE
    git_dir, home = gitcmd.init(tmp_path / "x.git"), nodes.make_home(tmp_path / "home")
    store, log, called = LogStore(Layout(git_dir), SHA1, writer.repository), VerifiedLog(SHA1), []
    for known, push in writer.pushes:
        log.admit(push, known)
        store.store_push(known, push)
    log.settle()
    database, notes = Database(home.database), Notes()
    timeouts = replace(ClientTimeouts(), answer=0.5)

    async def work() -> None:
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            called.append(await reader.read(1 << 16))
            if answer is not None:
                writer.write(answer)
            else:
                await gone.wait()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        source = named(Endpoint("git", "127.0.0.1", port, "/x"))
        context = Context(
            database, home, Git(git_dir), notes, Sharing(None), client_timeouts=timeouts
        )
        untaken = UntakenPushes(Layout(git_dir), log, store, [source], context)
        if how == "look":
            await untaken.look()
        else:
            assert await untaken.bring(log.unjudged) == log.unjudged
        gone.set()
        server.close()

    assert len(log.unjudged) == PUSHES
    try:
        asyncio.run(work())
    finally:
        database.close()
    assert len(called) == calls
    assert len(log.unjudged) == PUSHES
    assert log.refs == log.final_refs == {MAIN: oid(1)}
