"""``gittorrent log``."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gittorrent.cli.output import json_option, print_json
from gittorrent.cli.repositories import CARRIED_REPOSITORY
from gittorrent.printable import printable
from gittorrent.push.commit import entry_time
from gittorrent.push.log import VerifiedLog, changes_between
from gittorrent.push.object import PushKind
from gittorrent.repository.carried import open_carried

if TYPE_CHECKING:
    from gittorrent.repository.carried import Carried


@click.command()
@click.argument("repository", type=CARRIED_REPOSITORY, default=".")
@json_option
def log(repository: Path, as_json: bool) -> None:
    """Show a carried repository's push log, newest first, verified from the beginning.

    \b
    Examples:
      gittorrent log project
      gittorrent log /srv/git/project.git
    """
    entries = _entries(open_carried(repository))
    if as_json:
        print_json(entries[::-1])
        return
    for entry in entries[::-1]:
        click.echo(f"push {entry['push_id']}")
        when = "" if entry["date"] is None else f", {entry['date']}"
        click.echo(f"  {entry['kind']} by {entry['signer'] or 'the roots'}{when}")
        for change in entry["changes"]:
            old, new = ((change[k] or "-")[:10] for k in ("old", "new"))
            click.echo(f"  {old:10} -> {new:10} {printable(change['ref'])}")


def _entries(carried: Carried) -> list[dict[str, Any]]:
    replayed = VerifiedLog(carried.object_format)
    found: list[dict[str, Any]] = []
    for push_id in carried.log_store.ids():
        before = replayed.refs
        push = carried.log_store.push(push_id)
        entry = replayed.admit(push, push_id)
        date = datetime.datetime.fromtimestamp(entry_time(push), datetime.UTC)
        found.append(
            {
                "push_id": push_id,
                "kind": push.kind.value,
                "signer": None if entry.key is None else str(entry.key),
                "date": None if push.kind is PushKind.POLICY else date.isoformat(),
                "changes": [
                    {"ref": name.decode(errors="backslashreplace"), "old": old, "new": new}
                    for name, old, new in changes_between(before, entry.refs)
                ],
            }
        )
    return found
