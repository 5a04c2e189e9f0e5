"""The roots under which every error of this program hangs.

For every package; pure. An error says *what* failed, *where* (a mirror, a file, a line) and,
as ``hint``, *what to do*. Subclasses sit beside the code that raises them; each belongs to
exactly one root, and the root decides the exit code a command ends with:

===================  =========  ============================================================
root                 exit code  whose fault
===================  =========  ============================================================
``GitTorrentError``  1          nobody's in particular; a check found something wrong
``UsageError``       2          the caller's: bad arguments, an unsuitable repository
``UnreachableError`` 3          nobody answered
``IdentityError``    4          not the repository that was asked for
``TrustError``       5          a signature, policy or digest does not hold
``UnverifiedError``  6          only an unverified way exists and the user did not allow it
``LocalError``       7          this machine's: git missing or failing, disk full, no key
``ProtocolError``    8          a peer broke the protocol
===================  =========  ============================================================

130 stands for "interrupted", as in a shell.
"""

from __future__ import annotations

import errno


class GitTorrentError(Exception):
    """Root of all; ``str()`` gives what and where, ``hint`` what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(GitTorrentError):
    """The request itself cannot be honoured: bad arguments or an unsuitable repository."""

    exit_code = 2


class UnreachableError(GitTorrentError):
    """No mirror could be reached, or none has what is needed."""

    exit_code = 3


class IdentityError(GitTorrentError):
    """The repository found is not the one that was asked for or was known before."""

    exit_code = 4


class TrustError(GitTorrentError):
    """A signature, policy, log entry or digest does not hold."""

    exit_code = 5


class UnverifiedError(GitTorrentError):
    """Only an unverified source exists, and the user did not allow that."""

    exit_code = 6


class LocalError(GitTorrentError):
    """Something on this machine is missing or failed: git, disk space, a signing key."""

    exit_code = 7


class NoRoomError(LocalError):
    """There is no room on a disk of this machine, or only what is to stay free."""


FULL = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
"""What the system says when there is no room."""

FULL_HINT = "make room and try again; what was there is as it was"

_IN_THE_WAY = frozenset([errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG])
"""What it says when a path cannot be used for what is there, or for itself."""

_OWN = FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE}
"""What it says when something else is wrong with this machine, and not with the program."""


def local_error(error: OSError) -> LocalError | None:
    """Return what to tell a user of a failure of this machine; None if it is not plainly one."""
    if error.errno not in _OWN | _IN_THE_WAY:
        return None
    # Of a file that is to be moved the name that it was to get says more.
    name = error.filename2 or error.filename
    where = f" ({name})" if name else ""
    if error.errno in FULL:
        return NoRoomError(f"{error.strerror}{where}", hint=FULL_HINT)
    hint = "let this program open more: 'ulimit -n', or LimitNOFILE= of its systemd unit"
    return LocalError(
        f"{error.strerror}{where}", hint=hint if error.errno in (errno.EMFILE, errno.ENFILE) else ""
    )


class ProtocolError(GitTorrentError):
    """A peer sent something that the protocol does not allow; never our own fault."""

    exit_code = 8
