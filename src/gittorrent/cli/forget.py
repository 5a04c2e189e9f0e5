"""``gittorrent forget``."""

from __future__ import annotations

import click

from gittorrent.cli.locations import typed_location
from gittorrent.cli.output import json_option, print_json
from gittorrent.cli.repositories import carried_row
from gittorrent.errors import UsageError
from gittorrent.store.database import Database
from gittorrent.store.home import open_home
from gittorrent.store.privacy import forget_private
from gittorrent.transfer.location import LocationError, is_url


@click.command()
@click.argument("url")
@json_option
def forget(url: str, as_json: bool) -> None:
    """Forget which repository URL led to, so that the next contact is a first contact.

    Do this only when you know why the repository changed. That it was private is forgotten too: its
    mirrors are asked in the clear again, and strangers for it. To carry a repository no more, use
    'gittorrent remove'.

    \b
    Example:
      gittorrent forget git://mirror.example.org/project.git
    """
    try:
        location = typed_location(url)
    except LocationError:
        if is_url(url):
            raise
        row = carried_row(url)
        raise UsageError(
            f"{url} is no URL" if row is None else f"{url} is a repository that is carried here",
            hint="name the URL, as in gittorrent://HOST/NAME.git"
            if row is None
            else f"'gittorrent remove {row.name}' stops carrying it; forget is for URLs",
        ) from None
    database = Database(open_home().database)
    try:
        repository = location.expected or database.known_url(location.url)
        known = database.forget_url(location.url)
        if repository is not None:
            known = forget_private(database, repository) or known
    finally:
        database.close()
    if not known:
        raise UsageError(f"no record of {url}")
    if as_json:
        print_json({"url": location.url, "repository_id": repository})
    else:
        click.echo(f"forgot {url}")
