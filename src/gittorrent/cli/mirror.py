"""``gittorrent mirror``."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING

import click

from gittorrent.cli import node_toml
from gittorrent.cli.handing_over import hand_over
from gittorrent.cli.limits import (
    down_limit_option,
    length_of_time,
    peer_up_limit_option,
    up_limit_option,
)
from gittorrent.cli.locations import typed_location
from gittorrent.cli.mirror_collection import (
    CollectionRound,
    NotReadError,
    collection_options,
    follow_collection,
    is_published_here,
    limits_of,
    note_asked_for,
    require_collection,
    require_no_limits,
)
from gittorrent.cli.output import json_option, print_json, quiet_option, verbose_option
from gittorrent.cli.repositories import carried_row
from gittorrent.cli.service_log import (
    LogReporter,
    Printed,
    failures_in_log,
    log_format_option,
    make_reporter,
    what_is_printed,
)
from gittorrent.errors import GitTorrentError, UnreachableError, UsageError
from gittorrent.event_log import EventLog
from gittorrent.git.repository import read_config
from gittorrent.ids import RepositoryId, is_repository_id
from gittorrent.interruptions import PROCESS, run
from gittorrent.repository.carried import MIRROR, require_name
from gittorrent.store.database import Database
from gittorrent.store.home import open_home
from gittorrent.transfer.interrupted import what_is_kept
from gittorrent.transfer.location import Location, LocationError, parse_location
from gittorrent.transfer.lookups import lookups_of
from gittorrent.transfer.mirroring import Mirroring, PublishedHereError, RemovedError, tidy_after
from gittorrent.transfer.peer_manager import Sharing
from gittorrent.transfer.process_status import shown
from gittorrent.transfer.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine

    from gittorrent.ids import ManifestId
    from gittorrent.store.home import Home
    from gittorrent.terminal import TerminalReporter
    from gittorrent.transfer.mirroring import Mirrored


_log = EventLog(__name__)


@click.command()
@click.argument("url")
@click.option("--once", is_flag=True, help="Bring it up to date and end.")
@click.option(
    "--interval",
    callback=length_of_time(1),
    metavar="TIME",
    default="60s",
    show_default=True,
    help="Time between looks at the source, without --once: 90s, 30m, 12h.",
)
@click.option("--name", metavar="NAME", help="Name to carry it under; the policy's by default.")
@collection_options
@down_limit_option
@up_limit_option
@peer_up_limit_option
@quiet_option
@verbose_option
@log_format_option
@json_option
def mirror(
    url: str,
    once: bool,
    interval: int,
    name: str | None,
    collection: bool,
    max_repositories: int | None,
    max_total: int | None,
    max_each: int | None,
    refs: tuple[str, ...],
    owner: tuple[str, ...],
    down_limit: int | None,
    up_limit: int | None,
    peer_up_limit: int | None,
    quiet: bool,
    verbose: bool,
    log_format: str | None,
    as_json: bool,
) -> None:
    """Carry a repository: download it from its mirrors, verify everything, keep it current.

    The mirror lives in the node's home. Where 'gittorrent serve' runs for it this hands the
    repository over to the node, shows how far it is, and ends when it is here; Ctrl-C leaves it
    to the node. Where none runs this follows the repository itself, until it is ended.

    \b
    Examples:
      gittorrent mirror gittorrent://origin.example.org/project.git --once
      gittorrent mirror gittorrent://REPOSITORY_ID@origin.example.org/project.git --down-limit 5M
      gittorrent mirror --collection gittorrent://git.example.org/mirrored.git --max-total 50G
    """
    limits = limits_of(max_repositories, max_total, max_each, refs, owner)
    if not collection:
        require_no_limits(limits)
    if not once:
        PROCESS.serve()
    reporter = make_reporter(
        log_format,
        follows=not once,
        quiet=quiet or (as_json and log_format is None),
        verbose=verbose,
        progress=not quiet and not as_json and sys.stderr.isatty(),
    )
    prints = what_is_printed(log_format, as_json=as_json, quiet=quiet)
    if name is not None:
        require_name(name)  # a mistake in what was typed is no failure of the mirror's
    sharing = Sharing(up_limit=up_limit, down_limit=down_limit, peer_up_limit=peer_up_limit)
    with failures_in_log(reporter), contextlib.closing(reporter):
        home = open_home()
        location = _location(url)
        settings = read_settings(read_config(home.root))
        lookups = lookups_of(settings.discovery, home, reporter)
        with contextlib.closing(Database(home.database)) as database:
            if collection:
                follow_collection(location, limits, home, database)
                if is_published_here(location, database):
                    config = node_toml.read_config(home.config, is_named=False)
                    space = node_toml.watermarks_of(home, config)
                    own = CollectionRound(home, database, reporter, sharing, lookups, space)
                    run(own.run())
                    return
            if not once and (done := hand_over(location, name, home, database, reporter)):
                _report(done, prints)
                if collection:
                    require_collection(url, done.path)
                return
            config = node_toml.read_config(home.config, is_named=False)
            mirroring = Mirroring(
                location,
                home,
                database,
                reporter,
                sharing,
                settings.max_bytes,
                lookups=lookups,
                space=node_toml.watermarks_of(home, config),
            )
            schedule = _Schedule()
            space = node_toml.watermarks_of(home, config)
            collections = CollectionRound(home, database, reporter, sharing, lookups, space)

            async def after(done: Mirrored) -> None:
                note_asked_for(done.repository_id, database)
                if collection:
                    await _bring_named(collections, reporter, once)

            work = _mirror(mirroring, schedule, reporter, name, once, interval, prints, after)
            try:
                run(_shown(home, mirroring, schedule, work))
            except KeyboardInterrupt:
                if words := _kept(mirroring, home, reporter.downloads):
                    reporter.note(words)
                raise


def _kept(mirroring: Mirroring, home: Home, downloads: Collection[ManifestId]) -> str:
    """Return what an interruption leaves; empty if there is nothing yet."""
    if words := what_is_kept(home, downloads):
        return words
    if mirroring.path is None:
        return ""
    return f"{mirroring.path} stays as it is, and 'gittorrent serve' serves it"


class _Schedule:
    """When a mirror looks for news.

    ``next_check`` is when it does again, in seconds since 1970; None while it looks.
    """

    def __init__(self) -> None:
        self.next_check: float | None = None

    async def wait(self, seconds: float) -> None:
        """Wait until the next look is due."""
        self.next_check = time.time() + seconds
        await asyncio.sleep(seconds)
        self.next_check = None


async def _shown(
    home: Home, mirroring: Mirroring, schedule: _Schedule, work: Coroutine[None, None, None]
) -> None:
    """Mirror, and let ``gittorrent status`` see it, between the looks as well."""
    async with shown(home.run, "mirror", lambda: mirroring.describe(schedule.next_check)):
        await work


def _location(text: str) -> Location:
    """Return where a URL leads, or where a mirror that is here is followed, by its name or id.

    Raises:
        LocationError: it is neither.
    """
    try:
        return typed_location(text)
    except LocationError:
        row = carried_row(text)
        if row is not None and row.role == MIRROR:
            return parse_location(row.source)
        if row is not None:
            raise UsageError(
                f"{row.path} is where {row.name} is published from; it follows no mirror",
                hint=f"push to it, and run 'gittorrent publish {row.path}'",
            ) from None
        if is_repository_id(text.lower()):
            return Location(None, RepositoryId(text.lower()))
        raise


async def _mirror(
    mirroring: Mirroring,
    schedule: _Schedule,
    reporter: TerminalReporter | LogReporter,
    name: str | None,
    once: bool,
    interval: int,
    prints: Printed,
    after: Callable[[Mirrored], Awaitable[None]],
) -> None:
    first, failed = True, False
    while True:
        reporter.begin_round()
        try:
            done = await mirroring.check(name)
        except PublishedHereError as error:
            if first:
                raise
            reporter.note(f"{error}: there is nothing to follow any more")
            return
        except RemovedError as error:
            reporter.note(f"{error}: there is nothing to follow any more")
            return
        except GitTorrentError as error:
            may_come_back = isinstance(error, UnreachableError) and mirroring.path is not None
            if once or (first and not may_come_back):
                raise
            first, failed = False, True
            if isinstance(reporter, LogReporter):
                reporter.failed_check(mirroring.url, error, interval)
            else:
                reporter.note(f"{error}; trying again every {interval} seconds")
        else:
            reporter.close()
            if first or failed or done.changed:
                _report(done, prints)
            failed = False
            tidy_after(done, wait=once)
            await after(done)
        if once:
            return
        first = False
        await schedule.wait(interval)


async def _bring_named(
    collections: CollectionRound, reporter: TerminalReporter | LogReporter, once: bool
) -> None:
    """Bring what collections name; what did not come is tried again in the next round."""
    try:
        await collections.run()
    except NotReadError as error:
        if once:
            raise
        collections.note(str(error))
    except GitTorrentError:
        if once:
            raise
    finally:
        reporter.close()


def _report(done: Mirrored, prints: Printed) -> None:
    """Tell of a look that brought something, or was the first or first good one."""
    state = "is up to date" if not done.changed else "updated"
    if prints is Printed.JSON:
        print_json(
            {
                "repository_id": done.repository_id,
                "push_id": done.push_id,
                "name": done.name,
                "path": str(done.path),
                "source": done.source,
                "changed": done.changed,
            }
        )
    elif prints is Printed.TEXT:
        click.echo(f"{done.name} {state}: checkpoint {done.push_id} of {done.repository_id}")
    _log.info(
        "updated" if done.changed else "up-to-date",
        "{repository} " + state + ": checkpoint {push} from {source}",
        repository=done.name,
        repository_id=done.repository_id,
        push=done.push_id,
        source=done.source,
    )
