"""``gittorrent tidy``: what publishing starts in the background."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gittorrent.cli.repositories import CARRIED_REPOSITORY, repository_at_hand
from gittorrent.repository.carried import open_carried
from gittorrent.repository.housekeeping import tidy_up
from gittorrent.store.home import home_if_any
from gittorrent.store.snapshot import remove_stale


@click.command()
@click.argument("repository", type=CARRIED_REPOSITORY, default=repository_at_hand)
def tidy(repository: Path) -> None:
    """Repack a carried repository now and refresh its bitmap; loses nothing.

    What processes that were killed left in the node's home (run/*.json) goes, too.

    \b
    Examples:
      gittorrent tidy project
      gittorrent tidy /srv/git/project.git
    """
    # Hooks start this as whoever pushed, whose home may be nobody's concern.
    home = home_if_any()
    if home is not None and os.access(home.run, os.R_OK | os.W_OK | os.X_OK):
        remove_stale(home.run)
    if not tidy_up(open_carried(repository)):
        click.echo("it is being done already", err=True)
