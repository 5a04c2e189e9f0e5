"""Mirrors behind ssh URLs: the services as commands, run by the user's ssh.

Only for mirrors that the user named: ssh uses keys, asks for passwords and goes through the user's
hosts, so no stranger's word may make it start. What passes are the bytes of git:// after its first
packet. Who is at a terminal is given the time to type what ssh asks, and what ssh itself ends for,
such as a host with another key than before, is told from a server that is no mirror.
Source: docs/protocol/mirrorsync.md, Services.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.git import environment, family
from gittorrent.git.ssh_command import ssh_words
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import (
    CannotConnectError,
    NotAMirrorError,
    read_list,
    why_not_found,
)
from gittorrent.transfer.git_mirror import begin_conversation
from gittorrent.transfer.mirror import NoConversationError
from gittorrent.transfer.packet_reader import ConnectionEndError, PacketReader
from gittorrent.transfer.stream import carried_stream, socket_pair
from gittorrent.wire import notify
from gittorrent.wire.limits import MAX_PKT_LINE
from gittorrent.wire.service import MIRROR_LIST, MIRROR_NOTIFY, MIRROR_SYNC
from gittorrent.wire.urls import DEFAULT_PORTS, AddressClass

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.transfer.git_mirror import ConversationContext, GitMirror
    from gittorrent.transfer.mirror import Mirror
    from gittorrent.transfer.stream import Stream
    from gittorrent.wire.mirrorlist import MirrorList
    from gittorrent.wire.urls import Endpoint

SERVICES = {service: f"git-{service}" for service in (MIRROR_LIST, MIRROR_NOTIFY, MIRROR_SYNC)}
"""The commands, by service."""

LOGIN_SECONDS = 60.0
"""How long somebody may take to look at a host's key and type a passphrase. Where nobody answers at
all it is as long until other mirrors are asked; sshd itself would wait twice as long."""

SSH_FAILED = 255
"""Exit status of ssh where it did not come to run the command (ssh(1))."""

KIND = AddressClass.PUBLIC
"""What a mirror behind ssh counts as, wherever it is: aliases and jump hosts lead anywhere."""


class SshTransport:
    """A `gittorrent.transfer.transport.Transport`."""

    is_stream = False
    has_services = True

    async def open_service(
        self,
        endpoint: Endpoint,
        service: str,
        trusted: AddressClass | None,
        client_timeouts: ClientTimeouts,
    ) -> Stream:
        del client_timeouts  # git waits for its ssh, too
        login = await open_ssh(endpoint, trusted, service)
        return login.stream

    async def ask_list(
        self, endpoint: Endpoint, trusted: AddressClass | None, client_timeouts: ClientTimeouts
    ) -> tuple[MirrorList, AddressClass]:
        login = await open_ssh(endpoint, trusted, SERVICES[MIRROR_LIST])
        patient = replace(client_timeouts, answer=_patience(client_timeouts))
        try:
            return await read_list(login.stream.sock, endpoint, patient), KIND
        except NotAMirrorError as error:
            await login.explain(endpoint, error)
            raise
        finally:
            await login.stream.hang_up()

    async def ask_list_at(self, endpoint: Endpoint, address: str) -> MirrorList:
        del address
        raise _not_for_strangers(endpoint)

    async def ask_time(self, endpoint: Endpoint) -> float | None:
        found, _ = await self.ask_list(endpoint, None, ClientTimeouts())
        return found.time

    def call_ahead(
        self, endpoint: Endpoint, client_timeouts: ClientTimeouts
    ) -> asyncio.Task[Stream] | None:
        del endpoint, client_timeouts
        return None  # ssh may ask its user something, and for one thing at a time

    async def call_mux(
        self, endpoint: Endpoint, trusted: AddressClass | None, client_timeouts: ClientTimeouts
    ) -> Stream:
        del trusted, client_timeouts
        raise NoConversationError(f"{endpoint.url}: ssh is started for each conversation")

    async def open_mirror(
        self,
        endpoint: Endpoint,
        context: ConversationContext,
        trusted: AddressClass | None,
        calling: asyncio.Task[Stream] | None,
    ) -> Mirror:
        del calling
        return await self.converse(endpoint, context, trusted)

    async def converse(
        self, endpoint: Endpoint, context: ConversationContext, trusted: AddressClass | None
    ) -> GitMirror:
        asks = not context.is_extra
        login = await open_ssh(endpoint, trusted, SERVICES[MIRROR_SYNC], asks=asks)
        seconds = _patience(context.client_timeouts) if asks else None
        try:
            return await begin_conversation(endpoint.url, login.stream, context, seconds)
        except GitTorrentError as error:
            await login.explain(endpoint, error)
            raise

    async def send_notice(
        self,
        endpoint: Endpoint,
        notice_from: Callable[[str], notify.Notify],
        trusted: AddressClass | None,
        from_address: str | None,
    ) -> int:
        if trusted is not None:
            raise _not_for_strangers(endpoint)  # before its name is looked up
        notice = notice_from(from_address or _own_address(endpoint))
        stream = (await open_ssh(endpoint, trusted, SERVICES[MIRROR_NOTIFY])).stream
        try:
            async with asyncio.timeout(ClientTimeouts().notice):
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(stream.sock, notice.encode_packets())
                answer = await PacketReader(stream.sock, "notice's answer", MAX_PKT_LINE).line()
        except (ConnectionEndError, OSError) as error:
            raise UnreachableError(f"{endpoint.url} does not answer a notice") from error
        finally:
            await stream.hang_up()
        return notify.parse_answer(answer)


class Login(Struct, frozen=True):
    """An ssh that runs a service: what it says and hears, and its process."""

    stream: Stream
    process: asyncio.subprocess.Process

    async def explain(self, endpoint: Endpoint, error: GitTorrentError) -> None:
        """Hang up, and tell what ssh itself failed at from a failure of the service.

        Raises:
            CannotConnectError: ssh did not come to run the service.
        """
        await self.stream.hang_up()
        if self.process.returncode == SSH_FAILED:
            raise CannotConnectError(
                f"ssh could not reach {endpoint.url}, or was not let in",
                hint="what ssh says of it stands above; 'ssh -v' with that host says more",
            ) from error


def _patience(client_timeouts: ClientTimeouts) -> float:
    """Return how long first words are waited for: ssh may have to ask somebody before."""
    return max(LOGIN_SECONDS, client_timeouts.answer) if _may_ask() else client_timeouts.answer


def _may_ask() -> bool:
    """Tell whether there is somebody whom ssh may ask: at a terminal, or by a program of theirs."""
    if os.environ.get("SSH_ASKPASS") and os.environ.get("SSH_ASKPASS_REQUIRE") in (
        "force",
        "prefer",
    ):
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return bool(os.environ.get("SSH_ASKPASS") and os.environ.get("DISPLAY"))
    return True


async def open_ssh(
    endpoint: Endpoint, trusted: AddressClass | None, service: str, *, asks: bool = True
) -> Login:
    """Have ssh run a service.

    Args:
        endpoint: an ssh one.
        trusted: kind of address the endpoint was learned from; None if the user named it.
        service: such as ``git-mirror-sync``.
        asks: whether somebody waits for this mirror, whom ssh may ask something and may tell why it
            fails.

    Raises:
        UnreachableError: the user did not name it.
        CannotConnectError: there is no ssh.
        UsageError: user or host can be none of ssh's.
    """
    if trusted is not None:
        raise _not_for_strangers(endpoint)
    port = None if endpoint.port == DEFAULT_PORTS["ssh"] else endpoint.port
    path = unquote_to_bytes(endpoint.path)
    words = await asyncio.to_thread(
        ssh_words, endpoint.user, endpoint.host, port, service, path, asks=asks
    )
    environ = environment.trusted(environment.one_off_settings())
    if not asks:
        environ["SSH_ASKPASS_REQUIRE"] = "never"
    ours, theirs = socket_pair()
    theirs.setblocking(True)
    try:
        errors = None if asks else asyncio.subprocess.DEVNULL
        process = await family.start(words, theirs.fileno(), theirs.fileno(), environ, errors)
    except OSError as error:
        ours.close()
        raise CannotConnectError(
            f"cannot run {words[0]} for {endpoint.url}: {error.strerror}",
            hint="install OpenSSH's client, or set GIT_SSH_COMMAND",
        ) from error
    except asyncio.CancelledError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Login(carried_stream(ours, theirs, _see_to_its_end(process)), process)


async def _see_to_its_end(process: asyncio.subprocess.Process) -> None:
    """Wait for ssh, and end it when nobody waits any more."""
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            # The user's command is a shell's, and it is the shell's child that would wait on.
            family.kill(process.pid)
            await process.wait()


def _not_for_strangers(endpoint: Endpoint) -> UnreachableError:
    return UnreachableError(f"{endpoint.url} was not named here, and ssh starts for no other")


def _own_address(endpoint: Endpoint) -> str:
    """Return our address as that host is likely to see it; nothing is sent."""
    try:
        family, _, _, _, there = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(there)
            return str(sock.getsockname()[0])
    except OSError as error:
        why = why_not_found(error)
        raise CannotConnectError(f"cannot find host {endpoint.host}: {why}") from error
