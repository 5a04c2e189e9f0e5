"""Runs a git that talks to a stranger: watched, bounded, and ended with its caller.

`git fetch-pack` and git's HTTP helper wait for ever, take any number of bytes and keep what they
hear in memory. So they write into a scratch repository, and this looks several times a second at
what that has come to: bytes on disk, memory, and the processor time of git's own indexing. Whoever
sends nothing, or next to nothing, is given up; so is whoever sends more than is allowed, or what
takes more to index than its size accounts for.

Must not know what is fetched or why. Blocks; run it in a thread, which a `Stopper` may stop.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.git import family
from gittorrent.git.memory import indexing_memory, limit_memory
from gittorrent.git.runner import stopper_of_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import IO

LOOK_SECONDS = 0.25
"""How often it is looked what git has come to."""

END_SECONDS = 2.0
"""Time git gets to end by itself, after it was asked to, before it is killed."""

MAX_SAID = 16 << 10
"""Bytes kept of what git said last: it says why it failed at the end."""

MAX_MEMORY = 384 << 20
"""Bytes of memory that a git which reads a stranger's words may take. A list of 700,000 refs fits;
of indexing more is expected."""

WORK = 64 << 10
"""Bytes that a second of git's indexing counts for: it is as good a sign of life, but no more than
what there is to index can take."""

INDEXING_PER_SECOND = 16 << 10
"""Bytes that came for which a second of indexing counts: git was seen to index 15 MiB in one."""

_OUT_OF_MEMORY = "ut of memory"
_INDEXING = (b"index-pack", b"unpack-objects", b"rev-list")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_CHUNK = 1 << 16


class Broken(Enum):
    """Why a git was ended before its time."""

    SILENT = "silent"
    TOO_LARGE = "too large"
    MEMORY = "memory"
    NO_ROOM = "no room"
    STOPPED = "stopped"


class Bounds(Struct, frozen=True):
    """What a git may cost.

    Args:
        max_bytes: that it may write into the scratch repository.
        silence: seconds in which something has to come.
        least: bytes that have to come in that time; a second of indexing counts for `WORK`.
        indexing: seconds of it that count however little came, since a few bytes may stand for
            much, in an honest history too.
    """

    max_bytes: int
    silence: float
    least: int = 1
    indexing: float = 600.0


class Outcome(Struct, frozen=True):
    """How a git ended.

    Args:
        status: its exit status.
        said: the end of what it said on standard error.
        broken: why it was ended, None if it ended by itself.
    """

    status: int
    said: str
    broken: Broken | None


class Guarded:
    """One git under guard.

    Args:
        staging: the scratch repository it writes into.
        bounds: what it may cost.
        hear: told what it says on standard error, as it comes.
        room: returns how many bytes may still be written where it writes.
    """

    def __init__(
        self,
        staging: Path,
        bounds: Bounds,
        hear: Callable[[bytes], None],
        room: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        self.bounds = bounds
        self._room = room
        self._staging = staging
        self._hear = hear
        self._said = bytearray()

    def run(
        self,
        words: Sequence[str],
        stdin: bytes | int,
        environ: Mapping[str, str],
        cwd: Path | None = None,
        *,
        then: int | None = None,
        out: int | None = None,
    ) -> Outcome:
        """Run it to its end or until a bound is exceeded.

        Args:
            words: the command line.
            stdin: what to give it, or a descriptor that it is to read itself.
            environ: its environment.
            cwd: where relative paths begin, None for the scratch repository.
            then: a descriptor whose bytes follow those given, as far as git reads.
            out: a descriptor for its standard output, of a file that the bounds hold for; None
                discards it.
        """
        process = subprocess.Popen(
            words,
            stdin=stdin if isinstance(stdin, int) else subprocess.PIPE,
            stdout=subprocess.DEVNULL if out is None else out,
            stderr=subprocess.PIPE,
            env=environ,
            cwd=cwd or self._staging,
        )
        # Between two looks much may arrive; this holds for each file at any time.
        room = self._room()
        most = min(self.bounds.max_bytes, max(0, room))
        limit = most + _CHUNK
        try:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
            # What it starts inherits this.
            limit_memory(process.pid, indexing_memory(0))
            given = b"" if isinstance(stdin, int) else stdin
            broken = self._attend(process, _Feeding(process.stdin, given, then))
        finally:
            _end(process)
        said = self._said.decode(errors="replace")
        if broken is None and self._is_too_large(process.returncode, said, most):
            broken = Broken.TOO_LARGE if most < room else Broken.NO_ROOM
        if broken is None and process.returncode and _OUT_OF_MEMORY in said:
            broken = Broken.MEMORY
        return Outcome(process.returncode, said, broken)

    def _is_too_large(self, status: int, said: str, most: int) -> bool:
        """Tell whether what ended with a status met the limit on files.

        Not every git says what ended the one it started, but what that wrote stays.
        """
        if not status:
            return False
        if status == -signal.SIGXFSZ or f"signal {signal.SIGXFSZ.value}" in said:
            return True
        return _size(self._staging / "objects") > most

    def _attend(self, process: subprocess.Popen[bytes], feeding: _Feeding) -> Broken | None:
        """Feed and hear a process until it ends or breaks a bound.

        A `Stopper` is not told of it: it would end git alone, and an indexer that git has started
        goes on for minutes, with our pipe in its hands.
        """
        watch = _Watch(process.pid, self._staging, self.bounds, self._room)
        with selectors.PollSelector() as selector:  # files can be waited for, too
            assert process.stderr is not None
            feeding.register(selector)
            os.set_blocking(process.stderr.fileno(), False)
            selector.register(process.stderr, selectors.EVENT_READ)
            while process.stderr in selector.get_map():
                for key, _ in selector.select(LOOK_SECONDS):
                    if key.fileobj is not process.stderr:
                        feeding.go_on(selector)
                    elif not self._read(key.fd):
                        selector.unregister(process.stderr)
                if (broken := watch.look()) is not None:
                    return broken
            while process.poll() is None:
                if (broken := watch.look()) is not None:
                    return broken
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_SECONDS)
        return None

    def _read(self, descriptor: int) -> bool:
        """Take what a pipe has; tells whether it goes on."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return True
        if data:
            self._said += data
            del self._said[:-MAX_SAID]
            self._hear(data)
        return bool(data)


class _Feeding:
    """What a process is given: some bytes, and what a descriptor has after them.

    Args:
        pipe: its standard input; None where it reads a descriptor itself.
        given: the bytes.
        then: the descriptor; None if nothing follows.
    """

    def __init__(self, pipe: IO[bytes] | None, given: bytes, then: int | None) -> None:
        self._pipe = pipe
        self._left = memoryview(given)
        self._then = then

    def register(self, selector: selectors.BaseSelector) -> None:
        """Begin to be asked when there is something to do."""
        if self._pipe is not None:
            os.set_blocking(self._pipe.fileno(), False)
            selector.register(self._pipe, selectors.EVENT_WRITE)

    def go_on(self, selector: selectors.BaseSelector) -> None:
        """Write what the pipe takes, or read what is next."""
        assert self._pipe is not None
        if not self._left and self._then is not None:
            self._take(selector, self._then)
            return
        try:
            if self._left:
                self._left = self._left[os.write(self._pipe.fileno(), self._left[:_CHUNK]) :]
        except BrokenPipeError:  # git has read enough
            self._left, self._then = self._left[:0], None
        if self._left:
            return
        selector.unregister(self._pipe)
        if self._then is None:
            _close(self._pipe)
        else:
            selector.register(self._then, selectors.EVENT_READ)

    def _take(self, selector: selectors.BaseSelector, source: int) -> None:
        try:
            data = os.read(source, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # git says that its input ended early
        selector.unregister(source)
        if not data:
            self._then = None
        self._left = memoryview(data)
        assert self._pipe is not None
        selector.register(self._pipe, selectors.EVENT_WRITE)


class _Watch:
    """Looks at what a process has come to, at most every `LOOK_SECONDS`, and whether to stop."""

    def __init__(self, pid: int, staging: Path, bounds: Bounds, room: Callable[[], int]) -> None:
        self._room = room
        self._stopper = stopper_of_thread()
        self._pid = pid
        self._staging = staging
        self._bounds = bounds
        self._looked = 0.0
        self._since = time.monotonic()
        self._reached = 0.0

    def look(self) -> Broken | None:
        """Return which bound is broken, if one is."""
        if self._stopper is not None and self._stopper.is_stopped:
            return Broken.STOPPED
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return None
        self._looked = now
        size = _size(self._staging / "objects")
        if size > self._bounds.max_bytes:
            return Broken.TOO_LARGE
        if self._room() <= 0:
            return Broken.NO_ROOM
        indexing = 0.0
        for process in _family(self._pid):
            if process.is_indexing:
                indexing += process.seconds
                limit_memory(process.pid, indexing_memory(size))
            elif process.memory > MAX_MEMORY:
                return Broken.MEMORY
        most = self._bounds.indexing + size / INDEXING_PER_SECOND
        done = size + min(indexing, most) * WORK
        # What ended took its processor time along.
        self._reached = min(self._reached, done)
        if done - self._reached >= self._bounds.least:
            self._reached, self._since = done, now
        return Broken.SILENT if now - self._since > self._bounds.silence else None


class _Process(Struct, frozen=True):
    """A process: its memory in bytes, the processor time it took, and whether it indexes."""

    pid: int
    memory: int
    seconds: float
    is_indexing: bool


def _family(pid: int) -> Iterator[_Process]:
    """Yield a process and all it started, as far as they are still there (proc(5))."""
    for member in family.members(pid):
        folder = Path(f"/proc/{member}")
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            words = (folder / "cmdline").read_bytes().split(b"\0")[:4]
            yield _Process(
                pid=member,
                memory=int(fields[21]) * _PAGE,
                seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
                is_indexing=any(word in _INDEXING for word in words),
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that nothing of a process is left, nor of what it started."""
    if process.poll() is None:
        with contextlib.ExitStack() as stack:
            members = family.members(process.pid)
            opened = [family.descriptor(member, stack) for member in members]
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            family.kill_opened(opened)
            process.wait()
    for pipe in (process.stdin, process.stderr):
        if pipe is not None:
            _close(pipe)


def _close(pipe: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _size(objects: Path) -> int:
    """Return the bytes of all files in an object directory; what vanishes meanwhile counts not."""
    total = 0
    for folder, _, names in os.walk(objects):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(folder, name)).st_size  # noqa: PTH116, PTH118
    return total
