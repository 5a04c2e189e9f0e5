"""The kernel tells how far away the other end is."""

from __future__ import annotations

import socket

import pytest

from gittorrent.transfer.distance import least_round_trip


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="this system does not tell")
def test_this_machine_is_near() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as caller,
        listener.accept()[0] as answerer,
    ):
        caller.sendall(b"x")
        assert answerer.recv(1) == b"x"
        for end in (caller, answerer):
            found = least_round_trip(end)
            assert found is not None
            assert 0 <= found < 0.5


def test_what_is_not_tcp_is_nowhere() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert least_round_trip(one) is None


def test_a_closed_socket_is_nowhere() -> None:
    sock = socket.socket()
    sock.close()
    assert least_round_trip(sock) is None
