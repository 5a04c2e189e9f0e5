"""What the hook runs that `gittorrent.repository.push_hook` installs: publishes a push.

Works on the repository in the current directory and on nothing else: whoever pushes may have no
node and no home, and the repository is recorded where it was published first.
"""

from __future__ import annotations

from pathlib import Path

import click

from gittorrent.cli.main import main
from gittorrent.cli.published import show_changes
from gittorrent.cli.signer import KeyOptions, choose_signer
from gittorrent.errors import GitTorrentError
from gittorrent.git.repository import read_config
from gittorrent.repository import housekeeping
from gittorrent.repository.carried import open_carried
from gittorrent.repository.publish import Publisher, author_in
from gittorrent.store.home import named_home


@click.command()
def pushed() -> None:
    """Publish what was pushed into the repository in the current directory."""
    try:
        _publish()
    except (GitTorrentError, OSError):
        click.echo("gittorrent: pushed, but not published:", err=True)
        raise


def _publish() -> None:
    carried = open_carried(Path.cwd())
    config = read_config(carried.layout.git_dir)
    signer = choose_signer(KeyOptions(None), config, named_home(), carried, _say)
    publisher = Publisher(carried, signer, author_in(carried.layout.git_dir), note=_say)
    done = publisher.publish(None)
    show_changes(done)
    if done.reels and housekeeping.is_due(carried, first=False):
        housekeeping.start_in_background(carried)


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main(pushed)
