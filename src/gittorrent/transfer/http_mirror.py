"""A mirror reached by HTTP: any web server that holds the static resources.

Parts are ranges of ``reels/<manifest id>.pack``. No redirects, no cookies, no credentials; the
address is judged before it is contacted (docs/protocol/mirrorsync.md, "HTTP resources").
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gittorrent.errors import ProtocolError
from gittorrent.swarm.events import PeerKind
from gittorrent.transfer.dialling import (
    ANSWER_SECONDS,
    CannotConnectError,
    NotAMirrorError,
    NotCarriedThereError,
)
from gittorrent.transfer.mirror import MirrorLostError, NotThereError
from gittorrent.wire.limits import MAX_LIST_BYTES, MAX_MANIFEST_BYTES, MAX_PUSH_BYTES
from gittorrent.wire.messages import HaveBundle, Try, parse_message
from gittorrent.wire.mirrorlist import MirrorList, parse_text
from gittorrent.wire.urls import AddressClass, address_class, may_contact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.ids import ManifestId, PushId
    from gittorrent.transfer.limiter import Limiter
    from gittorrent.transfer.mirror import PartSink, WantedPack
    from gittorrent.wire.reelname import ReelName
    from gittorrent.wire.urls import Endpoint

MAX_INDEX_BYTES = 16 << 20
"""Bytes of an index of pushes or reels."""

_RANGES_AT_ONCE = 4
_HEADERS = {"User-Agent": "gittorrent", "Accept-Encoding": "identity"}


class _JudgingResolver(AbstractResolver):
    """Resolves names and leaves out addresses that a stranger may not send us to."""

    def __init__(self, trusted: AddressClass | None) -> None:
        self._trusted = trusted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results = []
        for kind, _, protocol, _, address in found:
            text = str(address[0])
            if self._trusted is None or may_contact(address_class(text), self._trusted):
                results.append(
                    ResolveResult(
                        hostname=host,
                        host=text,
                        port=port,
                        family=kind,
                        proto=protocol,
                        flags=socket.AI_NUMERICHOST,
                    )
                )
        if not results:
            raise OSError(f"{host} has no address that may be contacted")
        return results

    async def close(self) -> None:
        """Hold nothing."""


class HttpMirror:
    """A mirror behind HTTP; make it with `open_http_mirror`."""

    kind = PeerKind.HTTP

    def __init__(self, endpoint: Endpoint, trusted: AddressClass | None, intake: Limiter) -> None:
        self._endpoint = endpoint
        self._intake = intake
        self._trusted = trusted
        self._client = _client(trusted)
        self._heads: list[PushId] = []
        self._pack: WantedPack | None = None
        self._sink: PartSink | None = None
        self._flowing: tuple[int, int] | None = None
        self._slots = asyncio.Semaphore(_RANGES_AT_ONCE)
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._ended = asyncio.Event()
        self.may_return = False

    @property
    def url(self) -> str:
        """Its URL."""
        return self._endpoint.url

    @property
    def heads(self) -> Sequence[PushId]:
        """The log head its list named."""
        return self._heads

    async def begin_talking(self) -> None:
        """Fetch its list, which shows that it is one."""
        found = await fetch_list(self._client, self._endpoint)
        if found.latest is not None:
            self._heads = [found.latest]

    async def fetch_log(self, head: PushId, base: PushId | None) -> list[tuple[PushId, bytes]]:
        """Return the push objects after ``base`` up to ``head``, oldest first."""
        index = await self._get("pushes/index", MAX_INDEX_BYTES)
        ids = index.decode("ascii", "replace").split()
        if head not in ids:
            raise NotThereError(f"{self.url} does not have push {head}")
        begin = ids.index(base) + 1 if base is not None and base in ids else 0
        found = []
        for push in ids[begin : ids.index(head) + 1]:
            data = await self._get(f"pushes/{push}", MAX_PUSH_BYTES)
            found.append((type(head)(push), data))
        return found

    async def offers(self, reel: ReelName) -> list[HaveBundle]:
        """Return the reels it lists, which may or may not help to complete ``reel``."""
        del reel
        index = await self._get("reels/index", MAX_INDEX_BYTES)
        messages = [parse_message(line) for line in index.splitlines()]
        return [message for message in messages if isinstance(message, HaveBundle)]

    async def fetch_manifest(self, manifest: ManifestId) -> bytes:
        """Return a manifest with its signature."""
        return await self._get(f"reels/{manifest}.manifest", MAX_MANIFEST_BYTES)

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

    def tell(self, message: HaveBundle | Try) -> None:
        """Say nothing: a web server does not listen."""
        del message

    def flowing(self) -> tuple[int, int] | None:
        """Return the part on its way and how many of its bytes are here."""
        return self._flowing

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
            if sink is not None and sink is self._sink:
                sink.mirror_lost(self, f"{type(error).__name__}: {error}")
                self.may_return = True
                self._ended.set()
        except NotThereError:
            if sink is not None and sink is self._sink:
                sink.parts_missing(self, first, last)

    async def _read_run(self, pack: WantedPack, first: int, last: int) -> None:
        size = pack.shape.part_size
        end = min((last + 1) * size, pack.shape.pack_size)
        headers = {"Range": f"bytes={first * size}-{end - 1}"}
        url = _resource(self._endpoint, f"reels/{pack.manifest}.pack")
        async with self._client.get(url, headers=headers, allow_redirects=False) as answer:
            if answer.status not in (200, 206):
                raise NotThereError(f"{url} answers {answer.status}")
            if answer.status == 200 and first > 0:
                raise NotThereError(f"{url} does not serve ranges")
            for part in range(first, last + 1):
                data = bytearray()
                wanted = pack.shape.size_of(part)
                while len(data) < wanted:
                    count = min(1 << 16, self._intake.chunk, wanted - len(data))
                    await self._intake.take(count)
                    data += await answer.content.readexactly(count)
                    self._flowing = (part, len(data))
                self._flowing = None
                if self._sink is not None and self._pack is pack:
                    self._sink.part_arrived(self, part, data)

    async def _get(self, name: str, limit: int) -> bytes:
        url = _resource(self._endpoint, name)
        try:
            async with self._client.get(url, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise NotThereError(f"{url} answers {answer.status}")
                return await _read_bounded(answer, limit)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise MirrorLostError(f"{url}: {error}") from error


async def open_http_mirror(
    endpoint: Endpoint, trusted: AddressClass | None, intake: Limiter
) -> HttpMirror:
    """Make sure a mirror answers at an HTTP endpoint and return it.

    Args:
        endpoint: where it is.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        intake: limits how fast parts are taken.
    """
    _judge_literal(endpoint, trusted)
    mirror = HttpMirror(endpoint, trusted, intake)
    try:
        await mirror.begin_talking()
    except BaseException:
        await mirror.close()
        raise
    return mirror


async def ask_for_list_by_http(
    endpoint: Endpoint, trusted: AddressClass | None
) -> tuple[MirrorList, AddressClass]:
    """Ask for a mirror's list by HTTP; returns it with the kind of address it came from."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotConnectError(f"cannot find host {endpoint.host}: {error}") from error
    _judge_literal(endpoint, trusted)
    async with _client(trusted) as client:
        mirrors = await fetch_list(client, endpoint)
    return mirrors, address_class(str(found[0][4][0]))


def _judge_literal(endpoint: Endpoint, trusted: AddressClass | None) -> None:
    """Judge a host that is an address already: the resolver never sees those."""
    try:
        literal = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return
    if trusted is not None and not may_contact(address_class(str(literal)), trusted):
        raise CannotConnectError(f"{endpoint.url} is where strangers may not send us to")


async def fetch_list(client: aiohttp.ClientSession, endpoint: Endpoint) -> MirrorList:
    """Fetch and parse ``mirror-list``.

    Raises:
        CannotConnectError: nobody answers.
        NotCarriedThereError, NotAMirrorError: it is no mirror of that repository.
    """
    url = _resource(endpoint, "mirror-list")
    try:
        async with client.get(url, allow_redirects=False) as answer:
            if answer.status == 404:
                raise NotCarriedThereError(endpoint, "there is no mirror-list")
            if answer.status != 200:
                raise NotAMirrorError(f"{url} answers {answer.status}")
            return parse_text(await _read_bounded(answer, MAX_LIST_BYTES))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise CannotConnectError(f"cannot reach {endpoint.url}: {error}") from error


def _client(trusted: AddressClass | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=_JudgingResolver(trusted), limit=8),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=ANSWER_SECONDS, sock_read=60),
        headers=_HEADERS,
        auto_decompress=False,
    )


def _resource(endpoint: Endpoint, name: str) -> str:
    return f"{endpoint.url.rstrip('/')}/{name}"


async def _read_bounded(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > limit:
            raise ProtocolError(f"{answer.url} sends more than {limit} bytes")
    return bytes(data)
