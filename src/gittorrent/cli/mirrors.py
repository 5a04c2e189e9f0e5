"""``gittorrent mirrors``."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import click

from gittorrent.cli.locations import typed_location
from gittorrent.cli.output import json_option, print_json, print_table
from gittorrent.cli.repositories import carried_row, present_path
from gittorrent.errors import UsageError
from gittorrent.interruptions import run
from gittorrent.repository.auth_lines import auth_lines
from gittorrent.repository.carried import Carried, object_format_of
from gittorrent.store.database import Database
from gittorrent.store.home import open_home
from gittorrent.transfer.location import LocationError, is_url, parse_location
from gittorrent.transfer.opening import ask_list
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorList

if TYPE_CHECKING:
    from gittorrent.store.database import CarriedRow
    from gittorrent.transfer.location import Location


@click.command()
@click.argument("place", metavar="URL_OR_REPOSITORY")
@json_option
def mirrors(place: str, as_json: bool) -> None:
    """List the mirrors that the mirror at URL knows, as it last found them.

    For a repository that is carried here (its name, id or path), those that this node knows.

    \b
    Examples:
      gittorrent mirrors gittorrent://mirror.example.org/project.git
      gittorrent mirrors project
    """
    found = _answer(place)
    if as_json:
        print_json(
            {
                "repository_id": found.repository_id,
                "latest": found.latest,
                "auth": [
                    {"refs": line.pattern.decode(errors="backslashreplace"), "key": line.key}
                    for line in found.auth
                ],
                "mirrors": [
                    {"url": e.url, "valid": e.valid, "state": e.state.value} for e in found.mirrors
                ],
            }
        )
        return
    click.echo(f"repository  {found.repository_id}")
    click.echo(f"latest      {found.latest or 'no push yet'}")
    if found.mirrors:
        rows = [(entry.url, entry.state.value, f"{entry.valid} s") for entry in found.mirrors]
        print_table(("MIRROR", "STATE", "VALID FOR"), rows)


def _asked(location: Location) -> MirrorList:
    listed: MirrorList = run(ask_list(location.require_endpoint()))[0]
    return listed


def _answer(place: str) -> MirrorList:
    """Return what the node at a URL knows, or this one of a repository it carries."""
    if is_url(place):
        location = parse_location(place)
        row = None if location.endpoint is not None else carried_row(str(location.expected))
        if row is None:
            return _asked(location)
    else:
        row = carried_row(place)
        if row is None and ":" in place:
            with contextlib.suppress(LocationError):
                return _asked(typed_location(place))
    if row is None:
        raise UsageError(
            f"{place} is neither a URL nor a repository that is carried here",
            hint="'gittorrent status' shows names and ids",
        )
    return _known_here(row)


def _known_here(row: CarriedRow) -> MirrorList:
    """Return the mirrors that this node knows of a repository it carries."""
    now = int(time.time())
    database = Database(open_home().database)
    try:
        known = database.mirrors(row.repository_id, now)
    finally:
        database.close()
    path = present_path(row)
    carried = Carried(path, object_format_of(path), row.repository_id)
    ids = carried.log_store.ids()
    entries = tuple(MirrorEntry(each.url, each.expires - now, each.state) for each in known)
    return MirrorList(row.repository_id, auth_lines(carried), ids[-1] if ids else None, entries)
