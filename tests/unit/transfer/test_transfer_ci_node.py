"""What a CI job's helper makes of a node's answers, the broken ones above all."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.transfer.ci_node import CiNode, NoAnswerError
from gittorrent.wire.ci import Given, Hello, Ready

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


def give(listening: socket.socket, size: int, data: bytes) -> None:
    """Be a node that says how long its answer is, and gives some data."""
    sock, _ = listening.accept()
    with sock:
        sock.sendall(Hello().encode() + Ready().encode())
        taken, given = os.pipe()
        socket.send_fds(sock, [Given(size).encode()], [taken])
        os.close(taken)
        os.write(given, data)
        os.close(given)
        while sock.recv(4096):
            pass


def answer_of(listening: socket.socket, size: int, data: bytes) -> bytes:
    node = threading.Thread(target=give, args=(listening, size, data))
    node.start()
    asking = CiNode(Path.cwd() / "ci.sock", URL)
    try:
        asking.begin()
        with os.fdopen(asking.answer(b"request", str), "rb") as file:
            return file.read()
    finally:
        asking.close()
        node.join()


def test_what_comes_whole_is_an_answer(listening: socket.socket) -> None:
    assert answer_of(listening, 7, b"objects") == b"objects"


@pytest.mark.parametrize("size", [6, 8])
def test_what_is_longer_or_shorter_is_none(listening: socket.socket, size: int) -> None:
    with pytest.raises(NoAnswerError, match="stopped within its answer"):
        answer_of(listening, size, b"objects")


def test_it_lies_on_the_disk_that_git_writes_to(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    assert answer_of(listening, 7, b"objects") == b"objects"
    assert [each.name for each in tmp_path.iterdir()] == ["run"]
