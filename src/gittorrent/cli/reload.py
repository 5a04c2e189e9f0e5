"""``gittorrent reload``."""

from __future__ import annotations

import click

from gittorrent.cli.output import json_option, print_json, quiet_option
from gittorrent.errors import UsageError
from gittorrent.interruptions import run
from gittorrent.store.home import open_home
from gittorrent.terminal import TerminalReporter
from gittorrent.transfer.local_node import LocalNode, Refusal


@click.command(name="reload")
@quiet_option
@json_option
def reload_node(quiet: bool, as_json: bool) -> None:
    """Let the node that runs here go by its configuration as it is now.

    Nobody who is served is cut off. Where the configuration is wrong the node goes on as before,
    and this says what is wrong.

    \b
    Examples:
      gittorrent reload
    """
    reporter = TerminalReporter(progress=False, quiet=False)
    outcome = run(LocalNode(open_home().control, reporter).reload())
    if isinstance(outcome, Refusal):
        raise UsageError(f"the node that runs here cannot do that: {outcome.reason}")
    if not outcome:
        raise UsageError(
            "no node runs here", hint="'gittorrent serve' reads its configuration when it begins"
        )
    if as_json:
        print_json({"reloaded": True})
    elif not quiet:
        click.echo("the node goes by its configuration as it is now")
