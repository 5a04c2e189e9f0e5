"""``gittorrent seed``."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import click

from gittorrent.cli.limits import peer_up_limit_option, up_limit_option
from gittorrent.cli.output import StepProgress, quiet_option
from gittorrent.errors import UnreachableError, UsageError
from gittorrent.git.repository import find_repository, read_config, require_complete
from gittorrent.git.runner import Git
from gittorrent.interruptions import run
from gittorrent.node.shelf import RepositoryShelf
from gittorrent.repository.carried import Carried
from gittorrent.store.database import Database
from gittorrent.store.home import Home, open_home
from gittorrent.terminal import TerminalReporter
from gittorrent.transfer.acquire import Context
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.local_node import LocalNode
from gittorrent.transfer.location import Location, parse_location
from gittorrent.transfer.seeding import prepare
from gittorrent.transfer.seeding import seed as seed_clone
from gittorrent.transfer.settings import read_settings
from gittorrent.wire.control import Keep


@click.command()
@click.argument("clone", type=click.Path(path_type=Path))
@click.argument("url", required=False)
@click.option(
    "--for",
    "seconds",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="End after so long; without it, on Ctrl-C.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on, whatever gittorrent.listen says; 0 takes a free one.",
)
@up_limit_option
@peer_up_limit_option
@click.option(
    "--hand-over",
    is_flag=True,
    help="Let the node that runs on this machine do it, and end at once.",
)
@quiet_option
def seed(
    clone: Path,
    url: str | None,
    seconds: int | None,
    port: int | None,
    up_limit: int | None,
    peer_up_limit: int | None,
    hand_over: bool,
    quiet: bool,
) -> None:
    """Turn a clone you have into a seed of the repository at URL, without a download.

    The clone may come from anywhere: reels are built from its objects and compared with the
    signed manifests. URL is the remote 'origin' of the clone by default.

    \b
    Examples:
      gittorrent seed ~/src/project gittorrent://mirror.example.org/project.git
      gittorrent seed . --for 3600 --up-limit 1M
      gittorrent seed . --for 86400 --hand-over
    """
    found = find_repository(clone)
    require_complete(Git(found.git_dir))
    location = parse_location(url or _origin(found.git_dir))
    if port is None and not hand_over:
        port = _configured_port(found.git_dir)
    carried = Carried(found.git_dir, found.object_format)
    limits = Limits(up_limit, peer_up=peer_up_limit)
    home = open_home()
    database = Database(home.database)
    reporter = TerminalReporter(quiet=quiet)
    progress = StepProgress(quiet=quiet)
    context = Context(database, home, Git(found.git_dir), reporter)
    try:
        done = run(prepare(carried, location, context, progress))
        progress.close()
        if hand_over:
            granted = run(_hand_over(carried, location, home, reporter, seconds or 0))
            if not quiet:
                click.echo(f"the node seeds {carried.about.name} for {granted} s")
            return
        if not quiet:
            click.echo(
                f"seeding {carried.about.name}: {done.held} reels held, {done.built} built,"
                f" {done.failed} not possible here"
            )
        run(_seed(carried, location, limits, port or 0, seconds))
    finally:
        progress.close()
        database.close()


async def _hand_over(
    carried: Carried, location: Location, home: Home, reporter: TerminalReporter, seconds: int
) -> int:
    repository = carried.about.repository_id
    url = location.pinned_url(repository)
    request = Keep(seconds, repository, url, os.fsencode(carried.layout.git_dir))
    granted = await LocalNode(home.control, reporter).keep(request)
    if granted is None:
        raise UnreachableError(
            "no node of yours runs on this machine, or it keeps nothing for clones",
            hint="run 'gittorrent serve', or leave --hand-over out",
        )
    return granted


async def _seed(
    carried: Carried, location: Location, limits: Limits, port: int, seconds: int | None
) -> None:
    with contextlib.suppress(asyncio.CancelledError, TimeoutError):
        async with asyncio.timeout(seconds):
            await seed_clone(RepositoryShelf(carried), carried, location, limits, port)


def _configured_port(git_dir: Path) -> int:
    port = read_settings(read_config(git_dir)).sharing.listen
    if port is None:
        raise UsageError(
            "gittorrent.listen is off, and a seed that listens nowhere gives nothing",
            hint="say --port 0 to listen all the same, this time",
        )
    return port


def _origin(git_dir: Path) -> str:
    url = read_config(git_dir).get("remote.origin.url")
    if url is None:
        raise UsageError(f"{git_dir} has no remote 'origin'", hint="name the URL of a mirror")
    return url
