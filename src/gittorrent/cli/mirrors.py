"""``gittorrent mirrors``."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import click

from gittorrent.cli.completing import complete_carried
from gittorrent.cli.locations import typed_location
from gittorrent.cli.mirror_survey import show_survey, survey_json
from gittorrent.cli.output import json_option, print_json
from gittorrent.cli.repositories import carried_row, present_path
from gittorrent.errors import UsageError
from gittorrent.git.repository import read_config
from gittorrent.interruptions import run
from gittorrent.repository.auth_lines import auth_lines
from gittorrent.repository.carried import Carried, object_format_of
from gittorrent.store.database import Database
from gittorrent.store.home import usable_home
from gittorrent.store.privacy import is_private
from gittorrent.terminal import TerminalReporter
from gittorrent.transfer.finding import Finder
from gittorrent.transfer.location import LocationError, is_url, parse_location
from gittorrent.transfer.lookups import lookups_of
from gittorrent.transfer.reaching import known_here, named
from gittorrent.transfer.settings import read_discovery
from gittorrent.transfer.surveying import Answer, Survey, survey, survey_found
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorList

if TYPE_CHECKING:
    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.home import Home
    from gittorrent.transfer.location import Location
    from gittorrent.transfer.reaching import Source


@click.command()
@click.argument("place", metavar="URL_OR_REPOSITORY", shell_complete=complete_carried)
@json_option
def mirrors(place: str, as_json: bool) -> None:
    """Ask the mirrors of a repository how far each has got, and whether they agree.

    Asked are the mirror at URL, those that it lists and those that the policy names. Two
    checkpoints of one keeper that exclude each other are shown with who has them; --json gives
    the signed texts, which prove it. For a repository that is carried here (its name, id or
    path), the mirrors that this node knows are listed, and nobody is asked.

    \b
    Examples:
      gittorrent mirrors gittorrent://mirror.example.org/project.git
      gittorrent mirrors project
    """
    found = _answer(place)
    if isinstance(found, MirrorList):
        found = Survey(found, tuple(Answer(each.url, each) for each in found.mirrors), None, ())
    now = int(time.time())
    if as_json:
        print_json(survey_json(found, now))
    else:
        show_survey(found, now)


def _asked(location: Location) -> Survey:
    if location.endpoint is None:
        return _found(location)
    found: Survey = run(survey(named(location.endpoint)))
    return found


def _found(location: Location) -> Survey:
    """Ask those who are known here, and those who are found."""
    with usable_home() as home:
        return _found_from(home, location)


def _found_from(home: Home, location: Location) -> Survey:
    repository, reporter = location.expected, TerminalReporter()
    assert repository is not None
    discovery = read_discovery(read_config(home.root))

    async def work(known: list[Source]) -> Survey:
        try:
            return await survey_found(repository, known, finder)
        finally:
            await finder.close()

    with contextlib.closing(Database(home.database)) as database:
        known = known_here(repository, database, home, int(time.time()))
        # A question in public would say that there is such a repository.
        is_hidden = is_private(database, repository)
    lookups = [] if is_hidden else lookups_of(discovery, home, reporter)
    finder = Finder(repository, lookups, reporter.detail)
    found: Survey = run(work(known))
    return found


def _answer(place: str) -> MirrorList | Survey:
    """Return what the mirrors of a URL say, or what this node knows of a repository it carries."""
    if is_url(place):
        location = parse_location(place)
        row = None if location.endpoint is not None else carried_row(str(location.expected))
        if row is None:
            return _asked(location)
    else:
        row = carried_row(place)
        if row is None and ":" in place:
            with contextlib.suppress(LocationError):
                return _asked(typed_location(place))
    if row is None:
        raise UsageError(
            f"{place} is neither a URL nor a repository that is carried here",
            hint="'gittorrent status' shows names and ids",
        )
    return _known_mirrors(row)


def _known_mirrors(row: CarriedRow) -> MirrorList:
    """Return the mirrors that this node knows of a repository it carries."""
    now = int(time.time())
    with usable_home() as home, contextlib.closing(Database(home.database)) as database:
        known = database.mirrors(row.repository_id, now)
    path = present_path(row)
    carried = Carried(path, object_format_of(path), row.repository_id)
    ids = carried.log_store.ids()
    entries = tuple(MirrorEntry(each.url, each.seconds_left(now), each.state) for each in known)
    return MirrorList(row.repository_id, auth_lines(carried), ids[-1] if ids else None, entries)
