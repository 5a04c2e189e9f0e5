"""The local network: nodes that make themselves known by multicast DNS (RFC 6762, RFC 6763).

A node announces one service of type ``_gittorrent._tcp`` whatever it serves: its addresses and its
git:// port, under a name made at random. What it serves is not said; whoever looks for a repository
asks the nodes there are for it, under its id. So ten thousand repositories make no more packets
than one, and who listens does not learn what is served or looked for.
Source: docs/protocol/mirrorsync.md, Discovery.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from typing import TYPE_CHECKING, Any

from gittorrent.discovery.ports import Place, Way
from gittorrent.event_log import EventLog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from gittorrent.ids import RepositoryId

SERVICE = "_gittorrent._tcp.local."
"""Type of the service."""

LOOKUP_SECONDS = 3.0
"""Time for a look-up: answers to multicast questions come within 0.12 s, lost ones after 1 s."""

RESOLVE_SECONDS = 1.5
"""Time to learn where a node is that said only its name."""

MAX_NODES = 64
"""Nodes of a network that are looked at in one look-up."""

MAX_ADDRESSES = 4
"""Addresses of one node: a card each for cable and radio, and IPv6."""

LOOK_SECONDS = 15.0
"""How often it is looked whether this machine has other addresses by now."""

_log = EventLog(__name__)


class Lan:
    """Looks for nodes on the local network.

    Args:
        complain: told why that cannot be done here.
        seconds: for one look-up.
    """

    def __init__(self, complain: Callable[[str], None], seconds: float = LOOKUP_SECONDS) -> None:
        self._complain = complain
        self._seconds = seconds

    async def find(self, repository: RepositoryId) -> AsyncGenerator[Sequence[Place], None]:
        """Yield the nodes there are, whatever they serve."""
        del repository
        try:
            from zeroconf import IPVersion
            from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

            network = AsyncZeroconf(ip_version=IPVersion.V4Only)
        except (ImportError, OSError) as error:
            self._complain(f"the local network is not asked: {error}")
            return
        found: asyncio.Queue[list[Place]] = asyncio.Queue()
        resolving: list[asyncio.Task[None]] = []

        async def resolve(name: str) -> None:
            found.put_nowait(await _resolved(network, name))

        def heard(zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
            del zeroconf, service_type
            if state_change.name == "Added" and len(resolving) < MAX_NODES:
                # Side by side: names that lead nowhere cost the others no time.
                resolving.append(asyncio.ensure_future(resolve(name)))

        browser = AsyncServiceBrowser(network.zeroconf, SERVICE, handlers=[heard])
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds) as bound:
                    for _ in range(MAX_NODES):
                        places = await found.get()
                        if places:
                            deadline = bound.when()
                            bound.reschedule(None)  # time with the caller is not ours
                            yield places
                            bound.reschedule(deadline)
        finally:
            try:
                await browser.async_cancel()
                for task in resolving:
                    task.cancel()
                await asyncio.gather(*resolving, return_exceptions=True)
            finally:
                await close(network)


async def _resolved(network: Any, name: str) -> list[Place]:
    """Return where a node is; nothing if it does not say."""
    from zeroconf import BadTypeInNameException
    from zeroconf.asyncio import AsyncServiceInfo

    try:
        info = AsyncServiceInfo(SERVICE, name)
        if not await info.async_request(network.zeroconf, int(RESOLVE_SECONDS * 1000)):
            return []
    except BadTypeInNameException:
        return []
    if not info.port:
        return []
    addresses = [text for text in info.parsed_addresses() if "%" not in text]
    return [Place(each, int(info.port), Way.LAN) for each in addresses[:MAX_ADDRESSES]]


class LanAnnouncer:
    """Makes a node known on the local network while it runs.

    Anew whenever this machine's addresses change, as where it comes into another network, or the
    node began before the network was there.

    Args:
        addresses: IP addresses it listens at; wildcards stand for all of this machine's.
        port: its git:// port.
        look: seconds between looks at this machine's addresses.
    """

    def __init__(self, addresses: Sequence[str], port: int, look: float = LOOK_SECONDS) -> None:
        self._addresses = list(addresses)
        self._port = port
        self._look = look
        self._network: Any = None
        self._saying: asyncio.Future[Any] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._complained = ""

    async def start(self) -> None:
        """Begin; where it cannot be done, the log says so, and it is tried again."""
        seen = _seen(self._addresses)
        try:
            await self._begin()
        except ImportError as error:
            self._complain(str(error))
            return
        self._watching = asyncio.get_running_loop().create_task(self._watch(seen))

    async def _watch(self, seen: frozenset[bytes]) -> None:
        """Begin anew for other addresses, and where it could not be done."""
        while True:
            await asyncio.sleep(self._look)
            try:
                now = _seen(self._addresses)
                if now != seen or self._network is None:
                    seen = now
                    await self._end()
                    await self._begin()
            except OSError as error:
                self._complain(str(error))

    async def _begin(self) -> None:
        from zeroconf import Error, IPVersion
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

        label = secrets.token_hex(8)
        info = AsyncServiceInfo(
            SERVICE,
            f"{label}.{SERVICE}",
            port=self._port,
            server=f"{label}.local.",
            addresses=packed(self._addresses),
        )
        try:
            self._network = AsyncZeroconf(ip_version=IPVersion.V4Only)
            self._saying = await register(self._network, info)
        except (OSError, Error) as error:
            self._complain(str(error) or type(error).__name__)
            await self._end()
            return
        self._complained = ""
        _log.info("lan", "announced on the local network at port {port}", port=self._port)

    def _complain(self, reason: str) -> None:
        """Say why the node is not known, once for each reason."""
        if reason != self._complained:
            self._complained = reason
            _log.warning("no-lan", "not announced on the local network: {reason}", reason=reason)

    async def _end(self) -> None:
        """Say goodbye."""
        saying, self._saying = self._saying, None
        network, self._network = self._network, None
        if saying is not None:
            saying.cancel()
        if network is not None:
            await close(network)
        if saying is not None:
            await asyncio.gather(saying, return_exceptions=True)

    async def stop(self) -> None:
        """Make the node known no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._end()


async def register(network: Any, info: Any) -> asyncio.Future[Any]:
    """Make a service known whose name nobody else can have.

    So it is not asked first whether somebody has it (RFC 6762, 8.1): who said so would lie, and
    keep it off the network by that.

    Args:
        network: a `zeroconf.asyncio.AsyncZeroconf`.
        info: a `zeroconf.asyncio.AsyncServiceInfo`.

    Returns:
        What is done when it has been said some times, a second apart.
    """
    saying: Awaitable[Any] = await network.async_register_service(info, cooperating_responders=True)
    return asyncio.ensure_future(saying)


def packed(addresses: Sequence[str]) -> list[bytes]:
    """Return addresses as DNS has them, those of all network cards for a wildcard."""
    found: dict[bytes, None] = {}
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if not any(socket.inet_pton(family, address)):
            found.update(dict.fromkeys(_of_all_cards(family)))
        else:
            found[socket.inet_pton(family, address)] = None
    return list(found)


def _seen(addresses: Sequence[str]) -> frozenset[bytes]:
    """Return those of some addresses, as `packed` has them, that network cards have now."""
    cards = {*_of_all_cards(socket.AF_INET), *_of_all_cards(socket.AF_INET6)}
    return frozenset(cards.intersection(packed(addresses)))


def _of_all_cards(family: socket.AddressFamily) -> list[bytes]:
    """Return this machine's addresses that others on the network can use."""
    import ifaddr

    found = []
    for card in ifaddr.get_adapters():
        for each in card.ips:
            text = each.ip if isinstance(each.ip, str) else each.ip[0]
            if each.is_IPv4 != (family is socket.AF_INET) or text.startswith(("127.", "fe80")):
                continue
            if text != "::1":
                found.append(socket.inet_pton(family, text))
    return found


async def close(network: Any) -> None:
    """Say goodbye and close the sockets, though whoever waits for that be cancelled.

    Args:
        network: a `zeroconf.asyncio.AsyncZeroconf`.
    """
    closing = asyncio.ensure_future(network.async_close())
    is_cancelled = False
    while not closing.done():
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            is_cancelled = True
    closing.result()
    if is_cancelled:
        raise asyncio.CancelledError
