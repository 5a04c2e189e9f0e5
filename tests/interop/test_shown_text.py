"""Whatever a mirror or a repository says, no command passes on what a terminal would obey."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.wire import pktline
from support import gitcmd, hostile, nodes
from support.nodes import Served
from support.programs import GITS, Done, Person, serve, somebody, wait_until

EVIL = "\x1b]0;owned\x07\x1b[2J\u009b31m\u202e\u2066\u200b\u2028[link=http://x]:smile:"
EVIL_BYTES = EVIL.encode() + b"\xff\x9b"
EVIL_REF = "refs/heads/ev\u009b31m\u202e\u200bil"


def assert_harmless(done: Done) -> None:
    for character in done.out + done.err:
        if character not in "\n\r\t ":
            kind = unicodedata.category(character)
            assert kind[0] not in "CZ", f"{done.words}: U+{ord(character):04X}\n{done.err!r}"


class Proxy:
    """Stands before a node and says more in upload-pack's sideband than the node does."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.was_heard = False

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, caller: socket.socket) -> None:
        # Who hangs up before or while something is said ends this conversation alone.
        with caller, contextlib.suppress(OSError, ValueError):
            size = int(caller.recv(4, socket.MSG_WAITALL), 16)
            request = caller.recv(size - 4, socket.MSG_WAITALL)
            with socket.create_connection(self._target) as node:
                node.sendall(pktline.encode(request))
                threading.Thread(target=_copy, args=(caller, node), daemon=True).start()
                if request.startswith(b"git-upload-pack "):
                    with node.makefile("rb") as answers:
                        self._add(answers, caller)
                else:
                    _copy(node, caller)

    def _add(self, answers: BinaryIO, caller: socket.socket) -> None:
        is_said = False
        while length := answers.read(4):
            data = answers.read(max(0, int(length, 16) - 4))
            if not is_said and data[:1] in (b"\1", b"\2"):
                is_said = self.was_heard = True
                words = EVIL_BYTES + b"\rmore" + EVIL_BYTES + b"\n"
                caller.sendall(pktline.encode(b"\2" + words))
            caller.sendall(length + data)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(project_node: Served) -> Iterator[Proxy]:
    """A mirror that says more than it should while git fetches."""
    made = Proxy(project_node.git_address)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    yield made
    made.close()
    thread.join()


@pytest.mark.parametrize("git", GITS)
def test_sideband_text(proxy: Proxy, tmp_path: Path, git: str) -> None:
    person = somebody(tmp_path / "user", git)
    url = f"gittorrent://{proxy.address}/project.git"
    done = person.git("clone", "--progress", "--depth", "1", url, "c").ok()
    assert proxy.was_heard
    assert "remote: \\x1b]0;owned\\x07\\x1b[2J\\u009b31m\\u202e" in done.err
    assert "\\xff\\x9b" in done.err
    assert "\r" in done.err  # progress is a line that is written again
    assert_harmless(done)


@pytest.fixture
def refusing() -> Iterator[str]:
    """A server that refuses everything, with words of its own."""

    def refuse(request: bytes, caller: socket.socket) -> None:
        caller.sendall(pktline.encode(b"ERR " + EVIL_BYTES))

    with hostile.raw_server(refuse) as address:
        yield address


@pytest.mark.parametrize(
    "words",
    [
        ("git", "clone", "{url}", "c"),
        ("git", "ls-remote", "{url}"),
        ("gittorrent", "clone", "{url}", "c"),
        ("gittorrent", "mirror", "--once", "{url}"),
        ("gittorrent", "mirrors", "{url}"),
        ("gittorrent", "mirrors", "--json", "{url}"),
    ],
)
def test_refusals(refusing: str, person: Person, words: tuple[str, ...]) -> None:
    url = f"gittorrent://{refusing}/project.git"
    done = person.run(*(word.format(url=url) for word in words))
    assert done.status
    assert "owned" in done.err
    assert_harmless(done)


@pytest.fixture
def odd(tmp_path: Path, owner_key: Signer) -> Carried:
    """A repository with a branch whose name a terminal would obey, which git allows."""
    git_dir = gitcmd.init(tmp_path / "odd.git")
    nodes.add_commit(git_dir, "refs/heads/main", "first", b"first\n")
    gitcmd.git(git_dir, "update-ref", EVIL_REF, "refs/heads/main")
    return nodes.publish(git_dir, owner_key, "odd")


def test_names_of_refs(
    odd: Carried, tmp_path: Path, people: Callable[[str], Person], person: Person
) -> None:
    where = odd.layout.git_dir
    done = person.gittorrent("log", where).ok()
    assert "refs/heads/ev\\u009b31m\\u202e\\u200bil" in done.out
    assert_harmless(done)
    person.variables["PYTHONIOENCODING"] = "ascii"
    assert_harmless(person.gittorrent("log", where).ok())
    del person.variables["PYTHONIOENCODING"]
    for words in (("reel", "show", where), ("verify", where), ("status",)):
        assert_harmless(person.gittorrent(*words).ok())
    said = person.gittorrent("log", "--json", where).ok().out
    assert said.isascii()
    changes = [change["ref"] for entry in json.loads(said) for change in entry["changes"]]
    assert EVIL_REF in changes
    (where / EVIL_REF).parent.mkdir(parents=True, exist_ok=True)
    (where / EVIL_REF).write_text("0" * 39 + "1\n", encoding="ascii")
    assert_harmless(person.gittorrent("verify", where))
    assert_harmless(person.gittorrent("publish", where, "--new-key"))


def test_the_log_of_a_node(project: Carried, person: Person) -> None:
    for style in ("text", "json"):
        with serve(
            person, project.layout.git_dir, "--log-format", style, "--log-level", "debug"
        ) as daemon:
            host, _, port = daemon.git.removeprefix("git://").rpartition(":")
            for service in (b"mirror-list", b"git-upload-pack", b"mirror-sync"):
                with socket.create_connection((host, int(port))) as caller:
                    path = b"/" + EVIL.replace("\x1b", "").replace("\x07", "").encode() + b"\x9b"
                    caller.sendall(pktline.encode(service + b" " + path + b"\0host=h\0"))
                    while caller.recv(1 << 16):
                        pass
            # Nobody waits for whoever reads the log, so it may come a moment later.
            wait_until(lambda: "owned" in daemon.running.err, "the node has said so")
        said = daemon.running.err
        assert_harmless(Done((style,), 0, "", said))
        if style == "json":
            assert said.isascii()
