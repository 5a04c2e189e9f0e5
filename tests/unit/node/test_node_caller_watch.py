"""When git stops working for somebody."""

from __future__ import annotations

import socket

import pytest
from msgspec.structs import replace

from gittorrent.node.caller_watch import (
    GIVES_WAY,
    GONE_SECONDS,
    HUNG_UP,
    LEAST_BYTES,
    MAX_SECONDS,
    QUIET_SECONDS,
    STALLED,
    STALLED_SECONDS,
    TOO_LONG,
    Look,
    Watch,
    has_hung_up,
    look_at,
)

THERE = Look(is_open=True, is_half=False, taken=0, is_owed=False, quiet=0.0)


def test_who_is_there_and_takes_what_comes_is_served() -> None:
    watch = Watch(0.0)
    for second in range(1, int(2 * STALLED_SECONDS)):
        look = replace(THERE, taken=second * (4 << 10), is_owed=True)
        assert watch.judge(float(second), look, others_wait=False) is None
    assert watch.judge(MAX_SECONDS, THERE, others_wait=False) == TOO_LONG


def test_who_hung_up_is_noticed() -> None:
    watch = Watch(0.0)
    assert watch.judge(1.0, replace(THERE, is_open=False), others_wait=False) == HUNG_UP


def test_who_only_sends_no_more_is_served_while_it_takes() -> None:
    watch, half = Watch(0.0), replace(THERE, is_half=True)
    for second in range(1, 20):
        assert watch.judge(float(second), replace(half, taken=second), others_wait=False) is None
    last = replace(half, taken=19)
    assert watch.judge(19.0 + GONE_SECONDS, last, others_wait=False) == HUNG_UP


def test_who_takes_too_little_of_what_is_there_is_cut_off() -> None:
    watch = Watch(0.0)
    slow = replace(THERE, is_owed=True, taken=LEAST_BYTES - 1)
    assert watch.judge(STALLED_SECONDS - 1, slow, others_wait=False) is None
    assert watch.judge(STALLED_SECONDS, slow, others_wait=False) == STALLED


def test_who_waits_for_git_owes_nothing() -> None:
    watch = Watch(0.0)
    assert watch.judge(STALLED_SECONDS - 1, THERE, others_wait=False) is None
    owed = replace(THERE, is_owed=True)
    assert watch.judge(STALLED_SECONDS + 1, owed, others_wait=False) is None


def test_silence_ends_a_turn_that_others_wait_for() -> None:
    watch, quiet = Watch(0.0), replace(THERE, quiet=QUIET_SECONDS)
    assert watch.judge(QUIET_SECONDS, quiet, others_wait=False) is None
    assert watch.judge(QUIET_SECONDS, quiet, others_wait=True) == GIVES_WAY


@pytest.mark.parametrize(("pace", "others_wait", "ended"), [
    (1, False, None), (1, True, GIVES_WAY), (8 << 10, True, GIVES_WAY), (9 << 10, True, None),
])  # fmt: skip
def test_who_takes_a_trickle_gives_way(pace: int, others_wait: bool, ended: str | None) -> None:
    """Something comes and goes each second, so it is never silent."""
    watch = Watch(0.0)
    for second in range(1, int(QUIET_SECONDS) + 1):
        look = replace(THERE, taken=second * pace, is_owed=True)
        said = watch.judge(float(second), look, others_wait=others_wait)
        assert said is None or second == QUIET_SECONDS
    assert said == ended


@pytest.mark.parametrize("pause", [1, 29])
@pytest.mark.parametrize(("others_wait", "ended"), [(False, None), (True, GIVES_WAY)])
def test_who_sends_a_trickle_gives_way(pause: int, others_wait: bool, ended: str | None) -> None:
    watch, said = Watch(0.0), None
    for second in range(1, 2 * int(QUIET_SECONDS) + 1):
        quiet = float(second % pause)
        look = replace(THERE, received=100 + second // pause, quiet=quiet)
        said = said or watch.judge(float(second), look, others_wait=others_wait)
    assert said == ended


def test_who_sends_enough_is_heard_to_the_end() -> None:
    watch = Watch(0.0, least_sent=1000)
    for second in range(1, 10 * int(QUIET_SECONDS)):
        look = replace(THERE, received=second * 40)
        assert watch.judge(float(second), look, others_wait=True) is None


def test_who_is_not_heard_here_sends_no_trickle() -> None:
    """What it sent waits to be read: nobody knows how fast it would go on."""
    watch = Watch(0.0)
    for second in range(1, 10 * int(QUIET_SECONDS)):
        look = replace(THERE, received=second, is_unread=True)
        assert watch.judge(float(second), look, others_wait=True) is None


def test_who_has_said_all_may_wait_for_git() -> None:
    """Git shows now and then that it is at work, and the caller acknowledges it."""
    watch = Watch(0.0)
    for second in range(1, 10 * int(QUIET_SECONDS)):
        look = replace(THERE, received=100, taken=second)
        assert watch.judge(float(second), look, others_wait=True) is None


def test_a_system_that_tells_nothing_ends_nobody() -> None:
    assert Watch(0.0).judge(STALLED_SECONDS, None, others_wait=True) is None


def test_the_kernel_tells() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = socket.create_connection(listener.getsockname())
        here, _ = listener.accept()
        with here, there:
            here.sendall(b"x" * 100)
            assert there.recv(100, socket.MSG_WAITALL) == b"x" * 100
            there.sendall(b"y" * 30)
            assert here.recv(10, socket.MSG_WAITALL) == b"y" * 10
            look = look_at(here)
            assert look is not None
            assert (look.is_open, look.is_half) == (True, False)
            assert (look.received, look.is_unread) == (30, True)
            assert not has_hung_up(here)
            there.shutdown(socket.SHUT_WR)
            assert here.recv(20, socket.MSG_WAITALL) == b"y" * 20
            assert here.recv(1) == b""
            look = look_at(here)
            assert look is not None
            assert (look.is_open, look.is_half) == (True, True)
            assert has_hung_up(here)


def test_not_everything_is_a_tcp_connection() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert look_at(one) is None
        assert not has_hung_up(one)
