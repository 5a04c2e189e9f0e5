"""``gittorrent mirrors``."""

from __future__ import annotations

import click

from gittorrent.cli.output import json_option, print_json, print_table
from gittorrent.interruptions import run
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.opening import ask_list


@click.command()
@click.argument("url")
@json_option
def mirrors(url: str, as_json: bool) -> None:
    """List the mirrors that the mirror at URL knows, as it last found them.

    \b
    Example:
      gittorrent mirrors gittorrent://mirror.example.org/project.git
    """
    found, _ = run(ask_list(parse_location(url).require_endpoint()))
    if as_json:
        print_json(
            {
                "repository_id": found.repository_id,
                "latest": found.latest,
                "auth": [
                    {"refs": line.pattern.decode(errors="backslashreplace"), "key": line.key}
                    for line in found.auth
                ],
                "mirrors": [
                    {"url": e.url, "valid": e.valid, "state": e.state.value} for e in found.mirrors
                ],
            }
        )
        return
    click.echo(f"repository  {found.repository_id}")
    click.echo(f"latest      {found.latest or 'no push yet'}")
    if found.mirrors:
        rows = [(entry.url, entry.state.value, f"{entry.valid} s") for entry in found.mirrors]
        print_table(("MIRROR", "STATE", "VALID FOR"), rows)
