"""How commands are told of a repository: by path, by the name it is served under, or by its id.

The one place where such an argument becomes a directory. Rules: what looks like a path is one;
a directory that exists comes before a carried repository of that name, so that ``publish project``
means the directory; a command that only looks at carried repositories passes over a directory that
is not carried; the path of a clone stands for the copy it is published through. Must not know what
the command does with it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gittorrent.cli.bare_copy import recorded_copy
from gittorrent.errors import LocalError, UsageError
from gittorrent.git.repository import NotARepositoryError, find_repository
from gittorrent.ids import is_repository_id
from gittorrent.repository.carried import MIRROR, Carried
from gittorrent.repository.relocating import recognise, relocate
from gittorrent.store.database import Database
from gittorrent.store.home import usable_home
from gittorrent.transfer.location import shown_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from click.shell_completion import CompletionItem

    from gittorrent.git.broken_files import BrokenFile
    from gittorrent.store.carried_rows import CarriedRow

    _PathParameter = click.ParamType[Path]
else:
    _PathParameter = click.ParamType  # not generic before click 8.2


def repository_at_hand() -> str:
    """Return the repository that is meant where none is named.

    As for git, that of ``git --git-dir``, or of the hook that this runs in, comes before that of
    the current directory.
    """
    return os.environ.get("GIT_DIR") or "."


def resolve_carried(text: str, rows: Iterable[CarriedRow]) -> CarriedRow | None:
    """Return the carried repository that a name or a repository id stands for; None if none does.

    Args:
        text: the name, with or without ``.git``, or the id, in either case.
        rows: what this node carries.

    Raises:
        UsageError: the node carries the repository of that id more than once.
    """
    known = list(rows)
    wanted = text.lower()
    if is_repository_id(wanted):
        found = [row for row in known if row.repository_id == wanted]
        present = [row for row in found if Path(row.path).is_dir()] or found
        if len(present) > 1:
            paths = " and ".join(row.path for row in present)
            raise UsageError(f"{text} is carried more than once: {paths}", hint="name the path")
        return present[0] if present else None
    named = {row.name: row for row in known}
    return named.get(text) or named.get(text.removesuffix(".git"))


def carried_row(text: str) -> CarriedRow | None:
    """Return what this machine's node carries under a name, an id, or at a path; None if nothing.

    A path need not be there any more. That of a clone stands for the copy it is published through.

    Raises:
        UsageError: the node carries the repository of that id more than once.
    """
    with usable_home() as home, contextlib.closing(Database(home.database)) as database:
        row = _find(text, database.carried())
        if row is not None and not Path(row.path).is_dir():
            return relocate(row, database) or row
    return row


def _find(text: str, rows: list[CarriedRow]) -> CarriedRow | None:
    path = Path(text)
    if not _is_path(text) and not (path.is_dir() and _carries(path)):
        row = resolve_carried(text, rows)
        if row is not None:
            return row
    path = _as_git_takes_it(path)
    places = {path.absolute(), path.resolve()}
    with contextlib.suppress(NotARepositoryError):
        git_dir = find_repository(path).git_dir
        places |= {git_dir, recorded_copy(git_dir) or git_dir}
    return next((row for row in rows if Path(row.path) in places), None)


def way_out(row: CarriedRow) -> str:
    """Return what to do about a carried repository that is not where it was."""
    again = f"; 'gittorrent mirror {row.source}' gets it again" if row.role == MIRROR else ""
    return (
        f"if it was moved, name its new place once, as in 'gittorrent log NEW_PATH'{again};"
        f" 'gittorrent remove {row.name}' forgets it"
    )


def advice_on_damage(role: str, name: str, source: str) -> str:
    """Return what to do about a carried repository that is damaged.

    Args:
        role: of this node for it.
        name: as it is served.
        source: URL that it is mirrored from.
    """
    if role == MIRROR:
        return f"'gittorrent remove {name}' and 'gittorrent mirror {source}' get it anew"
    return "'gittorrent adopt URL_OF_A_MIRROR' goes on with what a mirror has, if you have its key"


def advice_on_broken(role: str, name: str, broken: BrokenFile) -> str:
    """Return what to do about a broken file of a carried repository's refs or settings."""
    if role == MIRROR:
        return f"the next update writes it anew; 'gittorrent mirror {name}' does so now"
    return broken.hint


_NO_URL = (
    "'gittorrent status' shows those that are carried here; to get one there are"
    " 'gittorrent mirror URL' and 'git clone URL'"
)


class RepositoryArgument(_PathParameter):
    """A repository named on the command line; becomes the path of a directory.

    Args:
        is_carried: whether the command is only for carried repositories, so that a directory which
            is not carried gives way to a carried repository of that name.
        url_hint: what to do where a URL is named instead.
    """

    name = "repository"

    def __init__(self, *, is_carried: bool = False, url_hint: str = _NO_URL) -> None:
        self._is_carried = is_carried
        self._url_hint = url_hint

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the directory that is meant.

        Raises:
            UsageError: there is no such directory, and no carried repository of that name or id.
        """
        del param, ctx
        text = os.fspath(value)
        path = Path(text)
        if not text:
            raise UsageError("the repository's name is empty", hint="'.' is the current directory")
        if "://" in text and not path.exists():
            raise UsageError(
                f"{shown_url(text)} is a URL, and this is about repositories on this machine",
                hint=self._url_hint,
            )
        if _is_path(text) or (path.is_dir() and not (self._is_carried and not _carries(path))):
            return self._at(_as_git_takes_it(path))
        row = carried_row(text)
        if row is not None:
            return present_path(row)
        path = _as_git_takes_it(path)
        if path.exists():
            return path
        raise UsageError(
            f"there is no directory {text}, and no repository of that name or id is carried here",
            hint="'gittorrent status' shows names and ids",
        )

    def _at(self, path: Path) -> Path:
        if not self._is_carried:
            return path
        if _carries(path):
            _recognise(path)
            return path
        return _published_through(path) or path

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete what is carried here, and directories."""
        from click.shell_completion import CompletionItem

        from gittorrent.cli.completing import carried_names  # few ask for it, at a press of a key

        del ctx, param
        names = [] if _is_path(incomplete) and incomplete else carried_names(incomplete)
        return [*names, CompletionItem(incomplete, type="dir")]


REPOSITORY = RepositoryArgument()
"""Any repository."""

CARRIED_REPOSITORY = RepositoryArgument(is_carried=True)
"""One that was published or mirrored here."""


def present_path(row: CarriedRow) -> Path:
    """Return the directory of a carried repository.

    Raises:
        UsageError: it is not there any more.
    """
    path = Path(row.path)
    if not path.is_dir():
        raise UsageError(f"{row.name} is missing: {path} is not there any more", hint=way_out(row))
    return path


def _published_through(path: Path) -> Path | None:
    """Return the bare copy that the clone at a path is published through; None if there is none."""
    with contextlib.suppress(NotARepositoryError):
        copy = recorded_copy(find_repository(path).git_dir)
        if copy is None or _carries(copy):
            return copy
        row = carried_row(str(path))
        return None if row is None else present_path(row)
    return None


def _as_git_takes_it(path: Path) -> Path:
    """Return the bare repository that a path without its ``.git`` stands for, or the path."""
    bare = path.parent / f"{path.name}.git"
    return bare if path.name and not path.exists() and bare.is_dir() else path


def _is_path(text: str) -> bool:
    return os.sep in text or text in (".", "..", "")


def _recognise(path: Path) -> None:
    """Let the database know of a repository that was moved to where it is named."""
    with usable_home() as home, contextlib.closing(Database(home.database)) as database:
        recognise(find_repository(path).git_dir, database)


def _carries(path: Path) -> bool:
    """Tell whether a directory is a repository that was published or mirrored here."""
    try:
        found = find_repository(path)
        return Carried(found.git_dir, found.object_format).is_published_or_mirrored
    except NotARepositoryError:
        return False
    except LocalError:  # it is damaged, and whoever uses it says how
        return True
