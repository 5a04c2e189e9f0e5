"""Removes the locks that a killed git left in directories that only nodes write.

Git keeps others away from a file by another one beside it, ``<name>.lock``. A git that is killed
leaves it, and nothing that changes that file works from then on until somebody removes it. In
people's repositories git leaves that to them, and so does this program: nobody else knows who is at
work there. Mirrors, caches and views are written by this program alone, which can tell.

A directory of that kind has a file, `MARK`. Every git of ours that may write there inherits a
descriptor with a shared lock (flock(2)) on it, which lasts as long as that git and all it started,
whatever becomes of the process that started it. Rules: locks are removed only while an exclusive
lock on the mark is held, so that none of our gits runs there and none begins; only where proc(5)
shows no other git there, such as one that somebody started by hand; and only files of this user. If
any of that cannot be told they stay, and the message names them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.event_log import EventLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARK = "gittorrent/git-at-work"
"""In a git directory that only nodes write: what its gits hold a lock on."""

_READERS = frozenset(
    {
        "cat-file", "diff-tree", "for-each-ref", "fsck", "hash-object", "index-pack", "ls-remote",
        "ls-tree", "merge-base", "pack-objects", "rev-list", "rev-parse", "show-ref",
        "unpack-objects", "upload-pack", "verify-pack",
    }
)  # fmt: skip
"""Commands that take no lock of git's; some of them run for long."""

_WITH_VALUE = frozenset({"-C", "-c", "--git-dir", "--namespace", "--work-tree"})
"""Options before git's command whose value is the next word."""

_FOLDERS = ("logs", "objects/info", "objects/pack", "refs", "reftable")
"""Where git has locks, besides the git directory itself."""

_UNFINISHED = "packed-refs.new"
"""Written under a lock, and as much in the way as that if it is left."""

_PROCESSES = Path("/proc")

_log = EventLog(__name__)


def set_mark(git_dir: Path, *, is_ours: bool) -> None:
    """Say whether a git directory is one that only nodes write; it may be said already."""
    mark = git_dir / MARK
    if mark.exists() == is_ours:
        return
    if is_ours:
        write_atomically(mark, b"", sync=False)
    else:
        mark.unlink(missing_ok=True)


@contextlib.contextmanager
def at_work(git_dir: Path, command: str) -> Iterator[tuple[int, ...]]:
    """Say that a git may write in a directory while the block runs, and what inherits from it.

    Args:
        git_dir: of the repository.
        command: of git.

    Yields:
        The descriptors that the git has to inherit.
    """
    if command in _READERS:
        yield ()
        return
    try:
        mark = os.open(git_dir / MARK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield ()
        return
    try:
        fcntl.flock(mark, fcntl.LOCK_SH)
        yield (mark,)
    finally:
        os.close(mark)


def remove_stale_locks(git_dir: Path) -> bool:
    """Remove the locks in a directory that only nodes write, if no git works there.

    Returns:
        Whether there were some, and they are gone.
    """
    try:
        mark = os.open(git_dir / MARK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    removed = []
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _others_work_in(git_dir):
            for lock in _locks(git_dir):
                with contextlib.suppress(OSError):  # what stays is named by the git it is in
                    lock.unlink()
                    removed.append(str(lock.relative_to(git_dir)))
    except BlockingIOError:
        return False
    finally:
        os.close(mark)
    if removed:
        _log.warning(
            "stale-locks-removed",
            "a git that was killed had left locks in {directory}, which are removed: {locks}",
            directory=git_dir,
            locks=removed[:_NAMED],
            count=len(removed),
        )
    return bool(removed)


_NAMED = 10
"""Locks that a line of the log names; there can be one for each ref."""


def _locks(git_dir: Path) -> Iterator[Path]:
    """Yield the locks of this user."""
    found = [git_dir / _UNFINISHED, *git_dir.glob("*.lock")]
    for folder in _FOLDERS:
        for where, _, names in os.walk(git_dir / folder):
            found += [Path(where, name) for name in names if name.endswith(".lock")]
    for path in found:
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_uid == os.geteuid():
                yield path


def _others_work_in(git_dir: Path) -> bool:
    """Tell whether a git that may write works in a directory, or nobody can tell."""
    places = {os.fsencode(git_dir.absolute()), os.fsencode(git_dir.resolve())}
    try:
        numbers = [entry.name for entry in os.scandir(_PROCESSES) if entry.name.isdigit()]
    except FileNotFoundError:
        return True
    return any(_works_in(_PROCESSES / number, places) for number in numbers)


def _works_in(process: Path, places: set[bytes]) -> bool:
    """Tell whether a process is a git that may write in one of these directories."""
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False  # it has ended
    if not words[0].rpartition(b"/")[2].startswith(b"git") or _command(words) in _READERS:
        return False
    seen = words[1:]
    with contextlib.suppress(OSError):  # of another user
        seen.append(os.fsencode((process / "cwd").readlink()) + b"/")
        seen += (process / "environ").read_bytes().split(b"\0")
    return any(place in word for place in places for word in seen)


def _command(words: Sequence[bytes]) -> str:
    """Return git's command in the words that a process was started with, nothing for none."""
    first = os.fsdecode(words[0].rpartition(b"/")[2])
    if first.startswith("git-"):
        return first.removeprefix("git-")
    is_value = False
    for word in map(os.fsdecode, words[1:]):
        if not is_value and not word.startswith("-"):
            return word
        is_value = not is_value and word in _WITH_VALUE
    return ""
