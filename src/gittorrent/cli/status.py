"""``gittorrent status``."""

from __future__ import annotations

import json
import time
from typing import Any

import click
from msgspec import to_builtins

from gittorrent.cli.output import count, json_option, print_json, print_table
from gittorrent.cli.repository_status import RepositoryStatus, describe_check, look_at
from gittorrent.sizes import show_bytes
from gittorrent.store.database import Database
from gittorrent.store.home import Home, open_home
from gittorrent.store.snapshot import read_snapshots
from gittorrent.terminal import show_duration


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
            click.echo(json.dumps(to_builtins(found)))
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
        rows = [look_at(row, database) for row in database.carried()]
    finally:
        database.close()
    processes = read_snapshots(home.run)
    return {"home": str(home.root), "repositories": rows, "processes": processes}


def _show(found: dict[str, Any]) -> None:
    click.echo(f"home  {found['home']}")
    rows: list[RepositoryStatus] = found["repositories"]
    if rows:
        names = ("name", "role", "pushes", "reels", "mirrors", "path")
        head = tuple(name.upper() for name in names)
        print_table(head, [tuple(str(getattr(row, name)) for name in names) for row in rows])
        for row in rows:
            if row.not_published:
                click.echo(f"{row.name}: {row.not_published}")
            if row.check is not None:
                click.echo(f"{row.name}: {describe_check(row.check, time.time())}")
            if row.way_out:
                click.echo(f"{row.name} is missing: {row.way_out}")
    else:
        click.echo("no repositories yet: publish or mirror one")
    for process in found["processes"]:
        click.echo("")
        if process["kind"] == "node":
            _show_node(process)
        else:
            _show_download(process)


def _show_node(process: dict[str, Any]) -> None:
    session_table = process["conversations"]
    rate = sum(session_stats["rate"] for session_stats in session_table)
    click.echo(
        f"node {process['pid']} at {', '.join(process['listening'])}:"
        f" {count(process['callers'], 'caller')}, sending {show_bytes(rate)}/s"
    )
    if session_table:
        click.echo("")
        print_table(
            ("PEER", "REPOSITORY", "SENT", "RATE", "PARTS", "FOR", "STATE"),
            [
                (
                    session_stats["peer"],
                    session_stats["repository"],
                    show_bytes(session_stats["sent"]),
                    f"{show_bytes(session_stats['rate'])}/s",
                    str(session_stats["parts"]),
                    show_duration(session_stats["seconds"]),
                    _state(session_stats),
                )
                for session_stats in session_table
            ],
        )
    if process["talks"] > len(session_table):
        click.echo(f"... and {process['talks'] - len(session_table)} more")
    if process["ended"]:
        click.echo("\nended in the last minute")
        print_table(
            ("PEER", "REPOSITORY", "SENT", "PARTS", "REASON"),
            [
                (
                    session_stats["peer"],
                    session_stats["repository"],
                    show_bytes(session_stats["sent"]),
                    str(session_stats["parts"]),
                    f"at fault: {session_stats['reason']}"
                    if session_stats["at_fault"]
                    else session_stats["reason"],
                )
                for session_stats in process["ended"]
            ],
        )
    if process["cache"]:
        click.echo("\nkept for clones of this machine")
        print_table(
            ("NAME", "SIZE", "GOES IN", "REPOSITORY"),
            [
                (
                    kept["name"],
                    show_bytes(kept["bytes"]),
                    show_duration(kept["seconds_left"]),
                    kept["repository_id"],
                )
                for kept in process["cache"]
            ],
        )


def _state(session_stats: dict[str, Any]) -> str:
    """Say what a conversation does: who asks for parts is sent one, or waits for its turn."""
    if session_stats["choked"]:
        return "waits for its turn"
    return "is sent parts" if session_stats["waiting"] else "idle"


def _show_download(process: dict[str, Any]) -> None:
    figures = process["download"]
    share = 100 * figures["parts"] // max(1, figures["total"])
    rate = sum(mirror["rate"] for mirror in figures["mirrors"])
    click.echo(
        f"download {process['pid']} of {process['repository_id']}:"
        f" {figures['parts']} of {figures['total']} parts, {share}%, {show_bytes(rate)}/s"
    )
    click.echo("")
    given = {peer["peer"]: peer for peer in process["giving"]}
    print_table(
        ("PEER", "PARTS", "RATE", "GIVEN", "STATE"),
        [
            (
                _short(mirror["url"], process["repository_id"]),
                str(mirror["parts"]),
                f"{show_bytes(mirror['rate'])}/s",
                show_bytes(given.get(mirror["url"], {"sent": 0})["sent"]),
                _peer_state(mirror, given.get(mirror["url"])),
            )
            for mirror in figures["mirrors"]
        ],
    )


def _short(url: str, repository: str) -> str:
    """Return a peer's place, without what all of them have in common; a mirror's URL as it is."""
    if url.startswith("peer://"):
        return f"{url.removeprefix('peer://')} (called)"
    place = url.removesuffix(f"/{repository}")
    return place if place == url else place.partition("://")[2]


def _peer_state(mirror: dict[str, Any], given: dict[str, Any] | None) -> str:
    if mirror["fault"]:
        return f"out: {mirror['fault']}"
    return "takes part; waits for its turn" if given and given["choked"] else "takes part"
