"""What ``gittorrent publish`` says when it is done: refs, ids, and the URL to give to people.

What could not be published is an error, after everything else was said and done: the refs are named
with what is to be done about them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gittorrent.cli.output import list_changes
from gittorrent.errors import GitTorrentError
from gittorrent.printable import printable
from gittorrent.push.origin_refs import Trouble
from gittorrent.repository.origin_refs import kept_name
from gittorrent.repository.ref_changes import REWOUND, describe_changes, in_order_of_weight
from gittorrent.sizes import show_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gittorrent.cli.running_node import ServedAt
    from gittorrent.push.origin_refs import Parted
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.publish import Published
    from gittorrent.repository.ref_changes import RefChange

SHOWN_CHANGES = 10
"""Refs that are listed; a first publication may have a hundred thousand."""

_PATIENT = (Trouble.NOT_FINAL, Trouble.WAITING, Trouble.CHECKED_OUT)
"""What keeps back nothing of one's own: all but the last come right once others have signed."""


class PartedRefsError(GitTorrentError):
    """Refs were not published, since they changed elsewhere too."""


def published_json(
    carried: Carried, done: Published, served: ServedAt, *, is_private: bool
) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    urls = served.urls or (_url_at_localhost(done, is_private=is_private),)
    return {
        "repository_id": done.repository_id,
        "push_id": done.push_id,
        "url": urls[0],
        "urls": list(urls),
        "is_served": bool(served.urls),
        "private": is_private,
        "name": done.name,
        "renamed_from": done.renamed_from,
        "path": str(carried.layout.git_dir),
        "changed_refs": done.changed,
        "changes": list_changes(done.changes),
        "taken": list_changes(done.taken),
        "parted": [
            {
                "ref": each.ref.decode(errors="backslashreplace"),
                "here": each.here,
                "elsewhere": each.elsewhere,
                "why": each.trouble.name.lower(),
            }
            for each in done.parted
        ],
        "head": None if done.head is None else done.head.decode(errors="backslashreplace"),
        "is_final": not done.awaited,
        "left_out": [
            {"ref": each.name.decode(errors="backslashreplace"), "reason": each.reason}
            for each in done.left_out
        ],
        "reels": [reel.id for reel in done.reels],
        "warnings": list(done.warnings),
    }


def show_published(done: Published, served: ServedAt, *, is_private: bool) -> None:
    """Print it for people."""
    show_changes(done)
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"repository  {done.repository_id}")
    click.echo(f"checkpoint  {done.push_id}")
    for url in served.urls or (_url_at_localhost(done, is_private=is_private),):
        click.echo(url)
    if is_private:
        if done.is_new:
            click.echo(
                "It is private: 'gittorrent policy add KEY --reader' lets readers in over ssh,"
                " 'gittorrent token new NAME' over https.",
                err=True,
            )
    elif not served.urls and done.is_new:
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
    """Print what a publication did to refs, here and elsewhere."""
    if done.renamed_from is not None:
        click.echo(f"renamed {done.renamed_from} to {done.name}; nodes answer at the old name too")
    if done.taken:
        click.echo(f"took over from elsewhere: {describe_changes(done.taken)}")
        _list_changes(done.taken)
    if done.changed or done.is_new or done.reels:
        size = show_bytes(sum(reel.manifest.pack_size for reel in done.reels))
        did = describe_changes(done.changes) or "no refs"
        click.echo(f"published {done.name}: {did}, {size} of reels")
        _list_changes(done.changes)
    elif done.renamed_from is None and done.head is None and not done.parted:
        click.echo(f"{done.name} is up to date: nothing new to publish")
    if done.head is not None:
        click.echo(f"HEAD names {printable(_text(done.head))} now, for everybody")
    for each in done.parted:
        if each.trouble in _PATIENT:
            click.echo(
                f"  {printable(_text(each.ref))} {each.trouble.value}{_way_out(each)}", err=True
            )
    if done.awaited:
        click.echo(_provisional(done), err=True)


def _provisional(done: Published) -> str:
    """Say what waits for the keeper: what was published now, or only what others pushed before."""
    if done.is_news:
        return f"This is provisional until the keeper signs it: {done.awaited}"
    pushes, it = (
        ("1 push is", "it") if done.not_final == 1 else (f"{done.not_final} pushes are", "them")
    )
    return f"{pushes} provisional until the keeper signs {it}: {done.awaited}"


def require_together(done: Published, git_dir: Path) -> None:
    """Name the refs that could not be published.

    Args:
        done: what publishing came to.
        git_dir: the origin.

    Raises:
        PartedRefsError: there are some.
    """
    parted = [each for each in done.parted if each.trouble not in _PATIENT]
    if not parted:
        return
    named = parted[:SHOWN_CHANGES]
    lines = [f"{printable(_text(each.ref))} {each.trouble.value}{_both(each)}" for each in named]
    if len(parted) > SHOWN_CHANGES:
        lines.append(f"and {len(parted) - SHOWN_CHANGES} more")
    raise PartedRefsError("not published:\n" + "\n".join(lines), hint=_remedy(parted, git_dir))


def _remedy(parted: Sequence[Parted], git_dir: Path) -> str:
    first = parted[0]
    ref = printable(_text(first.ref))
    if first.trouble is Trouble.HEAD_BRANCH:
        return "push another branch, or let HEAD name one ('git symbolic-ref HEAD'), and publish"
    if first.elsewhere is None:
        return f"'git --git-dir={git_dir} update-ref -d {ref}' accepts that it is gone"
    kept = printable(_text(kept_name(first.ref)))
    if first.trouble is Trouble.DIRECTORY:
        return f"rename or delete what is in its way in {git_dir} ('git branch -m'), and publish"
    if first.here is None:
        return f"'git --git-dir={git_dir} update-ref {ref} {kept}' accepts what it is elsewhere"
    return f"merge {kept} of {git_dir} into it, push that, and publish again"


def _way_out(each: Parted) -> str:
    """Say how a branch that is checked out follows, where that is the trouble."""
    if each.trouble is not Trouble.CHECKED_OUT:
        return ""
    if each.elsewhere is None:
        return ": check out another one there, since it is gone elsewhere"
    return f": 'git merge {printable(_text(kept_name(each.ref)))}' there takes that over"


def _both(each: Parted) -> str:
    return f": {(each.here or 'nothing')[:10]} here, {(each.elsewhere or 'nothing')[:10]} elsewhere"


def _list_changes(changes: Sequence[RefChange]) -> None:
    ordered = in_order_of_weight(changes)
    for each in ordered[:SHOWN_CHANGES]:
        click.echo(f"  {each.change:8} {printable(each.shown)}{_values(each)}")
    if len(ordered) > SHOWN_CHANGES:
        click.echo(f"  and {len(ordered) - SHOWN_CHANGES} more")


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _values(change: RefChange) -> str:
    """Say what a ref was and is, as git's own push does; forced moves have three dots there."""
    if change.old is None:
        return ""
    if change.new is None:
        return f"  was {change.old[:10]}"
    dots = "..." if change.change == REWOUND else ".."
    return f"  {change.old[:10]}{dots}{change.new[:10]}"


def _url_at_localhost(done: Published, *, is_private: bool) -> str:
    if is_private:
        return f"gittorrent::https://{done.repository_id}@localhost/{done.name}.git"
    return f"gittorrent://{done.repository_id}@localhost/{done.name}.git"
