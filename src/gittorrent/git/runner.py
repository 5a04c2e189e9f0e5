"""Starts git and turns its failures into errors that say what to do.

A `Git` is a repository together with the way to run git in it: which executable, which object
directory, which environment. It keeps no process and no state; methods block, and callers that
must not block run them in a thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from gittorrent.errors import FULL_HINT, LocalError
from gittorrent.git import environment
from gittorrent.git.broken_files import broken_files
from gittorrent.git.memory import indexing_memory, limit_memory
from gittorrent.git.stale_locks import at_work, remove_stale_locks
from gittorrent.permissions import denied_in_repository

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

EXECUTABLE_VARIABLE = "GITTORRENT_GIT"
"""Environment variable that names the git to use instead of the first on the PATH."""


_FULL = ("No space left on device", "ut of diskspace", "Disk quota exceeded", "File too large")

_OWN_TROUBLE = (
    *_FULL,
    "Read-only file system",
    "Permission denied",
    "insufficient permission",
    "Input/output error",
    "Too many open files",
    "Cannot allocate memory",
    "ut of memory",
)
"""What git says (in the C locale) when it failed for reasons of this machine."""


def failure_in(said: str) -> str:
    """Return what is said of a failure, without the progress before it."""
    lines = [line.strip() for line in said.splitlines()]
    found = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return "\n".join(found) or said


_LOCK = re.compile(
    "Unable to create '(?P<lock>.+\\.lock)': File exists"
    "|unable to create file (?P<file>.+\\.new): File exists"
    "|could not lock config file (?P<config>.+): File exists"
)
"""What git says of a lock that another one has; what to do follows on lines that are left out."""


_LACKING = re.compile(
    "(?:[Bb]ad (?:tree )?object|missing (?:commit|tree|blob|tag) object|[Uu]nable to read(?: tree)?"
    "|Could not read|invalid sha1 pointer|unable to parse (?:commit|object))"
    " '?(?P<oid>[0-9a-f]{64}|[0-9a-f]{40})"
)
"""What git says of an object that it needs and does not find."""


_REFUSED = ("not a git repository", "packed-refs", "reftable", "mmap failed", "bad config line")
"""What git says where it cannot read a small file of a repository."""


def _way_out(said: str, where: str) -> str:
    """Return what to do where git says that a disk is full, or that it cannot use files."""
    if any(words in said for words in _FULL):
        return FULL_HINT
    if (found_lock := _LOCK.search(said)) is not None:
        lock = found_lock["lock"] or found_lock["file"] or f"{found_lock['config']}.lock"
        return f"another git works there, or was killed: if none does, remove {lock}"
    if any(words in said for words in _REFUSED):
        found_broken = next(iter(broken_files(Path(where))), None)
        return "" if found_broken is None else f"{found_broken}; {found_broken.hint}"
    if not any(words in said for words in ("ermission", "Read-only file system")):
        return ""
    git_dir = Path(where)
    found = denied_in_repository(git_dir, reading=True)
    found = found or denied_in_repository(git_dir, reading=False)
    return "" if found is None else f"{found}; {found.hint}"


class GitMissingError(LocalError):
    """There is no git to run."""


class GitError(LocalError):
    """A git command failed; holds what it said on standard error."""

    def __init__(self, command: Sequence[str], status: int, stderr: bytes, where: str) -> None:
        said = failure_in(stderr.decode(errors="backslashreplace").strip())
        name = " ".join(command[:2])
        shown = said or f"exit status {status}"
        super().__init__(f"git {name} failed in {where}: {shown}", hint=_way_out(said, where))
        self.status = status
        self.stderr = said

    @property
    def is_for_room(self) -> bool:
        """Tell whether there was no room on a disk."""
        return any(words in self.stderr for words in _FULL)

    @property
    def lacking(self) -> str | None:
        """Return the id of an object that git needed and did not find; None if it names none."""
        found = _LACKING.search(self.stderr)
        return None if found is None else found["oid"]

    @property
    def is_own_trouble(self) -> bool:
        """Tell whether this machine let git down, whatever git was given to work on."""
        return self.status < 0 or any(words in self.stderr for words in _OWN_TROUBLE)


class Git(Struct, frozen=True):
    """A way to run git in one repository.

    Args:
        directory: the repository's git directory.
        isolated: when true, nobody's configuration but the repository's own is read.
        objects: object directory to use instead of the repository's own.
        config: ``key=value`` settings for every command, as with ``git -c``.
        variables: further environment variables.
        max_memory: bytes that commands may ask for, which are bound by it before they read their
            input; None for no bound.
    """

    directory: Path
    isolated: bool = True
    objects: Path | None = None
    config: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    max_memory: int | None = None

    def with_config(self, *settings: str) -> Git:
        """Return the same with further ``key=value`` settings."""
        return replace(self, config=self.config + settings)

    def indexing(self, size: int) -> Git:
        """Return the same for indexing ``size`` bytes of packs that a stranger sent."""
        return replace(self, max_memory=indexing_memory(size))

    def environ(self) -> dict[str, str]:
        """Return the environment that commands get."""
        extra = dict(self.variables)
        if self.objects is not None:
            extra["GIT_OBJECT_DIRECTORY"] = str(self.objects)
        return environment.isolated(extra) if self.isolated else environment.trusted(extra)

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command line for ``arguments``."""
        words = [executable(), f"--git-dir={self.directory}"]
        for setting in self.config:
            words += ["-c", setting]
        return [*words, *arguments]

    @property
    def place(self) -> str:
        """Where its objects are, for messages; not a scratch repository that borrows them."""
        return str(self.objects or self.directory)

    def run(self, *arguments: str, stdin: bytes | IO[bytes] | None = None) -> bytes:
        """Run a command to its end and return its standard output.

        Raises:
            GitError: it ended with a status other than 0.
        """
        done = self.attempt(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise GitError(arguments, done.returncode, done.stderr, self.place)
        return done.stdout

    def attempt(
        self, *arguments: str, stdin: bytes | IO[bytes] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command whose failure is an answer; returns status, output and errors.

        Where a lock was in its way that a killed git left, and that can be told, it is run again.
        """
        done = self._attempt(*arguments, stdin=stdin)
        if done.returncode and _LOCK.search(done.stderr.decode(errors="backslashreplace")):
            again = remove_stale_locks(self.directory)
            if again and (stdin is None or isinstance(stdin, bytes)):
                done = self._attempt(*arguments, stdin=stdin)
        return done

    def _attempt(
        self, *arguments: str, stdin: bytes | IO[bytes] | None
    ) -> subprocess.CompletedProcess[bytes]:
        data: bytes | None
        source: int | IO[bytes] | None
        data, source = (stdin, None) if isinstance(stdin, bytes) else (None, stdin)
        if data is None and source is None:
            source = subprocess.DEVNULL
        if data is not None:
            source = subprocess.PIPE
        with self.start(*arguments, stdin=source) as process:
            try:
                out, said = process.communicate(data)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, said)

    def start(
        self,
        *arguments: str,
        stdin: int | IO[bytes] | None = subprocess.PIPE,
        stdout: int | IO[bytes] | None = subprocess.PIPE,
        stderr: int | IO[bytes] | None = subprocess.PIPE,
        before: Sequence[str] = (),
        own_group: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a command and hand its process over; the caller feeds, reads and waits.

        Args:
            arguments: the command.
            stdin: as for ``subprocess.Popen``.
            stdout: the same.
            stderr: the same.
            before: words of a command that becomes git.
            own_group: whether git and what it starts are a process group of their own.
        """
        try:
            with at_work(self.directory, arguments[0]) as inherited:
                process = GitProcess(
                    [*before, *self.command(*arguments)],
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    env=self.environ(),
                    cwd=self.directory,
                    process_group=0 if own_group else None,
                    pass_fds=inherited,
                )
        except FileNotFoundError as error:
            raise _missing(error, self.directory) from error
        if self.max_memory is not None:
            limit_memory(process.pid, self.max_memory)
        if (stopper := stopper_of_thread()) is not None:
            stopper.add(process)
        return process


class GitProcess(subprocess.Popen[bytes]):
    """A git that runs; as a context it is ended where the block is left by an exception.

    Nobody wants what it does any more then, and it may be at it for long. `subprocess` itself waits
    for it, or leaves it behind where the exception is an interruption.
    """

    def __init__(self, words: Sequence[str], **options: Any) -> None:
        try:
            super().__init__(words, **options)
        except BaseException:
            # Interrupted while it began: nobody else knows of it yet.
            if getattr(self, "pid", None) is not None:
                self.terminate()
            raise

    def __exit__(
        self,
        exception: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close its pipes and wait for its end."""
        if exception is not None:
            self.terminate()
        super().__exit__(exception, value, traceback)


class Stopper:
    """Ends, from another thread, what a thread runs: whatever git it is at, and all that follow.

    The thread works within `watching`; each git it starts is known from then on. It sees them
    fail, clears away what it was at, and returns.

    Args:
        above: ends what this one knows as well; None if there is none.
    """

    def __init__(self, above: Stopper | None = None) -> None:
        self._above = above
        self._guard = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.is_stopped = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Take note of what this thread starts while the block runs."""
        former, _this_thread.stopper = stopper_of_thread(), self
        try:
            yield
        finally:
            _this_thread.stopper = former

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Take note of a process."""
        with self._guard:
            self._processes = [known for known in self._processes if known.returncode is None]
            self._processes.append(process)
            if self.is_stopped:
                process.terminate()
        if self._above is not None:
            self._above.add(process)

    def stop(self) -> None:
        """End what runs, and what is started later."""
        with self._guard:
            self.is_stopped = True
            for process in self._processes:
                process.terminate()


_this_thread = threading.local()


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Let nothing stop this thread while the block runs: it does what others wait for, too."""
    former, _this_thread.stopper = stopper_of_thread(), None
    try:
        yield
    finally:
        _this_thread.stopper = former


def stopper_of_thread() -> Stopper | None:
    """Return what may stop this thread, None if nothing does."""
    stopper: Stopper | None = getattr(_this_thread, "stopper", None)
    return stopper


def executable() -> str:
    """Return the git to run.

    Raises:
        GitMissingError: there is none.
    """
    wanted = os.environ.get(EXECUTABLE_VARIABLE) or "git"
    found = shutil.which(wanted)
    if found is None:
        raise GitMissingError(f"cannot find {wanted} to run", hint="install git 2.39 or newer")
    return found


def _missing(error: FileNotFoundError, directory: Path) -> LocalError:
    if not directory.is_dir():
        return LocalError(f"{directory} is not there (any more): {error.strerror}")
    return GitMissingError(f"cannot run git: {error}", hint="install git 2.39 or newer")
