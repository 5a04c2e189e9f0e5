"""What the hook runs that `gittorrent.repository.push_hook` installs: publishes a push.

Works on the repository in the current directory and on nothing else: whoever pushes may have no
node and no home, and the repository is recorded where it was published first.
"""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gittorrent.cli.main import main
from gittorrent.cli.published import require_together, show_changes
from gittorrent.cli.signer import KeyOptions, choose_signer
from gittorrent.cli.signing_clock import signing_clock
from gittorrent.durable import temporary_directory
from gittorrent.errors import GitTorrentError
from gittorrent.git.repository import read_config
from gittorrent.repository import housekeeping
from gittorrent.repository.carried import open_carried
from gittorrent.repository.publish import Publisher
from gittorrent.repository.signed_entries import author_in
from gittorrent.store.home import Home, home_if_any

if TYPE_CHECKING:
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.publish import Published


@click.command()
def pushed() -> None:
    """Publish what was pushed into the repository in the current directory."""
    try:
        carried = open_carried(Path.cwd())
        done = _publish(carried)
    except (GitTorrentError, OSError):
        click.echo("gittorrent: pushed, but not published:", err=True)
        raise
    show_changes(done)
    if done.reels and housekeeping.is_due(carried, first=False):
        housekeeping.start_in_background(carried)
    require_together(done, carried.layout.git_dir)


def _publish(carried: Carried) -> Published:
    config = read_config(carried.layout.git_dir)
    with contextlib.ExitStack() as stack:
        home = home_if_any() or Home(stack.enter_context(temporary_directory("home")))
        signer = choose_signer(KeyOptions(None), config, home, carried, _say)
        author = author_in(carried.layout.git_dir, signing_clock(home, _say))
        publisher = Publisher(carried, signer, author, note=_say)
        return publisher.publish(None)


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    try:
        main(pushed)
    finally:
        gc.freeze()  # nothing needs to be taken apart
