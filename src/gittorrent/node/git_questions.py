"""Decides whether a request to upload-pack gets an answer that others get as well, and which.

Tracks what each view shows, for as long as it does. A pack for somebody who has nothing follows
from the ids that are wanted, so its key is the repository and the request; it is given as long as
refs that are shown have these ids, and the tags are the same where tags come along. Everything else
follows from what the view is as well: refs and bundles, and objects that no ref names, such as the
files of a checkout.

Rules: whoever asks here may read the repository; keys never leave it. What was made while the view
changed is given to those who waited only. Must not know connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.git.runner import executable
from gittorrent.ids import Oid
from gittorrent.node import upload_pack
from gittorrent.node.git_answers import MAX_AGE
from gittorrent.reel import bundle
from gittorrent.wire.limits import MAX_QUESTION, SMALL_QUESTION
from gittorrent.wire.upload_requests import Kind, parse_question

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from typing import Self

    from gittorrent.node.answer_bytes import AnswerBytes, AnswerReader
    from gittorrent.node.catalogue import Served
    from gittorrent.node.git_answers import GitAnswers
    from gittorrent.node.git_processes import GitProcesses
    from gittorrent.repository.published_view import PublishedView, ShownRefs
    from gittorrent.wire.upload_requests import Question

PROTOCOL = "version=2"
"""The only version whose requests are looked at: the others ask and negotiate in one go."""

CHUNK = 256 << 10
"""Bytes taken from git at a time."""

MAX_GATHERED = 64 << 20
"""Bytes of long requests that are gathered at once, of all callers."""

MAX_ASKED = 4096
"""Questions for everything of which it is remembered that they were asked."""

MAX_SHOWN = 256
"""Views of which it is remembered what they show."""

CAPABILITIES = ("--stateless-rpc", "--http-backend-info-refs")
"""Options with which upload-pack says what it can do, and ends."""

REQUEST = ("--stateless-rpc",)
"""Options with which it answers one request."""


class Caller:
    """Who asks, and how.

    Args:
        served: the repository.
        address: where the caller comes from.
        bundles_at: what URIs of bundles begin with for it; None for one who is told of none.
        is_gone: tells whether it has gone.
    """

    def __init__(
        self,
        served: Served,
        address: str,
        bundles_at: str | None = None,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> None:
        self.served = served
        self.address = address
        self.bundles_at = bundles_at
        self.is_gone = is_gone


class Gathering:
    """A request that is gathered; what is long of it counts among all callers'.

    Args:
        questions: counts.
    """

    def __init__(self, questions: GitQuestions) -> None:
        self._questions = questions
        self._counted = 0
        self.data = bytearray()

    @property
    def has_room(self) -> bool:
        """Tell whether more may be added."""
        size = len(self.data)
        return size < SMALL_QUESTION or (
            size < MAX_QUESTION and self._questions.gathered < MAX_GATHERED
        )

    def add(self, data: bytes) -> None:
        """Add what came."""
        self.data += data
        self._count(len(self.data) if len(self.data) > SMALL_QUESTION else 0)

    def clear(self) -> None:
        """Forget it."""
        self.data = bytearray()
        self._count(0)

    def _count(self, size: int) -> None:
        self._questions.gathered += size - self._counted
        self._counted = size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Forget it; see `clear`."""
        self.clear()


class GitQuestions:
    """Answers what is asked of upload-pack.

    Args:
        processes: runs git.
        answers: that are kept.
    """

    def __init__(self, processes: GitProcesses, answers: GitAnswers) -> None:
        self._processes = processes
        self._answers = answers
        self._shown: OrderedDict[PublishedView, tuple[str, ShownRefs]] = OrderedDict()
        self._asked: OrderedDict[bytes, float] = OrderedDict()
        self.gathered = 0

    def gathering(self) -> Gathering:
        """Return what gathers a request, as a context."""
        return Gathering(self)

    @property
    def is_on(self) -> bool:
        """Tell whether answers are kept at all."""
        return self._answers.is_on

    async def capabilities(self, caller: Caller) -> AbstractAsyncContextManager[AnswerReader]:
        """Return what reads what upload-pack can do, for a caller.

        Raises:
            GitTorrentError: the repository cannot be served.
        """
        view = await self._processes.views.view_of(caller.served)
        settings = await self._bundle_settings(caller)
        which = Path(executable()).stat()  # it may be another version by now
        words = (caller.served.carried.object_format.name, which.st_ino, which.st_mtime_ns)
        # Where bundles are is asked by a request of its own.
        key = _digest("capabilities", *map(str, words), str(bool(settings)))
        return self._reading(caller, view, key, CAPABILITIES, b"")

    async def answer(
        self, caller: Caller, raw: bytes
    ) -> AbstractAsyncContextManager[AnswerReader] | None:
        """Return what reads the answer to a request; None if git has to be asked itself.

        Args:
            caller: who asks.
            raw: the whole request.

        Raises:
            GitTorrentError: the repository cannot be served.
        """
        served = caller.served
        question = parse_question(raw, served.carried.object_format)
        if question is not None and question.of_one_commit and len(question.wants) == 1:
            await served.reading(partial(served.content.note_tip, Oid(question.wants[0])))
        if question is None or not self.is_on or len(raw) > MAX_QUESTION:
            return None
        view = await self._processes.views.view_of(served)
        state, is_shown = await self._state_for(view, question)
        is_flat = question.kind is Kind.PACK and (question.of_one_commit or not is_shown)
        settings = await self._bundle_settings(caller) if question.kind is Kind.BUNDLES else ()
        key = _digest(
            served.info.repository_id, str(view.directory), state, question.text, *settings
        )
        if is_shown and question.is_full and not self._is_asked_again(key):
            # Git copies such a pack from its files: the way through here would cost as much again.
            return None
        how = upload_pack.WITHOUT_HISTORY if is_flat else ()
        return self._reading(caller, view, key, REQUEST, question.text, how)

    def _is_asked_again(self, key: bytes) -> bool:
        """Tell whether a question was asked before, not long ago; from now on it was."""
        now = asyncio.get_running_loop().time()
        before = self._asked.pop(key, None)
        self._asked[key] = now
        if len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)
        return before is not None and now - before < MAX_AGE

    async def _state_for(self, view: PublishedView, question: Question) -> tuple[str, bool]:
        """Return what an answer follows from besides repository and request.

        Returns:
            That, and whether shown refs have all that a pack is wanted for.
        """
        if question.kind is not Kind.PACK:
            return view.state, False
        state, shown = self._shown.get(view, ("", None))
        if shown is None or state != view.state:
            state = view.state  # before: what it shows may be newer
            shown = await asyncio.get_running_loop().run_in_executor(None, view.shown)
            self._shown[view] = state, shown
            while len(self._shown) > MAX_SHOWN:
                self._shown.popitem(last=False)
        if not shown.has(question.wants):
            return view.state, False
        return (shown.tags if question.with_tags else "tips"), True

    async def _bundle_settings(self, caller: Caller) -> tuple[str, ...]:
        """Return git's settings that tell of bundles."""
        if caller.bundles_at is None or caller.served.is_private:
            return ()
        bundles = await caller.served.reading(caller.served.content.bundles)
        return tuple(bundle.settings(bundles, caller.bundles_at))

    @contextlib.asynccontextmanager
    async def _reading(
        self,
        caller: Caller,
        view: PublishedView,
        key: bytes,
        options: tuple[str, ...],
        request: bytes,
        how: tuple[str, ...] = (),
    ) -> AsyncIterator[AnswerReader]:
        state, requests = view.state, [request]
        del request

        async def make(answer: AnswerBytes) -> bool:
            is_done = await self._ask_git(answer, caller, options, requests[0], how)
            return is_done and view.state == state

        address, is_gone = caller.address, caller.is_gone
        async with self._answers.reading(key, address, make, is_gone) as reader:
            requests.clear()  # a long one is not kept as long as its answer is read
            yield reader

    async def _ask_git(
        self,
        answer: AnswerBytes,
        caller: Caller,
        options: tuple[str, ...],
        request: bytes,
        how: tuple[str, ...],
    ) -> bool:
        """Have git answer a request; tells whether it did so without a fault."""
        prepared = await self._processes.prepare(
            caller.served, PROTOCOL, *options, bundles_at=caller.bundles_at, settings=how
        )
        loop = asyncio.get_running_loop()
        ours, process = self._processes.start_on_pair(prepared)
        with ours:
            asking = loop.create_task(_ask(ours, request))
            try:
                while data := await _said(ours):
                    await answer.append(data)
                await self._processes.wait(process)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                await self._processes.end(process)
        if process.returncode:
            answer.fault = upload_pack.describe_end(process.returncode)
        return process.returncode == 0


async def _ask(ours: socket.socket, request: bytes) -> None:
    """Send a request to git; it may have ended without reading all of it."""
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(ours, request)
        ours.shutdown(socket.SHUT_WR)


async def _said(ours: socket.socket) -> bytes:
    """Return what git says next; nothing when it has ended."""
    try:
        return await asyncio.get_running_loop().sock_recv(ours, CHUNK)
    except ConnectionResetError:
        return b""  # it ended without reading all of the request


def _digest(*parts: str | bytes) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        data = os.fsencode(part) if isinstance(part, str) else part
        found.update(b"%d:" % len(data) + data)
    return found.digest()
