"""What can be asked together is: with a distant mirror each wait for an answer is felt."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried
from support import gitcmd, nodes
from support.nodes import Served
from support.programs import PATIENCE, Person


class Withholding:
    """A relay to a mirror that withholds answers until it has seen what should come along.

    The list waits for somebody to ask for a conversation.

    Args:
        port: of the mirror, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._called = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.withheld = 0
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def close(self) -> None:
        """Stop once those who talk have finished."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()

    def _run(self, work: Callable[..., None], *words: object) -> None:
        thread = threading.Thread(target=work, args=words, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._run(self._ask, client, socket.create_connection(self._target))

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what the client says; the answers' way begins with its first words."""
        is_answered = False
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if b"mirror-sync" in data:
                    self._called.set()
                server.sendall(data)
                if not is_answered:
                    is_answered = True
                    self._run(self._answer, server, client, b"mirror-list" in data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket, lists: bool) -> None:
        with contextlib.suppress(OSError), server, client:
            while data := server.recv(1 << 16):
                if lists and not self._called.wait(PATIENCE):
                    self.withheld += 1
                    break
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def node(project: Carried, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = Options(git=(("127.0.0.1", 0),), announce=False)
    home = nodes.make_home(tmp_path_factory.mktemp("node"))
    with nodes.serving(project, home=home, options=options) as served:
        yield served


def test_a_clone_asks_ahead(project: Carried, node: Served, person: Person) -> None:
    relay = Withholding(int(node.git.rpartition(":")[2]))
    try:
        url = f"gittorrent://{project.info.repository_id}@127.0.0.1:{relay.port}/project.git"
        person.git("clone", "-q", url, "c").ok()
    finally:
        relay.close()
    assert relay.withheld == 0
    assert gitcmd.git(person.root / "c", "rev-parse", "HEAD")


def test_a_mirror_of_something_else_is_hung_up_on(
    project: Carried, node: Served, person: Person
) -> None:
    relay = Withholding(int(node.git.rpartition(":")[2]))
    try:
        url = f"gittorrent://{'a' * 52}@127.0.0.1:{relay.port}/project.git"
        done = person.git("clone", "-q", url, "c")
    finally:
        relay.close()  # which waits until both connections are over
    assert done.status != 0
    assert f"carries repository {project.info.repository_id}" in done.err
    assert "never retrieved" not in done.err
    assert "ResourceWarning" not in done.err
    assert not (person.root / "c").exists()
