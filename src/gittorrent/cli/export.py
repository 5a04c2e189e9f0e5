"""``gittorrent export``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from gittorrent.cli.limits import length_of_time
from gittorrent.cli.output import StepProgress, count, json_option, print_json, quiet_option
from gittorrent.cli.repositories import CARRIED_REPOSITORY
from gittorrent.durable import file_state
from gittorrent.errors import UnreachableError, UsageError
from gittorrent.export.contents import read_contents
from gittorrent.export.directory import Directory
from gittorrent.export.exporting import KEEP_SECONDS, Exporter
from gittorrent.export.inventory import INVENTORY, MAX_INVENTORY
from gittorrent.export.verifying import verify_export
from gittorrent.interruptions import PROCESS
from gittorrent.printable import paragraph
from gittorrent.repository.carried import open_carried
from gittorrent.repository.readers_file import readers_here
from gittorrent.sizes import show_bytes
from gittorrent.terminal import complain
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.wire.urls import UrlError, parse_learned_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.export.contents import Contents
    from gittorrent.export.exporting import Exported
    from gittorrent.export.place import Place
    from gittorrent.export.verifying import Verified

FOLLOW_SECONDS = 60
"""Time between looks of an export that follows; a look at what has not changed costs nothing."""


class Asked(Struct, frozen=True):
    """What the user said.

    Args:
        urls: those under which the export is served.
        bundles: whether reels are exported as git's bundles, too.
        even_private: whether a private repository is exported.
        every: seconds between looks of an export that follows.
        as_json: whether to print JSON.
        quiet: whether to say nothing.
    """

    urls: tuple[str, ...]
    bundles: bool
    even_private: bool
    every: int
    as_json: bool
    quiet: bool


@click.command()
@click.argument("repository", type=CARRIED_REPOSITORY)
@click.argument("place", metavar="PLACE", type=click.Path(file_okay=False))
@click.option("--endpoint", metavar="URL", help="Server of the bucket, if it is not Amazon's.")
@click.option(
    "--url",
    "urls",
    metavar="URL",
    multiple=True,
    help="Where the export is served, once for each server: clones take parts from all of them.",
)
@click.option("--bundles", is_flag=True, help="Write git's bundles, too; takes twice the space.")
@click.option(
    "--keep",
    metavar="TIME",
    callback=length_of_time(0),
    help="How long what is superseded stays, such as 12h or 30d; 7d by default.",
)
@click.option("--follow", is_flag=True, help="Go on, and export what comes, until interrupted.")
@click.option(
    "--every",
    metavar="TIME",
    callback=length_of_time(1),
    help="Time between looks with --follow; 1m by default.",
)
@click.option("--again", is_flag=True, help="Send everything again, whatever is there.")
@click.option(
    "--even-if-private",
    "even_private",
    is_flag=True,
    help="Export a private repository: whoever can read PLACE can read it.",
)
@click.option("--verify", is_flag=True, help="Read everything back, compare it, and write nothing.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@quiet_option
@json_option
def export(
    repository: Path,
    place: str,
    endpoint: str | None,
    urls: tuple[str, ...],
    bundles: bool,
    keep: int | None,
    follow: bool,
    every: int | None,
    again: bool,
    even_private: bool,
    verify: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a repository as files, for web servers and buckets to serve as mirrors.

    PLACE is a directory, or s3://BUCKET/PREFIX. Any web server that serves it as files is a
    mirror: 'git clone gittorrent::https://HOST/PATH' reads from it, 'gittorrent mirror' too. Each
    repository has a place of its own. Only what is missing is sent; the files that name others
    are replaced last, so readers always find what they are told of.

    \b
    Examples:
      gittorrent export project /var/www/project
      gittorrent export project /var/www/project --follow
      gittorrent export project s3://mirrors/project --endpoint https://s3.example.net
    """
    if follow and (dry_run or verify):
        raise UsageError("--dry-run and --verify look once", hint="leave --follow out")
    if every is not None and not follow:
        raise UsageError("--every is for --follow")
    asked = Asked(
        _checked(urls), bundles, even_private, every or FOLLOW_SECONDS, as_json, quiet or as_json
    )
    target = _place(place, endpoint)
    content = RepositoryContent(open_carried(repository))
    progress = StepProgress(quiet=asked.quiet)
    kept = KEEP_SECONDS if keep is None else keep
    exporter = Exporter(target, kept, time.time, progress, again=again)

    def read() -> Contents:
        contents = read_contents(content, asked.urls, bundles=asked.bundles)
        # What says that it is private is written before a log that makes it private counts.
        _require_public(content, asked)
        return contents

    _require_public(content, asked)
    if verify:
        try:
            found = verify_export(target, read(), progress)
        finally:
            progress.close()
        _tell_findings(asked, target, found)
        sys.exit(1 if found.findings else 0)
    if dry_run:
        contents = read()
        _tell(asked, target, contents, exporter.look(contents), dry_run=True)
        return
    if target.read(INVENTORY, MAX_INVENTORY) is None:
        exporter.look(read())  # what is refused leaves nothing at a place that is not this one's
    with target.held() as hold:

        def export_now() -> None:
            try:
                contents, done = exporter.run(read, hold)
            finally:
                progress.close()
            _tell(asked, target, contents, done)

        seen = _state(content)
        export_now()
        if follow:
            PROCESS.serve()
            _follow(content, asked.every, seen, export_now)


def _follow(
    content: RepositoryContent, every: int, seen: object, export_now: Callable[[], None]
) -> None:
    """Export again whenever something changed since it was ``seen``, until interrupted."""
    while True:
        time.sleep(every)
        now = _state(content)
        if now == seen:
            continue
        try:
            export_now()
            seen = now
        except UnreachableError as error:
            complain(error)  # and try again


def _state(content: RepositoryContent) -> object:
    """Return what differs when there may be something else to export."""
    layout, repository = content.carried.layout, content.carried.info.repository_id
    paths = (
        content.carried.log_store.path,
        layout.reels,
        layout.shapes,
        layout.fresh(repository),
        layout.readers(repository),
    )
    return [file_state(path) for path in paths]


def _place(text: str, endpoint: str | None) -> Place:
    if text.startswith("s3://"):
        from gittorrent.export.bucket import Bucket

        return Bucket(text, endpoint)
    if "://" in text:
        raise UsageError(
            f"cannot export to {text}", hint="name a directory, or a bucket as s3://BUCKET/PREFIX"
        )
    if endpoint is not None:
        raise UsageError("--endpoint is for buckets, as in s3://BUCKET/PREFIX")
    return Directory(Path(text).absolute())


def _checked(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Return URLs that others may be told of."""
    for url in urls:
        try:
            endpoint = parse_learned_url(url)
        except UrlError as error:
            raise UsageError(f"--url: {error}") from error
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--url: {url} is no web server's", hint="it begins with https://")
        if not endpoint.path.strip("/"):
            raise UsageError(
                f"--url: {url} names no repository, and nobody can clone from it",
                hint=f"as in {url.rstrip('/')}/project",
            )
    return urls


def _require_public(content: RepositoryContent, asked: Asked) -> None:
    """Refuse a private repository unless that is what the user wants; raises UsageError."""
    info, layout = content.carried.info, content.carried.layout
    if not asked.even_private and readers_here(layout, info.repository_id) is not None:
        raise UsageError(
            f"{info.name} is private, and whoever can read an export can read it",
            hint="--even-if-private exports it all the same; what was exported before stays there",
        )


def _tell_findings(asked: Asked, place: Place, found: Verified) -> None:
    if asked.as_json:
        print_json(
            {
                "place": place.name,
                "ok": not found.findings,
                "files": found.files,
                "unknown": found.unknown,
                "behind": found.behind,
                "findings": found.findings,
            }
        )
        return
    for finding in found.findings:
        click.echo(paragraph(f"{finding.subject}: {finding.problem}"), err=True)
    if asked.quiet:
        return
    verdict = count(len(found.findings), "finding") if found.findings else "all is well"
    text = f"{place.name}: {verdict}: {count(found.files, 'file')} compared"
    if found.unknown:
        text += f", {found.unknown} that this repository does not have any more"
    if found.behind:
        text += f"; {count(found.behind, 'checkpoint')} behind"
    click.echo(paragraph(text))
    if found.findings:
        click.echo("--again sends everything anew", err=True)


def _tell(
    asked: Asked, place: Place, contents: Contents, done: Exported, *, dry_run: bool = False
) -> None:
    if asked.as_json:
        print_json(
            {
                "place": place.name,
                "repository_id": contents.repository,
                "checkpoint": contents.checkpoint,
                "number": contents.number,
                "waiting": contents.waiting,
                "sent": done.sent,
                "sent_bytes": done.sent_bytes,
                "current": done.current,
                "superseded": done.superseded,
                "removed": done.removed,
                "changed": done.changed,
                "dry_run": dry_run,
            }
        )
        sys.stdout.flush()
        return
    if asked.quiet:
        return
    would = "would send" if dry_run else "sent"
    what = f"{would} {count(done.sent, 'file')}"
    if done.sent_bytes:
        what += f" ({show_bytes(done.sent_bytes)})"
    text = f"{place.name}: checkpoint {contents.number}; {what}, {done.current} were there"
    if done.removed:
        text += f", {'would remove' if dry_run else 'removed'} {done.removed}"
    if done.superseded:
        text += f"; {done.superseded} superseded"
    click.echo(paragraph(text))
    if contents.waiting:
        click.echo(
            paragraph(
                f"{count(contents.waiting, 'checkpoint')} more will follow once there is a reel of"
                " them, which the keeper's node makes"
            )
        )
    sys.stdout.flush()
