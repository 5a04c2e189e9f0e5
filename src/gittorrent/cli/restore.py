"""``gittorrent restore``: makes a node of a backup.

Rules: into an empty home only; the database comes last, so what was interrupted is no node yet and
is begun again. Mirrors that are not here become wanted, so that the node brings them, and so does
what was published from a place that is not here and of which the backup has no copy. A copy comes
back as a mirror: its log may be old, and a keeper must not go on from that.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from gittorrent.cli.backup_repositories import check_copies, copies_of, place_copies
from gittorrent.cli.output import count, json_option, print_json
from gittorrent.discovery.ports import Way
from gittorrent.durable import sync_directory, temporary_directory
from gittorrent.errors import GitTorrentError, LocalError, UsageError
from gittorrent.printable import paragraph
from gittorrent.repository.carried import MIRROR
from gittorrent.repository.copying import RESTORED, source_of
from gittorrent.store.backup import COPIES, DATABASE, Kind, read_backup, write_private
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.copied_home import other_home_of, other_home_of_mirror
from gittorrent.store.database import Database, RememberedMirror
from gittorrent.store.database_file import look_at_carried
from gittorrent.store.following import FollowTable, WantedRow
from gittorrent.store.home import Home, named_home, open_home
from gittorrent.transfer.location import parse_location
from gittorrent.wire.urls import address_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gittorrent.cli.backup_repositories import Copies, Placed
    from gittorrent.ids import RepositoryId
    from gittorrent.store.backup import Backup

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_PLACING = ".restoring"

_BEGUN = f"{DATABASE}.restoring"


class Restored(Struct):
    """What a backup has, or what was restored, as ``--json`` shows it.

    Args:
        made: when the backup was made, in seconds since 1970.
        mirrors: names of mirrors; the node brings those that are not here.
        published: git directories of published repositories that are in their places.
        missing: those that are not, and not in the backup; the node brings them as mirrors.
        restored: names of those that came back from copies in the backup, as mirrors.
        lost: names of mirrors whose source cannot be read any more.
        keys: files of keys.
    """

    made: int
    mirrors: list[str]
    published: list[str]
    missing: list[str]
    restored: list[str]
    lost: list[str]
    keys: int


@click.command()
@click.argument("file", type=_FILE)
@click.option("--keys", type=_FILE, metavar="FILE", help="Restore the keys, too, from FILE.")
@click.option("--check", is_flag=True, help="Only verify that it could be restored.")
@json_option
def restore(file: Path, keys: Path | None, check: bool, as_json: bool) -> None:
    """Make this node what it was when 'gittorrent backup' wrote FILE.

    GITTORRENT_HOME has to be empty. 'gittorrent serve' then brings the mirrors again. What was
    published from a place that is not here comes back as a mirror, from a copy in the backup or
    from other mirrors; 'gittorrent adopt NAME' publishes from it again.

    \b
    Examples:
      gittorrent restore --check /var/backups/gittorrent.tar
      gittorrent restore node.tar --keys /media/safe/keys.tar
    """
    found = read_backup(file, Kind.HOME)
    if DATABASE not in found.files:
        raise UsageError(f"{file} has no database")
    files = dict(found.files)
    key_files: dict[str, bytes] = {}
    if keys is not None:
        key_files = dict(read_backup(keys, Kind.KEYS).files)
    database = files.pop(DATABASE)
    files.pop(COPIES, None)
    copies = copies_of(found)
    home = Home(named_home().root.resolve())
    with temporary_directory("restore") as folder:
        done = _prepared(folder / DATABASE, database, found, copies, home)
    done.keys = len(key_files)
    kept: dict[str, int] = {}
    if check:
        check_copies(file, copies)
    else:
        needed = {each: copies[each] for each in copies if copies[each].name in done.restored}
        kept = _restore(open_home(), files | key_files, found, database, file, needed)
    if as_json:
        print_json(done)
    else:
        _show(file, done, check, kept)


def _restore(
    home: Home,
    files: Mapping[str, bytes],
    found: Backup,
    database: bytes,
    file: Path,
    copies: Copies,
) -> dict[str, int]:
    """Put everything in place.

    Returns:
        How many refs were not published of each repository that came back from a copy.

    Raises:
        UsageError: the home is in use.
        CopyDamagedError: a copy is not what was written.
    """
    _require_empty(home, files)
    placed = _place(home, file, copies)
    if any(name.startswith("keys/") for name in files):
        home.keys.mkdir(mode=0o700, exist_ok=True)
    for name, content in files.items():
        write_private(home.root / name, content)
    for left in home.root.glob(f"{_BEGUN}*"):
        left.unlink()
    begun = home.root / _BEGUN
    _prepared(begun, database, found, copies, home)
    for ending in ("-wal", "-shm"):  # of what is replaced
        home.database.with_name(f"{DATABASE}{ending}").unlink(missing_ok=True)
    begun.rename(home.database)
    sync_directory(home.root)
    shutil.rmtree(home.root / _PLACING, ignore_errors=True)
    return {copies[each].name: placed[each].kept for each in placed}


def _place(home: Home, file: Path, copies: Copies) -> Mapping[RepositoryId, Placed]:
    """Put copies of repositories in place, all in one step.

    While the directory for that is there, the repositories in the home are of an interrupted one,
    and its database is none, or one that a command made meanwhile.
    """
    placing = home.root / _PLACING
    if placing.exists():
        shutil.rmtree(placing)
        shutil.rmtree(home.repositories, ignore_errors=True)
    placing.mkdir(mode=0o700)
    if not copies:
        return {}
    made = placing / home.repositories.name
    made.mkdir()
    placed = place_copies(file, copies, made)
    made.rename(home.repositories)
    return placed


def _require_empty(home: Home, files: Mapping[str, bytes]) -> None:
    """Refuse a home that has anything but what an interrupted restore of the same left."""
    is_placing = (home.root / _PLACING).exists()
    for path in home.root.rglob("*"):
        name = str(path.relative_to(home.root))
        if path.is_dir() or name.startswith((_BEGUN, ".")):
            continue
        if is_placing and home.repositories in path.parents:
            continue
        if is_placing and name.startswith(DATABASE) and _carries_nothing(home):
            continue
        if name not in files or path.read_bytes() != files[name]:
            raise UsageError(
                f"{home.root} is in use: there is {name}",
                hint="set GITTORRENT_HOME to a directory that is empty, or not there",
            )


def _carries_nothing(home: Home) -> bool:
    """Tell whether the database is one that a command made in a home that is no node yet."""
    try:
        return not look_at_carried(home.database)
    except LocalError:  # the disk was full: it is empty, or not whole
        return home.database.stat().st_size == 0


def _prepared(path: Path, database: bytes, found: Backup, copies: Copies, home: Home) -> Restored:
    """Write the database, and let the node want what is not here."""
    write_private(path, database)
    done = Restored(found.made, [], [], [], [], [], 0)
    with contextlib.closing(Database(path, as_it_is=True)) as opened:
        table = FollowTable(opened)
        for row in opened.carried():
            place = Path(row.path)
            other = other_home_of_mirror if row.is_mirror else other_home_of
            if place.is_dir() and other(place, home) is None:
                if row.role == MIRROR:
                    done.mirrors.append(row.name)
                else:
                    done.published.append(row.path)
            elif row.role != MIRROR and row.repository_id in copies:
                _set_free(opened, row)
                name = copies[row.repository_id].name
                own = str(home.repositories / f"{name}.git")
                source = source_of(row.repository_id)
                opened.carry(CarriedRow(name, row.repository_id, own, MIRROR, source))
                done.restored.append(name)
            elif row.role != MIRROR:
                _set_free(opened, row)
                table.want(WantedRow(source_of(row.repository_id), row.name), int(time.time()))
                done.missing.append(row.path)
            else:
                try:
                    url = parse_location(row.source).pinned_url(row.repository_id)
                except GitTorrentError:
                    done.lost.append(row.name)
                    continue
                brought = table.followed(row.repository_id).by_collection
                opened.uncarry(row)
                if brought:
                    continue  # its collection brings it again, if it names it still
                table.want(WantedRow(url, row.name), int(time.time()))
                done.mirrors.append(row.name)
    return done


def _set_free(database: Database, row: CarriedRow) -> None:
    """Let a repository be carried from another place; mirrors that announced themselves stay known.

    However long ago that was: one of them may be all that is left of the repository.
    """
    listed = database.mirrors(row.repository_id, 0)
    found = [
        RememberedMirror(each.url, address_class(each.source), Way.NOTICE.value, each.source)
        for each in listed
    ]
    database.uncarry(row)
    database.remember_mirrors(row.repository_id, found, int(time.time()))


def _show(file: Path, done: Restored, check: bool, kept: Mapping[str, int]) -> None:
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(done.made))
    state = "is whole" if check else "is restored"
    here = f", {count(len(done.published), 'published repository')} in place"
    mirrors = count(len(done.mirrors), "mirror")
    click.echo(f"{file} of {made} {state}: {mirrors}{here if done.published else ''}")
    for name in done.restored:
        click.echo(paragraph(f"published before, and back from a copy, as a mirror: {name}"))
        if count_kept := kept.get(name):
            where = f"{RESTORED.decode()}..."
            click.echo(f"  {count(count_kept, 'ref')} that no mirror has: now {where}")
    for path in done.missing:
        click.echo(paragraph(f"published before, and to come from its mirrors: {path}"))
    if done.restored or done.missing:
        click.echo("  when all is here, 'gittorrent adopt NAME' publishes from here again")
    for name in done.lost:
        click.echo(paragraph(f"nothing is known of where {name} came from"))
    if not check:
        click.echo("'gittorrent serve' goes on")
