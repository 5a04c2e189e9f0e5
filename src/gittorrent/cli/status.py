"""``gittorrent status``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from gittorrent.cli.output import json_option, print_json, print_table
from gittorrent.repository.carried import Carried, object_format_of
from gittorrent.store.database import CarriedRow, Database
from gittorrent.store.home import Home, open_home
from gittorrent.store.snapshot import read_snapshots
from gittorrent.terminal import show_bytes


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    """Show what this node carries and what its processes are transferring.

    With --json --watch one line of JSON is printed a second.

    \b
    Examples:
      gittorrent status
      gittorrent status --watch
      gittorrent status --json
    """
    home = open_home()
    while True:
        found = _gather(home)
        if as_json and watch:
            click.echo(json.dumps(found))
        elif as_json:
            print_json(found)
        else:
            if watch:
                click.clear()
            _show(found)
        if not watch:
            return
        time.sleep(1.0)


def _gather(home: Home) -> dict[str, Any]:
    database = Database(home.database)
    try:
        rows = [_look(row, database) for row in database.carried()]
    finally:
        database.close()
    processes = read_snapshots(home.run)
    return {"home": str(home.root), "repositories": rows, "processes": processes}


def _show(found: dict[str, Any]) -> None:
    click.echo(f"home  {found['home']}")
    rows = found["repositories"]
    if rows:
        names = ("name", "role", "pushes", "reels", "mirrors", "path")
        head = tuple(name.upper() for name in names)
        print_table(head, [tuple(str(row[k]) for k in names) for row in rows])
    else:
        click.echo("no repositories yet: publish or mirror one")
    for process in found["processes"]:
        click.echo("")
        if process["kind"] == "node":
            _show_node(process)
        else:
            _show_download(process)


def _show_node(process: dict[str, Any]) -> None:
    talks = process["conversations"]
    click.echo(f"node {process['pid']} at {', '.join(process['listening'])}")
    if talks:
        print_table(
            ("PEER", "REPOSITORY", "SENT", "RECEIVED", "SECONDS", "WAITING"),
            [
                (
                    talk["peer"],
                    talk["repository"],
                    show_bytes(talk["sent"]),
                    show_bytes(talk["received"]),
                    str(talk["seconds"]),
                    str(talk["waiting"]),
                )
                for talk in talks
            ],
        )


def _show_download(process: dict[str, Any]) -> None:
    figures = process["download"]
    click.echo(
        f"download {process['pid']} of {process['repository_id']}:"
        f" {figures['parts']} of {figures['total']} parts"
    )
    print_table(
        ("MIRROR", "PARTS", "RATE", "STATE"),
        [
            (
                mirror["url"],
                str(mirror["parts"]),
                f"{show_bytes(mirror['rate'])}/s",
                mirror["fault"] or "taking part",
            )
            for mirror in figures["mirrors"]
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
