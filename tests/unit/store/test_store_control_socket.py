"""The control socket is for one user: both ends ask the kernel who the other one is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.store import control_socket
from support.users import SOMEBODY, as_root, being, open_folder


@pytest.fixture
def place() -> Iterator[Path]:
    """A path for a socket that every user reaches, so that only the kernel's word counts."""
    with open_folder() as folder:
        yield folder / "control"


def accepted(listener: socket.socket) -> socket.socket:
    listener.setblocking(True)
    sock, _ = listener.accept()
    return sock


def test_both_ends_of_one_user_are_content(place: Path) -> None:
    with control_socket.listen(place) as listener:
        assert place.stat().st_mode & 0o777 == 0o600
        sock = control_socket.connect(place)
        assert sock is not None
        with sock, accepted(listener) as other:
            assert control_socket.is_own(sock)
            assert control_socket.is_own(other)


def test_a_path_of_any_length_will_do(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    with control_socket.listen(folder / "control"):
        sock = control_socket.connect(folder / "control")
        assert sock is not None
        sock.close()


def test_nobody_there_is_no_error(place: Path) -> None:
    assert control_socket.connect(place) is None
    control_socket.listen(place).close()
    assert control_socket.connect(place) is None


@as_root
@pytest.mark.parametrize("owner", [0, SOMEBODY])
def test_a_node_of_another_user_is_not_talked_to(place: Path, owner: int) -> None:
    """Whoever owns the file: the one who listens is asked, and root trusts nobody either."""
    with being(SOMEBODY):
        listener = control_socket.listen(place)
    with listener:
        os.chown(place, owner, owner)
        place.chmod(0o666)
        assert control_socket.connect(place) is None
        # It was hung up on, without a word.
        with accepted(listener) as other:
            assert other.recv(1) == b""
        with being(SOMEBODY):
            sock = control_socket.connect(place)
            assert sock is not None
            sock.close()


@as_root
def test_another_user_does_not_get_to_a_node(place: Path) -> None:
    """Its mode keeps others out; the node asks the kernel too, should somebody change the mode."""
    with control_socket.listen(place) as listener:
        with being(SOMEBODY):
            assert control_socket.connect(place) is None
        place.chmod(0o666)
        with socket.socket(socket.AF_UNIX) as sock:
            with being(SOMEBODY):
                sock.connect(str(place))
            with accepted(listener) as other:
                assert not control_socket.is_own(other)
