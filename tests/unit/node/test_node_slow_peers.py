"""Callers that say nothing, too little, or take nothing."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gittorrent.ids import ManifestId, PushId
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.connection_limiter import ConnectionLimiter
from gittorrent.node.connections import Serve
from gittorrent.node.conversations import Conversations
from gittorrent.node.git_listener import GitListener
from gittorrent.node.git_processes import GitProcesses
from gittorrent.node.http_listener import HttpListener
from gittorrent.node.notices import Notices
from gittorrent.node.pushes import Pushes
from gittorrent.node.services import Lists, NodeServices, Reachable
from gittorrent.repository.carried import Carried
from gittorrent.transfer.conversation import Conversation
from gittorrent.transfer.conversation_roles import Upload
from gittorrent.transfer.limiter import Limiter, Limits
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.transfer.server_timeouts import ServerTimeouts
from gittorrent.transfer.slot_queue import SlotQueue
from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_INCOMING
from gittorrent.wire.messages import VERSION, FetchPush, Ready
from gittorrent.wire.session import Role, Session
from support.programs import PATIENCE


def listeners(carried: Carried, server_timeouts: ServerTimeouts) -> dict[str, Serve]:
    catalogue, lists = Catalogue([carried]), Lists(Reachable())
    notices, git_processes, limits = Notices(None, lambda: True), GitProcesses(), Limits()
    services = NodeServices(
        catalogue, lists, notices, git_processes, limits, Pushes(), server_timeouts
    )
    conversations = Conversations(services, "node", SlotQueue())
    git = GitListener(services, conversations)
    return {"git": git.serve, "http": HttpListener(services, conversations).serve}


@pytest.mark.parametrize("kind", ["git", "http"])
@pytest.mark.parametrize("begin", [b"", b"00", b"GET /", b"0032git-upload-pack "])
def test_a_request_that_does_not_end_is_dropped(carried: Carried, kind: str, begin: bytes) -> None:
    async def work() -> bytes:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        with ours, theirs:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(ours, begin)
            async with asyncio.timeout(PATIENCE):
                slot = ConnectionLimiter().enter("127.0.0.1", loop.time())
                assert slot is not None
                await listeners(carried, ServerTimeouts(request=0.05))[kind](theirs, slot)
            theirs.close()
            try:
                return await loop.sock_recv(ours, 1000)
            except ConnectionResetError:
                return b""  # its time was over before it was read

    answer = asyncio.run(work())
    assert answer == b"" or answer[4:8] == b"ERR " or answer.startswith(b"HTTP/1.0 400 ")


def test_a_peer_that_asks_and_never_reads_costs_no_memory(carried: Carried) -> None:
    head = carried.log_store.ids()[-1]

    async def work() -> tuple[Conversation, int]:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        loop = asyncio.get_running_loop()
        session = Session(Role.ANSWERER, loop.time())
        content = _LargePushes(carried)
        conversation = Conversation(theirs, session, Upload(content, Limiter(None)))
        conversation.say(Ready(VERSION, "node"))
        running = loop.create_task(conversation.run())
        questions = pktline.encode(FetchPush(head).encode()) * MAX_INCOMING
        await loop.sock_sendall(ours, questions)
        async with asyncio.timeout(PATIENCE):
            while conversation.waiting < MAX_INCOMING - 1:
                await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        made = content.made
        assert len(conversation._answers) <= MAX_INCOMING
        assert sum(map(len, conversation._urgent)) < 65536
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        ours.close()
        return conversation, made

    conversation, made = asyncio.run(work())
    # One answer is under way; the next are made when there is room for them.
    assert made == 1
    assert conversation.bytes_sent < 1 << 20


class _LargePushes(RepositoryContent):
    """A content source whose push objects are large, and which counts how many it made."""

    made = 0

    def push(self, push: PushId) -> bytes:
        self.made += 1
        return bytes(4 << 20)


def test_a_peer_that_breaks_the_protocol_is_told_goodbye(carried: Carried) -> None:
    async def work() -> tuple[str, bytes]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        content = RepositoryContent(carried)
        session = Session(Role.ANSWERER, loop.time())
        conversation = Conversation(theirs, session, Upload(content, Limiter(None)))
        conversation.say(Ready(VERSION, "node"))
        with ours:
            line = f"receive manifest {ManifestId('0' * 64)} size 10\n".encode()
            await loop.sock_sendall(ours, pktline.encode(line))
            async with asyncio.timeout(PATIENCE):
                await conversation.run()
            return conversation.ended, await loop.sock_recv(ours, 65536)

    ended, heard = asyncio.run(work())
    assert ended
    assert b"bye " in heard
