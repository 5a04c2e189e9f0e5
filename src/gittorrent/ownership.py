"""Whose files these are: nothing that another user could have written passes for this user's own.

Two questions are answered by the owner and the mode of a file. May a directory hold keys, the
node's database and its control socket? And may two repositories share a file? A hard link is the
other repository's file for as long as it exists: so only what nobody writes to is linked, and
everything else is copied. What was put in place is for the caller to verify, and not what it was
made from, which may change meanwhile.

Access control lists need no look of their own: where there are any, the group's bits of the mode
are the most that they grant.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import filecmp
import os
import pwd
import stat
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_ENTERED_BY_OTHERS = stat.S_IXGRP | stat.S_IXOTH
_WRITABLE = stat.S_IWUSR | _WRITABLE_BY_OTHERS

_FICLONE = 0x40049409
"""``ioctl`` that lets two files share their blocks until one is written to (ioctl_ficlone(2))."""

_MOST_AT_ONCE = 1 << 30
"""Bytes to ask the kernel to copy in one call; it takes up to 2 GiB."""


class NotOwnError(LocalError):
    """A directory that has to be this user's own is not."""


def require_own(path: Path, hint: str, *, within: Path | None = None) -> None:
    """Make sure that a file or directory is this user's, and that nobody else may write to it.

    Args:
        path: what must exist; of a link, what it leads to counts.
        hint: what to do if it is not.
        within: a directory that was checked already and that one has to pass to get there; if
            others may not enter it, the mode of ``path`` does not matter.

    Raises:
        NotOwnError: it is another user's, or others may write to it.
        OSError: it cannot be looked at.
    """
    info = path.stat()
    if info.st_uid != os.geteuid():
        raise NotOwnError(
            f"{path} belongs to {user_name(info.st_uid)}, and this program runs as"
            f" {user_name(os.geteuid())}",
            hint=hint,
        )
    if within is not None and not within.stat().st_mode & _ENTERED_BY_OTHERS:
        return
    if info.st_mode & _WRITABLE_BY_OTHERS:
        mode = stat.S_IMODE(info.st_mode)
        raise NotOwnError(
            f"other users may write to {path} (its mode is {mode:04o})",
            hint=f"take that away with 'chmod go-w {path}' if nobody did so yet; or {hint}",
        )


def make_private(path: Path) -> None:
    """Make an empty file that only this user may read, if there is none.

    Raises:
        OSError: it cannot be made or written to.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def share(source: Path, target: Path, size: int) -> bool:
    """Make the first bytes of a file appear under another name, without a copy where possible.

    It is a link if the file has no further bytes, is this user's, and nobody may write to it.
    Otherwise it is a copy, whose blocks are shared where the file system can do that.

    Args:
        source: a file, perhaps of somebody else.
        target: the new name, which must be free.
        size: how many bytes.

    Returns:
        Whether it is a copy: a file of its own, which its owner may write to.

    Raises:
        OSError: the source cannot be read or is no file, or there is no room for a copy.
    """
    with _opened(source) as descriptor:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(source))
        if _is_fixed(info) and info.st_size == size and _link(descriptor, target):
            return False
        _copy(descriptor, target, size)
    return True


def link_same(source: Path, made: Path) -> None:
    """Let a file give way to a link to another one of the same bytes, where that is safe.

    What was linked is compared, and not what it was linked from, which may change meanwhile.

    Args:
        source: a file that may be there, perhaps of somebody else.
        made: a file of this user's, which keeps its name; it stays where there is nothing to link.
    """
    shared = made.with_name(f"{made.name}.shared")
    try:
        with _opened(source) as descriptor:
            info = os.fstat(descriptor)
            is_alike = _is_fixed(info) and info.st_size == made.stat().st_size
            if not is_alike or not _link(descriptor, shared):
                return
    except OSError:
        return  # there is none that this user may read; the one that was made does as well
    try:
        if filecmp.cmp(shared, made, shallow=False):
            shared.replace(made)
    finally:
        shared.unlink(missing_ok=True)


def set_mode(path: Path, mode: int) -> None:
    """Give a file a mode; one that has other names gives way to a copy, as those keep theirs.

    So does one that may be read by a group which is not that of files made here.

    Args:
        path: a file of this user's.
        mode: who may do what.

    Raises:
        LocalError: there is no room for a copy.
    """
    info = path.stat()
    is_shared = info.st_nlink > 1
    if stat.S_IMODE(info.st_mode) == mode and not (is_shared and _is_of_other_group(path, mode)):
        return
    if is_shared:
        copied = path.with_name(f"{path.name}.own")
        try:
            with _opened(path) as descriptor:
                _copy(descriptor, copied, info.st_size)
        except OSError as error:
            raise LocalError(
                f"cannot copy {path}: {error.strerror}", hint="make room and try again"
            ) from error
        copied.replace(path)
    path.chmod(mode)


def _is_of_other_group(path: Path, mode: int) -> bool:
    """Tell whether a mode lets another group read a file than would read one made beside it."""
    if bool(mode & stat.S_IRGRP) == bool(mode & stat.S_IROTH):
        return False
    directory = path.parent.stat()
    group = directory.st_gid if directory.st_mode & stat.S_ISGID else os.getegid()
    return path.stat().st_gid != group


def _is_fixed(info: os.stat_result) -> bool:
    return info.st_uid == os.geteuid() and not info.st_mode & _WRITABLE


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[int]:
    # Whoever owns the directory could have put a pipe there, to open which waits for a writer.
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _link(descriptor: int, target: Path) -> bool:
    """Give the very file that is open another name; tells whether that could be done."""
    opened = f"/proc/self/fd/{descriptor}"
    try:
        # Only with a directory named, whichever, does Python make the kernel follow the link.
        os.link(opened, target, src_dir_fd=descriptor, follow_symlinks=True)
    except FileExistsError:
        raise
    except OSError:
        return False  # another file system, or one without links: then it is a copy
    return True


def _copy(descriptor: int, target: Path, size: int) -> None:
    made = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        if _clone_blocks(descriptor, made):
            os.ftruncate(made, size)
            return
        position = 0
        while position < size:
            sent = os.sendfile(made, descriptor, position, min(_MOST_AT_ONCE, size - position))
            if sent == 0:
                break  # it is shorter than it should be, which whoever verifies the copy finds
            position += sent
    except BaseException:
        target.unlink()
        raise
    finally:
        os.close(made)


def _clone_blocks(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False  # few file systems can
    return True


def user_name(uid: int) -> str:
    """Return such as ``user nobody``."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
