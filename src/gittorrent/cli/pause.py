"""``gittorrent pause`` and ``gittorrent resume``."""

from __future__ import annotations

import contextlib

import click
from msgspec import Struct
from msgspec.structs import replace

from gittorrent.cli.completing import complete_followed
from gittorrent.cli.output import json_option, print_json, quiet_option
from gittorrent.cli.repositories import carried_row
from gittorrent.errors import UsageError
from gittorrent.ids import RepositoryId
from gittorrent.repository.carried import MIRROR
from gittorrent.store.database import Database
from gittorrent.store.following import FollowTable
from gittorrent.store.home import open_home
from gittorrent.store.tracks import TrackTable


@click.command()
@click.argument("repository", shell_complete=complete_followed)
@quiet_option
@json_option
def pause(repository: str, quiet: bool, as_json: bool) -> None:
    """Let a mirror be as it is: the node serves it, and does not follow it.

    REPOSITORY is the name, id or path of a mirror, or of what is tracked, as 'gittorrent status'
    shows them. An update that is under way ends; what it has verified is kept. It stays paused
    until 'gittorrent resume', or 'gittorrent mirror' or 'track' of it.

    \b
    Examples:
      gittorrent pause project
    """
    found = _set_paused(repository, paused=True)
    if as_json:
        print_json(found)
    elif not quiet:
        click.echo(f"paused {found.name}: 'gittorrent resume {found.name}' goes on")


@click.command()
@click.argument("repository", shell_complete=complete_followed)
@quiet_option
@json_option
def resume(repository: str, quiet: bool, as_json: bool) -> None:
    """Follow a mirror again that was paused, or track a git server again.

    \b
    Examples:
      gittorrent resume project
    """
    found = _set_paused(repository, paused=False)
    if as_json:
        print_json(found)
    elif not quiet:
        click.echo(f"{found.name} is followed again")


class _Paused(Struct, frozen=True):
    """What was paused or is followed again, as --json shows it.

    Args:
        name: of it.
        repository_id: its id; None for what is tracked and was not published yet.
        paused: whether it is.
    """

    name: str
    repository_id: RepositoryId | None
    paused: bool


def _set_paused(repository: str, *, paused: bool) -> _Paused:
    """Pause what is meant, or follow it again; returns what that is.

    Raises:
        UsageError: there is nothing of that name that follows anybody.
    """
    row = carried_row(repository)
    with contextlib.closing(Database(open_home().database)) as database:
        tracks = TrackTable(database)
        track = tracks.find(row.name if row is not None else repository)
        if track is not None and (row is None or row.role != MIRROR):
            tracks.put(replace(track, paused=paused))
            return _Paused(track.name, None if row is None else row.repository_id, paused)
        if row is None:
            raise UsageError(
                f"{repository} is no repository that is carried here",
                hint="'gittorrent status' shows names, ids and paths",
            )
        if row.role != MIRROR:
            raise UsageError(f"{row.name} is published from here; it follows nobody")
        table = FollowTable(database)
        how = table.followed(row.repository_id)
        table.follow(row.repository_id, replace(how, paused=paused))
        return _Paused(row.name, row.repository_id, paused)
