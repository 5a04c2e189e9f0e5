"""Takes webhooks of forges: whoever proves to know a repository's secret makes the node look now.

A webhook says nothing but that: what is in it is not read, since only the upstream itself says what
it has; so a replay tells nobody anything, and a burst is one look
(`gittorrent.node.track_schedule`). What is different in each of them, such as GitHub's delivery
ids, is in headers that no proof covers; so by its body it is known which webhook came before, and
those make for fewer looks. Rules: a body is bounded, digested as it comes, and never kept, and of
who says no proof none is read; it is as it was signed, and so never compressed. A right proof
counts whatever else comes from its address, since users of one forge share that; who is wrong too
often is told so, and no more is logged of it for a while. Must not know how looks are done.
Source: docs/commands.md, gittorrent track.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from gittorrent.errors import ProtocolError
from gittorrent.event_log import EventLog
from gittorrent.node.http_body import read_body
from gittorrent.node.http_connections import connection_of
from gittorrent.node.http_static import caller_of
from gittorrent.node.webhook_secret import Proof, SecretError, read_secret
from gittorrent.transfer.addresses import caller_group
from gittorrent.transfer.static_files import REVALIDATE

if TYPE_CHECKING:
    from gittorrent.node.catalogue import Served

MAX_HOOK = 25 << 20
"""Bytes of a webhook: GitHub sends no longer ones, and others shorter ones."""

HOOK_SECONDS = 30.0
"""Time for all of it."""

MAX_WRONG = 10
"""Webhooks without proof from one address, or one /64 network, that are logged within
`WRONG_SECONDS`; the others are told that they are too many."""

WRONG_SECONDS = 60.0
"""See `MAX_WRONG`."""

MAX_CALLERS = 1000
"""Addresses and networks of which it is remembered that they were wrong: who was lately."""

MAX_SEEN = 128
"""Webhooks of a repository of which it is remembered that they came."""

MAX_SEEN_NAMES = 1024
"""Repositories of which such are remembered: those that had some lately."""

LATE = "the webhook did not come in time"

_log = EventLog(__name__)


class Hooked(Protocol):
    """What webhooks are for."""

    def secret_of(self, name: str) -> str:
        """Return the file of a repository's secret; empty where it takes no webhooks."""
        ...

    def hooked(self, name: str, *, is_known: bool) -> None:
        """Take note that a webhook came for a repository, with proof.

        Args:
            name: of the repository.
            is_known: whether the same one came before.
        """
        ...


class SeenWebhooks:
    """Which webhooks came before, by the digests that prove them; as many as have a place."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, OrderedDict[bytes, None]] = OrderedDict()

    def add(self, name: str, digest: bytes) -> bool:
        """Take note of a webhook for a repository; tells whether the same one came before."""
        mine = self._seen.setdefault(name, OrderedDict())
        self._seen.move_to_end(name)
        is_known = digest in mine
        mine[digest] = None
        mine.move_to_end(digest)
        while len(mine) > MAX_SEEN:
            mine.popitem(last=False)
        while len(self._seen) > MAX_SEEN_NAMES:
            self._seen.popitem(last=False)
        return is_known


class Webhooks:
    """Answers webhooks; used inside a running event loop.

    ``tracker`` is told of those with proof, and is None before the node has one.
    """

    def __init__(self) -> None:
        self.tracker: Hooked | None = None
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()
        self._seen = SeenWebhooks()

    async def serve(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        """Answer one webhook."""
        name = served.info.name
        path = "" if self.tracker is None else self.tracker.secret_of(name)
        if self.tracker is None or not path:
            return _text("no webhook is taken for this repository", 404)
        # Until its proof is here a caller counts as one that asks for nothing.
        connection_of(request).slot.mark_idle(asyncio.get_running_loop().time())
        caller = str(caller_of(request))
        try:
            secret = await served.reading(lambda: read_secret(Path(path)))
            proof = Proof(secret, request.headers)
            is_proved = await _is_proved(request, proof)
        except SecretError as error:
            if self._is_one_more(caller):
                _log.error("no-secret", "{repository}: {reason}", repository=name, reason=error)
            return _text("the secret of this webhook cannot be read here", 500)
        except (ProtocolError, TimeoutError) as error:
            return self._refuse(name, caller, str(error) or LATE, 400)
        connection_of(request).is_served()
        if not is_proved:
            return self._refuse(name, caller, "this webhook's signature or token is not right", 403)
        is_known = self._seen.add(name, proof.digest())
        self.tracker.hooked(name, is_known=is_known)
        if is_known:
            return _text("this webhook came before: the upstream is looked at within a minute", 202)
        _log.info("hooked", "{repository}: a webhook says to look", repository=name)
        return _text("the upstream is looked at now", 202)

    def _refuse(self, name: str, caller: str, reason: str, status: int) -> web.StreamResponse:
        """Answer a webhook without proof."""
        if not self._is_one_more(caller):
            return _text("too many webhooks without proof; wait a minute", 429)
        _log.warning(
            "hook-refused", "{repository}: a webhook of {peer} has no proof",
            repository=name, peer=caller,
        )  # fmt: skip
        return _text(reason, status)

    def _is_one_more(self, caller: str) -> bool:
        """Count a webhook that is not taken; False where its sender had too many of them lately."""
        now, group = asyncio.get_running_loop().time(), caller_group(caller)
        times = [each for each in self._wrong.get(group, ()) if now - each < WRONG_SECONDS]
        if len(times) >= MAX_WRONG:
            return False
        self._wrong[group] = [*times, now]
        self._wrong.move_to_end(group)
        while len(self._wrong) > MAX_CALLERS:
            self._wrong.popitem(last=False)
        return True


async def _is_proved(request: web.BaseRequest, proof: Proof) -> bool:
    """Tell whether a webhook has proof, which takes its body.

    Raises:
        ProtocolError: the body is too long, or not as it was signed.
        TimeoutError: it does not come in time.
    """
    if not proof.is_said:
        return False
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise ProtocolError("the body of a webhook must not be compressed")
    async for data in read_body(request, MAX_HOOK, HOOK_SECONDS):
        proof.take(data)
    return proof.holds()


def _text(text: str, status: int) -> web.Response:
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Cache-Control": REVALIDATE,
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=f"{text}\n".encode(), status=status, headers=headers)
