"""Conversations with CI jobs: how much of them is held at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from gittorrent.node.ci_flow import Answering, Flow, Reader
from gittorrent.node.ci_refs import Proof
from gittorrent.node.ci_service import CiService
from gittorrent.node.ci_socket import SHORT_REQUEST, CiSocket
from gittorrent.wire.ci import Alive, Coming, FetchLine, Open, parse_answer

if TYPE_CHECKING:
    from gittorrent.wire.upload_requests import UploadRequest

PREFIX = b"0011command=fetch0001"


def request(wants: int) -> bytes:
    """Return a request of git's for so many objects."""
    lines = b"".join(b"0032want %040x\n" % number for number in range(1, wants + 1))
    return PREFIX + lines + b"0009done\n0000"


SHORT, LONG = request(1), request(SHORT_REQUEST // 50 + 2)


class Service:
    """Lets everybody read, and answers with the number of what is wanted."""

    async def prove(self, url: str, header: str) -> Proof:
        return Proof(url, header, 0.0, frozenset())

    async def answer(self, _proof: Proof, asked: UploadRequest) -> Answering:
        async def made() -> Reader:
            descriptor = os.memfd_create("answer")
            os.write(descriptor, b"%d" % len(asked.wants))
            return Reader(descriptor)

        return Answering(Flow().watch("x"), asyncio.create_task(made()))


class Job:
    """A caller."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def begin(cls, path: Path) -> Job:
        job = cls(*await asyncio.open_unix_connection(path))
        await job.reader.readline()
        job.writer.write(Open("https://git.example.org/x.git").encode())
        await job.reader.readline()
        return job

    async def says(self) -> str:
        """Return the name of the next answer."""
        while True:
            answer = parse_answer(await self.reader.readline())
            if not isinstance(answer, Alive | Coming):
                return type(answer).__name__

    async def ask(self, asked: bytes) -> None:
        """Ask, and take the answer."""
        self.writer.write(FetchLine(len(asked)).encode() + asked)
        assert await self.says() == "Given"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ci" / "ci.sock"


def test_long_requests_take_turns_and_short_ones_do_not_wait(path: Path) -> None:
    """Else all jobs together make the node hold gigabytes of what they ask."""

    async def scene() -> None:
        path.parent.mkdir(mode=0o700)
        node = CiSocket(path, cast("CiService", Service()), is_for_all=False, long_requests=1)
        assert await node.start()
        try:
            first, second, third = [await Job.begin(path) for _ in range(3)]
            first.writer.write(FetchLine(len(LONG)).encode() + LONG[:-1])  # one byte is to come
            await first.writer.drain()
            await third.ask(SHORT)
            waiting = asyncio.create_task(second.ask(LONG))
            await third.ask(SHORT)
            assert not waiting.done()
            first.writer.write(LONG[-1:])
            assert await first.says() == "Given"
            await waiting
            for job in (first, second, third):
                job.writer.close()
        finally:
            await node.stop()

    asyncio.run(scene())


def test_one_job_keeps_no_other_one_out(path: Path) -> None:
    owners = [("user 1", "a", "1", "1")] * 4 + [("user 1", "a", "2", "2")]

    async def scene() -> None:
        path.parent.mkdir(mode=0o700)
        waiting = iter(owners)
        service = cast("CiService", Service())
        node = CiSocket(path, service, is_for_all=False, most=4, whose=lambda _: next(waiting))
        assert await node.start()
        try:
            first = [await Job.begin(path) for _ in range(4)]
            second = await Job.begin(path)
            await second.ask(SHORT)
            assert await first[0].reader.read() == b""  # it goes to its server
            for job in first[1:]:
                await job.ask(SHORT)
            for job in (*first, second):
                job.writer.close()
        finally:
            await node.stop()

    asyncio.run(scene())


def test_one_job_does_not_hold_all_long_requests(path: Path) -> None:
    owners = [("user 1", "a", "1", "1")] * 2 + [("user 1", "a", "2", "2")]

    async def scene() -> None:
        path.parent.mkdir(mode=0o700)
        waiting = iter(owners)
        node = CiSocket(
            path,
            cast("CiService", Service()),
            is_for_all=False,
            long_requests=2,
            whose=lambda _: next(waiting),
        )
        assert await node.start()
        try:
            slow, slower, other = [await Job.begin(path) for _ in range(3)]
            for job in (slow, slower):
                job.writer.write(FetchLine(len(LONG)).encode() + LONG[:-1])  # one byte is to come
                await job.writer.drain()
            await other.ask(LONG)
            for job in (slow, slower, other):
                job.writer.close()
        finally:
            await node.stop()

    asyncio.run(scene())
