"""Mirrors that are lost in the middle of a download and come back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from gittorrent.repository.carried import Carried
from support import bulk, gitcmd
from support.programs import PATIENCE, Person, Running, serve, wait_until

SLOW = ("--up-limit", "1M")
"""A mirror that is lost midway, however late that is noticed: all takes ten seconds."""


def parts_of(person: Person) -> int:
    found = 0
    for path in person.partial:
        with contextlib.suppress(FileNotFoundError):
            found += (path / "parts").read_bytes().count(1)
    return found


@contextlib.contextmanager
def cloning(person: Person, url: str) -> Iterator[Running]:
    """Begin a clone, and yield it when some parts have come."""
    running = person.start("git", "clone", "--progress", "--mirror", url, "c")
    try:
        wait_until(
            lambda: running.process.poll() is not None or parts_of(person) >= 2, "parts have come"
        )
        yield running
    finally:
        running.stop()


def test_the_only_mirror_is_killed_and_comes_back(
    large: Carried, people: Callable[[str], Person]
) -> None:
    server, user = people("server"), people("user")
    served = large.layout.git_dir
    with serve(server, *SLOW, served) as daemon, cloning(user, daemon.url()) as running:
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.running.wait()
        place = daemon.git.removeprefix("git://")
        again = server.start("gittorrent", "serve", "--git", place, served)
        try:
            assert running.wait() == 0, running.err
        finally:
            again.stop()
        said = running.err
    assert "is back" in said
    assert gitcmd.refs(user.root / "c") == bulk.published(gitcmd.refs(large.layout.git_dir))


def test_a_mirror_that_stays_away_is_given_up(
    large: Carried, people: Callable[[str], Person]
) -> None:
    server, user = people("server"), people("user")
    with (
        serve(server, *SLOW, large.layout.git_dir) as daemon,
        cloning(user, daemon.url()) as running,
    ):
        os.kill(daemon.pid, signal.SIGKILL)
        wait_until(lambda: "is dialled again" in running.err, "somebody says what goes on")
        assert running.process.poll() is None
        assert running.wait() != 0
        said = running.err
        assert parts_of(user) >= 2
    assert said.count("is dialled again") == 1
    assert "the download stopped" in said
    assert "verified parts are kept" in said


@pytest.mark.parametrize("with_node", [False, True])
def test_a_mirror_that_refuses_the_first_connection_is_reported_at_once(
    large: Carried, people: Callable[[str], Person], with_node: bool
) -> None:
    user = people("user")
    with socket.socket() as bound, contextlib.ExitStack() as stack:
        bound.bind(("127.0.0.1", 0))  # nobody listens, and nobody else takes it
        if with_node:
            stack.enter_context(serve(user))
        url = f"gittorrent://127.0.0.1:{bound.getsockname()[1]}/project.git"
        done = user.git("clone", url, "c")
    assert done.status != 0
    assert "connection refused" in done.err
    assert "is dialled again" not in done.err


def test_whoever_refuses_is_not_called_a_third_time(
    large: Carried, people: Callable[[str], Person]
) -> None:
    """A node that shuts down may come back; here somebody else does, at its port."""
    server, user = people("server"), people("user")
    with serve(server, *SLOW, large.layout.git_dir) as daemon:
        with cloning(user, daemon.url()) as running:
            host, _, port = daemon.git.removeprefix("git://").rpartition(":")
            os.kill(daemon.pid, signal.SIGTERM)
            daemon.running.wait()
            with socket.create_server((host, int(port))) as other:
                other.settimeout(PATIENCE)
                caller, _ = other.accept()
                with caller:
                    assert b"mirror-sync" in caller.recv(1000)
                    caller.sendall(b"0019ERR go away, please\n")
                assert running.wait() != 0
    assert "Traceback" not in running.err
