"""``gittorrent status``."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from gittorrent.cli.collection_status import CollectionStatus, collection_statuses, in_short
from gittorrent.cli.held_back import HeldStatus, held_status, in_words
from gittorrent.cli.kept_refs import all_held
from gittorrent.cli.node_health import Health, look_at_health
from gittorrent.cli.node_toml import read_config
from gittorrent.cli.output import json_option, print_json, print_table
from gittorrent.cli.process_view import show_process
from gittorrent.cli.repository_status import (
    RepositoryStatus,
    describe_check,
    describe_damage,
    look_at,
)
from gittorrent.cli.track_status import TrackStatus, describe_track, track_statuses
from gittorrent.errors import GitTorrentError
from gittorrent.printable import printable
from gittorrent.repository.relocating import relocate
from gittorrent.store.database import Database
from gittorrent.store.following import FollowTable
from gittorrent.store.home import open_home
from gittorrent.store.processes import AnyProcess, NodeProcess
from gittorrent.store.snapshot import read_snapshots

if TYPE_CHECKING:
    from gittorrent.ids import RepositoryId
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.held import HeldRow
    from gittorrent.store.home import Home


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@click.option("--check", is_flag=True, help="Say whether a node runs here and is ready, and end.")
@click.option("--check-alive", is_flag=True, help="Say whether a node answers here, and end.")
@json_option
def status(watch: bool, check: bool, check_alive: bool, as_json: bool) -> None:
    """Show what this node carries and what its processes are transferring.

    With --json --watch one line of JSON is printed a second. With --check, for containers and
    monitoring, it ends with 0 where the node is ready, and with 1 where it is not, or none runs.

    \b
    Examples:
      gittorrent status
      gittorrent status --watch
      gittorrent status --json
      gittorrent status --check
    """
    home = open_home()
    if check or check_alive:
        raise SystemExit(_check(look_at_health(home), alive_only=not check, as_json=as_json))
    while True:
        found, held = _gather(home)
        if as_json and watch:
            click.echo(json.dumps(to_builtins(found)))
        elif as_json:
            print_json(found)
        else:
            if watch:
                click.clear()
            _show(found, held)
        if not watch:
            return
        time.sleep(1.0)


def _check(health: Health, *, alive_only: bool, as_json: bool) -> int:
    """Print how the node is; returns the exit status."""
    is_well = health.is_alive and (alive_only or not health.lacks)
    if as_json:
        print_json(health)
    elif is_well:
        click.echo("the node answers" if alive_only else "the node is ready")
    else:
        click.echo(
            f"the node is not {'there' if alive_only else 'ready'}: {health.lacks}", err=True
        )
    return 0 if is_well else 1


class Status(Struct, frozen=True):
    """All there is to say of this node, as ``--json`` shows it.

    Args:
        home: of the node.
        repositories: that it carries.
        processes: that are at work.
        held: what disappeared suddenly and is held back.
        collections: that are followed.
        tracks: plain git servers that it tracks.
        wanted: URLs of what it is to carry and does not yet, such as after a restore.
    """

    home: str
    repositories: list[RepositoryStatus]
    processes: list[AnyProcess]
    held: list[HeldStatus]
    collections: list[CollectionStatus]
    tracks: list[TrackStatus]
    wanted: list[str]


def _gather(home: Home) -> tuple[Status, list[HeldRow]]:
    with contextlib.closing(Database(home.database)) as database:
        named = _named(home, database)
        rows = [look_at(_present(row, database), database, named) for row in database.carried()]
        held = all_held(database)
        tracks = track_statuses(database)
        wanted = [each.url for each in FollowTable(database).wanted()]
    found = list(map(held_status, held))
    return Status(
        str(home.root), rows, read_snapshots(home.run), found, _collections(home), tracks, wanted
    ), held


def _collections(home: Home) -> list[CollectionStatus]:
    """Return the collections; what keeps them from being told of must not hide all else."""
    try:
        return collection_statuses(home)
    except GitTorrentError as error:
        click.echo(f"{error}", err=True)
        return []


def _named(home: Home, database: Database) -> frozenset[RepositoryId]:
    """Return the repositories that the node's configuration names, as far as it can be read."""
    try:
        config = read_config(home.config, is_named=False)
    except GitTorrentError as error:
        click.echo(f"{error}", err=True)
        return frozenset()
    locations = [each.location for each in config.carry.repositories]
    ids = (each.expected or database.known_url(each.url) for each in locations)
    return frozenset(each for each in ids if each is not None)


def _present(row: CarriedRow, database: Database) -> CarriedRow:
    """Return a repository as it is carried now, should it have been renamed within its folder."""
    moved = None if Path(row.path).is_dir() else relocate(row, database)
    return moved or row


def _to_come(urls: list[str]) -> str:
    """Say what a node is to bring once it runs."""
    if len(urls) == 1:
        return printable(f"{urls[0]} is to come: 'gittorrent serve' brings it")
    return f"{len(urls)} repositories are to come: 'gittorrent serve' brings them"


def _show(found: Status, held: list[HeldRow]) -> None:
    now = time.time()
    click.echo(f"home  {found.home}")
    rows = found.repositories
    if rows:
        names = ("name", "role", "pushes", "reels", "mirrors", "path")
        head = tuple(name.upper() for name in names)
        shown = [replace(row, role=f"{row.role}, private") if row.private else row for row in rows]
        print_table(head, [tuple(str(getattr(row, name)) for name in names) for row in shown])
        for each in rows:
            if each.not_final:
                one = each.not_final == 1
                which = "1 push is" if one else f"{each.not_final} pushes are"
                what = "it" if one else "them"
                click.echo(f"{each.name}: {which} not final until the keeper has taken {what}")
            if each.not_published:
                click.echo(f"{each.name}: {each.not_published}")
            for reel in each.damaged:
                click.echo(f"{each.name}: {describe_damage(reel)}")
            if each.check is not None and not each.problem:
                click.echo(f"{each.name}: {describe_check(each.check, now)}")
            if each.is_missing:
                click.echo(f"{each.name} is missing: {each.way_out}")
            elif each.problem:
                click.echo(f"{each.name} cannot be used: {each.problem}; {each.way_out}")
    elif not found.tracks and not found.wanted:
        click.echo("no repositories yet: publish or mirror one")
    if found.wanted and not any(isinstance(each, NodeProcess) for each in found.processes):
        click.echo(_to_come(found.wanted))
    for collection in found.collections:
        click.echo(f"collection {collection.name or collection.url}: {in_short(collection)}")
    for row in held:
        click.echo(f"held back: {in_words(row, now)}")
    for track in found.tracks:
        click.echo(printable(f"{track.name}: {describe_track(track, now)}"))
    for process in found.processes:
        click.echo("")
        show_process(process, now)
