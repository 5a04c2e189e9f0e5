"""Makes git refuse a repository whose objects turned out not to be what they seemed.

A repository in which git would go on answering wrongly must not be used, by whatever program, and
whoever comes across it must read why. Git refuses repositories that have an extension it does not
know, and names it; so the name of ours says where to read on: ``gittorrent/alarm`` in the git
directory (git-config(1), ``extensions.*``; gitrepository-layout(5)). Repositories that borrow its
objects do not read its configuration: they are refused the objects (`gittorrent.git.packs_aside`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.errors import TrustError
from gittorrent.git.alternates import lenders
from gittorrent.git.packs_aside import bring_back, set_aside
from gittorrent.git.runner import Git
from gittorrent.ids import OBJECT_FORMATS, SHA1

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.ids import ObjectFormat

WORDS = "not-verified-see-gittorrent-alarm"
"""What git says where it refuses a repository, or objects of it."""

EXTENSION = f"extensions.{WORDS}"
"""Setting by which git refuses a repository; it shows the words after the dot."""

_FORMAT = "core.repositoryformatversion"


class RefusedRepositoryError(TrustError):
    """A check found that objects of a repository are not what they seemed."""


def alarm_file(git_dir: Path) -> Path:
    """Return where it is written why a repository is refused."""
    return git_dir / "gittorrent" / "alarm"


def refuse_repository(git_dir: Path, why: str) -> None:
    """Make git, and this program, refuse a repository from now on.

    Args:
        git_dir: its git directory.
        why: what the user reads in ``gittorrent/alarm``, in lines.
    """
    # The words first: whoever is refused finds them. The version last: it makes the other count.
    write_atomically(alarm_file(git_dir), why.encode("utf-8"))
    _set(git_dir, EXTENSION, "true")
    _set(git_dir, _FORMAT, "1")
    set_aside(git_dir / "objects", _nothing(git_dir))


def admit_again(git_dir: Path) -> None:
    """Let a repository be used again that was refused; the reasons are gone."""
    bring_back(git_dir / "objects", _nothing(git_dir))
    config = str(git_dir / "config")
    present = Git(git_dir).attempt("config", "--file", config, "--get", EXTENSION)
    if present.returncode == 0:
        Git(git_dir).run("config", "--file", config, "--unset-all", EXTENSION)
    alarm_file(git_dir).unlink(missing_ok=True)


def refusal(git_dir: Path) -> RefusedRepositoryError | None:
    """Return why a repository is refused, or one that it borrows from; None where none is."""
    own = own_refusal(git_dir)
    if own is not None:
        return own
    for lender in lenders(git_dir / "objects"):
        error = own_refusal(lender.parent)
        if error is not None:
            return RefusedRepositoryError(f"{git_dir} borrows objects: {error}", hint=error.hint)
    return None


def own_refusal(git_dir: Path) -> RefusedRepositoryError | None:
    """Return why a repository is refused by itself; None where it is not."""
    try:
        words = alarm_file(git_dir).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    first, _, rest = words.strip().partition("\n")
    return RefusedRepositoryError(
        f"{git_dir} is not to be used: {first}", hint=" ".join(rest.split())
    )


def format_of_refused(git_dir: Path) -> ObjectFormat:
    """Return the object format of a repository that git refuses, which tells nothing of it."""
    config = str(git_dir / "config")
    said = Git(git_dir).attempt("config", "--file", config, "--get", "extensions.objectFormat")
    return OBJECT_FORMATS[said.stdout.decode("ascii").strip() or SHA1.name]


def require_admitted(git_dir: Path) -> None:
    """Refuse a repository that a check has found false, and one that borrows from such a one.

    Raises:
        RefusedRepositoryError: with the reason.
    """
    error = refusal(git_dir)
    if error is not None:
        raise error


def _nothing(git_dir: Path) -> Path:
    """Return where there is nothing, which git names to those who borrow."""
    return git_dir.resolve() / "gittorrent" / WORDS


def _set(git_dir: Path, key: str, value: str) -> None:
    Git(git_dir).run("config", "--file", str(git_dir / "config"), key, value)
