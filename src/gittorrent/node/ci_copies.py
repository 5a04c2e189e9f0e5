"""Copies of upstreams' repositories, from which answers are made here.

A copy is a bare repository, made of the answer to one request from nothing and brought up to date
by requests for the difference. It is of one shape: a whole one has all that the branches and tags
of its upstream reach; one of ``deepen 1`` is a shallow repository with the commits that were asked
for at that depth; one of ``filter blob:none`` has no files. What is asked for in that shape is
answered from it. It has the refs that the upstream had then; nobody is ever told them, since the
upstream itself lists its refs to whoever asks. Blocks; run it in a thread. Must not know who may
read what. Source: gitprotocol-v2(5), fetch; gitprotocol-pack(5), side-band.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from typing import IO, TYPE_CHECKING

from msgspec.structs import replace

from gittorrent.durable import write_atomically
from gittorrent.errors import ProtocolError
from gittorrent.git import scratch
from gittorrent.git.runner import Git, GitError, stopper_of_thread
from gittorrent.git.stale_locks import set_mark
from gittorrent.ids import SHA1
from gittorrent.repository.niceness import start_yielding
from gittorrent.wire import pktline
from gittorrent.wire.fields import clean_reason
from gittorrent.wire.followed_tags import INCLUDE_TAG
from gittorrent.wire.pktline import FLUSH, HEADER_SIZE, Special
from gittorrent.wire.upload_requests import UploadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

MAX_HAVES = 500
"""Commits that an upstream is told of: the newest branches and tags, of which it knows some."""

MAX_SHALLOW_HAVES = 16
"""Of these an upstream is told by a shallow copy: it looks at the files of each for deltas."""

MAX_CUTS = 100_000
"""Commits of an answer whose parents are cut off: each branch has some, each merge more."""

MAX_WANTED = 500
"""Commits that a shallow copy was asked for after which it is given up: it says to the upstream
where each ends, and nothing leaves it."""

MAX_PACKS = 24
"""Packs of a copy after which they become one: each news brings one."""

WANTED = b"refs/wanted/"
"""Begins the refs by which a copy that is not whole keeps what it was asked for."""

NO_FILES = b"filter blob:none"
_TRAILER = 20
_CHUNK = 1 << 20
_SERVING = ("uploadpack.allowFilter=true", "uploadpack.allowAnySHA1InWant=true")
_SWITCHES = (b"ofs-delta", b"thin-pack")
_CUT = re.compile(rb"(?P<kind>un)?shallow (?P<oid>[0-9a-f]{40})\n?\Z")


class BadAnswerError(ProtocolError):
    """What an upstream sent is no answer with a pack."""


def has_copy(shape: Sequence[bytes]) -> bool:
    """Tell whether answers of a shape can be made from a copy of it.

    With another filter than that which leaves out all files, deltas may build on what is left out.
    """
    return all(line == NO_FILES for line in shape if line.startswith(b"filter "))


def pack_in(answer: IO[bytes], cuts: list[bytes] | None = None) -> Iterator[bytes]:
    """Yield the bytes of the pack in an answer.

    Args:
        answer: all of it.
        cuts: to this the lines are added that say where history is cut off.

    Raises:
        BadAnswerError: there is none, or the upstream stopped with words.
    """
    in_pack = False
    cuts = [] if cuts is None else cuts
    length: int | Special = 0
    while header := answer.read(HEADER_SIZE):
        length = pktline.parse_length(header)
        data = b"" if isinstance(length, Special) else answer.read(length)
        if not isinstance(length, Special) and len(data) < length:
            break
        if not in_pack:
            in_pack = data == b"packfile\n"
            if b"shallow " in data[:10]:
                cuts.append(data)
            if len(cuts) > MAX_CUTS:
                raise BadAnswerError(f"the upstream cuts off more than {MAX_CUTS} commits")
        elif data[:1] == b"\1":
            yield data[1:]
        elif data[:1] == b"\3":
            raise BadAnswerError(
                f"the upstream stopped: {clean_reason(data[1:].decode(errors='replace'))}"
            )
    if not in_pack:
        raise BadAnswerError("the upstream's answer has no pack")
    if length is not FLUSH:
        raise BadAnswerError("the upstream's answer ends in the middle")


def require_whole_pack(answer: IO[bytes]) -> None:
    """Make sure that an answer goes to its end, and that its pack is as it was written.

    A server that fails in the middle says so in the answer, or says nothing more.

    Args:
        answer: all of it, of an upstream whose objects are named by SHA-1.

    Raises:
        BadAnswerError: it does not.
    """
    digest, end = hashlib.sha1(usedforsecurity=False), b""
    for data in pack_in(answer):
        end += data
        digest.update(end[:-_TRAILER])
        end = end[-_TRAILER:]
    if digest.digest() != end:
        raise BadAnswerError("the upstream's pack has not the checksum at its end")


class Copy:
    """A copy; its directory need not be there before `make`.

    Args:
        directory: of it.
        shape: of it, as requests have it; nothing for a whole one.
        objects: the object directory of another one; None for its own.
    """

    def __init__(
        self, directory: Path, shape: tuple[bytes, ...] = (), objects: Path | None = None
    ) -> None:
        self.directory = directory
        self.shape = shape
        self._git = Git(directory, objects=objects)

    def make(self, answer: IO[bytes], refs: Mapping[bytes, bytes]) -> None:
        """Make it of the answer to a request of its shape from nothing, with refs by name.

        Raises:
            BadAnswerError, GitError: the answer has no whole pack.
        """
        scratch.make(self.directory, SHA1)
        set_mark(self.directory, is_ours=True)
        self.take(answer, refs)

    def take(self, answer: IO[bytes], refs: Mapping[bytes, bytes] | None) -> None:
        """Add what an answer brings, and have these refs from then on; None for those it has.

        Refs to objects that are not here are left out.

        Raises:
            BadAnswerError, GitError: the answer has no whole pack.
        """
        cuts: list[bytes] = []
        words = ["index-pack", "--stdin", "--fix-thin"]
        # Jobs index the same on this machine, and wait for that.
        process = start_yielding(lambda: self._git.start(*words))
        if (stopper := stopper_of_thread()) is not None:
            stopper.add(process)
        with process:
            assert process.stdin is not None
            assert process.stderr is not None
            try:
                for data in pack_in(answer, cuts):
                    process.stdin.write(data)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it says why
            said = process.stderr.read()
        if process.returncode:
            raise GitError(words, process.returncode, said, str(self.directory))
        # What was cut off before and is not now has come by then.
        self._cut(cuts)
        if refs is not None:
            self._set_refs(refs)

    def _cut(self, lines: Sequence[bytes]) -> None:
        """Note where history is cut off from now on."""
        before = self._cuts()
        after = set(before)
        for line in lines:
            found = _CUT.match(line)
            if found is None:
                raise BadAnswerError("the upstream says in no known words where history is cut off")
            (after.discard if found["kind"] else after.add)(found["oid"])
        if after != before:
            text = b"".join(oid + b"\n" for oid in sorted(after))
            write_atomically(self.directory / "shallow", text)

    def _cuts(self) -> set[bytes]:
        with contextlib.suppress(FileNotFoundError):
            return set((self.directory / "shallow").read_bytes().split())
        return set()

    def _set_refs(self, refs: Mapping[bytes, bytes]) -> None:
        lacking = set(self.lacking(refs.values()))
        wanted = {name: oid for name, oid in refs.items() if oid not in lacking}
        before = dict(self._refs())
        gone = [
            b"delete %s\n" % name
            for name in before
            if name not in wanted and not name.startswith(WANTED)
        ]
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

    def unheld(self, oids: Sequence[bytes]) -> list[bytes]:
        """Return those of the objects of which not all that belongs to them is here.

        In a shallow copy a commit may be there as the past of another one, with less of its own.
        """
        if not any(line.startswith(b"deepen") for line in self.shape):
            return self.lacking(oids)
        names = {name for name, _ in self._refs(WANTED.decode())}
        held = [oid for oid in oids if WANTED + oid in names]
        near = set(self.cut_nearer(held))
        return [oid for oid in oids if WANTED + oid not in names or oid in near]

    def unheld_tags(self, tags: Mapping[bytes, bytes]) -> list[bytes]:
        """Return those of the tags that are not here although what they are on is.

        Args:
            tags: what they are on, by their ids.
        """
        new = self.lacking(tags)
        lacking = set(self.lacking(tags[oid] for oid in new))
        return [oid for oid in new if tags[oid] not in lacking]

    def cut_nearer(self, oids: Iterable[bytes]) -> list[bytes]:
        """Return those commits of whose history less is here than the copy's shape has.

        A commit may be where the history of a newer one was cut off; and a server may itself have
        no more of it, and get that later.
        """
        depth = self._depth
        cuts = self._cuts() if depth > 1 else set()
        commits = self._commits_of(oids) if cuts else {}
        if not commits:
            return []
        lines = b"".join(oid + b"\n" for oid in commits.values())
        out = self._git.run("rev-list", "--parents", "--stdin", stdin=lines)
        parents = {oid: more for oid, *more in map(bytes.split, out.splitlines())}
        return [oid for oid, commit in commits.items() if _is_cut(commit, parents, cuts, depth)]

    @property
    def _depth(self) -> int:
        """How many commits in a row the shape has; 0 if it does not say so."""
        found = (line.removeprefix(b"deepen ") for line in self.shape if line[:7] == b"deepen ")
        return int(next(found, b"0"))

    def _commits_of(self, oids: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the commits that objects are or name, by the objects' ids."""
        asked = list(oids)
        lines = b"".join(oid + b"^{commit}\n" for oid in asked)
        out = self._git.run("cat-file", "--batch-check=%(objectname)", stdin=lines)
        found = zip(asked, out.splitlines(), strict=True)
        return {oid: line for oid, line in found if not line.endswith(b" missing")}

    def require_all(self, request: UploadRequest, *, is_connected: bool) -> None:
        """Make sure that what a request asked for is here.

        Args:
            request: which this was made of the answer to.
            is_connected: whether all is to be here, too, that belongs to it in this shape.

        Raises:
            BadAnswerError, GitError: it is not.
        """
        if request.is_whole and self._cuts():
            raise BadAnswerError("the upstream cut off history that was asked for")
        if near := self.cut_nearer(request.wants):
            raise BadAnswerError(f"the upstream cut off the history of {near[0].decode()} too near")
        lacking = self.lacking(request.wants)
        if lacking:
            raise BadAnswerError(f"the upstream did not send {lacking[0].decode()}")
        if is_connected:
            words = ["rev-list", "--objects", "--quiet", "--stdin"]
            words += ["--filter=blob:none"] if NO_FILES in self.shape else []
            asked = b"".join(oid + b"\n" for oid in request.wants)
            start_yielding(lambda: self._git.run(*words, stdin=asked))

    def request_for(self, wants: Sequence[bytes], *, with_tags: bool = False) -> UploadRequest:
        """Return the request that brings objects with what belongs to them to what is here.

        Args:
            wants: the objects.
            with_tags: whether tags of what comes are to come along.
        """
        count = MAX_SHALLOW_HAVES if self._cuts() else MAX_HAVES
        places = (WANTED.decode(),) if self.shape else ()
        newest = self._refs("--sort=-creatordate", f"--count={count}", *places)
        haves = tuple(dict.fromkeys(oid for _, oid in newest))
        return UploadRequest(
            tuple(sorted(set(wants))),
            haves,
            shallow=tuple(sorted(self._cuts())),
            shape=self.shape,
            switches=(INCLUDE_TAG, *_SWITCHES) if with_tags else _SWITCHES,
        )

    def request_for_tags(self, tags: Mapping[bytes, bytes]) -> UploadRequest:
        """Return the request that brings tags alone, of which what they are on is here.

        Args:
            tags: what they are on, by their ids.
        """
        return UploadRequest(
            tuple(sorted(tags)),
            tuple(sorted(set(tags.values()))),
            shallow=tuple(sorted(self._cuts())),
            shape=tuple(line for line in self.shape if line == NO_FILES),
            switches=_SWITCHES,
        )

    @property
    def is_full(self) -> bool:
        """Whether it was asked for so much that another one is to begin anew."""
        return len(self._cuts()) > MAX_WANTED

    def reaches(self, tips: Iterable[bytes], wants: Sequence[bytes]) -> bool:
        """Tell whether wanted commits are in the past of tips, as far as these are here."""
        present = list(tips)
        lacking = set(self.lacking(present))
        lines = [*wants, *(b"^" + oid for oid in present if oid not in lacking)]
        words = ["rev-list", "--max-count=1", "--stdin"]
        done = self._git.attempt(*words, stdin=b"\n".join(lines) + b"\n")
        return done.returncode == 0 and not done.stdout and self.are_commits(wants)

    def seen_from(self, tips: Iterable[bytes], haves: Sequence[bytes]) -> list[bytes]:
        """Return those of the commits that are in the past of tips, as far as these are here."""
        present = list(tips)
        lacking = {*self.lacking(present), *self.lacking(haves)}
        here = [oid for oid in haves if oid not in lacking]
        lines = [*here, *(b"^" + oid for oid in present if oid not in lacking)]
        if not here or len(lines) == len(here) or not self.are_commits(here):
            return []
        out = self._git.run("rev-list", "--stdin", stdin=b"\n".join(lines) + b"\n")
        hidden = set(out.split())
        return [oid for oid in here if oid not in hidden]

    def are_commits(self, wants: Sequence[bytes]) -> bool:
        """Tell whether all these objects are commits that are here."""
        out = self._git.run("cat-file", "--batch-check", stdin=b"\n".join(wants) + b"\n")
        return all(line.split(b" ")[1:2] == [b"commit"] for line in out.splitlines())

    def shown_with(self, directory: Path, tags: Iterable[bytes]) -> Copy:
        """Return what has the objects that are here, and of refs only these tags.

        Args:
            directory: for it, which the caller removes.
            tags: ids of annotated tags; those that are not here do not count.
        """
        present = list(tags)
        lacking = set(self.lacking(present))
        scratch.make(directory, SHA1)
        lines = [b"%b refs/tags/%b\n" % (oid, oid) for oid in present if oid not in lacking]
        (directory / "packed-refs").write_bytes(b"".join(sorted(lines)))
        if cuts := self._cuts():  # an empty file would make it shallow as well
            (directory / "shallow").write_bytes(b"".join(oid + b"\n" for oid in sorted(cuts)))
        return Copy(directory, self.shape, self.directory / "objects")

    def serve(self, request: UploadRequest, write: Callable[[bytes], object]) -> None:
        """Answer a request as a server does, and ``write`` the answer.

        Raises:
            GitError: something that it needs is not here.
        """
        git = replace(self._git, config=_SERVING, variables={"GIT_PROTOCOL": "version=2"})
        words = ["upload-pack", "--stateless-rpc", str(self.directory)]
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
            raise GitError(words, process.returncode or 1, said, str(self.directory))

    def tidy(self) -> bool:
        """Make one pack of many, with a bitmap that spares counting; tells whether it did."""
        packs = list((self.directory / "objects" / "pack").glob("*.pack"))
        if len(packs) <= MAX_PACKS:
            return False
        commands: list[tuple[str, ...]] = [
            ("repack", "-a", "-d", "--write-bitmap-index", "--quiet")
        ]
        if self.shape:  # nothing is followed there, since much is not there
            midx = "multi-pack-index"
            commands = [(midx, "write"), (midx, "repack", "--batch-size=0"), (midx, "expire")]
        stopper = stopper_of_thread()

        def repack() -> None:
            with contextlib.nullcontext() if stopper is None else stopper.watching():
                for words in commands:
                    self._git.run(*words)

        start_yielding(repack)
        return True


def _is_cut(
    commit: bytes, parents: Mapping[bytes, Sequence[bytes]], cuts: set[bytes], depth: int
) -> bool:
    """Tell whether history is cut off at fewer than so many commits in a row from one on."""
    row, seen = {commit}, {commit}
    for _ in range(depth - 1):
        if row & cuts:
            return True
        row = {each for oid in row for each in parents.get(oid, ())} - seen
        if not row:
            break
        seen |= row
    return False
