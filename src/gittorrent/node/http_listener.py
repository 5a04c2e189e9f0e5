"""Serves callers over HTTP: static resources, the MirrorSync services, git fetches and pushes.

What is asked for is taken apart here: repository (by exact
bytes, in the catalogue) and resource; everything else is refused with the same words.

Rules: the request's path is decoded once, as the lookup's key, and never becomes a path on disk;
encoded slashes, doubled slashes and control bytes are refused; there are no listings but the
indexes below; a caller that does not take its answer is dropped.
Source: docs/protocol/mirrorsync.md, HTTP resources.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote_to_bytes

from aiohttp import web
from msgspec.structs import replace

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.event_log import EventLog
from gittorrent.ids import ManifestId, PushId, format_of, is_sha256
from gittorrent.node.access import STRANGER, Access
from gittorrent.node.conversations import NOT_SERVED
from gittorrent.node.git_listener import (
    MAX_NOTICE_BYTES,
    NO_DEPOT,
    OUR_FAULT,
)
from gittorrent.node.http_bundles import bundle_list, bundle_resource
from gittorrent.node.http_connections import HttpConnections, connection_of
from gittorrent.node.http_conversations import HttpConversations
from gittorrent.node.http_pages import FROM_PAGE, OTHER_HOST, is_from_page, is_misdirected
from gittorrent.node.http_receive import HttpReceivePack
from gittorrent.node.http_smart import SmartHttp
from gittorrent.node.http_static import (
    PRIVATE,
    Resource,
    UnknownCallerError,
    caller_of,
    is_confidential,
    peer_of,
    resource_of_bytes,
    send_resource,
)
from gittorrent.node.readiness import LIVE_PATH, READY_PATH
from gittorrent.node.shared_callers import SharedCallers
from gittorrent.transfer.static_files import (
    MANIFEST_TYPE,
    PUSH_TYPE,
    REVALIDATE,
    TEXT_TYPE,
    index_of_reels,
    media_type,
)
from gittorrent.wire import notify
from gittorrent.wire.ci_fleet import PREFIX as CI_PREFIX
from gittorrent.wire.tokens import CHALLENGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from gittorrent.node.catalogue import Served
    from gittorrent.node.conversations import Conversations
    from gittorrent.node.http_ci import HttpCi
    from gittorrent.node.services import NodeServices

NO_DUMB = "only git's smart HTTP protocol is served; use git 1.6.6 or newer"

RECEIVE_PACK = "git-receive-pack"

_SERVICES = ("git-upload-pack", RECEIVE_PACK)

_PATH = re.compile(
    rb"(?P<repository>/[^\x00-\x1f\x7f]+?)/(?P<rest>"
    rb"info/refs|git-upload-pack|git-receive-pack|mirror-list|mirror-notify"
    rb"|mirror-sync|mirror-mux|webhook|bundle-list|bundles/[a-z0-9]+\.bundle"
    rb"|pushes/[a-z0-9]+|reels/[a-z0-9]+(?:\.[a-z]+)?)\Z"
)
_FORBIDDEN = re.compile(rb"%2f|%5c|//|%00", re.IGNORECASE)
CACHED_RESOURCES = ("mirror-list", "mirror-sync", "mirror-mux", "pushes/", "reels/")
"""What is there of a repository in the cache: it has no refs that git's clients could fetch."""

CONVERSATIONS = ("mirror-sync", "mirror-mux")

NOT_FOR_PAGES = (
    "info/refs",
    "git-upload-pack",
    "git-receive-pack",
    "mirror-notify",
    "mirror-sync",
    "mirror-mux",
    "webhook",
)
"""What has an effect, or starts a process: refused where a web page asks for it."""

_log = EventLog(__name__)


class HttpListener:
    """Serves one connection after another; ``serve`` is run in a task for each.

    Args:
        services: what callers are served with.
        conversations: holds the conversations of callers that ask for one.
        names: lower-case names this node goes by, besides its addresses and localhost.
        is_proxied: whether callers from this machine are a web server's, which says for whom.
        lacks: returns why the node is not ready; empty while it is.
        ci: returns what answers the nodes of other CI runners; None where nothing does.
    """

    def __init__(
        self,
        services: NodeServices,
        conversations: Conversations,
        names: Collection[str] = (),
        *,
        is_proxied: bool = False,
        lacks: Callable[[], str] = lambda: "",
        ci: Callable[[], HttpCi | None] = lambda: None,
    ) -> None:
        self._lacks = lacks
        self._ci = ci
        self._names = names
        self._is_proxied = is_proxied
        self._catalogue = services.catalogue
        self._tokens = services.tokens
        self._audience = conversations.audience
        self._lists = services.lists
        self._notices = services.notices
        self._limits = services.limits
        self._server_timeouts = services.server_timeouts
        self._smart = SmartHttp(services.git_processes, services.limits)
        self._receive = HttpReceivePack(services.pushes, services.limits)
        self._connections = HttpConnections(
            self._handle, services.server_timeouts, lambda: self._is_proxied
        )
        self.serve = self._connections.serve
        self.stop = self._connections.stop
        talks = HttpConversations(conversations, SharedCallers(services, conversations))
        self._plain: dict[str, Callable[[web.BaseRequest, Served], Awaitable[web.StreamResponse]]]
        self._plain = {
            "GET info/refs": self._info_refs,
            "POST git-upload-pack": self._smart.upload_pack,
            "POST git-receive-pack": self._receive.receive_pack,
            "POST mirror-notify": self._mirror_notify,
            "GET mirror-list": self._mirror_list,
            "GET bundle-list": self._bundle_list,
            "GET mirror-sync": talks.serve,
            "GET mirror-mux": talks.serve_several,
        }
        if services.webhooks is not None:
            self._plain["POST webhook"] = services.webhooks.serve

    def go_by_names(self, names: Collection[str], *, is_proxied: bool) -> None:
        """Go by other names from now on, behind a web server or not; see the class."""
        self._names = names
        self._is_proxied = is_proxied

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = await self._answer(request)
        except asyncio.CancelledError:
            _log.info(
                "http-cut-short",
                "{method} {path} to {peer}: cut short",
                method=request.method,
                path=request.raw_path[:200],
                peer=request.remote,
            )
            raise
        except (OSError, TimeoutError) as error:
            _log.info(
                "lost",
                "lost {peer}: {reason}",
                peer=request.remote,
                reason=str(error) or "it stopped reading the answer",
            )
            request.protocol.force_close()
            raise ConnectionResetError(str(error)) from error
        # What sendfile sent is not in body_length, so the length announced goes first.
        size = 0 if request.method == "HEAD" else response.content_length or response.body_length
        _log.info(
            "http",
            "{method} {path} to {peer}: {status}, {sent} bytes",
            method=request.method,
            path=request.raw_path[:200],
            peer=request.remote,
            status=response.status,
            sent=size,
        )
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request to the last byte."""
        try:
            response = await self._route(request)
        except GitTorrentError as error:
            _log.error(
                "damaged",
                "cannot serve {path}: {reason}",
                path=request.raw_path[:200],
                reason=error,
            )
            response = _text(OUR_FAULT, 500)
        await self._connections.finish(request, response)
        return response

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        if is_misdirected(request.headers.get("Host"), peer_of(request), self._names):
            return _text_bytes(notify.encode_refusal(OTHER_HOST), 421)
        # Whoever looks after the node does so past the web server.
        path = request.raw_path.partition("?")[0]
        if path in (READY_PATH, LIVE_PATH) and request.method in ("GET", "HEAD"):
            return self._health(request, path)
        try:
            caller_of(request)
        except UnknownCallerError as error:
            return _text_bytes(notify.encode_refusal(str(error)), 400)
        raw, _, query = request.raw_path.partition("?")
        ci = self._ci()
        if ci is not None and raw.startswith(CI_PREFIX) and not is_from_page(request.headers):
            return await ci.serve(request, raw)
        if raw == "/" and request.method in ("GET", "HEAD"):
            return _text(await self._front_page())
        access = await self._proved(request)
        served, rest = await self._find(raw, access)
        if served is None or (served.is_cached and not rest.startswith(CACHED_RESOURCES)):
            return await self._not_served(request, access)
        connection_of(request).access = access
        if rest in CONVERSATIONS:  # which end with a word
            response = await self._answer_of(request, served, rest, query)
        else:
            with self._audience.giving(served, access, partial(_hang_up, request)):
                response = await self._answer_of(request, served, rest, query)
        if served.is_private and not response.prepared:
            response.headers["Cache-Control"] = PRIVATE
        return response

    async def _answer_of(
        self, request: web.BaseRequest, served: Served, rest: str, query: str
    ) -> web.StreamResponse:
        """Answer for a repository that the caller may read; ``rest`` follows its path."""
        if rest in NOT_FOR_PAGES and is_from_page(request.headers):
            return _text_bytes(notify.encode_refusal(FROM_PAGE), 403)
        service = parse_qs(query).get("service", [""])[0]
        if (rest == "git-receive-pack" or service == "git-receive-pack") and not (
            self._receive.takes(served)
        ):
            return _text(NO_DEPOT, 403)
        method = "GET" if request.method == "HEAD" else request.method
        answer = self._plain.get(f"{method} {rest}")
        if answer is not None:
            await _expect(request)
            return await answer(request, served)
        if rest.startswith(("pushes/", "reels/", "bundles/")) and method == "GET":
            resource = await served.reading(lambda: self._resource(served, rest))
            if resource is not None:
                return await self._send(request, served, resource)
            return _text("not here", 404)
        return _text(f"{request.method} is not supported here", 405)

    async def _send(
        self, request: web.BaseRequest, served: Served, resource: Resource
    ) -> web.StreamResponse:
        if served.is_private:
            resource = replace(resource, cache=PRIVATE)
        limiter = self._limits.sending_to(caller_of(request))
        return await send_resource(
            request, resource, limiter, served.reading, self._server_timeouts.taken
        )

    def _health(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if is_from_page(request.headers):
            return _text_bytes(notify.encode_refusal(FROM_PAGE), 403)
        lacks = self._lacks() if path == READY_PATH else ""
        answer = _text(f"not ready: {lacks}", 503) if lacks else _text("ok")
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def _proved(self, request: web.BaseRequest) -> Access:
        """Return what a request proves; nothing, where others could listen to it."""
        said = request.headers.getall("Authorization", [])
        if self._tokens is None or len(said) != 1 or not is_confidential(request):
            return STRANGER
        return await self._tokens.proved(said[0])

    async def _not_served(self, request: web.BaseRequest, access: Access) -> web.StreamResponse:
        """Refuse what is not there for a caller, who may have something to prove.

        That depends on whether there are tokens, and not on what was asked for.
        """
        may_prove = self._tokens is not None and access.is_stranger and is_confidential(request)
        if may_prove and self._tokens is not None and await self._tokens.good():
            response = _text(NOT_SERVED, 401)
            response.headers["WWW-Authenticate"] = CHALLENGE
            return response
        return _text(NOT_SERVED, 404)

    async def _find(self, raw: str, access: Access) -> tuple[Served | None, str]:
        """Return the repository a path speaks of, and the rest of the path."""
        encoded = raw.encode("utf-8", "surrogateescape")
        if _FORBIDDEN.search(encoded):
            return None, ""
        found = _PATH.match(unquote_to_bytes(encoded))
        if found is None:
            return None, ""
        served = await self._catalogue.await_path(found["repository"], access)
        return served, found["rest"].decode("ascii")

    async def _front_page(self) -> str:
        await self._catalogue.look()
        names = [served.path for served in self._catalogue if not served.is_private]
        lines = ["This is a GitTorrent node. It serves git repositories:", "", *names]
        return "\n".join(lines)

    async def _info_refs(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        services = parse_qs(request.raw_path.partition("?")[2]).get("service", [])
        service = services[0] if len(services) == 1 else ""
        if service not in _SERVICES:
            return _text(NO_DUMB, 403)
        if request.method == "HEAD":  # of balancers and monitors: no git is started for them
            return web.Response(
                headers={
                    "Content-Type": f"application/x-{service}-advertisement",
                    "Cache-Control": "no-cache",
                }
            )
        if service == RECEIVE_PACK:
            return await self._receive.info_refs(request, served)
        return await self._smart.info_refs(request, served)

    async def _mirror_list(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        del request
        return _text_bytes((await self._lists.answer(served)).encode_text())

    async def _mirror_notify(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        if media_type(request.headers.get("Content-Type")) != notify.CONTENT_TYPE:
            reason = f"the body of a notice must be {notify.CONTENT_TYPE}"
            return _text_bytes(notify.encode_refusal(reason), 415)
        connection = connection_of(request)
        # Until the notice is here whole its sender counts as one that asks for nothing.
        connection.slot.mark_idle(asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(self._server_timeouts.notice):
                notice = notify.parse_text(await _body(request))
        except ProtocolError as error:
            return _text_bytes(notify.encode_refusal(str(error)), 400)
        connection.is_served()
        answer = await self._notices.receive(served, notice, caller_of(request))
        return _text_bytes(answer.encode(), 403 if answer.refusal else 200)

    async def _bundle_list(self, request: web.BaseRequest, served: Served) -> web.StreamResponse:
        # With the host that the caller named: git before 2.40 takes no relative ones.
        base = self._lists.web_base(request.scheme, request.headers.get("Host", ""))
        resource = await served.reading(lambda: bundle_list(served, base))
        return await self._send(request, served, resource)

    def _resource(self, served: Served, rest: str) -> Resource | None:
        """Read a static resource by the words after the repository's path."""
        kind, _, name = rest.partition("/")
        if kind == "bundles":
            return bundle_resource(served, name.removesuffix(".bundle"))
        if name == "index" or rest == "pushes/short":
            return self._index(served, kind, name)
        if kind == "pushes":
            data = served.content.push(PushId(name)) if format_of(name) is not None else None
            if data is None:
                return None
            return resource_of_bytes(data, name, PUSH_TYPE)
        stem, _, suffix = name.partition(".")
        return self._reel(served, ManifestId(stem), suffix) if is_sha256(stem) else None

    def _index(self, served: Served, kind: str, name: str) -> Resource:
        if kind == "pushes":
            text = served.content.log_index(short=name == "short")
            tag = hashlib.sha256(text).hexdigest()
        else:
            offers = served.content.all_offers()
            text = index_of_reels(offers)
            tag = hashlib.sha256(text).hexdigest()
        return resource_of_bytes(text, f"{name}-{tag}", TEXT_TYPE, REVALIDATE)

    def _reel(self, served: Served, manifest: ManifestId, suffix: str) -> Resource | None:
        data = served.content.manifest(manifest)
        pack = served.content.pack(manifest)
        if data is None or pack is None:
            return None
        if suffix == "manifest":
            return resource_of_bytes(data, f"{manifest}.manifest", MANIFEST_TYPE)
        if suffix == "have":
            # Whoever has only some of the parts serves a bitmap here, and that changes.
            return resource_of_bytes(b"all\n", f"{manifest}.all", TEXT_TYPE, REVALIDATE)
        if suffix == "pack":
            return Resource(manifest, pack.view.size, pack.view.pieces, pack.path)
        return None


def _text(text: str, status: int = 200) -> web.Response:
    return _text_bytes(f"{text}\n".encode(), status)


def _text_bytes(data: bytes, status: int = 200) -> web.Response:
    headers = {
        "Content-Type": TEXT_TYPE,
        "Cache-Control": REVALIDATE,
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=data, status=status, headers=headers)


async def _expect(request: web.BaseRequest) -> None:
    """Tell a caller that waits for it to go on with the body (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _body(request: web.BaseRequest) -> bytes:
    """Read a short body."""
    data = bytearray()
    async for chunk in request.content.iter_chunked(4096):
        data += chunk
        if len(data) > MAX_NOTICE_BYTES:
            raise ProtocolError(f"notice of more than {MAX_NOTICE_BYTES} bytes")
    return bytes(data)


def _hang_up(request: web.BaseRequest) -> None:
    """End a request that is being answered, and whatever answers it."""
    if request.transport is not None:
        request.transport.abort()
