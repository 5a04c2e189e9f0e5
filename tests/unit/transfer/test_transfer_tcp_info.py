"""The kernel tells how a connection does."""

from __future__ import annotations

import socket

import pytest

from gittorrent.transfer.tcp_info import CLOSE_WAIT, _read, tcp_info


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
            found = tcp_info(end)
            assert found is not None
            assert found.least_round_trip is not None
            assert 0 <= found.least_round_trip < 0.5
        caller.shutdown(socket.SHUT_WR)
        assert answerer.recv(1) == b""
        found = tcp_info(answerer)
        assert found is not None
        assert found.state == CLOSE_WAIT


def test_what_is_not_tcp_has_none() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert tcp_info(one) is None


def test_a_closed_socket_has_none() -> None:
    sock = socket.socket()
    sock.close()
    assert tcp_info(sock) is None


def test_a_field_beyond_the_answer_is_unknown() -> None:
    assert _read(b"\x01\0\0\0", 0) is not None
    assert _read(b"\x01\0\0\0", 1) is None
    assert _read(b"\x01\0\0\0", 0, "=Q") is None
