"""What ``gittorrent publish`` says when it is done: refs, ids, and the URL to give to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gittorrent.cli.output import list_changes
from gittorrent.printable import printable
from gittorrent.repository.ref_changes import REWOUND, describe_changes, in_order_of_weight
from gittorrent.sizes import show_bytes

if TYPE_CHECKING:
    from gittorrent.cli.running_node import ServedAt
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.publish import Published
    from gittorrent.repository.ref_changes import RefChange

SHOWN_CHANGES = 10
"""Refs that are listed; a first publication may have a hundred thousand."""


def published_json(carried: Carried, done: Published, served: ServedAt) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    urls = served.urls or (_url_at_localhost(done),)
    return {
        "repository_id": done.repository_id,
        "push_id": done.push_id,
        "url": urls[0],
        "urls": list(urls),
        "is_served": bool(served.urls),
        "name": done.name,
        "renamed_from": done.renamed_from,
        "path": str(carried.layout.git_dir),
        "changed_refs": done.changed,
        "changes": list_changes(done.changes),
        "left_out": [
            {"ref": each.name.decode(errors="backslashreplace"), "reason": each.reason}
            for each in done.left_out
        ],
        "reels": [reel.id for reel in done.reels],
    }


def show_published(done: Published, served: ServedAt) -> None:
    """Print it for people."""
    show_changes(done)
    click.echo(f"repository  {done.repository_id}")
    click.echo(f"push        {done.push_id}")
    for url in served.urls or (_url_at_localhost(done),):
        click.echo(url)
    if not served.urls and done.is_new:
        click.echo(
            "Serve it with 'gittorrent serve'; in the URL, put this machine's name for"
            " localhost, and the port if it is not 9418.",
            err=True,
        )
    elif served.is_here_only and done.is_new:
        click.echo(
            "The node that runs listens for this machine only: 'gittorrent serve --git"
            " 0.0.0.0:9418' lets others reach it.",
            err=True,
        )


def show_changes(done: Published) -> None:
    """Print what a publication did to refs."""
    if done.renamed_from is not None:
        click.echo(f"renamed {done.renamed_from} to {done.name}; nodes answer at the old name too")
    if not done.changed and not done.is_new:
        if done.renamed_from is None:
            click.echo(f"{done.name} is up to date: nothing new to publish")
        return
    size = show_bytes(sum(reel.manifest.pack_size for reel in done.reels))
    did = describe_changes(done.changes) or "no refs"
    click.echo(f"published {done.name}: {did}, {size} of reels")
    ordered = in_order_of_weight(done.changes)
    for each in ordered[:SHOWN_CHANGES]:
        click.echo(f"  {each.change:8} {printable(each.shown)}{_values(each)}")
    if len(ordered) > SHOWN_CHANGES:
        click.echo(f"  and {len(ordered) - SHOWN_CHANGES} more")


def _values(change: RefChange) -> str:
    """Say what a ref was and is, as git's own push does; forced moves have three dots there."""
    if change.old is None:
        return ""
    if change.new is None:
        return f"  was {change.old[:10]}"
    dots = "..." if change.change == REWOUND else ".."
    return f"  {change.old[:10]}{dots}{change.new[:10]}"


def _url_at_localhost(done: Published) -> str:
    return f"gittorrent://{done.repository_id}@localhost/{done.name}.git"
