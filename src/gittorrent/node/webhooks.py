"""Takes webhooks of forges: whoever proves to know a repository's secret makes the node look now.

A webhook says nothing but that: what is in it is not read, since only the upstream itself says what
it has; so a replay is harmless, and a burst is one look (`gittorrent.node.track_schedule`). Rules:
a body is bounded, digested as it comes, and never kept; who is wrong too often has to wait, which
holds for one address and not for others. Must not know how looks are done.
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
from gittorrent.transfer.static_files import REVALIDATE

if TYPE_CHECKING:
    from gittorrent.node.catalogue import Served

MAX_HOOK = 25 << 20
"""Bytes of a webhook: GitHub sends no longer ones, and others shorter ones."""

HOOK_SECONDS = 30.0
"""Time for all of it."""

MAX_WRONG = 10
"""Webhooks without proof from one address within `WRONG_SECONDS`, after which it has to wait."""

WRONG_SECONDS = 60.0
"""See `MAX_WRONG`."""

MAX_CALLERS = 1000
"""Addresses of which it is remembered that they were wrong: who was lately."""

_log = EventLog(__name__)


class Hooked(Protocol):
    """What webhooks are for."""

    def secret_of(self, name: str) -> str:
        """Return the file of a repository's secret; empty where it takes no webhooks."""
        ...

    def hooked(self, name: str) -> None:
        """Take note that a webhook came for a repository, with proof."""
        ...


class Webhooks:
    """Answers webhooks; used inside a running event loop.

    ``tracker`` is told of those with proof, and is None before the node has one.
    """

    def __init__(self) -> None:
        self.tracker: Hooked | None = None
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    async def serve(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        """Answer one webhook."""
        name = served.info.name
        path = "" if self.tracker is None else self.tracker.secret_of(name)
        if self.tracker is None or not path:
            return _text("no webhook is taken for this repository", 404)
        now, caller = asyncio.get_running_loop().time(), str(caller_of(request))
        if self._is_wrong_too_often(caller, now):
            return _text("too many webhooks without proof; wait a minute", 429)
        # Until its proof is here a caller counts as one that asks for nothing.
        connection_of(request).slot.mark_idle(now)
        try:
            secret = await served.reading(lambda: read_secret(Path(path)))
            proof = Proof(secret, request.headers)
            async for data in read_body(request, MAX_HOOK, HOOK_SECONDS):
                proof.take(data)
        except SecretError as error:
            _log.error("no-secret", "{repository}: {reason}", repository=name, reason=error)
            return _text("the secret of this webhook cannot be read here", 500)
        except (ProtocolError, TimeoutError) as error:
            return _text(str(error) or "the webhook did not come in time", 400)
        connection_of(request).is_served()
        if not proof.holds():
            self._note_wrong(caller, now)
            _log.warning(
                "hook-refused", "{repository}: a webhook of {peer} has no proof",
                repository=name, peer=caller,
            )  # fmt: skip
            return _text("this webhook's signature or token is not right", 403)
        self.tracker.hooked(name)
        _log.info("hooked", "{repository}: a webhook says to look", repository=name)
        return _text("the upstream is looked at now", 202)

    def _is_wrong_too_often(self, caller: str, now: float) -> bool:
        times = [each for each in self._wrong.get(caller, ()) if now - each < WRONG_SECONDS]
        if caller in self._wrong:
            self._wrong[caller] = times
        return len(times) >= MAX_WRONG

    def _note_wrong(self, caller: str, now: float) -> None:
        self._wrong.setdefault(caller, []).append(now)
        self._wrong.move_to_end(caller)
        while len(self._wrong) > MAX_CALLERS:
            self._wrong.popitem(last=False)


def _text(text: str, status: int) -> web.Response:
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Cache-Control": REVALIDATE,
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=f"{text}\n".encode(), status=status, headers=headers)
