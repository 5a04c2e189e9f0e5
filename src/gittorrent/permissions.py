"""Says which file this user may not use, whose it is, and what to do about it.

The system names the file that was to be used; what is in the way may be a directory above it. So
the nearest thing that is there is looked at, and the directory around it where that one is not to
blame.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from gittorrent.errors import LocalError, local_error
from gittorrent.ownership import user_name

_DENIED = frozenset([errno.EACCES, errno.EPERM, errno.EROFS])


class PermissionDeniedError(LocalError):
    """This user may not use a file or directory."""


NO_THREAD = "can't start new thread"
"""What Python says where the system starts no more threads; it has no class of its own for that."""


def explain_local_error(error: OSError | MemoryError | RuntimeError) -> LocalError | None:
    """Return what to tell a user of a failure of this machine; None if it is not plainly one."""
    if isinstance(error, MemoryError):
        return LocalError(
            "the system gives this program no more memory",
            hint="allow more (ulimit -v, MemoryMax= of its systemd unit, or the container's limit)",
        )
    if isinstance(error, RuntimeError):
        if str(error) != NO_THREAD:
            return None
        return LocalError(
            "the system starts no more threads for this user or container",
            hint="allow more processes (ulimit -u, or the container's limit of pids) or more memory"
            " (ulimit -v)",
        )
    if error.errno in _DENIED:
        for name in (error.filename, error.filename2):
            if isinstance(name, (str, bytes)):
                path = Path(os.fsdecode(name))
                found = denied_at(path, reading=True) or denied_at(path, reading=False)
                if found is not None:
                    return found
    return local_error(error)


def denied_at(path: Path, *, reading: bool) -> PermissionDeniedError | None:
    """Return why this user may not use ``path``; None where nothing seems to be in the way.

    Args:
        path: need not exist.
        reading: whether it was only to be read, or to be written to.
    """
    culprit = _in_the_way(path.absolute(), reading=reading)
    if culprit is None:
        return None
    found = culprit.stat()
    owner, mode = user_name(found.st_uid), stat.S_IMODE(found.st_mode)
    me = user_name(os.geteuid())
    what = "read" if reading else "write to"
    which = "it" if culprit == path.absolute() else str(culprit)
    message = (
        f"cannot {what} {path}: {which} belongs to {owner} (mode {mode:04o}), and this program"
        f" runs as {me}"
    )
    if is_read_only(culprit) and not reading:
        return PermissionDeniedError(
            f"cannot write to {path}: its file system is read-only",
            hint="use another place, or have it mounted for writing",
        )
    if found.st_uid == os.geteuid():
        rights = "u+rX" if reading else "u+rwX"
        return PermissionDeniedError(
            message, hint=f"'chmod {rights} {culprit}' gives you the right"
        )
    hint = f"run this as {owner}, or let {me} {what} it"
    if not reading:
        hint += "; several users of one repository need core.sharedRepository"
    return PermissionDeniedError(message, hint=hint)


def denied_in_repository(git_dir: Path, *, reading: bool) -> PermissionDeniedError | None:
    """Return why this user may not use a repository; None where nothing seems to be in the way."""
    objects = git_dir / "objects"
    places = [objects, objects / "pack", git_dir / "refs", git_dir / "config", git_dir]
    found = (denied_at(place, reading=reading) for place in places)
    return next((each for each in found if each is not None), None)


def _in_the_way(path: Path, *, reading: bool) -> Path | None:
    for each in (path, *path.parents):
        try:
            mode = each.stat().st_mode
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # whoever may not enter a directory learns nothing of what is in it
        if not _may_use(each, mode, reading=reading):
            return each
        # A file is replaced in its directory.
        if reading or stat.S_ISDIR(mode) or _may_use(each.parent, stat.S_IFDIR, reading=False):
            return None
        return each.parent
    return None


def _may_use(path: Path, mode: int, *, reading: bool) -> bool:
    wanted = os.R_OK if reading else os.W_OK
    if stat.S_ISDIR(mode):
        wanted |= os.X_OK
    return os.access(path, wanted, effective_ids=True)


def is_read_only(path: Path) -> bool:
    """Tell whether the file system that a file or directory is in cannot be written to."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
