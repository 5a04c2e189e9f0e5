"""A mirror reached by HTTP: any web server that holds the static resources.

Parts are ranges of ``reels/<manifest id>.pack``. How requests are bounded, and what they do not
carry, is in `gittorrent.transfer.http_client` (docs/protocol/mirrorsync.md, "HTTP resources").
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import aiohttp
from msgspec.structs import replace

from gittorrent.errors import ProtocolError
from gittorrent.ids import PushId
from gittorrent.swarm.events import PeerKind
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import (
    PAUSES,
    CannotConnectError,
    NotAMirrorError,
    NotCarriedThereError,
    hint_for,
    why_not_connected,
    why_not_found,
)
from gittorrent.transfer.http_client import BUSY, PASSING, UNAUTHORIZED, HttpClient, open_client
from gittorrent.transfer.http_log import fetch_log
from gittorrent.transfer.mirror import BusyMirrorError, MirrorLostError, NotThereError
from gittorrent.transfer.questions import MAX_OFFERS
from gittorrent.transfer.static_files import MAX_INDEX_BYTES, media_type
from gittorrent.wire.limits import MAX_LIST_BYTES, MAX_URL
from gittorrent.wire.messages import HaveBundle, Try, WrongParts, parse_message
from gittorrent.wire.mirrorlist import MirrorList, parse_text
from gittorrent.wire.urls import AddressClass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gittorrent.ids import ManifestId
    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.mirror import Admit, PartSink, WantedPack
    from gittorrent.wire.messages import FetchLog
    from gittorrent.wire.reelname import ReelName
    from gittorrent.wire.urls import Endpoint

_RANGES_AT_ONCE = 4

_RANGE = re.compile(r"bytes +([0-9]{1,19})-", re.IGNORECASE | re.ASCII)
"""How a Content-Range begins (RFC 9110, 14.4)."""

PROXY_HINT = "check http.proxy, remote.<name>.proxy, https_proxy and no_proxy"
"""Where a proxy may have been named."""


class HttpMirror:
    """A mirror behind HTTP; make it with `open_http_mirror`."""

    kind = PeerKind.HTTP

    def __init__(self, endpoint: Endpoint, client: HttpClient, intake: Limiter) -> None:
        self._endpoint = endpoint
        self._client = client
        self._intake = intake
        self._heads: list[PushId] = []
        self._pack: WantedPack | None = None
        self._sink: PartSink | None = None
        self._flowing: tuple[int, int] | None = None
        self._under_way: dict[int, bytearray] = {}  # parts of which some is here
        self._slots = asyncio.Semaphore(_RANGES_AT_ONCE)
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._ended = asyncio.Event()
        self.may_return = False
        self.is_busy = False
        self.has_given = False
        self.called_us = False

    @property
    def url(self) -> str:
        """Its URL."""
        return self._endpoint.url

    @property
    def name(self) -> str:
        """What it is called in messages: its URL."""
        return self.url

    @property
    def address(self) -> str:
        """The first of the IP addresses it answers from."""
        return next(iter(self._client.addresses), "")

    @property
    def heads(self) -> Sequence[PushId]:
        """The log head its list named."""
        return self._heads

    async def begin_talking(self) -> None:
        """Fetch its list, which shows that it is one."""
        mirrors = await fetch_list(self._client, self._endpoint)
        if mirrors.latest is not None:
            self._heads.append(mirrors.latest)

    async def fetch_log(
        self, question: FetchLog, is_held: Callable[[PushId], bool], admit: Admit
    ) -> None:
        """Hand the push objects over that are not held, each after those that it names."""
        await fetch_log(self._client, self.url, question, is_held, admit)

    async def offers(
        self, reel: ReelName, take: Callable[[HaveBundle], None], *, shapes: bool = False
    ) -> None:
        """Hand the reels it lists over, which may or may not help to complete ``reel``."""
        del reel, shapes  # it lists all
        count = 0

        def parse(line: bytes) -> None:
            nonlocal count
            message = parse_message(line)
            if isinstance(message, HaveBundle) and count < MAX_OFFERS:
                count += 1
                take(message)

        with self._lost_by_nonsense():
            await self._client.each_line("reels/index", MAX_INDEX_BYTES, parse)

    async def fetch_manifest(self, manifest: ManifestId, most: int) -> bytes:
        """Return a manifest with its signature."""
        with self._lost_by_nonsense():
            return bytes(await self._client.read(f"reels/{manifest}.manifest", most))

    async def fetch_push(self, push: PushId, most: int) -> bytes:
        """Return a push object or a tag."""
        with self._lost_by_nonsense():
            return bytes(await self._client.read(f"pushes/{push}", most))

    @contextlib.contextmanager
    def _lost_by_nonsense(self) -> Iterator[None]:
        """Turn an answer that the protocol does not allow into the loss of whoever gave it.

        A conversation ends with it; here too nobody is to believe that the next one is better.
        """
        try:
            yield
        except ProtocolError as error:
            raise MirrorLostError(f"{self.name}: {error}") from error

    def begin(self, pack: WantedPack, sink: PartSink) -> None:
        """Send what arrives of ``pack`` to ``sink`` from now on."""
        self._pack = pack
        self._sink = sink

    def ask(self, first: int, last: int) -> None:
        """Ask for a run of parts with one ranged request."""
        task = asyncio.get_running_loop().create_task(self._fetch_run(first, last))
        self._tasks[first, last] = task
        task.add_done_callback(lambda _: self._tasks.pop((first, last), None))

    def cancel(self, first: int, last: int) -> None:
        """Withdraw runs of parts that lie within ``first`` to ``last``."""
        for (begin, end), task in list(self._tasks.items()):
            if first <= begin and end <= last:
                task.cancel()

    def tell(self, message: HaveBundle | Try | WrongParts) -> None:
        """Say nothing: a web server does not listen."""
        del message

    def flowing(self) -> tuple[int, int] | None:
        """Return the part on its way and how many of its bytes are here."""
        return self._flowing

    @property
    def has_ended(self) -> bool:
        """Whether it is of no use any more."""
        return self._ended.is_set()

    async def wait_closed(self) -> None:
        """Wait until it is of no use any more."""
        await self._ended.wait()

    async def close(self) -> None:
        """Stop all requests."""
        self._sink = None
        self._ended.set()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def _fetch_run(self, first: int, last: int) -> None:
        pack, sink = self._pack, self._sink
        assert pack is not None
        try:
            async with self._slots:
                await self._read_run(pack, first, last)
        except (aiohttp.ClientError, asyncio.IncompleteReadError, OSError) as error:
            if sink is not None and sink is self._sink and not self.has_ended:
                self.may_return = True
                self._ended.set()
                for part, beginning in self._under_way.items():
                    if beginning:
                        sink.part_broke_off(self, part, bytes(beginning))
                self._under_way.clear()
                sink.mirror_lost(self, f"{type(error).__name__}: {error}")
        except NotThereError:
            if sink is not None and sink is self._sink:
                sink.parts_missing(self, first, last)
        finally:
            for part in range(first, last + 1):
                self._under_way.pop(part, None)

    async def _read_run(self, pack: WantedPack, first: int, last: int) -> None:
        size = pack.shape.part_size
        end = min((last + 1) * size, pack.shape.pack_size)
        sink = self._sink
        data = bytearray(b"" if sink is None else sink.taken_up(self, first))
        self._under_way[first] = data  # the line may break before anything more comes
        begun = first * size + len(data)
        headers = {"Range": f"bytes={begun}-{end - 1}"}
        name = f"reels/{pack.manifest}.pack"
        async with self._client.get(name, headers) as answer:
            if answer.status in PASSING:
                self.is_busy = answer.status in BUSY
                raise ConnectionError(f"it answers {answer.status} again and again")
            if answer.status not in (200, 206):
                raise NotThereError(f"{self._client.url_of(name)} answers {answer.status}")
            if answer.status == 200 and first > 0:
                raise NotThereError(f"{self._client.url_of(name)} does not serve ranges")
            if answer.status == 206 and not _begins_at(answer, begun):
                raise NotThereError(f"{self._client.url_of(name)} serves another range")
            if answer.status == 200 and data:
                await answer.content.readexactly(len(data))  # all of it comes anyway
            for part in range(first, last + 1):
                await self._read_part(answer, part, data, pack.shape.size_of(part))
                if self._sink is not None and self._pack is pack:
                    self._sink.part_arrived(self, part, data)
                data = bytearray()

    async def _read_part(
        self, answer: aiohttp.ClientResponse, part: int, data: bytearray, wanted: int
    ) -> None:
        """Read a part, some of which may be here already, up to its last byte."""
        self._under_way[part] = data
        try:
            while len(data) < wanted:
                count = min(1 << 16, self._intake.chunk, wanted - len(data))
                piece = await answer.content.read(count)
                if not piece:
                    raise asyncio.IncompleteReadError(bytes(data), wanted)
                self.has_given = True
                await self._intake.take(len(piece))
                data += piece
                self._flowing = (part, len(data))
        finally:
            self._flowing = None
        self._under_way.pop(part, None)


def _begins_at(answer: aiohttp.ClientResponse, begun: int) -> bool:
    """Tell whether what a server sends of a resource is one range that begins where it should.

    Some do not say (RFC 9110, 15.3.7, has them say it); what comes is compared with digests anyway.
    """
    said = answer.headers.get("Content-Range")
    if said is None:
        return not media_type(answer.headers.get("Content-Type")).startswith("multipart/")
    found = _RANGE.match(said)
    return found is not None and int(found[1]) == begun


async def open_http_mirror(
    endpoint: Endpoint,
    trusted: AddressClass | None,
    intake: Limiter,
    client_timeouts: ClientTimeouts | None = None,
) -> HttpMirror:
    """Make sure a mirror answers at an HTTP endpoint and return it.

    Args:
        endpoint: where it is.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        intake: limits how fast parts are taken.
        client_timeouts: how long to wait.
    """
    client = await open_client(endpoint, trusted, client_timeouts or ClientTimeouts())
    mirror = HttpMirror(endpoint, client, intake)
    try:
        await mirror.begin_talking()
    except BaseException:
        await mirror.close()
        raise
    return mirror


async def ask_for_list_by_http(
    endpoint: Endpoint, trusted: AddressClass | None, client_timeouts: ClientTimeouts | None = None
) -> tuple[MirrorList, AddressClass]:
    """Ask for a mirror's list by HTTP; returns it with the kind of address it came from."""
    client = await open_client(endpoint, trusted, client_timeouts or ClientTimeouts())
    try:
        mirrors = await fetch_list(client, endpoint)
    finally:
        await client.close()
    return mirrors, client.kind


async def ask_for_time_by_http(endpoint: Endpoint) -> float | None:
    """Return the seconds since 1970 by a server's Date header; None if it sends none.

    Raises:
        CannotConnectError: nobody answers.
    """
    client = await open_client(endpoint, None, ClientTimeouts())
    try:
        async with (
            asyncio.timeout(client.client_timeouts.answer),
            client.get("mirror-list") as answer,
        ):
            return parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):  # none, or of no year or day that there is
        return None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(endpoint, error) from error
    finally:
        await client.close()


async def fetch_list(client: HttpClient, endpoint: Endpoint) -> MirrorList:
    """Fetch and parse ``mirror-list``, within the time for one answer.

    Raises:
        CannotConnectError: nobody answers.
        NotCarriedThereError, NotAMirrorError: it is no mirror of that repository.
    """
    url = client.url_of("mirror-list")
    try:
        async with asyncio.timeout(client.client_timeouts.answer):
            data = await _ask_for_list(client, endpoint)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(endpoint, error) from error
    try:
        return parse_text(data)
    except ProtocolError as error:
        if data.lstrip().startswith(b"<"):
            raise NotAMirrorError(
                f"{url} is a web page, and no list of mirrors",
                hint="check the path; networks that want a login first answer so, too",
            ) from error
        raise ProtocolError(f"{url}: {error}") from error


async def _ask_for_list(client: HttpClient, endpoint: Endpoint) -> bytes:
    """Return the bytes of ``mirror-list``; ask again where the server hangs up in the middle."""
    for _ in PAUSES:
        with contextlib.suppress(aiohttp.ClientPayloadError):
            return await _ask_for_list_once(client, endpoint)
    return await _ask_for_list_once(client, endpoint)


async def _ask_for_list_once(client: HttpClient, endpoint: Endpoint) -> bytes:
    url = client.url_of("mirror-list")
    async with client.get("mirror-list") as answer:
        if answer.status == 404:
            raise NotCarriedThereError(endpoint, "there is no mirror-list")
        if answer.status == UNAUTHORIZED:
            raise NotAMirrorError(
                f"{url} answers {answer.status}: it wants to know who asks",
                hint="a name and a password go over https alone, to a server that you named"
                if client.verifies
                else "git's http.sslVerify is off, so that nobody knows who the server is: it is"
                " told no name and no token; name its authority by http.sslCAInfo",
            )
        if "Location" in answer.headers and 300 <= answer.status < 400:
            raise _moved(url, answer)
        if answer.status in BUSY:
            raise BusyMirrorError(endpoint.url, f"it answers {answer.status}")
        if answer.status != 200:
            raise NotAMirrorError(f"{url} answers {answer.status}")
        return await _read_list(answer)


def _moved(url: str, answer: aiohttp.ClientResponse) -> NotAMirrorError:
    """Say where a redirect leads, which is not followed: whom to ask is the user's choice."""
    said = answer.headers["Location"]
    try:
        target = urljoin(url, said)[:MAX_URL]
    except ValueError:  # it is no URL
        target = said[:MAX_URL]
    base = target.removesuffix("/mirror-list")
    is_mirror = base != target and target.startswith(("http://", "https://"))
    return NotAMirrorError(
        f"{url} answers {answer.status} and leads to {target}",
        hint=f"if that is where you want to go, the URL is gittorrent::{base}" if is_mirror else "",
    )


def _unreachable(endpoint: Endpoint, error: BaseException) -> CannotConnectError:
    """Say in one sentence why nothing came of a request; aiohttp quotes what it met on several."""
    why, hint = str(error) or "it does not answer", hint_for(endpoint)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        why = f"its proxy cannot be reached: {why_not_connected(error.os_error)}"
        hint = PROXY_HINT
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        why, hint = f"its proxy refuses: {error.status} {error.message}", PROXY_HINT
    elif isinstance(error, aiohttp.ClientResponseError):
        git = replace(endpoint, scheme="git").url.removeprefix("git")
        why = "what answers there does not speak HTTP"
        hint = f"if it is the git:// port of a node, the URL is gittorrent{git}"
    elif isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = f"its certificate does not hold: {error.certificate_error}"
        hint = (
            "check the host's name; git's http.sslCAInfo names an authority that the system does"
            " not know; or try another mirror"
        )
    elif isinstance(error, aiohttp.ClientSSLError):
        why = "what answers there does not speak TLS"
        web = replace(endpoint, scheme="http").url
        hint = f"if it is the HTTP port of a node, the URL is gittorrent::{web}"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        why = f"cannot find host {endpoint.host}: {why_not_found(error.os_error)}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        why = why_not_connected(error.os_error)
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        why = "it hung up without an answer"
    return CannotConnectError(f"cannot reach {endpoint.url}: {why}", hint=hint)


async def _read_list(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for piece in answer.content.iter_chunked(1 << 16):
        data += piece
        if len(data) > MAX_LIST_BYTES:
            raise ProtocolError(f"{answer.url} sends more than {MAX_LIST_BYTES} bytes")
    return bytes(data)
