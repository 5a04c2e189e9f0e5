"""Where a push goes: to the mirror that the URL names, or, where that is gone, to one known here.

Whichever mirror takes a push, it is signed, judged by the log and passed on, so another one is as
good. Whoever was named is asked first, and what it refuses is refused. Mirrors that this machine
never heard of are not looked for: a stranger could keep a push to itself.
Source: docs/protocol/push.md, Where a push may go.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.git.http_settings import ProxyError, read_http_settings
from gittorrent.git.netrc_file import in_netrc
from gittorrent.helper.relay import ask_for_service
from gittorrent.transfer.candidates import Candidates
from gittorrent.transfer.dialling import NotCarriedThereError, connect
from gittorrent.transfer.opening import ask_list
from gittorrent.transfer.packet_reader import PacketReader
from gittorrent.transfer.transport import transport_of
from gittorrent.transfer.working import stoppable
from gittorrent.wire import pktline
from gittorrent.wire.fields import RemoteRefusal, raise_if_refused, strip_newline
from gittorrent.wire.limits import MAX_PKT_PAYLOAD
from gittorrent.wire.pktline import PktLineError

if TYPE_CHECKING:
    import socket

    from gittorrent.ids import RepositoryId
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.location import Location
    from gittorrent.transfer.reaching import Source
    from gittorrent.transfer.stream import Stream
    from gittorrent.wire.urls import Endpoint

RECEIVE_PACK = "git-receive-pack"


class Depot(Struct):
    """A mirror to push to.

    Args:
        endpoint: where it is.
        stream: on which it was asked for the service; None where there is none.
        said: what it said on it already.
        address: where one that nobody named was judged; None for one that was, and for streams.
    """

    endpoint: Endpoint
    stream: Stream | None = None
    said: bytes = b""
    address: str | None = None


async def find_depot(location: Location, context: Context) -> Depot:
    """Return the mirror that takes a push: the one named if it can be, or one that is known here.

    Raises:
        UsageError: the repository is private, and would be named in the clear.
        GitTorrentError: nobody can be reached.
    """
    repository = location.expected or context.database.known_url(location.url)
    candidates = Candidates(location, repository, replace(context, lookups=()))
    seeking = _Seeking(repository, context)
    try:
        source, depot = await candidates.first_to_answer(seeking.ask, _hang_up)
    except GitTorrentError as error:
        for other in candidates.failures.values():
            if other is not error:
                context.reporter.detail(str(other))
        raise
    if location.endpoint is None:
        context.reporter.note(f"pushing to {source.url}")
    elif source is not candidates.wanted:
        context.reporter.note(f"{candidates.why_not_wanted}; pushing to {source.url}")
    return depot


async def _hang_up(depot: Depot) -> None:
    if depot.stream is not None:
        await depot.stream.hang_up()


class _Seeking:
    """Asks mirrors whether they take a push of one repository."""

    def __init__(self, repository: RepositoryId | None, context: Context) -> None:
        self._repository = repository
        self._timeouts = context.client_timeouts

    async def ask(self, source: Source) -> Depot:
        """Return one that can be pushed to.

        Raises:
            GitTorrentError: it cannot be reached; or, where nobody named it, takes no push.
        """
        endpoint = source.endpoint
        assert endpoint is not None
        is_named = source.trusted is None
        if transport_of(endpoint).has_services:
            return await self._ask_stream(source, endpoint, is_named=is_named)
        if not is_named:
            return await self._ask_web(source, endpoint)
        # Who is there says to git itself whether it takes a push, and to whom.
        if not await stoppable(_has_proxy, endpoint):
            (await connect(endpoint, client_timeouts=self._timeouts)).sock.close()
        return Depot(endpoint)

    async def _ask_web(self, source: Source, endpoint: Endpoint) -> Depot:
        """Return a mirror behind HTTP that nobody named."""
        if in_netrc(endpoint.url) is not None:
            # Git would say it there, and may do so in the clear.
            raise UnreachableError(f"{endpoint.url} is passed over: ~/.netrc has a password for it")
        if "=" in endpoint.url:
            raise UnreachableError(f"{endpoint.url} is passed over: git takes no settings for it")
        dialled = await connect(endpoint, source.trusted, client_timeouts=self._timeouts)
        dialled.sock.close()
        found, _ = await ask_list(endpoint, source.trusted, self._timeouts)
        if found.repository_id != self._repository:
            raise NotCarriedThereError(endpoint, f"it carries {found.repository_id}")
        return Depot(endpoint, address=dialled.address)

    async def _ask_stream(self, source: Source, endpoint: Endpoint, *, is_named: bool) -> Depot:
        stream = await ask_for_service(endpoint, RECEIVE_PACK, source.trusted, self._timeouts)
        is_left = False
        try:
            async with asyncio.timeout(None if is_named else self._timeouts.answer):
                said = await _first_packet(stream.sock)
            if not is_named:
                raise_if_refused(strip_newline(said[pktline.HEADER_SIZE :]))
            is_left = True
        except TimeoutError as error:
            raise UnreachableError(f"{endpoint.url} does not answer") from error
        except RemoteRefusal as error:
            raise UnreachableError(f"{endpoint.url} takes no push: {error.reason}") from error
        except (PktLineError, OSError) as error:
            raise UnreachableError(f"{endpoint.url} takes no push: {error}") from error
        finally:
            if not is_left:
                await stream.hang_up()
        return Depot(endpoint, stream, said)


async def _first_packet(sock: socket.socket) -> bytes:
    """Return the first packet that a mirror sends, as it was sent."""
    reader = PacketReader(sock, "greeting", MAX_PKT_PAYLOAD + pktline.HEADER_SIZE)
    header = await reader.header()
    packet = await reader.rest(header)
    return header + packet if isinstance(packet, bytes) else header


def _has_proxy(endpoint: Endpoint) -> bool:
    try:
        return bool(read_http_settings(endpoint.url).proxy)
    except ProxyError:
        return True  # of a kind that git itself speaks to
