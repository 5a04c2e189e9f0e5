"""Asks the node of this machine for what a CI job's git asks an upstream for.

The node is a convenience: whatever it does not do, or does not do in time, is a reason that is said
once, and the caller asks the upstream. What it gives git verifies as it does anybody's, by the ids
that the upstream itself listed. Rules: what the upstream is to be told of the caller goes to nobody
but a node that this user, root or the owner of the socket's directory runs, and only when the
upstream wants it. Source: `gittorrent.wire.ci`.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import struct
import tempfile
from typing import IO, TYPE_CHECKING

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.git.remote_http import write_all
from gittorrent.wire.ci import (
    MAX_LINE,
    VERSION,
    Alive,
    Coming,
    FetchLine,
    Given,
    Hello,
    ListLine,
    Login,
    LoginWanted,
    No,
    Open,
    Ready,
    Serves,
    parse_answer,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.wire.ci import Answer

SILENCE_SECONDS = 30.0
"""Silence after which the node is given up: while it works it says ``alive`` every 5 seconds."""

CONNECT_SECONDS = 2.0
"""Time to get to a node: it is on this machine."""


_PIECE = 1 << 20


class NoAnswerError(GitTorrentError):
    """The node does not give it; the text says why."""


class CiNode:
    """A conversation with the node about one upstream; blocks.

    Args:
        path: of its socket.
        url: of the upstream, as `gittorrent.wire.ci_urls` writes it.
        silence: seconds after which a silent node is given up.
    """

    def __init__(self, path: Path, url: str, silence: float = SILENCE_SECONDS) -> None:
        self._path = path
        self._url = url
        self._silence = silence
        self._socket: socket.socket | None = None
        self._read = bytearray()
        self._files: list[int] = []
        self._is_ready = False
        self._said = b""
        self._wanted: LoginWanted | None = None
        self.is_there = True

    def begin(self) -> None:
        """Say what this is about, so that the node asks the upstream while git does.

        Raises:
            NoAnswerError: there is no node.
        """
        self.call()
        try:
            self._require().sendall(Open(self._url).encode())
        except OSError as error:
            raise self._gone(error) from error

    def call(self) -> None:
        """Find out whether a node is there.

        Raises:
            NoAnswerError: there is none.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket = sock
        try:
            sock.settimeout(CONNECT_SECONDS)
            _connect(sock, self._path)
            _require_trusted(sock, self._path)
            sock.settimeout(self._silence)
            if self._hear() != Hello(VERSION):
                raise NoAnswerError("the node of this machine is of another version")
        except (OSError, ProtocolError) as error:
            raise self._gone(error) from error

    def why_not_served(self, prefix: str) -> str:
        """Return why the node does not serve all upstreams whose URLs begin so; empty if it does.

        For whoever called it, and begins nothing.

        Raises:
            NoAnswerError: it does not say.
        """
        try:
            self._require().sendall(Serves(prefix).encode())
            answer = self._hear()
        except (OSError, ProtocolError) as error:
            raise self._gone(error) from error
        return answer.reason if isinstance(answer, No) else ""

    def capabilities(self) -> bytes:
        """Return what a public upstream says of itself, as git's helper for HTTP passes it on.

        Raises:
            NoAnswerError: the node does not know: above all where the upstream is not public.
        """
        try:
            if not self._is_ready:
                self._become_ready(None)
        except (OSError, ProtocolError) as error:
            raise self._gone(error) from error
        if not self._said:
            raise NoAnswerError("the node of this machine does not know what the upstream can")
        return self._said

    def listing(self, request: bytes) -> int:
        """Return a descriptor of the file with the refs that the upstream has now.

        Raises:
            NoAnswerError: the node does not give it: above all where the upstream is not public.
        """
        return self._asked(ListLine(len(request)).encode() + request, None)

    def answer(self, request: bytes, login: Callable[[], str]) -> int:
        """Return a descriptor of the file with the answer to a request of git's.

        Args:
            request: as git wrote it, or as it is written for answers to be kept.
            login: returns what the upstream is told of the caller; empty if nobody knows.

        Raises:
            NoAnswerError: the node does not give it.
        """
        return self._asked(FetchLine(len(request)).encode() + request, login)

    def _asked(self, asked: bytes, login: Callable[[], str] | None) -> int:
        try:
            if not self._is_ready:
                self._become_ready(login)
            return self._given(asked)
        except (OSError, ProtocolError) as error:
            raise self._gone(error) from error

    def _given(self, asked: bytes) -> int:
        self._require().sendall(asked)
        answer = self._result()
        # Nothing of it reaches git before it is whole: until then the upstream can be asked.
        with self._file() as file:
            count = 0
            while isinstance(answer, Coming) and self._files:
                count = self._gather(self._files.pop(), file)
                answer = self._result()
            if not isinstance(answer, Given) or self._files:
                self.is_there = False
                raise NoAnswerError("the node of this machine says what it should not")
            if answer.size != count:
                self.is_there = False
                raise NoAnswerError("the node of this machine stopped within its answer")
            file.seek(0)
            return os.dup(file.fileno())

    def _file(self) -> IO[bytes]:
        try:
            return tempfile.TemporaryFile(dir=_disk(), buffering=0)
        except OSError as error:
            self.is_there = False
            raise NoAnswerError(f"the answer cannot be kept here: {error}") from error

    def _gather(self, pipe: int, file: IO[bytes]) -> int:
        """Write all that comes through a pipe to a file, from its beginning; returns its size.

        The node says meanwhile that it is there, also while it waits for more of the answer.
        """
        sock = self._require()
        poller = select.poll()
        for descriptor in (pipe, sock.fileno()):
            poller.register(descriptor, select.POLLIN)
        count = 0
        try:
            file.seek(0)
            file.truncate()
            while ready := {each for each, _ in poller.poll(self._silence * 1000)}:
                if pipe not in ready:
                    self._read_more()
                    self._drop_alive()
                elif data := os.read(pipe, _PIECE):
                    self._keep(file, data)
                    count += len(data)
                else:
                    return count
        finally:
            os.close(pipe)
        raise TimeoutError

    def _keep(self, file: IO[bytes], data: bytes) -> None:
        try:
            write_all(file.fileno(), data)
        except OSError as error:
            self.is_there = False  # what is left of it is in the way
            raise NoAnswerError(f"the answer cannot be kept here: {error}") from error

    def _drop_alive(self) -> None:
        """Read the lines that have come, as long as they say no more than that it is there."""
        while (end := self._read.find(b"\n")) >= 0:
            if not isinstance(parse_answer(bytes(self._read[: end + 1])), Alive):
                break
            del self._read[: end + 1]
        if len(self._read) > MAX_LINE:
            raise NoAnswerError("the node of this machine says what it should not")

    def _become_ready(self, login: Callable[[], str] | None) -> None:
        answer = self._wanted or self._result()
        self._wanted = None
        if isinstance(answer, LoginWanted):
            if login is None:  # it is known only once git has been asked, if git asks for objects
                self._wanted = answer
                raise NoAnswerError("the upstream wants to know who asks")
            header = login()
            if not header:
                self.is_there = False
                raise NoAnswerError("nothing is known here that the upstream could be told")
            self._require().sendall(Login(header).encode())
            answer = self._result()
        if not isinstance(answer, Ready):
            self.is_there = False
            raise NoAnswerError("the node of this machine says what it should not")
        self._said = self._exactly(answer.size)
        self._is_ready = True

    def _result(self) -> Answer:
        """Return what the node comes to in the end."""
        while isinstance(answer := self._hear(), Alive):
            pass
        if isinstance(answer, No):
            self.is_there = self._is_ready
            raise NoAnswerError(answer.reason)
        return answer

    def _hear(self) -> Answer:
        while (end := self._read.find(b"\n")) < 0:
            if len(self._read) > MAX_LINE:
                raise NoAnswerError("the node of this machine says what it should not")
            self._read_more()
        return parse_answer(self._exactly(end + 1))

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            self._read_more()
        found = bytes(self._read[:size])
        del self._read[:size]
        return found

    def _read_more(self) -> None:
        data, files, _, _ = socket.recv_fds(self._require(), MAX_LINE, 1)
        self._files += files
        if not data:
            raise ConnectionResetError("it has gone")
        self._read += data

    def _require(self) -> socket.socket:
        if self._socket is None:
            raise NoAnswerError("no node was asked")
        return self._socket

    def _gone(self, error: Exception) -> NoAnswerError:
        self.is_there = False
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return NoAnswerError("no node that serves CI runs on this machine")
        if isinstance(error, TimeoutError):
            return NoAnswerError("the node of this machine is silent")
        return NoAnswerError(f"the node of this machine does not answer: {error}")

    def close(self) -> None:
        """Hang up."""
        for each in self._files:
            os.close(each)
        self._files.clear()
        if self._socket is not None:
            self._socket.close()


def _disk() -> str | None:
    """Return a directory on the disk that git is going to write to; None for the usual one."""
    directory = os.environ.get("GIT_DIR")
    return directory if directory and os.access(directory, os.W_OK | os.X_OK) else None


def _connect(sock: socket.socket, path: Path) -> None:
    """Connect to a socket whose path may be longer than an address can be."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _require_trusted(sock: socket.socket, path: Path) -> None:
    """Make sure that whoever listens may be told what the upstream is told.

    Raises:
        NoAnswerError: it is somebody who happened to be there.
    """
    said = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", said)
    folder = path.parent.stat()
    is_shared = bool(folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if is_shared or user not in (os.geteuid(), 0, folder.st_uid):
        raise NoAnswerError(f"{path} may be anybody's: others may write to its directory")
