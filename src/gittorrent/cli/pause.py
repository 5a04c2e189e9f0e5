"""``gittorrent pause`` and ``gittorrent resume``."""

from __future__ import annotations

import contextlib

import click
from msgspec.structs import replace

from gittorrent.cli.output import quiet_option
from gittorrent.cli.repositories import carried_row
from gittorrent.errors import UsageError
from gittorrent.repository.carried import MIRROR
from gittorrent.store.database import Database
from gittorrent.store.following import FollowTable
from gittorrent.store.home import open_home
from gittorrent.store.tracks import TrackTable


@click.command()
@click.argument("repository")
@quiet_option
def pause(repository: str, quiet: bool) -> None:
    """Let a mirror be as it is: the node serves it, and does not follow it.

    REPOSITORY is the name, id or path of a mirror, or of what is tracked, as 'gittorrent status'
    shows them. An update that is under way ends; what it has verified is kept. It stays paused
    until 'gittorrent resume', or 'gittorrent mirror' or 'track' of it.

    \b
    Examples:
      gittorrent pause project
    """
    name = _set_paused(repository, paused=True)
    if not quiet:
        click.echo(f"paused {name}: 'gittorrent resume {name}' goes on")


@click.command()
@click.argument("repository")
@quiet_option
def resume(repository: str, quiet: bool) -> None:
    """Follow a mirror again that was paused, or track a git server again.

    \b
    Examples:
      gittorrent resume project
    """
    name = _set_paused(repository, paused=False)
    if not quiet:
        click.echo(f"{name} is followed again")


def _set_paused(repository: str, *, paused: bool) -> str:
    """Pause what is meant, or follow it again; returns its name.

    Raises:
        UsageError: there is nothing of that name that follows anybody.
    """
    row = carried_row(repository)
    with contextlib.closing(Database(open_home().database)) as database:
        tracks = TrackTable(database)
        track = tracks.find(row.name if row is not None else repository)
        if track is not None and (row is None or row.role != MIRROR):
            tracks.put(replace(track, paused=paused))
            return track.name
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
        return row.name
