"""The remote helper for CI jobs: ``git-remote-gittorrent REMOTE ci+https://HOST/PATH``.

Git is led here by ``url.<base>.insteadOf`` (`gittorrent ci setup`), with the URL of a plain git
server behind ``ci+``. All that git says is passed on to its own helper for HTTP, which asks that
server with the caller's own credentials. Only what a public server can, and requests for refs and
objects are taken to the node of this machine first; for refs it asks the server in turn, once it
has been asked itself. Whatever it does not answer goes to the server as if there were no node, with
one line that says why; the server is not called before that.

Rules: pushes are the server's alone; nothing of an answer reaches git before all of it is there;
standard output belongs to git. Source: gitremote-helpers(7), gitprotocol-v2(5).
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from gittorrent.errors import GitTorrentError, ProtocolError
from gittorrent.git.ci_settings import caller_header, read_ci_settings
from gittorrent.git.remote_http import CONNECT, RemoteGoneError, RemoteHttp, write_all
from gittorrent.printable import printable
from gittorrent.store.home import NoHomeError, named_home
from gittorrent.terminal import complain, screen_streams
from gittorrent.transfer.ci_node import CiNode, NoAnswerError
from gittorrent.wire import pktline
from gittorrent.wire.ci_urls import PREFIX, CiUrlError, parse_ci_url, without_login
from gittorrent.wire.pktline import FLUSH, HEADER_SIZE, RESPONSE_END, Special
from gittorrent.wire.upload_requests import parse_list_request, parse_upload_request

_CHUNK = 1 << 16
_FILE_CHUNK = 1 << 20


class _GitGone(Exception):
    """Git has no more to say."""


class CiHelper:
    """One run of the helper.

    Args:
        remote: name of the remote, as git gave it.
        url: of the upstream, as git gave it, without ``ci+``.
    """

    def __init__(self, remote: str, url: str) -> None:
        self._remote = remote
        self._url = url
        self._upstream = RemoteHttp(remote, url)
        self._read = bytearray()
        self._node: CiNode | None = None
        self._no_node = ""
        self._is_noted = False
        self._is_connected = False
        self._is_needed = True

    def serve(self) -> int:
        """Pass on what git and its own helper say, to the end; returns the exit status."""
        try:
            if self._pass_lines():
                self._serve_requests()
        except RemoteGoneError:
            return self._upstream.close() or 1
        except _GitGone:
            pass
        finally:
            if self._node is not None:
                self._node.close()
        status = self._upstream.close()
        # Git's helper calls it a failure to end without having been asked for anything.
        return status if self._is_needed else 0

    # -- lines, as gitremote-helpers(7) has them

    def _pass_lines(self) -> bool:
        """Pass lines on both ways; tells whether both ends speak protocol 2 by then."""
        poller = select.poll()
        poller.register(0, select.POLLIN)
        poller.register(self._upstream.output, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poller.poll()}
            if self._upstream.output in ready:
                data = os.read(self._upstream.output, _CHUNK)
                if not data:
                    return False
                write_all(1, data)
            if 0 in ready:
                data = os.read(0, _CHUNK)
                if not data:
                    poller.unregister(0)
                    self._upstream.close_input()
                self._read += data
                if self._take_lines():
                    return True

    def _take_lines(self) -> bool:
        """Pass on the lines that have come; see `_pass_lines`."""
        while (end := self._read.find(b"\n")) >= 0:
            line = bytes(self._read[: end + 1])
            del self._read[: end + 1]
            if line != CONNECT:
                self._upstream.send(line)
            elif self._connect():
                return True
            else:
                write_all(1, b"fallback\n")
        return False

    def _connect(self) -> bool:
        """Begin to speak protocol 2 with git; tells whether the upstream does."""
        self._call_node()
        said = self._capabilities()
        if said is not None:
            self._is_needed = False
            write_all(1, said)
            return True
        self._is_connected = self._upstream.connect(lambda data: write_all(1, data))
        return self._is_connected

    def _capabilities(self) -> bytes | None:
        """Return what the upstream says of itself; None if it is to be asked by us."""
        if self._node is None or not self._node.is_there:
            return None
        try:
            return self._node.capabilities()
        except NoAnswerError as error:
            self._no_node = str(error)
            return None

    def _ask_upstream(self, request: bytes) -> None:
        self._is_needed = True
        if not self._is_connected:
            # Git has heard it already.
            self._is_connected = self._upstream.connect(lambda _: None)
            if not self._is_connected:
                raise RemoteGoneError("the server does not speak git's protocol 2 any more")
        self._upstream.ask(request, lambda data: write_all(1, data))

    # -- requests, as gitprotocol-v2(5) has them

    def _serve_requests(self) -> None:
        while True:
            request = self._request()
            given = self._listing(request)
            given = self._from_node(request) if given is None else given
            if given is None:
                self._ask_upstream(request)
            else:
                _send_file(given)
            write_all(1, pktline.encode_special(RESPONSE_END))

    def _request(self) -> bytes:
        """Return the next request of git's, to the flush at its end."""
        at = 0
        while True:
            while len(self._read) < at + HEADER_SIZE:
                self._read_more()
            length = pktline.parse_length(self._read[at : at + HEADER_SIZE])
            at += HEADER_SIZE + (0 if isinstance(length, Special) else length)
            while len(self._read) < at:
                self._read_more()
            if length is FLUSH:
                found = bytes(self._read[:at])
                del self._read[:at]
                return found

    def _read_more(self) -> None:
        data = os.read(0, _CHUNK)
        if not data:
            raise _GitGone
        self._read += data

    # -- the node

    def _call_node(self) -> None:
        """Call the node, which finds out about the upstream."""
        settings = read_ci_settings()
        try:
            place = settings.socket or named_home().ci_socket
            self._node = CiNode(place, parse_ci_url(self._url).url)
            self._node.begin()
        except (NoAnswerError, CiUrlError, NoHomeError) as error:
            self._no_node = str(error)
            if self._node is not None:
                self._node.is_there = False
        if settings.has_lfs:
            self._lead_lfs()

    def _listing(self, request: bytes) -> int | None:
        """Return a descriptor of the file with the upstream's refs, which the node asks for now.

        Many jobs that begin at once cost the upstream one listing. None if it is to be asked by us,
        about which nobody has to hear: the node may do something about the objects yet.
        """
        if self._node is None or not self._node.is_there:
            return None
        try:
            return self._node.listing(parse_list_request(request))
        except ProtocolError:
            return None
        except NoAnswerError as error:
            self._no_node = str(error)
            return None

    def _from_node(self, request: bytes) -> int | None:
        """Return a descriptor of the answer's file; None if the upstream is to be asked."""
        try:
            parsed = parse_upload_request(request)
        except ProtocolError:
            return None  # a listing, or what no answer can be kept for
        if self._node is None or not self._node.is_there:
            self._note(self._no_node)
            return None
        try:
            return self._node.answer(parsed.encode(), lambda: caller_header(self._url))
        except NoAnswerError as error:
            self._no_node = str(error)
            self._note(self._no_node)
            return None

    def _lead_lfs(self) -> None:
        """Let Git LFS ask the server itself, if git works in a repository."""
        directory = os.environ.get("GIT_DIR")
        if not directory:
            return
        from gittorrent.git.lfs_address import lead_lfs  # few need it, and each job waits

        try:
            lead_lfs(self._remote, self._url, Path(directory))
        except GitTorrentError as error:
            complain(error)

    def _note(self, reason: str) -> None:
        """Say once that the upstream is asked, and why."""
        if not self._is_noted and reason:
            self._is_noted = True
            where = printable(without_login(self._url))
            sys.stderr.write(f"gittorrent: {printable(reason)}; going to {where} itself\n")
            sys.stderr.flush()


def _send_file(descriptor: int) -> None:
    """Give git all of a file, which is closed then."""
    try:
        at = 0
        while data := os.pread(descriptor, _FILE_CHUNK, at):
            write_all(1, data)
            at += len(data)
    finally:
        os.close(descriptor)


def main() -> int:
    """Run as git's remote helper; returns the exit status."""
    screen_streams()
    try:
        return CiHelper(sys.argv[1], sys.argv[2].removeprefix(PREFIX)).serve()
    except BrokenPipeError:
        return 1
    except GitTorrentError as error:
        complain(error)
        return error.exit_code
