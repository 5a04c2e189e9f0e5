"""``gittorrent verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gittorrent.cli.output import (
    StepProgress,
    count,
    json_option,
    list_unpublished,
    print_json,
    quiet_option,
)
from gittorrent.cli.repositories import CARRIED_REPOSITORY
from gittorrent.printable import paragraph
from gittorrent.repository.carried import open_carried
from gittorrent.repository.unpublished import describe_unpublished
from gittorrent.repository.verify import Verifier


@click.command()
@click.argument("repository", type=CARRIED_REPOSITORY, default=".")
@quiet_option
@json_option
def verify(repository: Path, quiet: bool, as_json: bool) -> None:
    """Check everything a carried repository holds: signatures, log, reels, parts, objects.

    Ends with 1 when anything does not hold. Refs that are not published yet are no fault.

    \b
    Examples:
      gittorrent verify project
      gittorrent verify /srv/git/project.git
    """
    carried = open_carried(repository)
    progress = StepProgress(quiet=quiet or as_json)
    try:
        result = Verifier(carried, progress).run()
    finally:
        progress.close()
    if as_json:
        print_json(
            {
                "ok": not result.findings,
                "entries": result.entries,
                "reels": result.reels,
                "parts": result.parts,
                "refs": result.refs,
                "findings": [{"subject": f.subject, "problem": f.problem} for f in result.findings],
                "unpublished": list_unpublished(result.unpublished),
            }
        )
    else:
        for finding in result.findings:
            click.echo(paragraph(f"{finding.subject}: {finding.problem}"), err=True)
        if not quiet:
            verdict = (
                "all is well" if not result.findings else count(len(result.findings), "finding")
            )
            click.echo(
                f"{verdict}: {count(result.entries, 'log entry')}, {count(result.refs, 'ref')},"
                f" {count(result.reels, 'reel')}, {count(result.parts, 'part')}"
            )
            if result.unpublished:
                click.echo(f"{describe_unpublished(result.unpublished)}; the same everywhere after")
                click.echo(f"  gittorrent publish {carried.layout.git_dir}")
    sys.exit(1 if result.findings else 0)
