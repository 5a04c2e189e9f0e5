"""Whom a node's control socket listens to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import cast

from gittorrent.node.control import ControlSocket
from gittorrent.node.discovering import Discovering
from gittorrent.node.local_clones import LocalCloneService
from gittorrent.transfer.server_timeouts import ServerTimeouts
from gittorrent.wire.control import Greeting
from support.programs import PATIENCE
from support.users import SOMEBODY, as_root, being, open_folder


async def first_words(path: Path, user: int) -> bytes:
    """Return what a program of a user hears when it connects; whoever is told nothing may ask."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as sock:
        with being(user):
            sock.connect(str(path))
        sock.setblocking(False)
        return await loop.sock_recv(sock, 1000)


@as_root
def test_a_program_of_another_user_is_hung_up_on() -> None:
    """Even if somebody opened the socket's mode and the folder's to everybody."""

    async def work(path: Path) -> None:
        # Nothing is asked, so nothing needs to be carried out.
        control = ControlSocket(path, cast(LocalCloneService, None), cast(Discovering, None))
        assert await control.start()
        path.chmod(0o666)
        path.parent.chmod(0o777)
        try:
            async with asyncio.timeout(PATIENCE):
                assert await first_words(path, 0) == Greeting().encode()
                assert await first_words(path, SOMEBODY) == b""
        finally:
            await control.stop()

    with open_folder() as folder:
        asyncio.run(work(folder / "control"))


def test_a_program_that_does_not_ask_is_hung_up_on(tmp_path: Path) -> None:
    async def work() -> None:
        control = ControlSocket(
            tmp_path / "control",
            cast(LocalCloneService, None),
            cast(Discovering, None),
            ServerTimeouts(control=0.05),
        )
        assert await control.start()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE):
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(str(tmp_path / "control"))
                    sock.setblocking(False)
                    await loop.sock_sendall(sock, b"fetch ")
                    with contextlib.suppress(ConnectionResetError):  # that was not read in time
                        while await loop.sock_recv(sock, 1000):
                            pass
        finally:
            await control.stop()

    asyncio.run(work())
