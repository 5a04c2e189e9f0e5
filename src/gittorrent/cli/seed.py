"""``gittorrent seed``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gittorrent.cli.bare_copy import recorded_copy
from gittorrent.cli.limits import peer_up_limit_option, up_limit_option
from gittorrent.cli.output import (
    StepProgress,
    count,
    json_option,
    quiet_option,
    verbose_option,
)
from gittorrent.cli.repositories import RepositoryArgument
from gittorrent.cli.service_log import (
    LogReporter,
    Printed,
    failures_in_log,
    log_format_option,
    make_reporter,
    what_is_printed,
)
from gittorrent.errors import UnreachableError, UsageError
from gittorrent.event_log import EventLog
from gittorrent.git.remotes import remote_urls, url_of
from gittorrent.git.repository import find_repository, read_config, require_complete
from gittorrent.git.runner import Git
from gittorrent.interruptions import PROCESS, run
from gittorrent.repository.carried import Carried, object_format_of
from gittorrent.store.database import Database
from gittorrent.store.home import usable_home
from gittorrent.store.processes import SeedProcess
from gittorrent.transfer.context import Context
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.local_node import LocalNode
from gittorrent.transfer.location import SCHEME, LocationError, may_lead_to_mirror, parse_location
from gittorrent.transfer.lookups import lookups_of
from gittorrent.transfer.preparing import Preparer
from gittorrent.transfer.process_status import shown
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.transfer.seedable import why_not
from gittorrent.transfer.seeding import Seed
from gittorrent.transfer.settings import read_discovery, read_settings
from gittorrent.wire.control import Keep

if TYPE_CHECKING:
    from gittorrent.store.home import Home
    from gittorrent.terminal import TerminalReporter
    from gittorrent.transfer.location import Location
    from gittorrent.transfer.seedable import SeedableReels

_log = EventLog(__name__)

_CLONE = RepositoryArgument(url_hint="the clone comes first, as in 'gittorrent seed . URL'")


@click.command()
@click.argument("clone", type=_CLONE)
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
@json_option
@quiet_option
@verbose_option
@log_format_option
def seed(
    clone: Path,
    url: str | None,
    seconds: int | None,
    port: int | None,
    up_limit: int | None,
    peer_up_limit: int | None,
    hand_over: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    log_format: str | None,
) -> None:
    """Turn a clone you have into a seed of the repository at URL, without a download.

    The clone may come from anywhere: reels are built from its objects and compared with the
    signed manifests. Those whose objects are not all there are left out until the clone has
    fetched them. URL may name a remote; by default it is the clone's gittorrent remote.

    \b
    Examples:
      gittorrent seed ~/src/project gittorrent://mirror.example.org/project.git
      gittorrent seed . --for 3600 --up-limit 1M
      gittorrent seed . --for 86400 --hand-over
    """
    PROCESS.serve()
    reporter = make_reporter(
        log_format, follows=not hand_over and seconds != 0, quiet=quiet, verbose=verbose
    )
    prints = what_is_printed(log_format, as_json=as_json, quiet=quiet)
    with failures_in_log(reporter):
        found = find_repository(clone)
        # Parts are given as they were verified, and reels compared with what was signed.
        instead = "a seed needs a full clone: make one and seed that"
        require_complete(Git(found.git_dir), instead, checked=False)
        location = _location(found.git_dir, url)
        if port is None and not hand_over:
            port = _configured_port(found.git_dir)
        progress = StepProgress(quiet=quiet or isinstance(reporter, LogReporter))
        with (
            usable_home(found.git_dir) as home,
            contextlib.closing(Database(home.database)) as database,
            contextlib.closing(progress),
        ):
            carried = Carried(found.git_dir, found.object_format)
            lookups = lookups_of(read_discovery(read_config(found.git_dir)), home, reporter)
            context = Context(database, home, Git(found.git_dir), reporter, lookups=lookups)
            preparer = Preparer(carried, location, context, progress)
            try:
                prepared = run(preparer.prepare())
            except KeyboardInterrupt:
                progress.close()
                reporter.note(f"interrupted; {_kept(preparer.carried)}")
                raise
            progress.close()
            if hand_over:
                request = _hand_over_request(found.git_dir, prepared, location, seconds or 0)
                granted = run(_hand_over(request, home, reporter))
                _tell_handed_over(prepared, granted, prints)
                return
            running = _Running(preparer, location, home, reporter, prints)
            limits = Limits(up_limit, peer_up=peer_up_limit)
            run(running.seed(prepared, limits, port or 0, seconds))


def _tell_handed_over(prepared: SeedableReels, granted: int, prints: Printed) -> None:
    kept = f" for {granted} s" if granted else ", which it carries, as long as it runs"
    if prints is Printed.JSON:
        click.echo(json.dumps({**_info(prepared), "seconds": granted}))
    elif prints is Printed.TEXT:
        click.echo(f"the node seeds {prepared.name}{kept}")
    _log.info(
        "handed-over",
        "the node seeds {repository}" + kept,
        repository=prepared.name,
        seconds=granted,
    )


class _Running:
    """A seed that runs, and what is said of it."""

    def __init__(
        self,
        preparer: Preparer,
        location: Location,
        home: Home,
        reporter: TerminalReporter | LogReporter,
        prints: Printed,
    ) -> None:
        self._preparer = preparer
        self._home = home
        self._location = location
        self._reporter = reporter
        self._prints = prints
        self._port = 0
        self._seed: Seed | None = None
        self._prepared: SeedableReels | None = None

    async def seed(
        self, prepared: SeedableReels, limits: Limits, port: int, seconds: int | None
    ) -> None:
        """Give what is prepared, and follow the mirror, until interrupted or the time is up."""
        carried = self._preparer.carried
        content, note = RepositoryContent(carried), self._reporter.note
        seed = Seed(content, carried, lambda: self._preparer.mirror, limits, note=note)
        self._seed, self._port = seed, seed.listen(port)
        self._show(prepared)
        try:
            async with (
                asyncio.timeout(seconds),
                shown(self._home.run, "seed", lambda: self._describe(seed)),
            ):
                await seed.run(self._preparer.follow(self._show_again))
        except asyncio.CancelledError:
            self._reporter.note(f"ended; {_kept(carried)}")
        except TimeoutError:
            pass  # as it was told

    def _describe(self, seed: Seed) -> SeedProcess:
        """Return what there is to say of the seed now."""
        prepared = self._prepared
        assert prepared is not None
        return SeedProcess(
            url=self._location.url,
            repository_id=prepared.repository_id,
            name=prepared.name,
            path=str(self._preparer.carried.layout.git_dir),
            port=self._port,
            latest=prepared.latest,
            reels=len({*prepared.held, *prepared.built}),
            impossible=prepared.impossible,
            behind=prepared.behind,
            giving=seed.giving(),
        )

    def _show_again(self, prepared: SeedableReels) -> None:
        """Tell of what has changed: to whoever introduces us what is new, to the user all."""
        assert self._seed is not None
        if prepared.built:
            self._seed.tell_offers()
        self._show(prepared)

    def _show(self, prepared: SeedableReels) -> None:
        self._prepared = prepared
        text = (
            f"{count(len(prepared.held), 'reel')} held, {len(prepared.built)} built,"
            f" {prepared.impossible} not possible here"
        )
        if self._prints is Printed.JSON:
            click.echo(json.dumps({**_info(prepared), "port": self._port}))
        elif self._prints is Printed.TEXT:
            click.echo(f"seeding {prepared.name}: {text}")
        _log.info(
            "seeding",
            "seeding {repository} at port {port}: " + text,
            repository=prepared.name,
            repository_id=prepared.repository_id,
            push=prepared.latest,
            port=self._port,
            held=len(prepared.held),
            built=len(prepared.built),
            impossible=prepared.impossible,
        )
        if self._prints is not Printed.JSON or isinstance(self._reporter, LogReporter):
            git_dir = self._preparer.carried.layout.git_dir
            for words in why_not(prepared, git_dir, self._location.url):
                self._reporter.note(words)


def _kept(carried: Carried) -> str:
    """Return what a seed leaves behind that has ended, or was interrupted while it built."""
    reels = sum(reel.is_available for reel in carried.reels.all())
    kept = f"{count(reels, 'reel')} {'stays' if reels == 1 else 'stay'}"
    return f"{kept} in {carried.layout.git_dir}, and the next seed gives them without building"


def _info(prepared: SeedableReels) -> dict[str, object]:
    """Return what a clone can give, for programs."""
    return {
        "repository_id": prepared.repository_id,
        "name": prepared.name,
        "latest": prepared.latest,
        "held": list(prepared.held),
        "built": list(prepared.built),
        "missing": [
            {"manifest": lack.manifest, "end": lack.end, "object": lack.oid}
            for lack in prepared.missing
        ],
        "different": list(prepared.different),
        "failed": prepared.failed,
        "behind": prepared.behind,
    }


def _hand_over_request(
    git_dir: Path, found: SeedableReels, location: Location, seconds: int
) -> Keep:
    url = location.pinned_url(found.repository_id)
    return Keep(seconds, found.repository_id, url, os.fsencode(git_dir))


async def _hand_over(request: Keep, home: Home, reporter: TerminalReporter | LogReporter) -> int:
    granted = await LocalNode(home.control, reporter).keep(request)
    if granted is None:
        raise UnreachableError(
            "no node of yours runs on this machine, or it keeps nothing for clones",
            hint="run 'gittorrent serve', or leave --hand-over out",
        )
    return granted


def _configured_port(git_dir: Path) -> int:
    port = read_settings(read_config(git_dir)).sharing.listen
    if port is None:
        raise UsageError(
            "gittorrent.listen is off, and a seed that listens nowhere gives nothing",
            hint="say --port 0 to listen all the same, this time",
        )
    return port


def _location(git_dir: Path, named: str | None) -> Location:
    """Return where the user says the repository is to be had, or where one of the remotes says.

    Raises:
        UsageError: nobody says.
    """
    if named is not None:
        return parse_location(url_of(git_dir, named))
    urls = remote_urls(git_dir)
    # A clone by stock git's own transports may name a node as well, though nothing shows it.
    tried = (url for _, url in urls if may_lead_to_mirror(url))
    for url in sorted(tried, key=lambda url: not url.startswith(f"{SCHEME}:")):
        with contextlib.suppress(LocationError):
            return parse_location(url)
    shown = ", ".join(f"{name} is {url}" for name, url in urls) or "there are none"
    copy = recorded_copy(git_dir)
    if copy is not None:
        raise UsageError(
            f"{git_dir} is published from here, through {copy}",
            hint="'gittorrent serve' gives its reels; to seed the clone too, name a mirror's URL",
        )
    if Carried(git_dir, object_format_of(git_dir)).is_published_or_mirrored:
        raise UsageError(
            f"{git_dir} is carried here already",
            hint="'gittorrent serve' gives its reels",
        )
    raise UsageError(
        f"none of the remotes of {git_dir} leads to a GitTorrent mirror: {shown}",
        hint="name the URL of a mirror",
    )
