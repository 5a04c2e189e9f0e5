"""``gittorrent collections``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec import to_builtins

from gittorrent.cli.collection_status import collection_statuses, in_short
from gittorrent.cli.output import json_option, print_json, print_table
from gittorrent.store.home import open_home

if TYPE_CHECKING:
    from gittorrent.cli.collection_status import CollectionStatus


@click.command()
@json_option
def collections(as_json: bool) -> None:
    """List the collections that are followed, what comes from each, and what is left out and why.

    \b
    Examples:
      gittorrent collections
      gittorrent collections --json
    """
    found = collection_statuses(open_home())
    if as_json:
        print_json([to_builtins(each) for each in found])
        return
    if not found:
        click.echo("no collection is followed: 'gittorrent mirror --collection URL' follows one")
    for number, each in enumerate(found):
        if number:
            click.echo("")
        _show(each)


def _show(found: CollectionStatus) -> None:
    click.echo(f"{found.name or found.url}: {in_short(found)}")
    if found.repositories:
        rows = [
            (each.name, each.state, each.repository_id, each.reason) for each in found.repositories
        ]
        print_table(("NAME", "STATE", "REPOSITORY", "REASON"), rows)
    for fault in found.faults:
        click.echo(f"wrong: {fault}")
