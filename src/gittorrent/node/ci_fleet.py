"""Asks the nodes of other runners for answers, so that one of them all asks the upstream.

Tracks questions under way; who is there is `gittorrent.node.ci_members`. Rules: one that does not
answer is left alone for a while; what it gives counts only with the code of the secret, and only in
the time that the operator lets it take; where it sends us we go only if that is one of the fleet.
Nodes that were found prove in the background that they know the secret, and are told nothing
before: no job waits for one that may not be there. Whatever goes wrong, the next one in order is
asked, which may be this node itself.
Source: `gittorrent.wire.ci_fleet`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import secrets
import time
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

import aiohttp
from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.event_log import EventLog
from gittorrent.node.ci_flow import BrokenOffError
from gittorrent.node.ci_members import Members
from gittorrent.wire.ci_fleet import (
    ANOTHER_START,
    ANSWER_HEADER,
    ANSWER_PATH,
    ANSWER_SIZE,
    ANY_START,
    AT_HEADER,
    BROKEN_OFF,
    KEPT_HEADER,
    MAX_LISTING,
    MAX_SAID,
    MEMBER_PATH,
    REFS_PATH,
    REQUEST_HEADER,
    Asked,
    Sender,
    check_answer,
    encode_body,
    encode_refs_body,
    in_order,
    parse_listed,
    parse_member,
    sign_request,
)
from gittorrent.wire.urls import UrlError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from gittorrent.node.ci_members import Member
    from gittorrent.node.ci_store import Spool
    from gittorrent.wire.ci_fleet import Listed
    from gittorrent.wire.ci_labels import RunnerLabel
    from gittorrent.wire.upload_requests import UploadRequest

CONNECT_SECONDS = 2.0
"""Time to get to another runner: they are near each other."""

NAME_SECONDS = 10.0
"""Time for one that is there to say what it is called: it may have much to do."""

SILENCE_SECONDS = 70.0
"""Silence within an answer after which it is given up: the upstream's, and a bit more."""

FIRST_LOOK_SECONDS = 3.0
"""Time from the start in which jobs wait for others to be found: who is there answers in one."""

REFS_SECONDS = 20.0
"""Time for a list of refs from another runner: that of one list before, and of its own."""

PROOFS_AT_ONCE = 8
"""Found nodes that are asked at once to prove themselves."""

LOOK_SECONDS = 5.0
"""How often it is looked whether one that was found has to prove itself again."""

NAME_BYTES = 20
"""Of a name that is made up for a question, as long as those of nodes."""

SHORT_PAUSE, LONG_PAUSE = 0.1, 1.0
"""Seconds between two questions whether an answer is there by now: it grows from the one."""

MAX_HOPS = 6
"""Runners that send us on: each gives to two at a time, so a fleet of 100 is reached."""

MAX_ID = 200
"""Bytes of what a node says it is called."""

_CHUNK = 1 << 18

Attempt: TypeAlias = "Callable[[], AbstractAsyncContextManager[Spool]]"

_log = EventLog(__name__)


class _Said(Enum):
    """What came of asking somebody, other than an address."""

    GIVEN = "given"
    LATER = "later"
    NO = "no"


class _StartedAnewError(ProtocolError):
    """A node was started again since it proved itself, and takes no request that was for before."""


class _Question(Struct):
    """What another runner is asked for; ``timeout`` is when it is too late to begin."""

    url: str
    request: UploadRequest
    attempt: Attempt
    timeout: asyncio.Timeout


class CiFleet:
    """The other runners; used inside a running event loop.

    Args:
        addresses: base URLs of their nodes; this one's own may be among them.
        secret: that they share.
        own: name of this node.
        wait: seconds that they may take for an answer.
    """

    def __init__(self, addresses: Sequence[str], secret: bytes, own: str, wait: float) -> None:
        self._members = Members(addresses)
        self._secret = secret
        self._own = own
        self._wait = wait
        self._session: aiohttp.ClientSession | None = None
        self._run = secrets.token_hex(16)
        self._numbers = itertools.count(1)
        self._has_heard = asyncio.Event()
        self._ready = 0.0

    def address_of(self, name: str) -> str | None:
        """Return where a node is reached, by its name; None if that is not known."""
        return self._members.url_of(name)

    def members(self) -> list[Member]:
        """Return the nodes that are known, but for this one."""
        return [each for each in self._members.all() if each.name != self._own]

    # -- those that were found

    def hear(self, label: RunnerLabel) -> None:
        """Note that somebody of the fleet made a node known."""
        try:
            self._members.hear(label)
        except UrlError as error:
            _log.debug("left-out", "{reason}", reason=f"a runner on the local network: {error}")
            return
        self._has_heard.set()

    async def follow_found(self) -> None:
        """Have found nodes prove themselves, as they come and again later, until cancelled."""
        loop = asyncio.get_running_loop()
        self._ready = loop.time() + FIRST_LOOK_SECONDS
        turns = asyncio.Semaphore(PROOFS_AT_ONCE)

        async def prove(member: Member) -> None:
            async with turns:
                await self._name(member)

        while True:
            self._has_heard.clear()
            self._members.expire(int(time.time()))
            due = self._members.due(loop.time(), found=True)
            await asyncio.gather(*map(prove, due))
            pause = min(LOOK_SECONDS, self._members.next_due() - loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause)):
                    await self._has_heard.wait()

    async def stop(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()

    async def take(self, url: str, request: UploadRequest, attempt: Attempt) -> bool:
        """Write another runner's answer; tells whether there was one.

        Args:
            url: of the upstream, which anybody may read.
            request: of git's.
            attempt: yields where to write it, each time anew.
        """
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._ready - loop.time()))
        ends, pause, anew = loop.time() + self._wait, SHORT_PAUSE, set[str]()
        while loop.time() < ends:
            member = await self._chosen(url)
            if member is None:
                return False
            try:
                async with asyncio.timeout_at(ends) as timeout:
                    question = _Question(url, request, attempt, timeout)
                    said = await self._ask(member, question)
            except _StartedAnewError as error:
                self._start_anew(member, error, anew)
                continue
            except (aiohttp.ClientError, OSError, TimeoutError, ProtocolError) as error:
                self._failed(member, error)
                continue
            if said is not _Said.LATER:
                return said is _Said.GIVEN
            await asyncio.sleep(min(pause, max(0.0, ends - loop.time())))
            pause = min(LONG_PAUSE, pause * 1.5)
        return False

    async def is_own(self, url: str) -> bool:
        """Tell whether an upstream is this node's to ask."""
        return await self._chosen(url) is None

    async def refs(self, url: str, request: bytes) -> Listed | None:
        """Return what a public upstream says now, as another runner heard it.

        None if this runner is to ask it: the upstream is its, or the other one does not say.

        Args:
            url: of the upstream.
            request: of git's, for refs.
        """
        member = await self._chosen(url)
        if member is None:
            return None
        body = encode_refs_body(url, secrets.token_hex(16), request)
        headers = self._headers(member, Asked("POST", REFS_PATH), body)
        try:
            async with asyncio.timeout(REFS_SECONDS):
                asked = self._client().post(
                    member.url + REFS_PATH, data=body, headers=headers, allow_redirects=False
                )
                async with asked as found:
                    data = await _bounded_body(found, MAX_LISTING + 2 * MAX_SAID)
            if found.status in (404, 502):
                return None
            _require_good(found.status, data)
            signed = found.headers.get(ANSWER_HEADER, "")
            digest = check_answer(self._secret, headers[REQUEST_HEADER], signed)
            if digest != hashlib.sha256(data).hexdigest():
                raise ProtocolError("what it says of refs is not what it signed")
            return parse_listed(data)
        except _StartedAnewError as error:
            self._start_anew(member, error, set())
            return None
        except (aiohttp.ClientError, OSError, TimeoutError, ProtocolError) as error:
            self._failed(member, error)
            return None

    def _start_anew(self, member: Member, error: Exception, before: set[str]) -> None:
        """Have a node prove itself again at once, but only once for one question."""
        if member.url in before:
            self._failed(member, error)
            return
        before.add(member.url)
        self._members.started_anew(member)
        self._has_heard.set()

    def _failed(self, member: Member, error: Exception) -> None:
        """Leave a node alone for a while, and say so, unless it was found and nobody missed it."""
        was_there = bool(member.name)
        self._members.failed(member, asyncio.get_running_loop().time())
        tell = _log.warning if was_there or not member.host else _log.debug
        tell(
            "ci-peer-failed", "{peer} gives nothing to this runner: {reason}",
            peer=member.url, reason=str(error) or "it takes too long",
        )  # fmt: skip

    async def _chosen(self, url: str) -> Member | None:
        """Return whose an upstream is now; None if it is this node's."""
        await self._look()
        by_name = self._members.there
        first = in_order({*by_name, self._own}, url)[0]
        return None if first == self._own else by_name[first]

    async def _look(self) -> None:
        """Find out who of the operator's list is there, if that is not known."""
        due = self._members.due(asyncio.get_running_loop().time(), found=False)
        await asyncio.gather(*map(self._name, due))

    async def _name(self, member: Member) -> None:
        """Have a node prove that it knows the secret; it learns that we do, and no name."""
        try:
            made_up = Sender(secrets.token_hex(NAME_BYTES), secrets.token_hex(16), 1)
            headers = self._signed(made_up, ANY_START, Asked("GET", MEMBER_PATH), b"")
            async with asyncio.timeout(NAME_SECONDS):
                found = await self._client().get(
                    member.url + MEMBER_PATH, headers=headers, allow_redirects=False
                )
                async with found:
                    said = await found.content.read(MAX_ID)
            _require_good(found.status, said)
            digest = check_answer(
                self._secret, headers[REQUEST_HEADER], found.headers.get(ANSWER_HEADER, "")
            )
            name, start = parse_member(said)
            if digest != hashlib.sha256(said).hexdigest():
                raise ProtocolError("it says that it is called something else")
        except (aiohttp.ClientError, OSError, TimeoutError, ProtocolError) as error:
            self._failed(member, error)
            return
        if member.host and not member.name and name != self._own:
            _log.info("ci-found", "{peer} is a runner of this fleet", peer=member.url)
        self._members.proved(member, name, start, asyncio.get_running_loop().time())

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session

    def _headers(self, member: Member, asked: Asked, body: bytes) -> dict[str, str]:
        """Return the headers of a request to a node that has proved itself."""
        sender = Sender(self._own, self._run, next(self._numbers))
        return self._signed(sender, member.start, asked, body)

    def _signed(self, sender: Sender, to: str, asked: Asked, body: bytes) -> dict[str, str]:
        signed = sign_request(self._secret, sender, to, int(time.time()), asked, body)
        kept = {KEPT_HEADER: "1"} if asked.is_kept else {}
        return {REQUEST_HEADER: signed, "Accept-Encoding": "identity", **kept}

    async def _ask(self, member: Member, question: _Question) -> _Said:
        """Ask a node, and whoever it says has it already, or gets it."""
        said = await self._ask_one(member, question, Asked("POST", ANSWER_PATH))
        for _ in range(MAX_HOPS):
            if isinstance(said, _Said):
                return said
            other = self._members.at(said)
            if other is None:
                return _Said.LATER  # it knows somebody whom we do not
            try:
                kept = Asked("POST", ANSWER_PATH, is_kept=True)
                said = await self._ask_one(other, question, kept)
            except (aiohttp.ClientError, OSError, ProtocolError) as error:
                _log.warning("ci-peer-failed", "{peer} gives nothing to this runner: {reason}",
                             peer=other.url, reason=error)  # fmt: skip
                return _Said.LATER
            if said is _Said.NO:
                return _Said.LATER  # only the first one knows that there is none
        return _Said.LATER

    async def _ask_one(self, member: Member, question: _Question, what: Asked) -> _Said | str:
        body = encode_body(question.url, question.request)
        headers = self._headers(member, what, body)
        asked = self._client().post(
            member.url + ANSWER_PATH, data=body, headers=headers, allow_redirects=False
        )
        async with asked as found:
            if found.status == 202:
                return found.headers.get(AT_HEADER) or _Said.LATER
            if found.status in (404, 502):
                return _Said.NO
            if found.status != 200:
                _require_good(found.status, await found.content.read(MAX_ID))
            try:
                async with question.attempt() as spool:
                    await self._receive(found, headers[REQUEST_HEADER], spool, question.timeout)
            except BrokenOffError:
                return _Said.NO
        return _Said.GIVEN

    async def _receive(
        self,
        answer: aiohttp.ClientResponse,
        asked: str,
        spool: Spool,
        timeout: asyncio.Timeout,
    ) -> None:
        """Write an answer, of which the end says whether it is whole.

        Raises:
            BrokenOffError: the other runner did not get the rest.
            ProtocolError: it is not what a runner signed.
        """
        held = b""
        async for data in answer.content.iter_chunked(_CHUNK):
            # It comes by now, however long; silence still ends it.
            timeout.reschedule(None)
            held += data
            if len(held) > ANSWER_SIZE:
                spool.write(held[:-ANSWER_SIZE])
                held = held[-ANSWER_SIZE:]
        end = held.decode("ascii", "replace")
        if end == BROKEN_OFF:
            raise BrokenOffError("the answer broke off at the other runner")
        if check_answer(self._secret, asked, end) != spool.digest:
            raise ProtocolError("what it gives is not what it says")


async def _bounded_body(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """Return all of an answer.

    Raises:
        ProtocolError: it is longer than that.
    """
    found = bytearray()
    async for data in answer.content.iter_chunked(_CHUNK):
        found += data
        if len(found) > most:
            raise ProtocolError(f"more than {most} bytes about refs")
    return bytes(found)


def _require_good(status: int, said: bytes) -> None:
    """Make sure that a node gives what it was asked for.

    Raises:
        ProtocolError: it does not.
    """
    words = said[:MAX_ID].decode(errors="replace").strip()
    if status == ANOTHER_START:
        raise _StartedAnewError(words)
    if status != 200:
        raise ProtocolError(f"status {status}: {words}")
