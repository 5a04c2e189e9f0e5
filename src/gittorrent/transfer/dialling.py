"""Connecting to a mirror: names, addresses, the first request, and the list it answers with.

Addresses are judged before they are contacted: the mirror a user named may be anywhere, the ones
learned from it only where a stranger may send us (`gittorrent.wire.urls`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import UnreachableError, UnverifiedError
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.looking_up import look_up
from gittorrent.transfer.mirror import BusyMirrorError
from gittorrent.transfer.packet_reader import ConnectionEndError, PacketReader
from gittorrent.transfer.racing import first_success
from gittorrent.wire import pktline
from gittorrent.wire.fields import RemoteRefusal, is_busy
from gittorrent.wire.limits import MAX_LIST_BYTES, MAX_LIST_LINES
from gittorrent.wire.mirrorlist import MirrorList, parse_lines
from gittorrent.wire.service import MIRROR_LIST, ServiceRequest, encode_request
from gittorrent.wire.urls import DEFAULT_PORTS, AddressClass, UrlError, address_class, may_contact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.transfer.looking_up import Found
    from gittorrent.wire.urls import Endpoint


MAX_ADDRESSES = 4
"""Addresses of one name that an ordinary fetch tries."""


PAUSES = (0.2, 0.6, 1.5)
"""Seconds before a server is asked again that hangs up without an answer, or says over HTTP that
it has too much to do; all of it within the time for one answer."""

CHECK_HINT = "check host and port, or try another mirror"

_NO_PORT_HINT = (
    "port {port} is what a URL without a port means: a node that listens elsewhere needs :PORT"
    " after its host; or try another mirror"
)


def hint_for(endpoint: Endpoint) -> str:
    """Return the hint for an endpoint where nothing answers."""
    if endpoint.port == DEFAULT_PORTS[endpoint.scheme]:
        return _NO_PORT_HINT.format(port=endpoint.port)
    return CHECK_HINT


class CannotConnectError(UnreachableError):
    """A mirror's host does not resolve or does not accept connections."""


class NotAMirrorError(UnverifiedError):
    """Something answers there, but it does not speak MirrorSync."""


class _ResetError(NotAMirrorError):
    """The connection was reset before an answer: what is there may have too much to do."""


class NotCarriedThereError(UnreachableError):
    """A mirror answers, but does not carry the repository."""

    def __init__(self, endpoint: Endpoint, reason: str) -> None:
        said = f": {reason}" if reason else ""
        super().__init__(
            f"{endpoint.url} does not serve this repository{said}",
            hint="check the path, or ask another mirror",
        )


class Dialled(Struct, frozen=True):
    """A connected socket and what kind of address it leads to."""

    sock: socket.socket
    address: str
    kind: AddressClass


async def connect(
    endpoint: Endpoint,
    trusted: AddressClass | None = None,
    from_address: str | None = None,
    client_timeouts: ClientTimeouts | None = None,
) -> Dialled:
    """Connect to a mirror, at whichever of its addresses accepts first.

    Args:
        endpoint: where to.
        trusted: for a learned endpoint, the kind of address it was learned from; None for one
            that the user named.
        from_address: IP address of ours to connect from; None for any.
        client_timeouts: how long to wait: for all addresses together.

    Raises:
        CannotConnectError: with the reason of the last address tried.
    """
    client_timeouts = client_timeouts or ClientTimeouts()
    try:
        found = await look_up(endpoint.host, endpoint.port, client_timeouts.look_up)
    except OSError as error:
        raise CannotConnectError(
            f"cannot find host {endpoint.host}: {why_not_found(error)}", hint=CHECK_HINT
        ) from error
    reason = "it has no address"
    wanted = []
    for each in found:
        if trusted is None or may_contact(address_class(str(each[4][0])), trusted):
            wanted.append(each)
        else:
            reason = f"{each[4][0]} is an address that strangers may not send us to"
    try:
        if wanted:
            async with asyncio.timeout(client_timeouts.connect):
                return await _first_to_accept(wanted, from_address, client_timeouts.stagger)
    except OSError as error:
        reason = why_not_connected(error)
    raise CannotConnectError(
        f"cannot connect to {endpoint.host} port {endpoint.port}: {reason}",
        hint=hint_for(endpoint),
    )


async def _first_to_accept(
    addresses: Sequence[Found], from_address: str | None, stagger: float
) -> Dialled:
    """Try addresses in order, the next as soon as one refuses or says nothing for a while.

    Raises:
        OSError: none accepts; that of the last one.
    """
    failure = OSError()

    def failed(_address: Found, error: BaseException) -> None:
        nonlocal failure
        if not isinstance(error, OSError):
            raise error
        failure = error

    async def hang_up(dialled: Dialled) -> None:
        dialled.sock.close()

    won = await first_success(
        addresses, lambda found: _dial(found, from_address), stagger, failed, hang_up
    )
    if won is None:
        raise failure
    return won[1]


async def _dial(found: Found, from_address: str | None) -> Dialled:
    family, kind, protocol, _, address = found
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if from_address is not None:
            sock.bind((from_address, 0))
        await asyncio.get_running_loop().sock_connect(sock, address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return Dialled(sock, str(address[0]), address_class(str(address[0])))


async def judged_addresses(
    endpoint: Endpoint, trusted: AddressClass, client_timeouts: ClientTimeouts
) -> list[str]:
    """Return the addresses of a learned endpoint that strangers may send us to.

    Args:
        endpoint: the mirror.
        trusted: the kind of address it was learned from.
        client_timeouts: how long to wait.

    Raises:
        CannotConnectError: it has none.
    """
    try:
        found = await look_up(endpoint.host, endpoint.port, client_timeouts.look_up)
    except OSError as error:
        why = why_not_found(error)
        raise CannotConnectError(f"cannot find host {endpoint.host}: {why}") from error
    addresses = dict.fromkeys(str(address[0]) for *_, address in found)
    allowed = [each for each in addresses if may_contact(address_class(each), trusted)]
    if not allowed:
        raise CannotConnectError(f"{endpoint.url} is where strangers may not send us to")
    return allowed[:MAX_ADDRESSES]


def why_not_found(error: OSError) -> str:
    """Say in plain words why looking up a host failed; resolvers have numbers of their own."""
    return (error.strerror or str(error) or "no answer").lower()


def why_not_connected(error: OSError) -> str:
    """Say in plain words why connecting failed; asyncio repeats the address instead."""
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else "no answer"


def service_request(service: str, endpoint: Endpoint) -> bytes:
    """Return the first packet for ``service`` of the repository at ``endpoint``."""
    host = endpoint.host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).version == 6:
            host = f"[{host}]"
    shown = f"{host}:{endpoint.port}".encode("ascii", "replace")
    path = unquote_to_bytes(endpoint.path)
    return pktline.encode(encode_request(ServiceRequest(service, path, shown)))


async def ask_for_list(
    endpoint: Endpoint,
    trusted: AddressClass | None = None,
    client_timeouts: ClientTimeouts | None = None,
) -> tuple[MirrorList, AddressClass]:
    """Ask the mirror at a git:// endpoint for its list.

    Returns:
        The list and the kind of address it came from.

    Raises:
        CannotConnectError: nobody answers.
        NotAMirrorError: it does not speak MirrorSync.
        NotCarriedThereError: it does not carry the repository.
        ProtocolError: it breaks the protocol.
    """
    client_timeouts = client_timeouts or ClientTimeouts()
    dialled = await connect(endpoint, trusted, client_timeouts=client_timeouts)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(client_timeouts.answer):
            await loop.sock_sendall(dialled.sock, service_request(MIRROR_LIST, endpoint))
            lines = await _read_list(dialled.sock, endpoint)
    except TimeoutError as error:
        raise CannotConnectError(f"{endpoint.url} does not answer", hint=CHECK_HINT) from error
    except ConnectionResetError as error:
        raise _not_a_mirror(endpoint, str(error), kind=_ResetError) from error
    except OSError as error:
        raise _not_a_mirror(endpoint, str(error)) from error
    finally:
        dialled.sock.close()
    try:
        return parse_lines(lines), dialled.kind
    except RemoteRefusal as error:
        raise _refused(endpoint, error) from error


async def ask_patiently(
    endpoint: Endpoint,
    trusted: AddressClass | None = None,
    client_timeouts: ClientTimeouts | None = None,
) -> tuple[MirrorList, AddressClass]:
    """Ask as `ask_for_list`, and again where whom the user named resets the connection.

    Whoever was named by a stranger is called once, so that nobody is called on others' behalf.
    """
    for pause in PAUSES if trusted is None else ():
        with contextlib.suppress(_ResetError):
            return await ask_for_list(endpoint, trusted, client_timeouts)
        await asyncio.sleep(pause)
    return await ask_for_list(endpoint, trusted, client_timeouts)


def _refused(endpoint: Endpoint, refusal: RemoteRefusal) -> UnreachableError:
    if is_busy(refusal.reason):
        return BusyMirrorError(endpoint.url, refusal.reason)
    return NotCarriedThereError(endpoint, refusal.reason)


_HINT = (
    "it may have too much to do just now; if it is a plain git server and you accept an unverified"
    " clone, set gittorrent.allowUnverified=true (git clone -c gittorrent.allowUnverified=true ...)"
)


def _not_a_mirror(
    endpoint: Endpoint,
    why: str,
    hint: str = _HINT,
    kind: type[NotAMirrorError] = NotAMirrorError,
) -> NotAMirrorError:
    return kind(f"{endpoint.url} does not speak MirrorSync ({why})", hint=hint)


_OTHER_SERVERS = (
    (b"HTTP", "it is a web server", "http"),
    (b"\x15\x03", "it is a TLS port", "https"),
    (b"SSH-", "it is an ssh port", None),
)
"""First bytes of an answer, what answers so, and the scheme it may be reached by."""


def _check_greeting(endpoint: Endpoint, header: bytes) -> None:
    """Notice by the first bytes of an answer that the port is another server's.

    Raises:
        NotAMirrorError: it is.
    """
    for start, what, scheme in _OTHER_SERVERS:
        if header.startswith(start):
            url = f"gittorrent::{replace(endpoint, scheme=scheme).url}" if scheme else None
            hint = f"clone {url} instead" if url else f"nodes listen elsewhere; {CHECK_HINT}"
            raise _not_a_mirror(endpoint, what, hint)


async def read_list(
    sock: socket.socket, endpoint: Endpoint, client_timeouts: ClientTimeouts
) -> MirrorList:
    """Read the list that a mirror was asked for on a stream.

    Raises:
        CannotConnectError: it does not come in time.
        NotAMirrorError, NotCarriedThereError: there is none.
        ProtocolError: it breaks the protocol.
    """
    try:
        async with asyncio.timeout(client_timeouts.answer):
            lines = await _read_list(sock, endpoint)
    except TimeoutError as error:
        raise CannotConnectError(f"{endpoint.url} does not answer", hint=CHECK_HINT) from error
    except OSError as error:
        raise _not_a_mirror(endpoint, str(error)) from error
    try:
        return parse_lines(lines)
    except RemoteRefusal as error:
        raise _refused(endpoint, error) from error


async def _read_list(sock: socket.socket, endpoint: Endpoint) -> list[bytes]:
    """Read packets up to the flush that ends a list; a refusal ends with the connection.

    Raises:
        NotAMirrorError: something else answers.
        UrlError: the list does not end.
        OSError: the connection breaks.
    """
    reader = PacketReader(sock, "list", MAX_LIST_BYTES)
    lines: list[bytes] = []
    while len(lines) <= MAX_LIST_LINES:
        try:
            header = await reader.header()
            if not lines:
                _check_greeting(endpoint, header)
            packet = await reader.rest(header)
        except ConnectionEndError as error:
            if lines and error.is_clean:
                return lines
            raise _not_a_mirror(endpoint, str(error)) from error
        except pktline.PktLineError as error:
            raise _not_a_mirror(endpoint, str(error)) from error
        if packet is pktline.FLUSH:
            return lines
        if isinstance(packet, bytes):
            lines.append(packet)
    raise UrlError(f"{endpoint.url} sends an endless list")
