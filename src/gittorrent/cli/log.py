"""``gittorrent log``."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gittorrent.cli.output import json_option, list_changes, print_json
from gittorrent.cli.repositories import CARRIED_REPOSITORY
from gittorrent.git.runner import GitError
from gittorrent.printable import printable
from gittorrent.push.commit import entry_time
from gittorrent.push.log import VerifiedLog, changes_between
from gittorrent.push.object import PushKind
from gittorrent.repository.carried import open_carried
from gittorrent.repository.ref_changes import REWOUND, classify_changes, unclassified

if TYPE_CHECKING:
    from gittorrent.ids import Oid, RefName
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.ref_changes import RefChange


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
            mark = " (rewound)" if change["change"] == REWOUND else ""
            click.echo(f"  {old:10} -> {new:10} {printable(change['ref'])}{mark}")


def _entries(carried: Carried) -> list[dict[str, Any]]:
    replayed = VerifiedLog(carried.object_format)
    found: list[dict[str, Any]] = []
    changes: list[tuple[RefName, Oid | None, Oid | None]] = []
    counts: list[int] = []
    for push_id in carried.log_store.ids():
        before = replayed.refs
        push = carried.log_store.push(push_id)
        entry = replayed.admit(push, push_id)
        changed = changes_between(before, entry.refs)
        changes += changed
        counts.append(len(changed))
        date = datetime.datetime.fromtimestamp(entry_time(push), datetime.UTC)
        found.append(
            {
                "push_id": push_id,
                "kind": push.kind.value,
                "signer": None if entry.key is None else str(entry.key),
                "date": None if push.kind is PushKind.POLICY else date.isoformat(),
            }
        )
    classified = iter(_classified(carried, changes))
    for entry_shown, number in zip(found, counts, strict=True):
        entry_shown["changes"] = list_changes(itertools.islice(classified, number))
    return found


def _classified(
    carried: Carried, changes: list[tuple[RefName, Oid | None, Oid | None]]
) -> list[RefChange]:
    """Tell what all changes were, asking git for those of all pushes together."""
    try:
        return classify_changes(carried.git, changes)
    except GitError as error:
        # The log holds without the objects, and whoever lost some may want to see it just then.
        click.echo(f"warning: cannot tell which pushes rewound refs: {error}", err=True)
        return [unclassified(*change) for change in changes]
