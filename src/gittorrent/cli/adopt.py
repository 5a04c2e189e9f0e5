"""``gittorrent adopt``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gittorrent.cli.bare_copy import add_remote, record_copy, record_repository
from gittorrent.cli.completing import complete_carried
from gittorrent.cli.locations import typed_location
from gittorrent.cli.new_repository import own_logs
from gittorrent.cli.output import json_option, print_json, quiet_option, verbose_option
from gittorrent.cli.repositories import REPOSITORY, carried_row
from gittorrent.cli.signer import choose_known_signer
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.git.refs import read_refs
from gittorrent.git.remotes import remote_urls
from gittorrent.git.repository import find_repository, read_config, require_complete
from gittorrent.git.runner import Git
from gittorrent.ids import RepositoryId, is_repository_id
from gittorrent.interruptions import run
from gittorrent.repository.carried import MIRROR, ORIGIN, PUBLISHED, Carried
from gittorrent.repository.copied_refs import record_copied
from gittorrent.repository.layout import Layout
from gittorrent.store.database import Database
from gittorrent.store.home import open_home
from gittorrent.terminal import TerminalReporter
from gittorrent.transfer.adopting import Adopting
from gittorrent.transfer.location import Location, LocationError, is_url, parse_location
from gittorrent.transfer.settings import read_settings

if TYPE_CHECKING:
    from gittorrent.git.repository import FoundRepository
    from gittorrent.transfer.adopting import Adopted
    from gittorrent.transfer.context import Reporter


@click.command()
@click.argument("place", metavar="URL_OR_REPOSITORY", shell_complete=complete_carried)
@click.option(
    "--key",
    metavar="KEY",
    help="The key it is published with: an SSH key file, or OpenPGP fingerprint.",
)
@click.option(
    "--allow-behind",
    is_flag=True,
    help="Go on although a newer checkpoint was seen here that nobody has any more.",
)
@quiet_option
@verbose_option
@json_option
def adopt(
    place: str, key: str | None, allow_behind: bool, quiet: bool, verbose: bool, as_json: bool
) -> None:
    """Publish a repository from this machine that was published elsewhere, with the same id.

    For owners who lost the machine or moved: any mirror, at a URL or on this machine, or a clone
    made from one, is taken over by whoever has the key. Publish from one place only with the
    keeper's key.

    \b
    Examples:
      gittorrent adopt gittorrent://REPOSITORY_ID@mirror.example.org/project.git --key ~/key
      gittorrent adopt ~/src/project --key ~/key
    """
    home = open_home()
    show = not quiet and not as_json
    reporter = TerminalReporter(
        progress=show and sys.stderr.isatty(), quiet=not show, verbose=verbose
    )
    with contextlib.closing(Database(home.database)) as database:
        try:
            found = _repository(place)
            where = home.root if found is None else found.git_dir
            signer = choose_known_signer(key, read_config(where), home)
            max_bytes = read_settings(read_config(home.root)).max_bytes
            adopting = Adopting(
                home, database, reporter, signer, max_bytes, allow_behind=allow_behind
            )
            if found is None:
                done = run(adopting.from_url(_location(place)))
            else:
                done = _from_here(adopting, found, reporter)
        except GitTorrentError:
            reporter.explain()
            raise
        finally:
            reporter.close()
    _report(done, quiet=quiet, as_json=as_json)


def _repository(place: str) -> FoundRepository | None:
    """Return the repository of this machine that is meant; None if it is to be got elsewhere."""
    if is_url(place):
        return None
    is_elsewhere = is_repository_id(place.lower()) or ":" in place  # such as git's short forms
    if is_elsewhere and not Path(place).exists() and carried_row(place) is None:
        return None
    found = find_repository(REPOSITORY.convert(place, None, None))
    require_complete(Git(found.git_dir))
    return found


def _location(place: str) -> Location:
    if is_repository_id(place.lower()):
        return Location(None, RepositoryId(place.lower()))
    return typed_location(place)


def _from_here(adopting: Adopting, found: FoundRepository, reporter: Reporter) -> Adopted:
    carried = Carried(found.git_dir, found.object_format)
    if carried.is_carried and carried.log_store.ids():
        info = carried.info
        if info.role == ORIGIN:
            raise UsageError(
                f"{found.git_dir} is where {info.name} is published from already",
                hint=f"run 'gittorrent publish {found.git_dir}'",
            )
        if info.role == MIRROR:
            source = _known_source(info.source, info.repository_id)
            adopted: Adopted = run(adopting.from_mirror(carried, source))
            return adopted
    repository = _only_log(found)
    clone = Carried(found.git_dir, found.object_format, repository)
    done: Adopted = run(adopting.from_clone(clone, clone.log(), _source(found, repository)))
    if not found.is_bare:
        _publish_through(found, done, reporter)
    return done


def _only_log(found: FoundRepository) -> RepositoryId:
    """Return the repository that a clone is of.

    Raises:
        UsageError: it has the log of none, or of several.
    """
    logs = own_logs(found.git_dir, found.object_format)
    if len(logs) == 1:
        return logs[0]
    why = f"the logs of {' and '.join(logs)}" if logs else "no repository's log"
    raise UsageError(
        f"{found.git_dir} has {why}",
        hint="name the URL of a mirror instead, and push what you have to what is made of it",
    )


def _source(found: FoundRepository, repository: RepositoryId) -> Location:
    """Return where a clone came from, by its remotes."""
    for _, url in remote_urls(found.git_dir):
        location = _known_source(url, repository)
        if location is not None:
            return location
    return Location(None, repository)


def _known_source(url: str, repository: RepositoryId) -> Location | None:
    """Return a place to ask for news of a repository, if a URL is one."""
    with contextlib.suppress(LocationError):
        location = parse_location(url)
        if location.expected in (None, repository):
            return Location(location.endpoint, repository)
    return None


def _publish_through(found: FoundRepository, done: Adopted, reporter: Reporter) -> None:
    """Let a clone be published through the bare repository that was made of it."""
    git, copy = Git(found.git_dir), Carried(done.path, found.object_format)
    record_copy(found.git_dir, done.path)
    record_repository(found.git_dir, done.repository_id)
    add_remote(found, copy, reporter.note)
    own = read_refs(git, *(pattern.removesuffix("/*") for pattern in PUBLISHED))
    # Branches that this clone never had are none of its business when it is published.
    record_copied(Layout(found.git_dir), own)


def _report(done: Adopted, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "repository_id": done.repository_id,
                "push_id": done.push_id,
                "name": done.name,
                "path": str(done.path),
            }
        )
    elif not quiet:
        click.echo(f"{done.name} is published from {done.path} now")
        click.echo(f"repository  {done.repository_id}")
        click.echo(f"checkpoint  {done.push_id}")
        click.echo(
            f"Push to it, run 'gittorrent publish {done.path}' and serve it. With the keeper's key"
            " publish from no other place any more: two would sign rival checkpoints.",
            err=True,
        )
