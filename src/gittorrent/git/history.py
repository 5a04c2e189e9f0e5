"""Commits, trees and tags as git walks them: listings, sizes, types and ancestry.

All functions take the `Git` to ask. Ids go in and out in full; listings are streamed, because
histories of ten million objects exist.
"""

from __future__ import annotations

import contextlib
import re
import select
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import LocalError
from gittorrent.git.runner import GitError
from gittorrent.ids import Oid
from gittorrent.printable import decoded

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Container, Iterable, Iterator

    from gittorrent.git.runner import Git


_TAG = re.compile(rb"object ([0-9a-f]{40}|[0-9a-f]{64})\ntype (blob|tree|commit|tag)\n")

_PIPE = select.PIPE_BUF
"""Bytes that an empty pipe takes whether they are read or not."""

WITHOUT_BLOBS = "--filter=blob:none"
"""Leaves files out of what rev-list lists, but for those it is asked for by their ids."""

LATEST = 2**64 - 1
"""The largest committer time; git keeps times in 64 bits, and larger ones count as this one."""


class MissingObjectError(LocalError):
    """The repository lacks an object that its own history needs; ``lacking`` is its id."""

    def __init__(self, oid: str, where: str) -> None:
        self.lacking = oid
        super().__init__(
            f"object {oid} is missing in {where}",
            hint="run 'git fsck' there; shallow and partial repositories cannot be used",
        )


class WalkedCommit(Struct, frozen=True):
    """A commit with its parents and its committer time in seconds (0 to `LATEST`)."""

    oid: Oid
    time: int
    parents: tuple[Oid, ...]


class ObjectInfo(Struct, frozen=True):
    """Type (``commit``, ``tree``, ``blob``, ``tag``) and uncompressed size of an object."""

    oid: Oid
    kind: str
    size: int


def commits_between(git: Git, start: Iterable[Oid], end: Iterable[Oid]) -> list[WalkedCommit]:
    """Return the commits reachable from ``end`` and not from ``start``, in no special order.

    Tags are peeled; what is no commit is passed over.
    """
    asked = _lines(end) + _lines(f"^{oid}" for oid in start)
    # Not --timestamp: gits before and after 2.41 read malformed committer lines differently
    # there. Without --encoding=none, a commit could have itself converted before it is read.
    words = ["rev-list", "--no-commit-header", "--encoding=none", "--format=%ct %H %P", "--stdin"]
    commits = []
    for line in git.run(*words, stdin=asked).decode("ascii").splitlines():
        time, oid, *parents = line.rstrip(" ").split(" ")
        commits.append(WalkedCommit(Oid(oid), _seconds(time), tuple(Oid(p) for p in parents)))
    return commits


def _seconds(digits: str) -> int:
    """Read a committer time: nothing (git saw no number) is 0, too large a number `LATEST`."""
    significant = digits.lstrip("0")
    if len(significant) > len(str(LATEST)):
        return LATEST
    return min(int(significant or "0"), LATEST)


def reachable_objects(
    git: Git, tips: Iterable[Oid], *, without_blobs: bool = False
) -> Iterator[Oid]:
    """Yield every object that ``tips`` reach, each once, in git's order; or all but blobs."""
    words = ["rev-list", "--objects", "--stdin", *((WITHOUT_BLOBS,) if without_blobs else ())]
    with _reading(git, words, _lines(tips)) as lines:
        for line in lines:
            yield Oid(line[: _id_length(line)].decode("ascii"))


@contextmanager
def listed_in_commit_order(
    git: Git, commits: Iterable[Oid], boundary: Iterable[Oid], *, without_blobs: bool = False
) -> Iterator[IO[bytes]]:
    """Open the stream of lines that lists each commit with the objects it is first to reach.

    Args:
        git: where to list.
        commits: in the order wanted.
        boundary: commits whose trees' contents are left out.
        without_blobs: whether blobs are left out.
    """
    asked = _lines(commits) + _lines(f"^{oid}" for oid in boundary)
    words = ["rev-list", "--objects", "--no-walk=unsorted", "--in-commit-order", "--stdin"]
    if without_blobs:
        words.append(WITHOUT_BLOBS)
    with _reading(git, words, asked) as lines:
        yield lines


def describe(git: Git, oids: Iterable[Oid]) -> list[ObjectInfo | None]:
    """Return type and size of each object, None for those that are not present."""
    asked = list(oids)
    if not asked:
        return []
    out = git.run(
        "cat-file",
        "--batch-check=%(objectname) %(objecttype) %(objectsize)",
        "--buffer",
        stdin=_lines(asked),
    )
    found: list[ObjectInfo | None] = []
    for line in out.decode("ascii").splitlines():
        oid, kind, *size = line.split(" ")
        found.append(ObjectInfo(Oid(oid), kind, int(size[0])) if size else None)
    return found


def files_of(git: Git, commit: Oid) -> set[Oid]:
    """Return the blobs of a commit's tree, all of whose trees are present.

    Raises:
        GitError: they are not.
    """
    out = git.run("ls-tree", "-r", "-z", "--format=%(objecttype) %(objectname)", commit)
    lines = out.decode("ascii").split("\0")
    return {Oid(line.removeprefix("blob ")) for line in lines if line.startswith("blob ")}


def peel(git: Git, oids: Iterable[Oid]) -> list[Oid | None]:
    """Return what tags lead to, and other objects themselves; None where that is missing."""
    asked = list(oids)
    if not asked:
        return []
    out = git.run(
        "cat-file",
        "--batch-check=%(objectname)",
        "--buffer",
        stdin=_lines(f"{oid}^{{}}" for oid in asked),
    )
    lines = out.decode("ascii").splitlines()
    return [None if line.endswith(" missing") else Oid(line) for line in lines]


def read_objects(git: Git, oids: Iterable[Oid]) -> list[bytes]:
    """Return the contents of objects that fit in memory, such as tags.

    Raises:
        MissingObjectError: one is not present.
    """
    out = git.run("cat-file", "--batch", "--buffer", stdin=_lines(oids))
    contents = []
    position = 0
    while position < len(out):
        end = out.index(b"\n", position)
        words = out[position:end].decode("ascii").split(" ")
        if len(words) != 3:
            raise MissingObjectError(words[0], str(git.directory))
        size = int(words[2])
        contents.append(out[end + 1 : end + 1 + size])
        position = end + 1 + size + 1
    return contents


def read_tag(content: bytes) -> tuple[Oid, str] | None:
    """Return the object that a tag object names and that object's type; None if it names none.

    Only the first two lines count: what git tags for a person has more, and old tags have less.
    """
    match = _TAG.match(content)
    return None if match is None else (Oid(match[1].decode("ascii")), match[2].decode("ascii"))


def tagged_object(content: bytes) -> Oid:
    """Return the object that a tag object's content names in its first line."""
    line = content.split(b"\n", 1)[0]
    keyword, _, oid = line.partition(b" ")
    if keyword != b"object":
        raise LocalError(f"a tag object begins {decoded(line[:60])!r}")
    return Oid(oid.decode("ascii"))


class SizeCounter:
    """Asks git for the sizes of a long stream of objects while the stream is still produced."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._process = git.start("cat-file", "--batch-check=%(objectsize)", "--buffer")
        self._sizes: list[int] = []
        self._missing: str | None = None
        self._reader = threading.Thread(target=self._read, name="object-sizes", daemon=True)
        try:
            self._reader.start()
        except BaseException:
            self._process.kill()  # interrupted, and nobody else knows of it yet
            raise

    def add(self, oid: bytes) -> None:
        """Ask for the size of ``oid`` (hexadecimal)."""
        assert self._process.stdin is not None
        self._process.stdin.write(oid + b"\n")

    def finish(self) -> list[int]:
        """Return the uncompressed sizes in the order asked.

        Raises:
            MissingObjectError: one of the objects is not present.
        """
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._reader.join()
            _finish(self._process, ["cat-file"], self._git)
        except BaseException:
            self._process.kill()  # interrupted: nobody waits for the answers any more
            raise
        if self._missing is not None:
            raise MissingObjectError(self._missing, self._git.place)
        return self._sizes

    def abandon(self) -> None:
        """Stop asking; for use when the stream broke."""
        self._process.kill()
        self._reader.join()  # it reads the same pipe, to the end
        self._process.communicate()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith(b" missing\n"):
                self._missing = line[:-9].decode("ascii")
            else:
                self._sizes.append(int(line))


def is_connected(git: Git, tips: Iterable[Oid], known: Iterable[Oid] = ()) -> bool:
    """Tell whether everything ``tips`` reach is present, taking ``known`` for granted.

    Walks what is reachable from the tips and not from the known ones, blobs included.
    """
    asked = _lines(tips) + _lines(f"^{oid}" for oid in known)
    return _walks(git, asked)


def is_connected_to_refs(git: Git, tips: Iterable[Oid]) -> bool:
    """Tell whether everything ``tips`` reach is present, taking the repository's refs' word."""
    return _walks(git, _lines(tips), "--not", "--all")


def nearer_than(git: Git, tips: Iterable[Oid], depth: int) -> set[str]:
    """Return the commits that are nearer than ``depth`` to a tip, which itself is at depth 1."""
    asked = list(tips)
    parents = {commit.oid: commit.parents for commit in commits_between(git, (), asked)}
    words = ["rev-list", "--no-walk=unsorted", "--stdin"]
    level = {Oid(oid) for oid in git.run(*words, stdin=_lines(asked)).decode("ascii").split()}
    near: set[str] = set()
    for _ in range(depth - 1):
        near |= level
        level = {p for oid in level for p in parents.get(oid, ()) if p not in near}
        if not level:
            break
    return near


class Reached:
    """What some tips reach, listed when it is asked for.

    Args:
        git: the repository.
        tips: where to begin.
        without_borrowed: leave out what the refs of the repositories reach that it borrows from.
        without: leave out what these reach, which are here.
        may_lack: whether objects may be missing, as in partial clones.
        only_commits: leave out what commits hold.
        without_blobs: leave out files.
    """

    def __init__(
        self,
        git: Git,
        tips: Iterable[Oid],
        *,
        without_borrowed: bool,
        without: Iterable[Oid] = (),
        may_lack: bool = False,
        only_commits: bool = False,
        without_blobs: bool = False,
    ) -> None:
        self._git = git
        self._tips = _lines(tips) + _lines(f"^{oid}" for oid in without)
        self._words = ["rev-list", "--stdin"]
        if not only_commits:
            self._words.append("--objects")
        if without_blobs:
            self._words.append(WITHOUT_BLOBS)
        if may_lack:
            self._words.append("--missing=allow-any")
        if without_borrowed:
            self._words += ["--not", "--alternate-refs"]

    def count(self) -> int | None:
        """Return how many objects there are; None if one of them is missing.

        Raises:
            GitError: git was killed or ran out of something, which says nothing about the objects.
        """
        try:
            with _reading(self._git, self._words, self._tips) as lines:
                return sum(1 for _ in lines)
        except GitError as error:
            if error.is_own_trouble:
                raise
            return None

    def ids(self) -> set[str]:
        """Return them."""
        with _reading(self._git, self._words, self._tips) as lines:
            return {line[: _id_length(line)].decode("ascii") for line in lines}

    def are_all_in(self, known: Container[str]) -> bool:
        """Tell whether all of them are among those known; the first that is not ends the walk.

        Raises:
            GitError: one of them is missing, or git failed.
        """
        try:
            with _reading(self._git, self._words, self._tips) as lines:
                for line in lines:
                    if line[: _id_length(line)].decode("ascii") not in known:
                        raise _EnoughError
        except _EnoughError:
            return False
        return True


class _EnoughError(Exception):
    """The rest of a listing need not be read: it is ended where an exception leaves it."""


def _walks(git: Git, asked: bytes, *options: str) -> bool:
    """Tell whether git finds every object on a walk.

    Raises:
        GitError: git was killed or ran out of something, which says nothing about the objects.
    """
    # Options come after: git before 2.42 takes none from standard input.
    words = ["rev-list", "--objects", "--quiet", "--stdin", *options]
    done = git.attempt(*words, stdin=asked)
    if done.returncode:
        error = GitError(words, done.returncode, done.stderr, str(git.directory))
        if error.is_own_trouble:
            raise error
    return done.returncode == 0


@contextmanager
def _reading(git: Git, words: list[str], stdin: bytes) -> Iterator[IO[bytes]]:
    process = git.start(*words)
    feeder = threading.Thread(target=_feeding(process, stdin), name="git-feeder", daemon=True)
    try:
        if len(stdin) <= _PIPE:
            _feeding(process, stdin)()
        else:
            feeder.start()
        assert process.stdout is not None
        yield process.stdout
        if feeder.ident is not None:
            feeder.join()
        _finish(process, words, git)
    finally:
        if process.poll() is None:
            process.kill()
        if feeder.ident is not None:
            feeder.join()  # first, or it writes to a pipe that is closed under its hands
        process.communicate()


def _feeding(process: subprocess.Popen[bytes], stdin: bytes) -> Callable[[], None]:
    def feed() -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(stdin)
            process.stdin.close()
        except BrokenPipeError:
            # The process ended early; its exit status tells why. What it did not read is given up.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        finally:
            process.stdin = None

    return feed


def _finish(process: subprocess.Popen[bytes], words: list[str], git: Git) -> None:
    stderr = process.stderr.read() if process.stderr is not None else b""
    status = process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    if status != 0:
        raise GitError(words, process.returncode, stderr, git.place)


def _id_length(line: bytes) -> int:
    space = line.find(b" ")
    return space if space >= 0 else len(line.rstrip(b"\n"))


def _lines(words: Iterable[str]) -> bytes:
    return "".join(f"{word}\n" for word in words).encode("ascii")
