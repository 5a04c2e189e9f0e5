"""``gittorrent verify``."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gittorrent.cli.output import (
    StepProgress,
    count,
    json_option,
    list_unpublished,
    print_json,
    quiet_option,
)
from gittorrent.cli.repositories import CARRIED_REPOSITORY, advice_on_damage, repository_at_hand
from gittorrent.git.refused import own_refusal
from gittorrent.git.repository import find_repository, git_directory_of
from gittorrent.printable import paragraph
from gittorrent.repository.carried import MIRROR, Carried, open_carried
from gittorrent.repository.index_check import IndexCheck
from gittorrent.repository.layout import LOG_REF, Layout
from gittorrent.repository.unpublished import describe_unpublished
from gittorrent.repository.verify import Verification, Verifier
from gittorrent.store.database import Database
from gittorrent.store.home import usable_home

if TYPE_CHECKING:
    from gittorrent.repository.unchecked import Owed


_WRITTEN = frozenset(["refs", "settings", LOG_REF])
"""What may be found in a mirror that follows from its log, and is written anew."""


@click.command()
@click.argument("repository", type=CARRIED_REPOSITORY, default=repository_at_hand)
@click.option(
    "--pending", is_flag=True, help="Only check indexes that a clone took as they were signed."
)
@quiet_option
@json_option
def verify(repository: Path, pending: bool, quiet: bool, as_json: bool) -> None:
    """Check everything a carried repository holds: signatures, log, reels, parts, objects.

    In a clone that took the index of a pack as it was signed, that is checked (first). Ends with 1
    when anything does not hold, and with 5 when such an index does not. Refs that are not published
    yet are no fault.

    \b
    Examples:
      gittorrent verify project
      gittorrent verify /srv/git/project.git
    """
    layout = _layout_of(repository)
    check = IndexCheck(layout, _distrust)
    checked = check.run(wait=not pending)
    if pending:
        return
    admitted = check.admit()
    if not layout.info.exists() and (checked or admitted or any(layout.indexes.glob("*"))):
        _say_checked(checked, admitted, quiet=quiet, as_json=as_json)
        return
    carried = open_carried(repository)
    progress = StepProgress(quiet=quiet or as_json)
    try:
        result = Verifier(carried, progress).run()
    finally:
        progress.close()
    if as_json:
        _print_result(result)
    else:
        _say_result(carried, result, quiet=quiet)
    sys.exit(1 if result.findings else 0)


def _layout_of(path: Path) -> Layout:
    """Return the layout of a repository, also of one that git refuses because of us."""
    git_dir = git_directory_of(path)
    if git_dir is not None and own_refusal(git_dir) is not None:
        return Layout(git_dir.resolve())
    return Layout(find_repository(path).git_dir)


def _distrust(owed: Owed, why: str) -> None:
    """Believe a key no more in manifests of a repository."""
    with usable_home() as home, contextlib.closing(Database(home.database)) as database:
        database.distrust(owed.repository, owed.key, why, int(time.time()))


def _say_checked(checked: int, admitted: bool, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, "checked": checked, "admitted": admitted})
    elif not quiet:
        done = f"{count(checked, 'index check')} done" if checked else "no index check is owed"
        click.echo(f"all is well: {done}")
        if admitted:
            click.echo(
                "git may use the repository again; files that were checked out before may be"
                " false: 'git reset --hard' makes them anew"
            )


def _print_result(result: Verification) -> None:
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


def _say_result(carried: Carried, result: Verification, *, quiet: bool) -> None:
    for finding in result.findings:
        click.echo(paragraph(f"{finding.subject}: {finding.problem}"), err=True)
    if quiet:
        return
    if result.findings:
        info = carried.info
        hint = advice_on_damage(info.role, info.name, info.source)
        if info.role == MIRROR and all(each.subject in _WRITTEN for each in result.findings):
            hint = f"'gittorrent mirror {info.name}' writes that anew, from its log"
        click.echo(f"hint: {paragraph(hint)}", err=True)
    verdict = "all is well" if not result.findings else count(len(result.findings), "finding")
    click.echo(
        f"{verdict}: {count(result.entries, 'log entry')}, {count(result.refs, 'ref')},"
        f" {count(result.reels, 'reel')}, {count(result.parts, 'part')}"
    )
    if result.unpublished:
        click.echo(f"{describe_unpublished(result.unpublished)}; the same everywhere after")
        click.echo(f"  gittorrent publish {carried.layout.git_dir}")
