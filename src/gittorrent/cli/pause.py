"""``gittorrent pause`` and ``gittorrent resume``."""

from __future__ import annotations

import contextlib

import click
from msgspec.structs import replace

from gittorrent.cli.output import quiet_option
from gittorrent.cli.repositories import carried_row
from gittorrent.errors import UsageError
from gittorrent.repository.carried import MIRROR
from gittorrent.store.database import CarriedRow, Database
from gittorrent.store.following import FollowTable
from gittorrent.store.home import open_home


@click.command()
@click.argument("repository")
@quiet_option
def pause(repository: str, quiet: bool) -> None:
    """Let a mirror be as it is: the node serves it, and does not follow it.

    REPOSITORY is the name, id or path of a mirror, as 'gittorrent status' shows them. An update
    that is under way ends; what it has verified is kept. It stays paused until 'gittorrent
    resume', or 'gittorrent mirror' of it.

    \b
    Examples:
      gittorrent pause project
    """
    row = _mirror(repository)
    _set_paused(row, paused=True)
    if not quiet:
        click.echo(f"paused {row.name}: 'gittorrent resume {row.name}' goes on")


@click.command()
@click.argument("repository")
@quiet_option
def resume(repository: str, quiet: bool) -> None:
    """Follow a mirror again that was paused.

    \b
    Examples:
      gittorrent resume project
    """
    row = _mirror(repository)
    _set_paused(row, paused=False)
    if not quiet:
        click.echo(f"{row.name} is followed again")


def _mirror(repository: str) -> CarriedRow:
    """Return the mirror that is meant.

    Raises:
        UsageError: there is none, or it is published from here.
    """
    row = carried_row(repository)
    if row is None:
        raise UsageError(
            f"{repository} is no repository that is carried here",
            hint="'gittorrent status' shows names, ids and paths",
        )
    if row.role != MIRROR:
        raise UsageError(f"{row.name} is published from here; it follows nobody")
    return row


def _set_paused(row: CarriedRow, *, paused: bool) -> None:
    with contextlib.closing(Database(open_home().database)) as database:
        table = FollowTable(database)
        how = table.followed(row.repository_id)
        table.follow(row.repository_id, replace(how, paused=paused))
