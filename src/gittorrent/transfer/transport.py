"""How mirrors are reached: one transport for each scheme of URL, found by the scheme alone.

The only place that knows which schemes there are. A new one is a module with a `Transport` and a
line in `_TRANSPORTS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gittorrent.wire.urls import UrlError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from gittorrent.transfer.client_timeouts import ClientTimeouts
    from gittorrent.transfer.git_mirror import ConversationContext, GitMirror
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.stream import Stream
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.notify import Notify
    from gittorrent.wire.urls import AddressClass, Endpoint


class Transport(Protocol):
    """Speaks to the mirrors behind one kind of URL.

    In all methods ``trusted`` is the kind of address the endpoint was learned from, None if the
    user named it; a learned one is contacted only where strangers may send us.
    """

    @property
    def is_stream(self) -> bool:
        """Whether a connection begins with a service's name, and nothing has to be asked before."""

    @property
    def has_services(self) -> bool:
        """Whether git's own services are reached by `open_service`, as streams."""

    async def open_service(
        self,
        endpoint: Endpoint,
        service: str,
        trusted: AddressClass | None,
        client_timeouts: ClientTimeouts,
    ) -> Stream:
        """Ask for one of git's own services; its first words wait to be read.

        Raises:
            UsageError: git's services are not reached this way.
            GitTorrentError: it cannot be reached.
        """

    async def ask_list(
        self, endpoint: Endpoint, trusted: AddressClass | None, client_timeouts: ClientTimeouts
    ) -> tuple[MirrorList, AddressClass]:
        """Ask a mirror for its list; returns it with the kind of address it came from.

        Raises:
            CannotConnectError: nobody answers in time.
            NotAMirrorError, NotCarriedThereError: it is no mirror of that repository.
        """

    async def ask_list_at(self, endpoint: Endpoint, address: str) -> MirrorList:
        """Ask for the list at one IP address of the endpoint, which was judged before.

        Raises:
            GitTorrentError, OSError: there is no answer, or none of this protocol.
        """

    async def ask_time(self, endpoint: Endpoint) -> float | None:
        """Ask what time it is at a mirror that the user named.

        Returns:
            Seconds since 1970, to the second; None where the protocol does not say it.

        Raises:
            UnreachableError: there is no answer.
        """

    def call_ahead(
        self, endpoint: Endpoint, client_timeouts: ClientTimeouts
    ) -> asyncio.Task[Stream] | None:
        """Begin to ask for a conversation before it is known whether there will be one.

        Returns:
            What connects and asks; None where nothing is gained by that.
        """

    async def open_mirror(
        self,
        endpoint: Endpoint,
        context: ConversationContext,
        trusted: AddressClass | None,
        calling: asyncio.Task[Stream] | None,
    ) -> Mirror:
        """Begin to talk to a mirror; ``calling`` is from `call_ahead` of the same endpoint.

        Raises:
            GitTorrentError: it cannot be reached, or does not speak this protocol.
        """

    async def converse(
        self, endpoint: Endpoint, context: ConversationContext, trusted: AddressClass | None
    ) -> GitMirror:
        """Begin a conversation.

        Raises:
            NoConversationError: what answers there serves files and nothing else.
            GitTorrentError: it cannot be reached, or does not speak this protocol.
        """

    async def call_mux(
        self, endpoint: Endpoint, trusted: AddressClass | None, client_timeouts: ClientTimeouts
    ) -> Stream:
        """Ask a mirror for a connection that carries several conversations.

        Its first words wait to be read.

        Raises:
            NoConversationError: there is none to be had.
            GitTorrentError: it cannot be reached.
        """

    async def send_notice(
        self,
        endpoint: Endpoint,
        notice_from: Callable[[str], Notify],
        trusted: AddressClass | None,
        from_address: str | None,
    ) -> int:
        """Ask a mirror to list us, from one of our addresses if given; returns seconds granted.

        Raises:
            RemoteRefusal: it does not list us, and says why.
            ProtocolError: it answers with something else.
            UnreachableError: it does not answer, or takes no notices.
        """


def _git() -> Transport:
    from gittorrent.transfer.git_transport import GitTransport

    return GitTransport()


def _http() -> Transport:
    from gittorrent.transfer.http_transport import HttpTransport  # aiohttp is slow to import

    return HttpTransport()


def _ssh() -> Transport:
    from gittorrent.transfer.ssh_transport import SshTransport

    return SshTransport()


_TRANSPORTS: Mapping[str, Callable[[], Transport]] = {
    "git": _git,
    "http": _http,
    "https": _http,
    "ssh": _ssh,
}


def transport_of(endpoint: Endpoint) -> Transport:
    """Return what speaks to an endpoint.

    Raises:
        UrlError: its scheme is none that mirrors are reached by.
    """
    if endpoint.scheme not in _TRANSPORTS:
        known = ", ".join(f"{scheme}://" for scheme in _TRANSPORTS)
        raise UrlError(
            f"{endpoint.url}: mirrors are not reached by {endpoint.scheme}", hint=f"use {known}"
        )
    return _TRANSPORTS[endpoint.scheme]()
