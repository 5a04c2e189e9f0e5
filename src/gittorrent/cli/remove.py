"""``gittorrent remove``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from gittorrent.cli.completing import complete_removable
from gittorrent.cli.node_toml import read_config
from gittorrent.cli.output import json_option, print_json, quiet_option
from gittorrent.cli.policy_place import open_place
from gittorrent.cli.repositories import carried_row
from gittorrent.cli.signer import has_keeper_key
from gittorrent.disk_space import bytes_below
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.ids import RepositoryId
from gittorrent.interruptions import PROCESS
from gittorrent.node.removing import require_itself, stop_carrying
from gittorrent.repository.carried import MIRROR
from gittorrent.sizes import show_bytes
from gittorrent.store.collected import CollectionTable
from gittorrent.store.database import Database
from gittorrent.store.following import FollowTable
from gittorrent.store.held import HeldKind, HeldTable
from gittorrent.store.home import Home, open_home
from gittorrent.store.tracks import TrackTable
from gittorrent.transfer.location import is_url, parse_location
from gittorrent.transfer.track_places import upstream_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.store.carried_rows import CarriedRow
    from gittorrent.store.tracks import Track


class _Removed(Struct, frozen=True):
    """What was removed, as --json shows it.

    Args:
        name: it was carried under; None for what was to be brought and is not here.
        repository_id: its id; None where nothing of it was here.
        path: of its directory; likewise.
        url: that is not brought any more; else None.
        deleted: whether its directory was deleted.
    """

    name: str | None = None
    repository_id: RepositoryId | None = None
    path: str | None = None
    url: str | None = None
    deleted: bool = False


@click.command()
@click.argument("repository", shell_complete=complete_removable)
@click.option("--keep", is_flag=True, help="Leave a mirror's directory where it is.")
@click.option(
    "--delete",
    "delete_copy",
    is_flag=True,
    help="Delete the bare copy that a clone was published through, too.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@quiet_option
@json_option
def remove(
    repository: str, keep: bool, delete_copy: bool, yes: bool, quiet: bool, as_json: bool
) -> None:
    """Stop carrying a repository: it is not served, listed or updated from then on.

    REPOSITORY is the name, id or path of a repository that this node carries, as 'gittorrent
    status' shows them; it may be missing. A mirror's directory is deleted, after a question.
    What was published stays as it is, so that it can be published again under the same id.

    \b
    Examples:
      gittorrent remove project
      gittorrent remove /srv/git/project.git --yes
    """
    if keep and delete_copy:
        raise UsageError("--keep and --delete contradict each other")
    home = open_home()
    if is_url(repository) and _unwant(repository, home):
        if as_json:
            print_json(_Removed(url=repository))
        elif not quiet:
            click.echo(f"{repository} is not brought here any more")
        return
    if carried_row(repository) is None and _untrack(repository, home):
        if as_json:
            print_json(_Removed(repository))
        elif not quiet:
            click.echo(f"{repository} is not tracked any more; nothing of it was published")
        return
    row = _row(repository)
    _require_unnamed(row, home)
    path = Path(row.path)
    is_missing = not path.is_dir()
    doomed = not is_missing and _is_doomed(row, home, keep=keep, delete_copy=delete_copy)
    if not is_missing and _signs_checkpoints(row):
        click.echo(
            f"warning: this machine is the keeper of {row.name}: pushes stay provisional until"
            " 'gittorrent keeper here' names another machine, best before it is removed here",
            err=True,
        )
    if not yes and not is_missing:
        _ask(row, doomed=doomed)
    _remove(row, home, doomed=doomed)
    removed = _Removed(row.name, row.repository_id, row.path, None, deleted=doomed)
    if as_json:
        print_json(removed)
    elif not quiet:
        click.echo(f"removed {row.name}")
        for line in _afterwards(row, is_missing=is_missing, doomed=doomed):
            click.echo(line, err=True)


def _unwant(url: str, home: Home) -> bool:
    """Let the node not bring what is not here yet; tells whether it was to."""
    with contextlib.closing(Database(home.database)) as database:
        table = FollowTable(database)
        asked = parse_location(url)
        same = [row.url for row in table.wanted() if parse_location(row.url).url == asked.url]
        for each in same:
            table.unwant(each)
    return bool(same)


def _untrack(name: str, home: Home) -> bool:
    """Let the node not track what it never published; tells whether it was to."""
    with contextlib.closing(Database(home.database)) as database:
        table = TrackTable(database)
        track = table.find(name)
        if track is None:
            return False
        _require_not_configured(track, home)
        table.remove(name)
        HeldTable(database).forget(HeldKind.TRACKED, track.name)
    return True


def _require_not_configured(track: Track, home: Home) -> None:
    """Make sure that the node's configuration does not bring back what is not to be tracked.

    Raises:
        UsageError: it would.
    """
    if track.by_config:
        raise UsageError(
            f"{home.config} names {track.name}, so that the node would track it again",
            hint="take it out there, and run 'gittorrent reload' where a node runs",
        )


def _require_unnamed(row: CarriedRow, home: Home) -> None:
    """Make sure that the node's configuration does not bring back what is removed.

    Raises:
        UsageError: it would.
    """
    if row.role != MIRROR:
        with contextlib.closing(Database(home.database)) as database:
            track = TrackTable(database).find(row.name)
        if track is not None:
            _require_not_configured(track, home)
        return
    named = read_config(home.config, is_named=False).carry.repositories
    with contextlib.closing(Database(home.database)) as database:
        ids = {each.location.expected or database.known_url(each.location.url) for each in named}
    if row.repository_id in ids:
        raise UsageError(
            f"{home.config} names {row.name}, so that the node would bring it again",
            hint="take it out there, and run 'gittorrent reload' where a node runs",
        )


def _row(repository: str) -> CarriedRow:
    row = None if is_url(repository) else carried_row(repository)
    if row is None:
        hint = "'gittorrent status' shows names, ids and paths"
        if is_url(repository):
            hint += "; 'gittorrent forget URL' forgets which repository a URL led to"
        raise UsageError(f"{repository} is no repository that is carried here", hint=hint)
    return row


def _is_doomed(row: CarriedRow, home: Home, *, keep: bool, delete_copy: bool) -> bool:
    """Tell whether the repository's directory is to be deleted.

    Raises:
        UsageError: it was asked for and may not be.
    """
    is_own = Path(row.path).parent.resolve() == home.repositories.resolve()
    if delete_copy and row.role != MIRROR and not is_own:
        raise UsageError(
            f"{row.path} was published in place, and is not deleted",
            hint="leave --delete away, and delete the directory yourself if you mean it",
        )
    is_doomed = delete_copy or (row.role == MIRROR and not keep)
    if is_doomed:
        require_itself(row, home)
    return is_doomed


def _signs_checkpoints(row: CarriedRow) -> bool:
    """Tell whether the node here is the keeper of a mirror."""
    if row.role != MIRROR:
        return False  # its owner publishes it, and learns what goes with it
    try:
        place = open_place(Path(row.path))
    except GitTorrentError:
        return False  # what is damaged may go, too
    return has_keeper_key(place)


def _ask(row: CarriedRow, *, doomed: bool) -> None:
    """Ask whether that is meant.

    Raises:
        UsageError: it is not, or nobody answers.
    """
    question = f"Stop carrying {row.name}? {row.path} stays as it is."
    if doomed:
        size = show_bytes(bytes_below(Path(row.path)))
        question = f"Stop carrying {row.name} and delete {row.path} ({size})?"
    if doomed and row.role != MIRROR:
        click.echo(
            f"With {row.path} the push log goes: unless a mirror has it, nobody can publish"
            f" {row.repository_id} again.",
            err=True,
        )
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        if PROCESS.is_interrupted:
            raise
        click.echo(err=True)
        raise UsageError(
            "nobody answers, so nothing was removed", hint="use --yes where nobody can be asked"
        ) from None
    if not agreed:
        raise UsageError("nothing was removed")


def _remove(row: CarriedRow, home: Home, *, doomed: bool) -> None:
    def wait() -> None:
        click.echo(
            f"waiting for another process that changes {row.name};"
            " to end that of a mirror, stop 'gittorrent mirror'",
            err=True,
        )

    with contextlib.closing(Database(home.database)) as database:
        collections = CollectionTable(database)
        if FollowTable(database).followed(row.repository_id).by_collection:
            collections.exclude(row.repository_id)  # or it would come again
        stop_carrying(row, home, database, doomed=doomed, wait=wait)
        of_it = [each for each in collections.all() if each.repository_id == row.repository_id]
        collections.unfollow(each.url for each in of_it)
        HeldTable(database).forget(HeldKind.REPOSITORIES, row.repository_id)


def _afterwards(row: CarriedRow, *, is_missing: bool, doomed: bool) -> Iterator[str]:
    """Say what is left, and what there is to do about it."""
    if not doomed and not is_missing:
        again = f"gittorrent mirror {row.source}" if row.role == MIRROR else "gittorrent publish"
        where = "" if row.role == MIRROR else f" {row.path}"
        if (upstream := upstream_of(Path(row.path))) is not None:
            again, where = f"gittorrent track {upstream} --name {row.name}", ""
        yield f"{row.path} stays as it is; '{again}{where}' carries it again"
    if row.role == MIRROR:
        yield "a node follows it no more; a 'gittorrent mirror' that does ends by itself"
