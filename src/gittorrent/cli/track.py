"""``gittorrent track``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from gittorrent.cli.limits import length_of_time
from gittorrent.cli.node_health import greeting_of
from gittorrent.cli.node_toml import read_config as read_node_config
from gittorrent.cli.node_toml import watermarks_of
from gittorrent.cli.output import (
    StepProgress,
    count,
    json_option,
    print_json,
    quiet_option,
    verbose_option,
)
from gittorrent.cli.published import show_published
from gittorrent.cli.running_node import served_at
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.git.repository import find_repository, read_config
from gittorrent.git.runner import Git
from gittorrent.git.upstream import parse_upstream
from gittorrent.interruptions import run
from gittorrent.node.config_document import LEAST_EVERY
from gittorrent.node.webhook_secret import read_secret
from gittorrent.push.upstream_refs import Selection
from gittorrent.push.upstream_urls import default_name
from gittorrent.repository.carried import Carried, require_name
from gittorrent.repository.layout import Layout
from gittorrent.repository.readers_file import is_private_here
from gittorrent.repository.recorded_key import recorded_signer
from gittorrent.signing.keys import resolve_signer
from gittorrent.store.database import Database
from gittorrent.store.home import Home, open_home
from gittorrent.store.tracks import Track, TrackTable
from gittorrent.terminal import TerminalReporter
from gittorrent.transfer.context import Context
from gittorrent.transfer.local_node import LocalNode, Refusal
from gittorrent.transfer.settings import read_settings
from gittorrent.transfer.track_places import (
    mend_tracked,
    own_key,
    place_of,
    repository_at,
    require_tracked,
)
from gittorrent.transfer.tracking import LOOK_EVERY, Tracked, Tracking
from gittorrent.wire.control import LookAt

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.transfer.context import Reporter

TRIAL = b"gittorrent: whether this key can sign\n"
"""What the key signs to show that it can: it means nothing anywhere."""


class Asked(Struct, frozen=True):
    """What the user said; None for what was not.

    Args:
        url: of the upstream.
        name: to publish it under.
        every: seconds between looks.
        patterns: of further refs.
        key: what names the key.
        secret: file of the webhook's secret.
        once: whether to look once, here.
    """

    url: str
    name: str | None
    every: int | None
    patterns: tuple[str, ...]
    key: str | None
    secret: str | None
    once: bool


@click.command()
@click.argument("url")
@click.option("--once", is_flag=True, help="Look once, here, and leave no schedule.")
@click.option(
    "--every",
    metavar="TIME",
    callback=length_of_time(LEAST_EVERY),
    help="Time between looks, such as 90s, 5m or 2h; 5m by default.",
)
@click.option(
    "--refs",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Follow refs like refs/pull/*/head too; with ^ before it: leave such refs out.",
)
@click.option("--name", metavar="NAME", help="Name to publish it under; the URL's by default.")
@click.option(
    "--key",
    metavar="KEY",
    help="SSH key file, or OpenPGP fingerprint, that signs unattended; by default one is made.",
)
@click.option(
    "--hook-secret",
    "secret",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Look at once when a webhook comes that knows the secret in FILE.",
)
@click.option("--lfs", is_flag=True, help="Refused: objects of Git LFS are not carried yet.")
@quiet_option
@verbose_option
@json_option
def track(
    url: str,
    once: bool,
    every: int | None,
    patterns: tuple[str, ...],
    name: str | None,
    key: str | None,
    secret: Path | None,
    lfs: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Publish what a plain git server has, and follow it: a mirror of anything.

    URL is one that git takes: https://, ssh://, git://, HOST:PATH or a path. Its branches, tags
    and HEAD become a repository of your own, which your key signs and any mirror carries. Where
    'gittorrent serve' runs it looks for news from then on; otherwise this looks once, and the next
    node goes on. Called again for the same name it changes what is said here.

    Git's own credential helpers and ssh keys are used, and nobody is asked for anything. What the
    server deletes or rewinds suddenly is held back until 'gittorrent confirm'.

    \b
    Examples:
      gittorrent track https://git.example.org/project.git
      gittorrent track https://git.example.org/project.git --every 1h --refs 'refs/pull/*/head'
      gittorrent track git@git.example.org:team/project.git --once
    """
    if lfs:
        raise UsageError(
            "objects of Git LFS are not carried: what is published are the pointers in the history",
            hint="leave --lfs away; whoever checks out fetches the objects from the LFS server",
        )
    file = None if secret is None else str(secret.absolute())
    asked = Asked(url, name, every, patterns, key, file, once)
    home = open_home()
    shows = not quiet and not as_json and sys.stderr.isatty()
    reporter = TerminalReporter(progress=shows, quiet=quiet or as_json, verbose=verbose)
    with (
        contextlib.closing(reporter),
        contextlib.closing(Database(home.database)) as database,
    ):
        table = TrackTable(database)
        former, chosen = _chosen(asked, home, table, reporter.note)
        table.put(chosen)
        try:
            if not once and _hand_over(chosen, home, reporter):
                done = _known(chosen, home)
            else:
                done = _look_here(chosen, home, database, reporter, shows_progress=shows)
                if not once and greeting_of(home) is None:
                    reporter.note(
                        "no node runs here: 'gittorrent serve' looks for news from now on"
                    )
        except GitTorrentError:
            # What never worked is no schedule; a failure of what did is one of many looks.
            if former is None:
                table.remove(chosen.name)
            elif former != chosen:
                table.put(former)
            raise
        finally:
            reporter.close()
    _report(chosen, done, home, quiet=quiet, as_json=as_json)


def _chosen(
    asked: Asked, home: Home, table: TrackTable, say: Callable[[str], None]
) -> tuple[Track | None, Track]:
    """Return how it is tracked so far, if it is, and how it is from now on.

    Raises:
        GitTorrentError: something of what was said cannot be used.
    """
    upstream = parse_upstream(asked.url)
    name = require_name(asked.name or default_name(upstream.url) or "repository")
    Selection(asked.patterns)
    if asked.secret is not None:
        read_secret(Path(asked.secret))
    former = table.find(name)
    if former is not None and former.by_config:
        raise UsageError(
            f"{name} is tracked by the node's configuration",
            hint="change it there, below [[track]], and 'gittorrent reload'",
        )
    if former is not None and former.url != upstream.url:
        if asked.name is None:
            raise UsageError(
                f"{name} tracks {former.url} already",
                hint=f"--name {name} lets it go on from {upstream.url}; another name tracks both",
            )
        say(f"{name} tracks {upstream.url} from now on; it tracked {former.url}")
    place = place_of(home.repositories, name)
    every = LOOK_EVERY if asked.every is None else asked.every
    if former is not None:
        mend_tracked(place)
        kept = former.every if asked.every is None else every
        chosen = Track(
            name,
            upstream.url,
            kept if kept or asked.once else LOOK_EVERY,
            asked.patterns or former.patterns,
            _key(asked.key or former.key, home, place, say, is_known=True),
            asked.secret or former.secret,
        )
    else:
        every = 0 if asked.once and asked.every is None else every
        key = _key(asked.key, home, place, say)
        chosen = Track(name, upstream.url, every, asked.patterns, key, asked.secret or "")
    return former, chosen


def _key(
    spec: str | None,
    home: Home,
    place: Path,
    say: Callable[[str], None],
    *,
    is_known: bool = False,
) -> str:
    """Return what names the key to sign with, made if there is none.

    Args:
        spec: what the user named.
        home: of the node.
        place: of the repository, which need not be there.
        say: told of a key that is made.
        is_known: whether it is tracked already.

    Raises:
        NoSigningKey: the one that is meant cannot be used.
    """
    config_at, recorded = home.root, None
    if (present := repository_at(place)) is not None:
        carried = Carried(place, present.object_format)
        if not is_known:
            require_tracked(carried)
        config_at = place
        recorded = carried.signing_key
    config = read_config(config_at)
    if spec is None and recorded is not None:
        signer = recorded_signer(recorded, config)
    else:
        signer = resolve_signer(spec or own_key(home, say), config)
    signer.sign(TRIAL)
    return signer.spec


def _hand_over(chosen: Track, home: Home, reporter: Reporter) -> bool:
    """Let the node of this machine look at once; tells whether it did, and published what it has.

    Raises:
        GitTorrentError: it could not.
    """
    took: list[int] = []

    def taken(pid: int) -> None:
        took.append(pid)
        reporter.note(
            f"handed over to the node that runs here (process {pid}); Ctrl-C leaves it there"
        )

    node = LocalNode(home.control, reporter)
    try:
        outcome = run(node.look_at(LookAt(chosen.name), taken))
    except KeyboardInterrupt:
        if took:
            reporter.note("left to the node: 'gittorrent status' shows how far it is")
        raise
    if isinstance(outcome, Refusal):
        reporter.note(f"the node that runs here does not track it: {outcome.reason}")
        return False
    return bool(outcome)


def _look_here(
    chosen: Track, home: Home, database: Database, reporter: Reporter, *, shows_progress: bool
) -> Tracked:
    progress = StepProgress(quiet=not shows_progress)
    limit = read_settings(read_config(home.root)).max_bytes
    space = watermarks_of(home, read_node_config(home.config, is_named=False))
    context = Context(database, home, Git(home.root), reporter, max_bytes=limit, space=space)
    hear = reporter.git_says if shows_progress else None
    tracking = Tracking(chosen, context, makes_reels=True, progress=progress, hear=hear)
    try:
        done: Tracked = run(tracking.look())
    finally:
        progress.close()
    return done


def _known(chosen: Track, home: Home) -> Tracked:
    """Return what there is by now of what the node looked at."""
    place = place_of(home.repositories, chosen.name)
    info = Carried(place, find_repository(place).object_format).info
    return Tracked(info.name, place, info.repository_id)


def _report(chosen: Track, done: Tracked, home: Home, *, quiet: bool, as_json: bool) -> None:
    served = served_at(home, done.name, done.repository_id)
    if as_json:
        print_json(
            {
                "name": done.name,
                "repository_id": done.repository_id,
                "upstream": chosen.url,
                "every": chosen.every or None,
                "path": str(done.path),
                "urls": list(served.urls),
                "changed": done.changed,
                "held": done.held,
            }
        )
        return
    if quiet:
        return
    if done.published is not None:
        layout = Layout(done.path)
        is_private = is_private_here(layout, done.repository_id)
        show_published(done.published, served, is_private=is_private)
    else:
        click.echo(f"{done.name} follows {chosen.url}")
        click.echo(f"repository  {done.repository_id}")
        for url in served.urls:
            click.echo(url)
    if done.held:
        click.echo(
            f"{count(done.held, 'ref')} held back: 'gittorrent confirm' shows them", err=True
        )
