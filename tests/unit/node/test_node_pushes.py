"""What a node does around the pushes that its depots take."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gittorrent.ids import SHA1, ObjectFormat, PushId, RefName, RepositoryId
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.pushes import Pushes
from gittorrent.push.certificate import Line, Nonce
from gittorrent.push.depot.admission import PushRefusedError
from gittorrent.push.depot.advertisement import RefLines
from gittorrent.push.depot.report import Report
from gittorrent.push.depot.request import PushRequest
from gittorrent.repository.carried import Carried, open_carried
from gittorrent.repository.keep_alive import EMPTY
from gittorrent.repository.receive_pack import (
    DISK_FULL,
    OUR_FAULT,
    Admitted,
    Channel,
    Greeting,
    SentPack,
    receive,
)
from gittorrent.wire import pktline
from support.depot_client import ALICE, MAIN, Client
from support.programs import PATIENCE


def test_housekeeping_is_looked_at_now_and_then(tmp_path: Path) -> None:
    client = Client(tmp_path)
    tidied: list[Carried] = []
    carried = open_carried(client.git_dir)

    async def run() -> None:
        pushes = Pushes(tidy=tidied.append, tidy_pushes=2)
        catalogue = Catalogue([carried])
        for served in catalogue:
            for number in range(4):
                old, new = client.main, client.commit(message=str(number))
                lines = client.certificate(Line(old, new, MAIN))
                request = pktline.encode_lines(
                    [
                        b"push-cert\0 report-status",
                        *(lines + ALICE.sign(lines).data).splitlines(keepends=True),
                        b"push-cert-end\n",
                    ]
                )
                ours, theirs = socket.socketpair()
                with ours, theirs:
                    ours.sendall(request + client.pack(new, f"^{old}"))
                    await pushes.receive(served, theirs, "10.0.0.1")
                    assert b"ok refs/heads/main" in ours.recv(4096)
                assert len(tidied) == (number + 1) // 2

    asyncio.run(run())
    assert tidied == [carried, carried]


class BrokenDepot:
    """A depot whose disk is full, or has another problem."""

    object_format: ObjectFormat = SHA1

    def __init__(self, trouble: int = errno.EIO) -> None:
        self.trouble = trouble

    def greet(self) -> Greeting:
        return Greeting(RefLines({}), Nonce(RepositoryId("a2" * 26), PushId("c" * 40), 1))

    def admit(self, request: PushRequest) -> Admitted:
        raise OSError(self.trouble, os.strerror(self.trouble), "/somewhere")

    def accept(
        self, admitted: Admitted, pack: SentPack | None, hear: Callable[[bytes], None] | None
    ) -> Report:
        raise NotImplementedError


class SlowDepot(BrokenDepot):
    """A depot that works on a push until whoever pushed heard something."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()

    def admit(self, request: PushRequest) -> Admitted:
        return DeletesOnly()

    def accept(
        self, admitted: Admitted, pack: SentPack | None, hear: Callable[[bytes], None] | None
    ) -> Report:
        assert hear is None
        assert self.heard.wait(PATIENCE)
        raise PushRefusedError("refused after all")


class DeletesOnly:
    """A push without objects."""

    needs_pack = False


@pytest.mark.parametrize("abilities", [b"side-band-64k quiet", b"quiet"])
def test_a_pusher_who_wants_to_hear_nothing_is_kept(abilities: bytes) -> None:
    """What is on the way ends silent connections; only side-bands carry what says nothing."""
    depot = SlowDepot()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PATIENCE)
        command = f"{'0' * 40} {'1' * 40} refs/heads/main".encode() + b"\0 report-status "
        ours.sendall(pktline.encode_lines([command + abilities]))
        channel = Channel(theirs.fileno(), theirs.fileno())
        receiving = threading.Thread(target=receive, args=(depot, channel, 0.01))
        receiving.start()
        if b"side-band" in abilities:
            assert ours.recv(len(EMPTY)) == EMPTY
        depot.heard.set()
        receiving.join()
        assert b"refused after all" in ours.recv(1 << 20)


@pytest.mark.parametrize(("trouble", "told"), [(errno.EIO, OUR_FAULT), (errno.ENOSPC, DISK_FULL)])
def test_what_is_wrong_here_is_not_told(trouble: int, told: str) -> None:
    """The operator reads why; the pusher, that it is no fault of theirs."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = f"{'0' * 40} {'1' * 40} refs/heads/main".encode() + b"\0 report-status"
        ours.sendall(pktline.encode_lines([command]))
        ours.shutdown(socket.SHUT_WR)
        ended = receive(BrokenDepot(trouble), Channel(theirs.fileno(), theirs.fileno()))
        said = ours.recv(4096)
    assert ended.is_our_fault
    assert "/somewhere" in ended.text
    assert RefName(b"ng refs/heads/main ") + told.encode() in said
    assert b"/somewhere" not in said
