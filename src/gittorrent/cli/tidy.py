"""``gittorrent tidy``: what publishing starts in the background."""

from __future__ import annotations

from pathlib import Path

import click

from gittorrent.cli.repositories import CARRIED_REPOSITORY
from gittorrent.repository.carried import open_carried
from gittorrent.repository.housekeeping import tidy_up


@click.command()
@click.argument("repository", type=CARRIED_REPOSITORY, default=".")
def tidy(repository: Path) -> None:
    """Repack a carried repository now and refresh its bitmap; loses nothing.

    \b
    Examples:
      gittorrent tidy project
      gittorrent tidy /srv/git/project.git
    """
    if not tidy_up(open_carried(repository)):
        click.echo("it is being done already", err=True)
