"""``gittorrent forget``."""

from __future__ import annotations

import click

from gittorrent.errors import UsageError
from gittorrent.store.database import Database
from gittorrent.store.home import open_home
from gittorrent.transfer.location import parse_location


@click.command()
@click.argument("url")
def forget(url: str) -> None:
    """Forget which repository URL led to, so that the next contact is a first contact.

    Do this only when you know why the repository changed.

    \b
    Example:
      gittorrent forget git://mirror.example.org/project.git
    """
    database = Database(open_home().database)
    try:
        known = database.forget_url(parse_location(url).url)
    finally:
        database.close()
    if not known:
        raise UsageError(f"no record of {url}")
    click.echo(f"forgot {url}")
