"""Bounded requests to one HTTP endpoint: a mirror, or a node that announced itself.

No redirects, no cookies; of credentials those that the user's git knows for an HTTPS server whose
certificate holds and that the user named, and only once it wants them. A name is looked up once,
its addresses are judged before any is contacted, and no second answer of a name server counts.
Bodies are bounded in bytes and by `Allowance`, from the connection to the last byte; they are
handed over piece by piece.
Source: docs/protocol/mirrorsync.md, HTTP resources.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from gittorrent import __version__
from gittorrent.errors import ProtocolError
from gittorrent.git.credentials import LOGINS
from gittorrent.git.http_settings import NOTHING_SET, HttpSettings, read_http_settings
from gittorrent.transfer.client_timeouts import Allowance
from gittorrent.transfer.dialling import PAUSES, CannotConnectError
from gittorrent.transfer.http_resolvers import JudgingResolver, Pinned
from gittorrent.transfer.mirror import BusyMirrorError, MirrorLostError, NotThereError
from gittorrent.wire.tokens import encode_basic
from gittorrent.wire.urls import AddressClass, address_class, less_trusted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gittorrent.git.credentials import Login
    from gittorrent.transfer.client_timeouts import ClientTimeouts
    from gittorrent.wire.urls import Endpoint

CONNECTIONS = 8
"""Connections to one endpoint at a time."""

UNAUTHORIZED = 401
"""Status by which a server wants to know who asks (RFC 9110, 15.5.2)."""

PIECE = 1 << 16
"""Bytes of a body handed over at a time, at most."""

MAX_LINE = 1 << 17
"""Bytes in one line of an index; the longest has a bitmap."""

PART_SECONDS = 60.0
"""Silence within a run of parts after which the mirror is lost; others are asked much sooner."""

PASSING = frozenset([429, 500, 502, 503, 504])
"""What servers answer that have too much to do just now; buckets do so in the ordinary course."""

BUSY = frozenset([429, 503])
"""Those that ask to come back later; the others may as well be of something that is broken."""

_HEADERS = {"User-Agent": f"gittorrent/{__version__}", "Accept-Encoding": "identity"}


class TooLongError(ProtocolError):
    """A server sends more than what it was asked for may have."""


class CutOffError(MirrorLostError):
    """A server hangs up in the middle of what it was asked for."""


class _HandedOver:
    """What was handed over of a resource that breaks off, and is then sent from its beginning.

    Args:
        take: takes each piece once.
    """

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._digest = hashlib.sha256()
        self._size = 0
        self._repeated = hashlib.sha256()
        self._left = 0
        self.is_whole = True

    def begin_again(self) -> None:
        """Expect what was handed over once more."""
        self._left, self._repeated = self._size, hashlib.sha256()
        self.is_whole = not self._left

    def take(self, piece: bytes) -> None:
        """Take the next bytes that were sent; hand over those that follow what is known."""
        if self._left:
            known, piece = piece[: self._left], piece[self._left :]
            self._left -= len(known)
            self._repeated.update(known)
            if not self._left:
                self.is_whole = self._repeated.digest() == self._digest.digest()
        if piece and self.is_whole:
            self._size += len(piece)
            self._digest.update(piece)
            self._take(piece)


class LoginWantedError(NotThereError):
    """A server wants to know who asks; ``refused`` is what it did not take, if it was told."""

    def __init__(self, url: str, refused: Login | None) -> None:
        super().__init__(f"{url} asks who you are")
        self.refused = refused


class HttpClient:
    """Asks one endpoint.

    Args:
        endpoint: where resources lie.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        client_timeouts: how long to wait.
        address: the one to ask it at, where that was judged before.
        from_address: IP address of ours to ask from; None for any.
        settings: certificates, a proxy, which is used unless the address is given, and a header.
        may_log_in: whether the server may be told who asks, by that header too, and
            `LoginWantedError` is raised where it wants that.

    Raises:
        CannotConnectError: the endpoint is where strangers may not send us to, or the certificates
            of the settings cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        trusted: AddressClass | None,
        client_timeouts: ClientTimeouts,
        address: str | None = None,
        from_address: str | None = None,
        settings: HttpSettings = NOTHING_SET,
        *,
        may_log_in: bool = False,
    ) -> None:
        self.verifies = settings.verify
        """Whether it is made sure who the server is."""
        self._may_log_in = may_log_in
        self._login = LOGINS.known(endpoint.url) if may_log_in else None
        self.client_timeouts = client_timeouts
        self._endpoint = endpoint
        self._proxy = settings.proxy if address is None else ""
        self._resolver: Pinned | JudgingResolver
        if address is not None:
            self._resolver = Pinned(address)
        else:
            self._resolver = JudgingResolver(trusted, client_timeouts)
            if not self._proxy:
                self._resolver.judge_literal(endpoint)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=_certificates(settings),
                resolver=self._resolver,
                limit=CONNECTIONS,
                local_addr=None if from_address is None else (from_address, 0),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=PART_SECONDS),
            headers=_HEADERS | dict([settings.header] if may_log_in and settings.header else []),
            auto_decompress=False,
            trace_configs=[_staying()],
        )

    @property
    def addresses(self) -> list[str]:
        """The IP addresses the endpoint may be reached at; none before the first request, and none
        where a proxy knows them."""
        return [] if self._proxy else self._resolver.addresses

    @property
    def kind(self) -> AddressClass:
        """The kind of address that answered: of several the least trusted, since any may have.

        What answers through a proxy is somewhere in the world, wherever the proxy may be.
        """
        if self._proxy:
            return AddressClass.PUBLIC
        return reduce(less_trusted, map(address_class, self.addresses))

    async def close(self) -> None:
        """Hang up."""
        await self._session.close()

    def url_of(self, name: str) -> str:
        """Return the URL of a resource."""
        return f"{self._endpoint.url.rstrip('/')}/{name}"

    @contextlib.asynccontextmanager
    async def get(
        self, name: str, headers: dict[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make a request whose answer the caller reads, and bounds.

        Raises:
            LoginWantedError: the server wants to know who asks.
            NotThereError: it answers in an encoding, of which ranges and digests are others.
        """
        async with contextlib.AsyncExitStack() as stack:
            answer = await self._answer(stack, name, headers)
            self._judge(name, answer.status)
            encoding = answer.headers.get("Content-Encoding", "identity")
            if encoding.strip().lower() not in ("", "identity"):
                raise NotThereError(
                    f"{self.url_of(name)} answers in the encoding {encoding[:40]!r}, which was not"
                    " asked for",
                    hint="whoever runs that web server has to let it send files as they are",
                )
            yield answer

    async def _answer(
        self, stack: contextlib.AsyncExitStack, name: str, headers: dict[str, str] | None
    ) -> aiohttp.ClientResponse:
        """Return an answer, which ``stack`` closes; ask again where a server may soon give it."""
        for pause in (*PAUSES, None):
            async with contextlib.AsyncExitStack() as attempt:
                asked = self._session.get(
                    self.url_of(name),
                    headers=self._with_login(headers),
                    allow_redirects=False,
                    proxy=self._proxy or None,
                )
                try:
                    answer = await attempt.enter_async_context(asked)
                except (aiohttp.ServerDisconnectedError, ConnectionError) as error:
                    if pause is None or isinstance(error, aiohttp.ClientConnectorError):
                        raise
                else:
                    if pause is None or answer.status not in PASSING:
                        stack.push_async_exit(attempt.pop_all())
                        return answer
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt ends it")

    def _with_login(self, headers: dict[str, str] | None) -> dict[str, str]:
        """Return headers that say who asks, where that is known."""
        if self._login is None:
            return headers or {}
        said = encode_basic(self._login.name, self._login.password)
        return {**(headers or {}), "Authorization": said}

    def _judge(self, name: str, status: int) -> None:
        """Notice that a server wants to know who asks, if it may be told.

        Raises:
            LoginWantedError: so it is.
        """
        if status == UNAUTHORIZED and self._may_log_in:
            raise LoginWantedError(self.url_of(name), self._login)

    async def websocket(
        self, name: str, most: int, closing: float
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket at a resource, without compression; the caller bounds the time.

        Args:
            name: of the resource.
            most: bytes that one message of the server's may have.
            closing: seconds that the server gets to answer when we close.

        Raises:
            LoginWantedError: the server wants to know who asks.
            aiohttp.WSServerHandshakeError: it does not agree.
            aiohttp.ClientError, OSError: it does not answer.
        """
        try:
            return await self._session.ws_connect(
                self.url_of(name),
                headers=self._with_login(None),
                timeout=aiohttp.ClientWSTimeout(ws_close=closing),
                autoping=False,
                max_msg_size=most + 1,  # it takes what is smaller
                proxy=self._proxy or None,
            )
        except aiohttp.WSServerHandshakeError as error:
            self._judge(name, error.status)
            raise

    async def post(self, name: str, data: bytes, content_type: str, most: int) -> tuple[int, bytes]:
        """Send ``data`` to a resource, within the time of a notice.

        Returns:
            The status, and the answer; of one longer than ``most`` bytes the first of them.

        Raises:
            MirrorLostError: there is no answer.
        """
        url = self.url_of(name)
        headers = self._with_login({"Content-Type": content_type})
        try:
            async with (
                asyncio.timeout(self.client_timeouts.notice),
                self._session.post(
                    url,
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                    proxy=self._proxy or None,
                ) as answer,
            ):
                self._judge(name, answer.status)
                found = b""
                while len(found) < most and (more := await answer.content.read(most - len(found))):
                    found += more
                return answer.status, found
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise MirrorLostError(f"{url}: {str(error) or 'no answer'}") from error

    async def read(self, name: str, most: int) -> bytearray:
        """Return a resource of at most ``most`` bytes; errors as `each`."""
        data = bytearray()
        await self.each(name, most, data.extend)
        return data

    async def each(self, name: str, most: int, take: Callable[[bytes], object]) -> None:
        """Hand a resource over in pieces; ask again where the server hangs up in the middle.

        Args:
            name: of the resource.
            most: bytes it may have.
            take: takes each piece; what it raises ends the request.

        Raises:
            NotThereError: the server answers with another status than 200.
            BusyMirrorError: it has too much to do, by its status.
            CutOffError: it hangs up in the middle, again and again or of something else by now.
            MirrorLostError: it does not answer, or too slowly.
            TooLongError: it sends more.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.client_timeouts.answer
        handed = _HandedOver(take)
        for _ in PAUSES:  # and no pause: whoever hangs up is no busier for it
            try:
                await self._each(name, most, handed.take)
                break
            except CutOffError:
                if loop.time() > end:
                    raise
                handed.begin_again()
        else:
            await self._each(name, most, handed.take)
        if not handed.is_whole:
            raise MirrorLostError(f"{self.url_of(name)} is not what it was a moment ago")

    async def _each(self, name: str, most: int, take: Callable[[bytes], object]) -> None:
        """Ask once, as `each`."""
        loop = asyncio.get_running_loop()
        allowance = Allowance(self.client_timeouts, loop.time())
        total = 0
        try:
            async with (
                asyncio.timeout(self.client_timeouts.answer) as limit,
                self.get(name) as answer,
            ):
                if answer.status in BUSY:
                    raise BusyMirrorError(self.url_of(name), f"it answers {answer.status}")
                if answer.status != 200:
                    raise NotThereError(f"{self.url_of(name)} answers {answer.status}")
                async for piece in answer.content.iter_chunked(PIECE):
                    total += len(piece)
                    if total > most:
                        raise TooLongError(f"{self.url_of(name)} sends more than {most} bytes")
                    take(piece)
                    now = loop.time()
                    allowance.paid(len(piece), now)
                    limit.reschedule(now + allowance.left(now))
        except TimeoutError as error:
            why = "too slowly" if total else "not at all"
            raise MirrorLostError(f"{self.url_of(name)} answers {why}") from error
        except aiohttp.ClientPayloadError as error:
            raise CutOffError(f"{self.url_of(name)}: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise MirrorLostError(f"{self.url_of(name)}: {error}") from error

    async def each_line(self, name: str, most: int, take: Callable[[bytes], object]) -> None:
        """Hand a text resource over line by line, without line ends; errors as `each`."""
        rest = bytearray()

        def cut(piece: bytes) -> None:
            rest.extend(piece)
            *lines, last = rest.split(b"\n")
            for line in lines:
                take(bytes(line))
            if len(last) > MAX_LINE:
                raise ProtocolError(f"{self.url_of(name)} has a line that does not end")
            rest[:] = last

        await self.each(name, most, cut)
        if rest:
            take(bytes(rest))


async def _stay(
    _session: aiohttp.ClientSession,
    _context: object,
    redirect: aiohttp.TraceRequestRedirectParams,
) -> None:
    """Keep a redirect from being followed where aiohttp would: the next host was not judged."""
    raise aiohttp.ClientError(f"{redirect.url} answers with a redirect")


def _staying() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_stay)
    return trace


async def open_client(
    endpoint: Endpoint,
    trusted: AddressClass | None,
    client_timeouts: ClientTimeouts,
    address: str | None = None,
    from_address: str | None = None,
) -> HttpClient:
    """Return a client, with the user's settings if the user named the endpoint; see `HttpClient`.

    Raises:
        CannotConnectError: it cannot be asked.
        UsageError: the settings make no sense.
    """
    settings = NOTHING_SET
    if trusted is None:
        settings = await asyncio.to_thread(read_http_settings, endpoint.url)
    may_log_in = trusted is None and endpoint.scheme == "https" and settings.verify
    return HttpClient(
        endpoint, trusted, client_timeouts, address, from_address, settings, may_log_in=may_log_in
    )


def _certificates(settings: HttpSettings) -> ssl.SSLContext | bool:
    """Return how certificates are judged; True for the system's way.

    Raises:
        CannotConnectError: files that are configured cannot be used.
    """
    if not (settings.ca_file or settings.ca_path or settings.certificate) and settings.verify:
        return True
    try:
        context = ssl.create_default_context(
            cafile=settings.ca_file or None, capath=settings.ca_path or None
        )
        if settings.certificate:
            # Without a password: who has one for the key is asked by git, and not by this.
            context.load_cert_chain(
                settings.certificate, settings.key or None, password=lambda: b""
            )
    except OSError as error:
        files = (settings.ca_file, settings.ca_path, settings.certificate, settings.key)
        missing = next((each for each in files if each and not Path(each).exists()), None)
        reason = f"there is no {missing}" if missing else str(error)
        raise CannotConnectError(
            f"the certificates of git's http.ssl settings cannot be used: {reason}",
            hint="check http.sslCAInfo, http.sslCAPath, http.sslCert and http.sslKey",
        ) from error
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
