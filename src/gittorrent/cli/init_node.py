"""``gittorrent init-node``."""

from __future__ import annotations

import os

import click

from gittorrent.cli.node_toml import template
from gittorrent.cli.output import json_option, print_json
from gittorrent.errors import UsageError
from gittorrent.store.home import open_home


@click.command(name="init-node")
@click.option("--print", "only_print", is_flag=True, help="Write it to standard output instead.")
@json_option
def init_node(only_print: bool, as_json: bool) -> None:
    """Write a configuration for this node, with a comment on everything that can be set.

    The file is node.toml in the node's home. As it is written it changes nothing. One that is
    there is left alone.

    \b
    Examples:
      gittorrent init-node
      gittorrent init-node --print | less
    """
    if only_print and as_json:
        raise UsageError("--print writes the configuration, and --json an object")
    if only_print:
        click.echo(template(), nl=False)
        return
    path = open_home().config
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise UsageError(
            f"{path} is there already",
            hint="'gittorrent init-node --print' shows what a new one would say",
        ) from None
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(template())
    if as_json:
        print_json({"path": str(path)})
        return
    click.echo(f"wrote {path}")
    click.echo("'gittorrent serve --check' says whether it is right", err=True)
