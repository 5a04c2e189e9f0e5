"""Says which refs of a repository need an object that is missing in it, and what helps."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError
from gittorrent.git.history import MissingObjectError
from gittorrent.git.refs import read_refs
from gittorrent.git.runner import GitError
from gittorrent.repository.copied_refs import MAX_NAMED, name_few

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.git.runner import Git


class DamagedRepositoryError(LocalError):
    """An object is missing that the repository's refs need."""


@contextmanager
def naming_lacking(git: Git) -> Iterator[None]:
    """Say which refs need it where work in a repository ends because an object is missing.

    Raises:
        DamagedRepositoryError: instead of what git says of the object.
    """
    try:
        yield
    except (GitError, MissingObjectError) as error:
        if error.lacking is None:
            raise
        raise _damage(git, error.lacking) from error


def _damage(git: Git, oid: str) -> DamagedRepositoryError:
    pointing = [name for name, value in sorted(read_refs(git).items()) if value == oid]
    names = [name.decode(errors="backslashreplace") for name in pointing[:MAX_NAMED]]
    what = name_few(pointing) or "the history of its refs"
    fetch = f"git -C {shlex.quote(str(git.directory))} fetch --refetch CLONE"
    wanted = " ".join(map(shlex.quote, names)) or "BRANCH"
    return DamagedRepositoryError(
        f"{git.directory} is damaged: object {oid} is missing, which {what} needs",
        hint=f"bring it back from a clone that has it with '{fetch} {wanted}', or go on with what a"
        " mirror has with 'gittorrent adopt URL'; 'gittorrent verify' looks for all that is"
        " missing",
    )
