"""``gittorrent status``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from gittorrent.cli.output import json_option, print_json, print_table
from gittorrent.repository.carried import Carried, object_format_of
from gittorrent.store.database import CarriedRow, Database
from gittorrent.store.home import open_home


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show what this node carries: repositories, how many pushes and reels, known mirrors.

    \b
    Example:
      gittorrent status --json
    """
    home = open_home()
    database = Database(home.database)
    try:
        rows = [_look(row, database) for row in database.carried()]
    finally:
        database.close()
    if as_json:
        print_json({"home": str(home.root), "repositories": rows})
        return
    click.echo(f"home  {home.root}")
    if not rows:
        click.echo("no repositories yet: publish or mirror one")
        return
    print_table(
        ("NAME", "ROLE", "PUSHES", "REELS", "MIRRORS", "PATH"),
        [
            tuple(str(row[k]) for k in ("name", "role", "pushes", "reels", "mirrors", "path"))
            for row in rows
        ],
    )


def _look(row: CarriedRow, database: Database) -> dict[str, object]:
    found: dict[str, object] = {
        "name": row.name,
        "repository_id": row.repository_id,
        "role": row.role,
        "path": row.path,
        "source": row.source,
        "pushes": 0,
        "reels": 0,
        "latest": None,
        "mirrors": len(database.mirrors(row.repository_id, int(time.time()))),
    }
    path = Path(row.path)
    if not path.is_dir():
        found["role"] = f"{row.role} (missing)"
        return found
    carried = Carried(path, object_format_of(path))
    ids = carried.log_store.ids()
    found["pushes"] = len(ids)
    found["latest"] = ids[-1] if ids else None
    found["reels"] = sum(1 for reel in carried.reels.all() if reel.is_available)
    return found
