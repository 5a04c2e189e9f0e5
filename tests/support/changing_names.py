"""A name that leads elsewhere each time it is looked up, and what this program makes of it.

Run in network and mount namespaces of its own (`python -m support.changing_names`): the name server
is on loopback there, and so is an address that counts as public. Prints, as JSON, who was connected
to in each way of asking a mirror at ``mirror.example.net``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from gittorrent.errors import GitTorrentError
from gittorrent.node.dial_back import ask_back, resolves_to
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.dialling import connect, judged_addresses
from gittorrent.transfer.opening import ask_list
from gittorrent.transfer.websocket_client import open_websocket
from gittorrent.wire.urls import AddressClass, Endpoint, parse_learned_url

PUBLIC, INNER = "93.184.216.34", "127.0.0.1"
PORT = 9000
NAME = "mirror.example.net"

Way = Callable[[Endpoint], Awaitable[object]]


class NameServer:
    """Answers each question for IPv4 addresses with the next list, and with the last for ever."""

    def __init__(self) -> None:
        self.answers: list[list[str]] = [[]]
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((INNER, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            data, caller = self._socket.recvfrom(4096)
            end = data.index(b"\0", 12) + 5  # the question: a name, its type and class
            found: list[str] = []
            if data[end - 4 : end - 2] == b"\0\1":
                found = self.answers[min(self.asked, len(self.answers) - 1)]
                self.asked += 1
            records = b"".join(
                b"\xc0\x0c\0\1\0\1" + bytes(4) + b"\0\4" + socket.inet_aton(each) for each in found
            )
            head = data[:2] + b"\x81\x80\0\1" + len(found).to_bytes(2, "big") + bytes(4)
            self._socket.sendto(head + data[12:end] + records, caller)


def ways() -> dict[str, Way]:
    """Return the ways in which somebody is asked whose address was learned."""
    timeouts, trusted = ClientTimeouts(), AddressClass.PUBLIC

    async def conversation(endpoint: Endpoint) -> None:
        with (await connect(endpoint, trusted, client_timeouts=timeouts)).sock as sock:
            await asyncio.get_running_loop().sock_recv(sock, 1)

    async def call_back(endpoint: Endpoint) -> None:
        if await resolves_to(endpoint, PUBLIC):
            await ask_back(endpoint, PUBLIC)

    async def ordinary_fetch(endpoint: Endpoint) -> None:
        for address in await judged_addresses(endpoint, trusted, timeouts):
            reader, writer = await asyncio.open_connection(address, endpoint.port)  # as git does
            await reader.read()
            writer.close()

    return {
        "conversation": conversation,
        "list": lambda endpoint: ask_list(endpoint, trusted, timeouts),
        "websocket": lambda endpoint: open_websocket(endpoint, trusted, timeouts),
        "call back": call_back,
        "ordinary fetch": ordinary_fetch,
    }


async def called(way: Way, scheme: str) -> list[str]:
    """Ask in one way; return the addresses at which somebody came, each once."""
    found: set[str] = set()

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.add(writer.get_extra_info("sockname")[0])
        writer.close()

    servers = [await asyncio.start_server(hang_up, host, PORT) for host in (PUBLIC, INNER)]
    with contextlib.suppress(GitTorrentError):
        await way(parse_learned_url(f"{scheme}://{NAME}:{PORT}/project.git"))
    for server in servers:
        server.close()
        await server.wait_closed()
    return sorted(found)


def main() -> None:
    """Set the namespaces up, and ask in all ways."""
    for words in ("link set lo up", f"addr add {PUBLIC}/32 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    with tempfile.TemporaryDirectory() as folder:
        resolver = Path(folder) / "resolv.conf"
        resolver.write_text(f"nameserver {INNER}\noptions timeout:5 attempts:2\n")
        target = Path("/etc/resolv.conf").resolve()
        subprocess.run(["mount", "--bind", resolver, target], check=True)
        names = NameServer()
        told = {}
        for case, answers in {
            "inner only": [[INNER]],
            "inner at last": [[PUBLIC], [INNER]],
            "both": [[PUBLIC, INNER]],
        }.items():
            for name, way in ways().items():
                scheme = "http" if name == "websocket" else "git"
                for each in (scheme, "http"):
                    names.answers, names.asked = answers, 0
                    told[f"{case}, {name}, {each}"] = asyncio.run(called(way, each))
        json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
