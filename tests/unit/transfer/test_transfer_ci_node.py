"""What a CI job's helper makes of a node's answers, the broken ones above all."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.transfer.ci_node import CiNode, NoAnswerError
from gittorrent.wire.ci import Alive, Coming, Given, Hello, No, Ready

URL = "https://example.org/project.git"


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket at ``ci.sock`` of the working directory."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("ci.sock")
        sock.listen(1)
        yield sock


def give(listening: socket.socket, attempts: tuple[bytes, ...], end: bytes) -> None:
    """Be a node that gives some data, once or anew, and says how that ended."""
    sock, _ = listening.accept()
    with sock:
        sock.sendall(Hello().encode() + Ready().encode())
        for data in attempts:
            taken, given = os.pipe()
            socket.send_fds(sock, [Coming().encode()], [taken])
            os.close(taken)
            for at in range(len(data)):
                os.write(given, data[at : at + 1])
                sock.sendall(Alive(at).encode())
            os.close(given)
        sock.sendall(end)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass


def answer_of(listening: socket.socket, end: bytes, *attempts: bytes) -> bytes:
    node = threading.Thread(target=give, args=(listening, attempts, end))
    node.start()
    asking = CiNode(Path.cwd() / "ci.sock", URL)
    try:
        asking.begin()
        with os.fdopen(asking.answer(b"request", str), "rb") as file:
            return file.read()
    finally:
        asking.close()
        node.join()


WHOLE = Given(7).encode()


def test_what_comes_whole_is_an_answer(listening: socket.socket) -> None:
    assert answer_of(listening, WHOLE, b"objects") == b"objects"


def test_what_broke_off_begins_anew(listening: socket.socket) -> None:
    assert answer_of(listening, WHOLE, b"other objects, and", b"", b"objects") == b"objects"


@pytest.mark.parametrize("size", [6, 8])
def test_what_is_longer_or_shorter_is_none(listening: socket.socket, size: int) -> None:
    with pytest.raises(NoAnswerError, match="stopped within its answer"):
        answer_of(listening, Given(size).encode(), b"objects")


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (No("the server hung up").encode(), "the server hung up"),
        (b"", "does not answer"),
        (b"alive 7\n", "does not answer"),
        (Ready().encode(), "says what it should not"),
        (Coming().encode(), "says what it should not"),
        (b"nonsense\n", "does not answer"),
    ],
)
def test_what_does_not_end_well_is_none(listening: socket.socket, end: bytes, why: str) -> None:
    with pytest.raises(NoAnswerError, match=why):
        answer_of(listening, end, b"objects")


def test_a_node_that_says_whole_and_gives_nothing_is_not_believed(listening: socket.socket) -> None:
    with pytest.raises(NoAnswerError, match="stopped within its answer"):
        answer_of(listening, WHOLE)


def test_it_lies_on_the_disk_that_git_writes_to(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    assert answer_of(listening, WHOLE, b"objects") == b"objects"
    assert [each.name for each in tmp_path.iterdir()] == ["run"]
