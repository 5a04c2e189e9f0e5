"""Copies of upstreams' repositories, from which answers are made here.

A copy is a plain bare repository with all that the branches and tags of its upstream reach, made of
the answer to a request for everything, and brought up to date by requests for the difference. It
has the refs that the upstream had then; nobody is ever told them, since the upstream itself lists
its refs to whoever asks. Blocks; run it in a thread. Must not know who may read what.
Source: gitprotocol-v2(5), fetch; gitprotocol-pack(5), side-band.
"""

from __future__ import annotations

import contextlib
from typing import IO, TYPE_CHECKING

from gittorrent.errors import ProtocolError
from gittorrent.git import scratch
from gittorrent.git.runner import Git, GitError, stopper_of_thread
from gittorrent.ids import SHA1
from gittorrent.repository.niceness import start_yielding
from gittorrent.wire import pktline
from gittorrent.wire.fields import clean_reason
from gittorrent.wire.pktline import HEADER_SIZE, Special
from gittorrent.wire.upload_requests import UploadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

MAX_HAVES = 500
"""Commits that an upstream is told of: the newest branches and tags, of which it knows some."""

MAX_PACKS = 24
"""Packs of a copy after which they become one: each news brings one."""

_CHUNK = 1 << 20
_SERVING = ("uploadpack.allowFilter=true", "uploadpack.allowAnySHA1InWant=true")
_SWITCHES = (b"ofs-delta", b"thin-pack")


class BadAnswerError(ProtocolError):
    """What an upstream sent is no answer with a pack."""


def pack_in(answer: IO[bytes]) -> Iterator[bytes]:
    """Yield the bytes of the pack in an answer.

    Raises:
        BadAnswerError: there is none, or the upstream stopped with words.
    """
    in_pack = False
    while header := answer.read(HEADER_SIZE):
        length = pktline.parse_length(header)
        data = b"" if isinstance(length, Special) else answer.read(length)
        if not in_pack:
            in_pack = data == b"packfile\n"
        elif data[:1] == b"\1":
            yield data[1:]
        elif data[:1] == b"\3":
            raise BadAnswerError(
                f"the upstream stopped: {clean_reason(data[1:].decode(errors='replace'))}"
            )
    if not in_pack:
        raise BadAnswerError("the upstream's answer has no pack")


class Copy:
    """A copy; its directory need not be there before `make`.

    Args:
        directory: of it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._git = Git(directory)

    def make(self, answer: IO[bytes], refs: Mapping[bytes, bytes]) -> None:
        """Make it of the answer to a request for everything, with refs by name.

        Raises:
            BadAnswerError, GitError: the answer has no whole pack.
        """
        scratch.make(self._directory, SHA1)
        self.take(answer, refs)

    def take(self, answer: IO[bytes], refs: Mapping[bytes, bytes]) -> None:
        """Add what an answer brings, and have these refs from then on.

        Refs to objects that are not here are left out.

        Raises:
            BadAnswerError, GitError: the answer has no whole pack.
        """
        words = ["index-pack", "--stdin", "--fix-thin"]
        # Jobs index the same on this machine, and wait for that.
        process = start_yielding(lambda: self._git.start(*words))
        if (stopper := stopper_of_thread()) is not None:
            stopper.add(process)
        with process:
            assert process.stdin is not None
            assert process.stderr is not None
            try:
                for data in pack_in(answer):
                    process.stdin.write(data)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it says why
            said = process.stderr.read()
        if process.returncode:
            raise GitError(words, process.returncode, said, str(self._directory))
        self._set_refs(refs)

    def _set_refs(self, refs: Mapping[bytes, bytes]) -> None:
        lacking = set(self.lacking(refs.values()))
        wanted = {name: oid for name, oid in refs.items() if oid not in lacking}
        before = dict(self._refs())
        gone = [b"delete %s\n" % name for name in before if name not in wanted]
        new = [
            b"update %s %s\n" % (name, oid)
            for name, oid in wanted.items()
            if before.get(name) != oid
        ]
        # One after the other: refs/heads/a stands in the way of refs/heads/a/b.
        for lines in (gone, new):
            if lines:
                self._git.run("update-ref", "--stdin", stdin=b"".join(lines))

    def _refs(self, *words: str) -> Iterator[tuple[bytes, bytes]]:
        out = self._git.run("for-each-ref", "--format=%(objectname) %(refname)", *words)
        for line in out.splitlines():
            oid, _, name = line.partition(b" ")
            yield name, oid

    def lacking(self, oids: Iterable[bytes]) -> list[bytes]:
        """Return those of the objects that are not here."""
        asked = list(dict.fromkeys(oids))
        if not asked:
            return []
        out = self._git.run("cat-file", "--batch-check", stdin=b"\n".join(asked) + b"\n")
        return [line.partition(b" ")[0] for line in out.splitlines() if line.endswith(b" missing")]

    def request_for(self, wants: Sequence[bytes]) -> UploadRequest:
        """Return the request that brings objects with all they reach to what is here."""
        newest = self._refs("--sort=-creatordate", f"--count={MAX_HAVES}")
        haves = tuple(dict.fromkeys(oid for _, oid in newest))
        return UploadRequest(tuple(sorted(set(wants))), haves, switches=_SWITCHES)

    def reaches(self, tips: Iterable[bytes], wants: Sequence[bytes]) -> bool:
        """Tell whether wanted commits are in the past of tips, as far as these are here."""
        present = list(tips)
        lacking = set(self.lacking(present))
        lines = [*wants, *(b"^" + oid for oid in present if oid not in lacking)]
        words = ["rev-list", "--max-count=1", "--stdin"]
        done = self._git.attempt(*words, stdin=b"\n".join(lines) + b"\n")
        return done.returncode == 0 and not done.stdout and self._are_commits(wants)

    def _are_commits(self, wants: Sequence[bytes]) -> bool:
        out = self._git.run("cat-file", "--batch-check", stdin=b"\n".join(wants) + b"\n")
        return all(line.split(b" ")[1:2] == [b"commit"] for line in out.splitlines())

    def serve(self, request: UploadRequest, write: Callable[[bytes], object]) -> None:
        """Answer a request as a server does, and ``write`` the answer.

        Raises:
            GitError: something that it needs is not here.
        """
        git = Git(self._directory, config=_SERVING, variables={"GIT_PROTOCOL": "version=2"})
        words = ["upload-pack", "--stateless-rpc", str(self._directory)]
        with git.start(*words) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(request.encode())
            process.stdin.close()
            end = b""
            while data := process.stdout.read(_CHUNK):
                write(data)
                end = (end + data)[-HEADER_SIZE:]
            said = process.stderr.read(_CHUNK)
        if process.returncode or end != b"0000":
            raise GitError(words, process.returncode or 1, said, str(self._directory))

    def tidy(self) -> bool:
        """Make one pack of many, with a bitmap that spares counting; tells whether it did."""
        packs = list((self._directory / "objects" / "pack").glob("*.pack"))
        if len(packs) <= MAX_PACKS:
            return False
        words = ("repack", "-a", "-d", "--write-bitmap-index", "--quiet")
        stopper = stopper_of_thread()

        def repack() -> None:
            with contextlib.nullcontext() if stopper is None else stopper.watching():
                self._git.run(*words)

        start_yielding(repack)
        return True
