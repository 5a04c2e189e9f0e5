"""Short questions to other nodes: what is served at a URL, and "please list me".

Rules: a call-back goes to one IP address that was judged before, never to what a name resolves to
a second time; no redirects, cookies, proxies or credentials; answers are bounded in size and time.
Source: docs/protocol/mirrorsync.md, Learned addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec.structs import replace

from gittorrent.errors import GitTorrentError, ProtocolError, UnreachableError
from gittorrent.transfer.addresses import plain_address
from gittorrent.transfer.announcing import send_git_notice
from gittorrent.transfer.dialling import ask_for_list
from gittorrent.transfer.looking_up import look_up
from gittorrent.transfer.patience import Patience
from gittorrent.transfer.waits import WAITS, Waits
from gittorrent.wire import notify
from gittorrent.wire.limits import MAX_LIST_BYTES
from gittorrent.wire.mirrorlist import MirrorList, parse_text

if TYPE_CHECKING:
    from gittorrent.wire.notify import Notify
    from gittorrent.wire.urls import Endpoint


class _Pinned(AbstractResolver):
    """Resolves every name to one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        is_v6 = ":" in self._address
        return [
            ResolveResult(
                hostname=host,
                host=self._address,
                port=port,
                family=socket.AF_INET6 if is_v6 else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Hold nothing to close."""


def _client(resolver: AbstractResolver) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # the caller has a limit for the whole
        auto_decompress=False,
        trust_env=False,
    )


async def addresses_of(endpoint: Endpoint, waits: Waits = WAITS) -> set[str]:
    """Return the addresses of an endpoint's host, none if they are not found in time."""
    with contextlib.suppress(ValueError):
        return {plain_address(endpoint.host)}
    try:
        found = await look_up(endpoint.host, endpoint.port, waits.look_up)
    except OSError:
        return set()
    return {plain_address(str(entry[4][0])) for entry in found}


async def resolves_to(endpoint: Endpoint, address: str, waits: Waits = WAITS) -> bool:
    """Tell whether ``address`` is among those of the endpoint's host."""
    return address in await addresses_of(endpoint, waits)


async def ask_back(endpoint: Endpoint, address: str, waits: Waits = WAITS) -> MirrorList | str:
    """Ask what is served at an endpoint, at one address of it; a text says why that failed."""
    try:
        async with asyncio.timeout(waits.call_back):
            if endpoint.scheme == "git":
                found, _ = await ask_for_list(replace(endpoint, host=address))
                return found
            return await _ask_over_http(endpoint, address)
    except ProtocolError as error:
        return f"{endpoint.url} does not answer in this protocol: {error}"
    except (GitTorrentError, aiohttp.ClientError, OSError, TimeoutError):
        return f"{endpoint.url} cannot be reached from here"


async def _ask_over_http(endpoint: Endpoint, address: str) -> MirrorList:
    url = f"{endpoint.url.rstrip('/')}/mirror-list"
    async with _client(_Pinned(address)) as client:
        async with client.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise UnreachableError(f"{url} answers with status {response.status}")
            return parse_text(await _read_bounded(response))


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        data += chunk
        if len(data) > MAX_LIST_BYTES:
            break
    return bytes(data)


async def send_notice(endpoint: Endpoint, notice: Notify, from_address: str | None) -> int:
    """Ask the node at an endpoint to list us, and return the seconds it granted.

    Args:
        endpoint: of the repository, at a node the user named.
        notice: what to announce.
        from_address: IP address to call from, so that it is the one announced; None for any.

    Raises:
        RemoteRefusal: it does not list us, and says why.
        ProtocolError: it answers with something else.
        UnreachableError: it does not answer.
    """
    if endpoint.scheme == "git":
        return await send_git_notice(endpoint, lambda _own: notice, from_address=from_address)
    try:
        async with asyncio.timeout(Patience().notice):
            return await _notify_http(endpoint, notice, from_address)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise UnreachableError(
            f"cannot announce to {endpoint.url}: {error or 'no answer'}"
        ) from error


async def _notify_http(endpoint: Endpoint, notice: Notify, from_address: str | None) -> int:
    url = f"{endpoint.url.rstrip('/')}/mirror-notify"
    connector = aiohttp.TCPConnector(
        force_close=True, local_addr=None if from_address is None else (from_address, 0)
    )
    timeout = aiohttp.ClientTimeout(total=Patience().notice)
    headers = {"Content-Type": notify.CONTENT_TYPE}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        async with client.post(
            url, data=notice.encode_text(), headers=headers, allow_redirects=False
        ) as response:
            return notify.parse_answer(await _read_bounded(response))
