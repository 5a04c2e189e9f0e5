"""``gittorrent backup``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from gittorrent.cli.backup_repositories import (
    Copies,
    copy_published,
    encode,
    remove_others,
    removing_halves,
)
from gittorrent.cli.output import count, json_option, print_json
from gittorrent.errors import UsageError
from gittorrent.printable import paragraph
from gittorrent.repository.carried import MIRROR
from gittorrent.store.backup import back_up_home, back_up_keys, copies_beside, key_files
from gittorrent.store.database_file import look_at_carried
from gittorrent.store.home import open_home

if TYPE_CHECKING:
    from gittorrent.store.home import Home

BACKUP_FILE = click.Path(dir_okay=False, path_type=Path)


class BackedUp(Struct, frozen=True):
    """What was backed up, as ``--json`` shows it.

    Args:
        file: the backup.
        keys: that of the keys; None if there is none.
        mirrors: names of mirrors that it knows.
        published: git directories of what is published here, which are not in it.
        repositories: names of what is published here and was copied beside it.
    """

    file: str
    keys: str | None
    mirrors: list[str]
    published: list[str]
    repositories: list[str]


@click.command()
@click.argument("file", type=BACKUP_FILE)
@click.option("--keys", type=BACKUP_FILE, metavar="FILE", help="Back the keys up, too, to FILE.")
@click.option(
    "--repositories", is_flag=True, help="Copy what is published here, too, to FILE.repositories."
)
@json_option
def backup(file: Path, keys: Path | None, repositories: bool, as_json: bool) -> None:
    """Write a backup of this node to FILE, while it runs.

    In it are the node's database, node.toml and node-id: what is carried, from where, and whom the
    node knows. Mirrors are not: they come again by themselves. What is published here comes again
    from its mirrors, or from the copies that --repositories makes beside FILE. Keys go to a file of
    their own, and only with --keys.

    \b
    Examples:
      gittorrent backup /var/backups/gittorrent.tar
      gittorrent backup node.tar --keys /media/safe/keys.tar
      gittorrent backup node.tar --repositories
    """
    home = open_home()
    _require_places(home, file, keys)
    copies: Copies = {}
    with removing_halves(file) if repositories else contextlib.nullcontext():
        if repositories and home.database.exists():
            copies = copy_published(file, look_at_carried(home.database))
        back_up_home(home, file, encode(copies) if repositories else None)
    if repositories:
        remove_others(file, copies)
    has_keys = bool(key_files(home))
    if keys is not None and has_keys:
        back_up_keys(home, keys)
    rows = look_at_carried(home.database)
    done = BackedUp(
        str(file.absolute()),
        str(keys.absolute()) if keys is not None and has_keys else None,
        [row.name for row in rows if row.role == MIRROR],
        [row.path for row in rows if row.role != MIRROR and row.repository_id not in copies],
        [copied.name for copied in copies.values()],
    )
    if as_json:
        print_json(done)
        return
    click.echo(f"{file}: what this node knows, of {count(len(done.mirrors), 'mirror')}")
    if done.repositories:
        names = ", ".join(done.repositories)
        click.echo(paragraph(f"{copies_beside(file)}: what is published here: {names}"))
    for path in done.published:
        click.echo(paragraph(f"not in it, since it is published here: {path} (--repositories)"))
    if keys is not None and has_keys:
        click.echo(f"{keys}: its keys; whoever has this file can sign as you")
    elif keys is not None:
        click.echo(f"{keys} is not written: there are no keys in {home.keys}", err=True)
    elif has_keys:
        click.echo(f"not in it: the keys in {home.keys} (--keys FILE)", err=True)


def _require_places(home: Home, file: Path, keys: Path | None) -> None:
    """Refuse what could not be carried out before anything is written.

    Raises:
        UsageError: with what is wrong.
    """
    for path in (file, keys):
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"{path.parent} is not a directory that is there")
    if keys is not None and keys.absolute() == file.absolute():
        raise UsageError("keys are kept apart from the rest", hint="name another file for --keys")
