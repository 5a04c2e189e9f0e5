"""``gittorrent confirm``."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from gittorrent.cli.completing import complete_held
from gittorrent.cli.held_back import held_status, in_words
from gittorrent.cli.kept_refs import all_held, carry_out
from gittorrent.cli.output import json_option, print_json, quiet_option
from gittorrent.cli.repositories import carried_row
from gittorrent.errors import UsageError
from gittorrent.push.purge_guard import Decision
from gittorrent.store.database import Database
from gittorrent.store.held import HeldTable
from gittorrent.store.home import open_home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.store.held import HeldRow


@click.command()
@click.argument("what", nargs=-1, shell_complete=complete_held)
@click.option("--refuse", is_flag=True, help="Keep it for good, and ask no more.")
@quiet_option
@json_option
def confirm(what: tuple[str, ...], refuse: bool, quiet: bool, as_json: bool) -> None:
    """Let go what disappeared suddenly and is held back, or keep it.

    Where many refs or repositories disappear at once from something that is followed, a key may be
    stolen, or somebody made a mistake; so they are held back until somebody says that it was
    meant. Refs of a mirror are gone all the same, but their objects are kept: they can be looked
    at and fetched below refs/gittorrent/kept/ in the mirror's directory. WHAT is a number as
    'gittorrent status' shows it, which stands for exactly what is listed there; or the name, id
    or path of a repository, or of a collection, for all that is held of it.
    Without WHAT everything that is held back is listed.

    \b
    Examples:
      gittorrent confirm
      gittorrent confirm 3
      gittorrent confirm --refuse project
    """
    if refuse and not what:
        raise UsageError("--refuse needs to know what to keep", hint="name a number of the list")
    decision = Decision.REFUSED if refuse else Decision.CONFIRMED
    with contextlib.closing(Database(open_home().database)) as database:
        table = HeldTable(database)
        rows = all_held(database)
        meant = _meant(what, rows) if what else rows
        if what:
            table.decide([row.number for row in meant], decision)
            carry_out(meant, decision, database)
            now = {row.number: row for row in table.all()}
            meant = [now.get(row.number, replace(row, decision=decision)) for row in meant]
    if as_json:
        print_json([held_status(row) for row in meant])
    elif not quiet:
        moment = time.time()
        for row in meant:
            click.echo(in_words(row, moment))
        if not meant:
            click.echo("nothing is held back")


def _meant(what: Sequence[str], rows: list[HeldRow]) -> list[HeldRow]:
    """Return the rows that numbers, names, ids and paths stand for, each once.

    Raises:
        UsageError: one stands for none.
    """
    found: dict[int, HeldRow] = {}
    for word in what:
        name = word.removesuffix(".git")
        by_number = [row for row in rows if str(row.number) == word]
        by_name = [
            row for row in rows if row.title in (word, name) or row.subject in (word, word.lower())
        ]
        meant = by_number or by_name
        carried = None if meant else carried_row(word)
        if carried is not None:
            meant = [row for row in rows if row.subject == carried.repository_id]
        if not meant:
            raise UsageError(
                f"nothing is held back of {word}"
                if carried is not None
                else f"{word} is no number of what is held back, nor a repository that is carried",
                hint="'gittorrent confirm' lists what is held back",
            )
        found.update((row.number, row) for row in meant)
    return list(found.values())
