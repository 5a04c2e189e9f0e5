"""The socket at which CI jobs ask the node for objects: theirs alone, and nothing else is there.

Jobs are other people's code, and may be other users of the machine or in containers. So what can be
asked here is what a stranger may ask, and the answer comes through a pipe. No descriptor of a file
is given away: whoever is root in a container opens it again for writing, by ``/proc/self/fd``, and
changes what others get; and one that is held keeps a file on the disk that was removed. Rules: a
caller holds one upstream; lines and times are bounded; whoever hangs up has no use for the answer
any more; one job keeps no other one out (`gittorrent.node.ci_owners`).
Source: `gittorrent.wire.ci`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING, TypeVar

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.event_log import EventLog
from gittorrent.node.ci_flow import BrokenOffError
from gittorrent.node.ci_owners import OWNER, FairTurns, Places, owner_of
from gittorrent.node.ci_refs import LoginWantedError
from gittorrent.node.local_listener import LocalListener
from gittorrent.permissions import explain_local_error
from gittorrent.wire.ci import (
    MAX_LINE,
    Alive,
    Coming,
    FetchLine,
    Given,
    Hello,
    ListLine,
    Login,
    LoginWanted,
    No,
    Open,
    Ready,
    Serves,
    parse_request,
)
from gittorrent.wire.ci_urls import CiUrlError, parse_ci_url, why_not_served
from gittorrent.wire.upload_requests import parse_list_request, parse_upload_request

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from gittorrent.node.ci_flow import Answering, Reader
    from gittorrent.node.ci_owners import Owner, Place
    from gittorrent.node.ci_refs import Proof
    from gittorrent.node.ci_service import CiService
    from gittorrent.wire.ci import Answer, Request

MAX_JOBS = 256
"""Callers at once: a build farm on one machine. Beyond it those make room who have most."""

ALIVE_SECONDS = 5.0
"""How often a caller that waits hears that the node is there."""

IDLE_SECONDS = 900.0
"""Time between two things that a caller says: git lists refs, asks people, checks objects out."""

BODY_SECONDS = 30.0
"""Time for a request to come whole, and for an answer's line to be taken."""

TAKEN_SECONDS = 120.0
"""Time for some of an answer to be taken: the job's disk may have much to do."""

SHORT_REQUEST = 64 << 10
"""Bytes up to which a request is short; all jobs' short ones together take 16 MiB."""

LONG_REQUESTS = 8
"""Longer requests that are read and answered at once, of up to 8 MiB each; others wait for them."""

_PIECE = 1 << 20
_EVERYBODY = 0o666

T = TypeVar("T")

_log = EventLog(__name__)


class CiSocket:
    """Listens for CI jobs.

    Args:
        path: of the socket.
        service: has the answers.
        is_for_all: whether other users may connect.
        long_requests: how many requests of more than `SHORT_REQUEST` bytes it takes at once.
        most: callers at once.
        whose: returns whose a connection is.
    """

    def __init__(
        self,
        path: Path,
        service: CiService,
        *,
        is_for_all: bool,
        long_requests: int = LONG_REQUESTS,
        most: int = MAX_JOBS,
        whose: Callable[[socket.socket], Owner] = owner_of,
    ) -> None:
        self._whose = whose
        self._listener = LocalListener(path, self._serve, MAX_LINE)
        self._long = FairTurns(long_requests)
        self._places = Places(most)
        self._service = service
        self._is_for_all = is_for_all

    @property
    def place(self) -> Path | None:
        """Where it listens; None where it does not."""
        return self._listener.path if self._listener.is_listening else None

    async def start(self) -> bool:
        """Begin to listen; tells whether this node does."""
        path = self._listener.path
        try:
            is_here = await self._listener.start(_EVERYBODY if self._is_for_all else None)
            if not is_here:
                _log.warning("no-ci", "answers no CI jobs: {reason}",
                             reason=f"another node does at {path}")  # fmt: skip
            elif path.parent.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                _log.warning(
                    "no-ci", "answers no CI jobs: {reason}",
                    reason=f"others may write to {path.parent}, so jobs do not believe it",
                )  # fmt: skip
        except OSError as error:
            # Serving does not depend on it, and jobs go to their server.
            _log.warning("no-ci", "answers no CI jobs: {reason}", reason=error)
            return False
        return is_here

    async def stop(self) -> None:
        """Stop listening, and hang up on everybody."""
        await self._listener.stop()

    def _enter(self, owner: Owner) -> Place | None:
        """Take a place for the task at hand; None if all are taken by those who have no more."""
        task = asyncio.current_task()

        def end() -> None:
            _log.info("ci-refused", "refused a job: {reason}",
                      reason="it makes room for another one's, since it has more")  # fmt: skip
            if task is not None:
                task.cancel()

        return self._places.enter(owner, end, asyncio.get_running_loop().time())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # What is written is to be gone before a descriptor follows it.
        writer.transport.set_write_buffer_limits(high=0)
        owner = self._whose(writer.get_extra_info("socket"))
        OWNER.set(owner)
        place = self._enter(owner)
        try:
            if place is None:
                writer.write(Hello().encode() + No("it answers too many jobs already").encode())
                await writer.drain()
                return
            await _Job(self._service, reader, writer, self._long, place).serve()
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it has gone, or sleeps
        except ProtocolError as error:
            _log.info("ci-refused", "refused a job: {reason}", reason=error)
        except Exception:
            _log.exception("failed", "answering a job failed")
        finally:
            if place is not None:
                self._places.leave(place)
            writer.close()


class _Job:
    """A conversation with one caller."""

    def __init__(
        self,
        service: CiService,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        long: FairTurns,
        place: Place,
    ) -> None:
        self._place = place
        self._service = service
        self._reader = reader
        self._writer = writer
        self._long = long

    async def serve(self) -> None:
        """Answer until the caller hangs up, or gets a refusal after which nothing can follow."""
        await self._say(Hello())
        while isinstance(opened := await self._line(), Serves):
            why = why_not_served(opened.prefix, self._service.config.allow)
            await self._say(No(why) if why else Ready())
        if not isinstance(opened, Open):
            return
        try:
            url = parse_ci_url(opened.url).url
            proof = await self._proved(url)
        except (GitTorrentError, CiUrlError) as error:
            await self._refuse(opened.url, error)
            return
        if proof is None:
            return
        await self._say(Ready(len(proof.said)), proof.said)
        while (line := await self._line()) is not None:
            if not isinstance(line, FetchLine | ListLine):
                return
            await self._answer(proof, line)

    async def _proved(self, url: str) -> Proof | None:
        """Return what the upstream lets the caller do; None if the caller says nothing more."""
        try:
            return await self._waiting(self._service.prove(url, ""))
        except LoginWantedError:
            await self._say(LoginWanted())
        line = await self._line()
        if not isinstance(line, Login):
            return None
        return await self._waiting(self._service.prove(url, line.header))

    async def _answer(self, proof: Proof, line: FetchLine | ListLine) -> None:
        is_long = line.size > SHORT_REQUEST
        if is_long:
            async with asyncio.timeout(BODY_SECONDS):
                await self._long.acquire()
        is_held = is_long
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._reader.readexactly(line.size)
            try:
                answer = await self._begun(proof, line, body)
            except (GitTorrentError, OSError) as error:
                await self._refuse(proof.url, error)
                return
            if is_long:
                # The request is held until the answer is made, not until it is taken.
                is_held = False
                answer.task.add_done_callback(lambda _: self._long.release())
        finally:
            if is_held:
                self._long.release()
        try:
            await self._give(proof, answer)
        finally:
            await answer.close()

    async def _begun(self, proof: Proof, line: FetchLine | ListLine, body: bytes) -> Answering:
        """Return the answer to a request, which may be still to come."""
        if isinstance(line, ListLine):
            return await self._waiting(self._service.listing(proof, parse_list_request(body)))
        # A long one takes tenths of a second, in which others are answered.
        request = await asyncio.to_thread(parse_upload_request, body)
        return await self._waiting(self._service.answer(proof, request))

    async def _give(self, proof: Proof, answer: Answering) -> None:
        size = 0
        while True:
            try:
                reader = await self._waiting(answer.next())
            except ConnectionError:
                raise
            except (GitTorrentError, OSError) as error:
                await self._refuse(proof.url, error)
                return
            if reader is None:
                break
            with contextlib.closing(reader), contextlib.suppress(BrokenOffError):
                size = await self._pour(reader)
        _log.info("ci-given", "{url}: gave {size} bytes to a job", url=proof.url, size=size)
        await self._say(Given(size))

    async def _pour(self, reader: Reader) -> int:
        """Give what there is of an answer, as it comes; returns how many bytes that were.

        Raises:
            BrokenOffError: it goes no further.
        """
        taken, given = os.pipe()
        os.set_blocking(given, False)  # the job's end is another file, and blocks
        try:
            try:
                await self._say_with(Coming(), taken)
            finally:
                os.close(taken)
            at = 0
            while count := reader.size - at or await self._waiting(reader.more(at)):
                with contextlib.suppress(BlockingIOError):
                    sent = os.sendfile(given, reader.descriptor, at, min(count, _PIECE))
                    if not sent:
                        raise ConnectionAbortedError("the file became shorter")
                    at += sent
                    await asyncio.sleep(0)
                    continue
                await _until_writable(given, TAKEN_SECONDS)
            return at
        finally:
            os.close(given)

    async def _say_with(self, answer: Answer, descriptor: int) -> None:
        """Say something that comes with a descriptor."""
        async with asyncio.timeout(BODY_SECONDS):
            await self._writer.drain()
        said = self._writer.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(said)) as sock:
            while True:
                with contextlib.suppress(BlockingIOError):
                    socket.send_fds(sock, [answer.encode()], [descriptor])
                    return
                # A caller that does not read what it is told: it is waited for.
                await _until_writable(sock.fileno(), BODY_SECONDS)

    async def _waiting(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what work comes to; the caller hears meanwhile that the node is at it.

        Raises:
            ConnectionResetError: the caller hung up, which ends the work.
        """
        task = asyncio.get_running_loop().create_task(work)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=ALIVE_SECONDS)
                if not task.done():
                    if self._reader.at_eof():
                        raise ConnectionResetError
                    await self._say(Alive())
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _refuse(self, url: str, error: Exception) -> None:
        trouble = explain_local_error(error) if isinstance(error, OSError) else None
        reason = str(trouble or error) or "it failed"
        _log.info("ci-refused", "{url}: refused a job: {reason}", url=url, reason=reason)
        await self._say(No(reason))

    async def _say(self, answer: Answer, more: bytes = b"") -> None:
        self._writer.write(answer.encode() + more)
        async with asyncio.timeout(BODY_SECONDS):
            await self._writer.drain()

    async def _line(self) -> Request | None:
        self._place.idle_since = asyncio.get_running_loop().time()
        async with asyncio.timeout(IDLE_SECONDS):
            line = await self._reader.readline()
        self._place.idle_since = None
        return parse_request(line) if line.endswith(b"\n") else None


async def _until_writable(descriptor: int, seconds: float) -> None:
    """Return when a descriptor takes more, or its other end was closed.

    Raises:
        TimeoutError: it does neither.
    """
    loop = asyncio.get_running_loop()
    writable = loop.create_future()
    loop.add_writer(descriptor, writable.set_result, None)
    try:
        async with asyncio.timeout(seconds):
            await writable
    finally:
        loop.remove_writer(descriptor)
