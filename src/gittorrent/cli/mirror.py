"""``gittorrent mirror``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from gittorrent.cli.limits import down_limit_option, peer_up_limit_option, up_limit_option
from gittorrent.cli.output import json_option, print_json, quiet_option, verbose_option
from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.git.repository import read_config
from gittorrent.interruptions import PROCESS, run
from gittorrent.repository import housekeeping
from gittorrent.repository.carried import Carried, object_format_of
from gittorrent.store.database import Database
from gittorrent.store.home import open_home
from gittorrent.terminal import TerminalReporter
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.mirroring import Mirroring
from gittorrent.transfer.peer_manager import Sharing
from gittorrent.transfer.settings import read_settings

if TYPE_CHECKING:
    from gittorrent.transfer.mirroring import Mirrored


@click.command()
@click.argument("url")
@click.option("--once", is_flag=True, help="Bring it up to date and end.")
@click.option(
    "--interval",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="Seconds between looks at the source, without --once.",
)
@click.option("--name", metavar="NAME", help="Name to carry it under; the policy's by default.")
@down_limit_option
@up_limit_option
@peer_up_limit_option
@quiet_option
@verbose_option
@json_option
def mirror(
    url: str,
    once: bool,
    interval: float,
    name: str | None,
    down_limit: int | None,
    up_limit: int | None,
    peer_up_limit: int | None,
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Carry a repository: download it from its mirrors, verify everything, keep it current.

    The mirror lives in the node's home and is served by 'gittorrent serve', which also tells
    the source that this mirror exists.

    \b
    Examples:
      gittorrent mirror gittorrent://origin.example.org/project.git --once
      gittorrent mirror gittorrent://REPOSITORY_ID@origin.example.org/project.git --down-limit 5M
    """
    if not once:
        PROCESS.serve()
    home = open_home()
    location = parse_location(url)
    database = Database(home.database)
    show = not quiet and not as_json
    progress = show and sys.stderr.isatty()
    reporter = TerminalReporter(progress=progress, quiet=not show, verbose=verbose)
    sharing = Sharing(up_limit=up_limit, down_limit=down_limit, peer_up_limit=peer_up_limit)
    max_bytes = read_settings(read_config(home.root)).max_bytes
    mirroring = Mirroring(location, home, database, reporter, sharing, max_bytes)
    try:
        run(_mirror(mirroring, reporter, name, once, interval, quiet, as_json))
    except GitTorrentError:
        reporter.explain()
        raise
    finally:
        reporter.close()
        database.close()


async def _mirror(
    mirroring: Mirroring,
    reporter: TerminalReporter,
    name: str | None,
    once: bool,
    interval: float,
    quiet: bool,
    as_json: bool,
) -> None:
    first, failed = True, False
    while True:
        reporter.begin_round()
        try:
            done = await mirroring.check(name)
        except GitTorrentError as error:
            server_timeouts = isinstance(error, UnreachableError) and mirroring.is_carried
            if once or (first and not server_timeouts):
                raise
            first, failed = False, True
            reporter.note(f"{error}; trying again every {interval:.0f} seconds")
        else:
            reporter.close()
            if first or failed or done.changed:
                _report(done, quiet=quiet, as_json=as_json)
            failed = False
            _tidy(done, wait=once)
        if once:
            return
        first = False
        await asyncio.sleep(interval)


def _tidy(done: Mirrored, *, wait: bool) -> None:
    carried = Carried(done.path, object_format_of(done.path))
    if done.changed and housekeeping.is_due(carried, first=False):
        if wait:
            housekeeping.tidy_up(carried)
        else:
            housekeeping.start_in_background(carried)


def _report(done: Mirrored, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "repository_id": done.repository_id,
                "push_id": done.push_id,
                "name": done.name,
                "path": str(done.path),
                "changed": done.changed,
            }
        )
    elif not quiet:
        state = "is up to date" if not done.changed else "updated"
        click.echo(f"{done.name} {state}: push {done.push_id} of {done.repository_id}")
