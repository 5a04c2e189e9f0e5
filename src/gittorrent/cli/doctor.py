"""``gittorrent doctor``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gittorrent.cli.doctor_home import is_usable, look_at_carried_repositories, look_at_home
from gittorrent.cli.doctor_node import look_at_node
from gittorrent.cli.doctor_online import look_online
from gittorrent.cli.doctor_programs import look_at_programs
from gittorrent.cli.findings import Verdict, problem
from gittorrent.cli.output import count, json_option, print_json
from gittorrent.printable import paragraph
from gittorrent.store.home import NoHomeError, named_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.cli.findings import Finding


@click.command()
@click.option(
    "--online", is_flag=True, help="Ask those that mirrors came from for the time and to call back."
)
@json_option
def doctor(online: bool, as_json: bool) -> None:
    """Look for what would keep a node from working, and say what to do about it.

    Changes nothing, and asks nobody but this machine without --online. Ends with 1 when there is
    a problem.

    \b
    Examples:
      gittorrent doctor
      gittorrent doctor --online
      gittorrent doctor --json
    """
    findings = list(_look(online=online))
    problems = [each for each in findings if each.verdict is Verdict.PROBLEM]
    if as_json:
        print_json({"ok": not problems, "findings": findings})
    else:
        for each in findings:
            click.echo(paragraph(f"{each.verdict.value:7}  {each.subject}: {each.text}"))
            if each.remedy:
                click.echo(paragraph(f"{'':7}  {each.remedy}"))
        warnings = sum(each.verdict is Verdict.WARNING for each in findings)
        click.echo(f"{count(len(problems), 'problem')}, {count(warnings, 'warning')}")
    sys.exit(1 if problems else 0)


def _look(*, online: bool) -> Iterator[Finding]:
    yield from look_at_programs()
    try:
        home = named_home()
    except NoHomeError as error:
        yield problem("home", f"{error}; clones keep nothing for later", error.hint)
        return
    yield from look_at_home(home)
    if is_usable(home):
        yield from look_at_carried_repositories(home)
        yield from look_at_node(home)
        if online:
            yield from look_online(home)
