"""Asks the nodes of other runners for answers, so that one of them all asks the upstream.

Tracks which of them are there and what they are called. Rules: one that does not answer is left
alone for a while; what it gives counts only with the code of the secret, and only in the time that
the operator lets it take; where it sends us we go only if the operator named that node too.
Whatever goes wrong, the next one in order is asked, which may be this node itself.
Source: `gittorrent.wire.ci_fleet`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from enum import Enum
from typing import TYPE_CHECKING

import aiohttp
from msgspec import Struct

from gittorrent.errors import ProtocolError
from gittorrent.event_log import EventLog
from gittorrent.wire.ci_fleet import (
    ANSWER_HEADER,
    ANSWER_PATH,
    AT_HEADER,
    KEPT_HEADER,
    MEMBER_PATH,
    REQUEST_HEADER,
    check_answer,
    encode_body,
    in_order,
    sign_request,
)
from gittorrent.wire.fields import parse_node_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gittorrent.node.ci_store import Spool
    from gittorrent.wire.upload_requests import UploadRequest

CONNECT_SECONDS = 2.0
"""Time to get to another runner: they are near each other."""

NAME_SECONDS = 10.0
"""Time for one that is there to say what it is called: it may have much to do."""

SILENCE_SECONDS = 20.0
"""Silence within an answer after which it is given up."""

KNOWN_SECONDS = 60.0
"""For how long it counts what a node is called, and that it is there."""

GONE_SECONDS = 30.0
"""For how long a node that failed is left alone."""

SHORT_PAUSE, LONG_PAUSE = 0.1, 1.0
"""Seconds between two questions whether an answer is there by now: it grows from the one."""

MAX_ID = 200
"""Bytes of what a node says it is called."""

_CHUNK = 1 << 18

_log = EventLog(__name__)


class _Member(Struct):
    """A node of the operator's list; ``until`` is when that has to be looked at again."""

    address: str
    name: str = ""
    until: float = 0.0


class _Said(Enum):
    """What came of asking somebody, other than an address."""

    GIVEN = "given"
    LATER = "later"
    NO = "no"


class CiFleet:
    """The other runners; used inside a running event loop.

    Args:
        addresses: base URLs of their nodes; this one's own may be among them.
        secret: that they share.
        own: name of this node.
        wait: seconds that they may take for an answer.
    """

    def __init__(self, addresses: Sequence[str], secret: bytes, own: str, wait: float) -> None:
        self._members = [_Member(each.rstrip("/")) for each in addresses]
        self._secret = secret
        self._own = own
        self._wait = wait
        self._session: aiohttp.ClientSession | None = None

    def address_of(self, name: str) -> str | None:
        """Return where a node is reached, by its name; None if that is not known."""
        return next((each.address for each in self._members if each.name == name), None)

    async def stop(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()

    async def take(self, url: str, request: UploadRequest, spool: Spool) -> bool:
        """Write another runner's answer; tells whether there was one.

        Args:
            url: of the upstream, which anybody may read.
            request: of git's.
            spool: where to write it.
        """
        loop = asyncio.get_running_loop()
        ends, pause = loop.time() + self._wait, SHORT_PAUSE
        while loop.time() < ends:
            member = await self._chosen(url)
            if member is None:
                return False
            try:
                async with asyncio.timeout_at(ends):
                    said = await self._ask(member.address, url, request, spool)
            except (aiohttp.ClientError, OSError, TimeoutError, ProtocolError) as error:
                self._failed(member, error)
                continue
            if said is not _Said.LATER:
                return said is _Said.GIVEN
            await asyncio.sleep(min(pause, max(0.0, ends - loop.time())))
            pause = min(LONG_PAUSE, pause * 1.5)
        return False

    def _failed(self, member: _Member, error: Exception) -> None:
        """Leave a node alone for a while."""
        member.name = ""
        member.until = asyncio.get_running_loop().time() + GONE_SECONDS
        _log.warning(
            "ci-peer-failed", "{peer} gives nothing to this runner: {reason}",
            peer=member.address, reason=str(error) or "it takes too long",
        )  # fmt: skip

    async def _chosen(self, url: str) -> _Member | None:
        """Return whose an upstream is now; None if it is this node's."""
        await self._look()
        by_name = {each.name: each for each in self._members if each.name}
        first = in_order({*by_name, self._own}, url)[0]
        return None if first == self._own else by_name[first]

    async def _look(self) -> None:
        """Find out who is there, if that is not known."""
        now = asyncio.get_running_loop().time()
        await asyncio.gather(*(self._name(each) for each in self._members if each.until <= now))

    async def _name(self, member: _Member) -> None:
        try:
            headers = self._headers(MEMBER_PATH, b"")
            async with asyncio.timeout(NAME_SECONDS):
                found = await self._client().get(
                    member.address + MEMBER_PATH, headers=headers, allow_redirects=False
                )
                async with found:
                    said = await found.content.read(MAX_ID)
            if found.status != 200:
                raise ProtocolError(f"status {found.status}: {said.decode(errors='replace')}")
            digest = check_answer(
                self._secret, headers[REQUEST_HEADER], found.headers.get(ANSWER_HEADER, "")
            )
            name = parse_node_id(said.decode(errors="replace").strip())
            if digest != hashlib.sha256(said).hexdigest():
                raise ProtocolError("it says that it is called something else")
        except (aiohttp.ClientError, OSError, TimeoutError, ProtocolError) as error:
            self._failed(member, error)
            return
        member.name = name
        member.until = asyncio.get_running_loop().time() + KNOWN_SECONDS

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

    def _headers(self, path: str, body: bytes) -> dict[str, str]:
        signed = sign_request(self._secret, self._own, int(time.time()), path, body)
        return {REQUEST_HEADER: signed, "Accept-Encoding": "identity"}

    async def _ask(self, address: str, url: str, request: UploadRequest, spool: Spool) -> _Said:
        """Ask a node, and whoever it says has it already."""
        said = await self._ask_one(address, url, request, spool, {})
        if isinstance(said, _Said):
            return said
        if not any(each.address == said for each in self._members):
            return _Said.LATER  # its operator knows somebody whom ours does not
        try:
            found = await self._ask_one(said, url, request, spool, {KEPT_HEADER: "1"})
        except (aiohttp.ClientError, OSError, ProtocolError) as error:
            _log.warning("ci-peer-failed", "{peer} gives nothing to this runner: {reason}",
                         peer=said, reason=error)  # fmt: skip
            return _Said.LATER
        return _Said.GIVEN if found is _Said.GIVEN else _Said.LATER

    async def _ask_one(
        self, address: str, url: str, request: UploadRequest, spool: Spool, more: Mapping[str, str]
    ) -> _Said | str:
        body = encode_body(url, request)
        headers = {**self._headers(ANSWER_PATH, body), **more}
        spool.reset()
        asked = self._client().post(
            address + ANSWER_PATH, data=body, headers=headers, allow_redirects=False
        )
        async with asked as found:
            if found.status == 202:
                return found.headers.get(AT_HEADER) or _Said.LATER
            if found.status in (404, 502):
                return _Said.NO
            if found.status != 200:
                said = (await found.content.read(MAX_ID)).decode(errors="replace").strip()
                raise ProtocolError(f"status {found.status}: {said}")
            signed = found.headers.get(ANSWER_HEADER, "")
            digest = check_answer(self._secret, headers[REQUEST_HEADER], signed)
            async for data in found.content.iter_chunked(_CHUNK):
                spool.write(data)
        if spool.digest != digest:
            raise ProtocolError("what it gives is not what it says")
        return _Said.GIVEN
