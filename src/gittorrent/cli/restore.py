"""``gittorrent restore``: makes a node of a backup.

Rules: into an empty home only; the database comes last, so what was interrupted is no node yet and
is begun again. Mirrors that are not here become wanted, so that the node brings them.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from gittorrent.cli.output import count, json_option, print_json
from gittorrent.durable import sync_directory, temporary_directory
from gittorrent.errors import GitTorrentError, UsageError
from gittorrent.printable import paragraph
from gittorrent.repository.carried import MIRROR
from gittorrent.store.backup import DATABASE, Kind, read_backup, write_private
from gittorrent.store.database import Database
from gittorrent.store.following import FollowTable, WantedRow
from gittorrent.store.home import open_home
from gittorrent.transfer.location import parse_location

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gittorrent.store.backup import Backup
    from gittorrent.store.home import Home

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_BEGUN = f"{DATABASE}.restoring"


class Restored(Struct, frozen=True):
    """What a backup has, or what was restored, as ``--json`` shows it.

    Args:
        made: when the backup was made, in seconds since 1970.
        mirrors: names of mirrors; the node brings those that are not here.
        published: git directories of published repositories that are in their places.
        missing: those that are not.
        lost: names of mirrors whose source cannot be read any more.
        keys: files of keys.
    """

    made: int
    mirrors: list[str]
    published: list[str]
    missing: list[str]
    lost: list[str]
    keys: int


@click.command()
@click.argument("file", type=_FILE)
@click.option("--keys", type=_FILE, metavar="FILE", help="Restore the keys, too, from FILE.")
@click.option("--check", is_flag=True, help="Only verify that it could be restored.")
@json_option
def restore(file: Path, keys: Path | None, check: bool, as_json: bool) -> None:
    """Make this node what it was when 'gittorrent backup' wrote FILE.

    GITTORRENT_HOME has to be empty. 'gittorrent serve' then brings the mirrors again.

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
    with temporary_directory("restore") as folder:
        done = _prepared(folder / DATABASE, database, found, len(key_files))
    if not check:
        _restore(open_home(), files | key_files, found, database)
    if as_json:
        print_json(done)
    else:
        _show(file, done, check)


def _restore(home: Home, files: Mapping[str, bytes], found: Backup, database: bytes) -> None:
    """Put everything in place.

    Raises:
        UsageError: the home is in use.
    """
    _require_empty(home, files)
    if any(name.startswith("keys/") for name in files):
        home.keys.mkdir(mode=0o700, exist_ok=True)
    for name, content in files.items():
        write_private(home.root / name, content)
    for left in home.root.glob(f"{_BEGUN}*"):
        left.unlink()
    begun = home.root / _BEGUN
    _prepared(begun, database, found, 0)
    begun.rename(home.database)
    sync_directory(home.root)


def _require_empty(home: Home, files: Mapping[str, bytes]) -> None:
    """Refuse a home that has anything but what an interrupted restore of the same left."""
    for path in home.root.rglob("*"):
        name = str(path.relative_to(home.root))
        if path.is_dir() or name.startswith((_BEGUN, ".")):
            continue
        if name not in files or path.read_bytes() != files[name]:
            raise UsageError(
                f"{home.root} is in use: there is {name}",
                hint="set GITTORRENT_HOME to a directory that is empty, or not there",
            )


def _prepared(path: Path, database: bytes, found: Backup, keys: int) -> Restored:
    """Write the database, and let the node want the mirrors that are not here."""
    write_private(path, database)
    done = Restored(found.made, [], [], [], [], keys)
    with contextlib.closing(Database(path)) as opened:
        table = FollowTable(opened)
        for row in opened.carried():
            if Path(row.path).is_dir():
                if row.role == MIRROR:
                    done.mirrors.append(row.name)
                else:
                    done.published.append(row.path)
            elif row.role != MIRROR:
                done.missing.append(row.path)
            else:
                try:
                    url = parse_location(row.source).pinned_url(row.repository_id)
                except GitTorrentError:
                    done.lost.append(row.name)
                    continue
                opened.uncarry(row)
                table.want(WantedRow(url, row.name), int(time.time()))
                done.mirrors.append(row.name)
    return done


def _show(file: Path, done: Restored, check: bool) -> None:
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(done.made))
    state = "is whole" if check else "is restored"
    click.echo(f"{file} of {made} {state}: {count(len(done.mirrors), 'mirror')}")
    for path in done.missing:
        click.echo(paragraph(f"published, and not here: {path}"))
    if done.missing:
        click.echo("  put them there, or 'gittorrent adopt URL_OF_A_MIRROR' with their keys")
    for name in done.lost:
        click.echo(paragraph(f"nothing is known of where {name} came from"))
    if not check:
        click.echo("'gittorrent serve' goes on")
