"""What shells are told of names that commands take: repositories, tokens, what is held back.

Asked at each press of a key, so nothing but the database is read, as it lies, and no more of it
than begins with what was typed. Rules: nothing is made, changed or reached over a network; what
goes wrong is not said, since there is nobody to read it; a home that is not this user's is not
looked into, so that names of private repositories are told to nobody else.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from gittorrent.errors import GitTorrentError
from gittorrent.ownership import require_own
from gittorrent.printable import printable
from gittorrent.store.database_file import look_at
from gittorrent.store.home import named_home

if TYPE_CHECKING:
    from collections.abc import Callable

    import click

    Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

MOST = 1000
"""Names that are offered; who has more types another letter."""

_ID = re.compile(r"[0-9A-Fa-f]{1,64}")

_NAMES = "SELECT name, role FROM repositories"
_MIRRORS = "SELECT name, role FROM repositories WHERE role = 'mirror'"
_TRACKED = "SELECT name, 'tracked from ' || url FROM tracks"
_IDS = "SELECT repository_id, name FROM repositories"
_TOKENS = (
    "SELECT name, CASE WHEN expires AND expires <= {now} THEN 'expired' ELSE '' END FROM tokens"
)
_HELD = (
    "SELECT CAST(number AS TEXT), title FROM held WHERE decision = 'waiting'"
    " UNION SELECT title, 'all that is held back of it' FROM held WHERE decision = 'waiting'"
)


def carried_names(incomplete: str) -> list[CompletionItem]:
    """Return names and ids of repositories that are carried here, as far as they fit."""
    return _beginning_with(incomplete, _NAMES) + _ids(incomplete)


def complete_carried(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete repositories that are carried here."""
    return carried_names(incomplete)


def complete_removable(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete repositories that are carried here, and what is tracked."""
    return _distinct(carried_names(incomplete) + _beginning_with(incomplete, _TRACKED))


def complete_followed(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete mirrors, and what is tracked."""
    found = _beginning_with(incomplete, _MIRRORS) + _beginning_with(incomplete, _TRACKED)
    return found + _ids(incomplete, " WHERE role = 'mirror'")


def complete_tokens(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete names of tokens."""
    return _beginning_with(incomplete, _TOKENS.format(now=int(time.time())))


def complete_held(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete numbers of what is held back, and names of what that belongs to."""
    return _beginning_with(incomplete, _HELD)


def _ids(incomplete: str, condition: str = "") -> list[CompletionItem]:
    """Return ids that begin as what was typed; none where nothing was."""
    if _ID.fullmatch(incomplete) is None:
        return []
    return _beginning_with(incomplete.lower(), f"{_IDS}{condition}")


def _beginning_with(incomplete: str, query: str) -> list[CompletionItem]:
    """Return what a query finds that begins as what was typed.

    Args:
        incomplete: what was typed.
        query: for values, and for what there is to say of each.
    """
    narrowed = (
        f"WITH found (value, said) AS ({query}) SELECT value, said FROM found"  # noqa: S608
        f" WHERE substr(value, 1, ?) = ? ORDER BY value LIMIT {MOST}"
    )
    try:
        home = named_home()
        for path in (home.root, home.database):
            require_own(path, "", within=None if path == home.root else home.root)
        rows = look_at(home.database, narrowed, len(incomplete), incomplete)
    except (GitTorrentError, OSError):
        return []
    return [CompletionItem(value, help=printable(said) or None) for value, said in rows]


def _distinct(items: list[CompletionItem]) -> list[CompletionItem]:
    return list({item.value: item for item in items}.values())
