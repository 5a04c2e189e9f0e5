"""``gittorrent conflicts``: what was pushed side by side and is still open."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gittorrent.cli.ages import how_long
from gittorrent.cli.output import json_option, print_json
from gittorrent.cli.policy_place import open_place, person_in, takes_repository
from gittorrent.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gittorrent.push.listing import Conflict, Waiting
    from gittorrent.push.log import VerifiedLog
    from gittorrent.trust.keys import KeyRef

_BRANCHES = b"refs/heads/"


@click.command()
@takes_repository
@json_option
def conflicts(repository: Path, as_json: bool) -> None:
    """Show pushes that did not fit and are kept until somebody merges them, and how to do that.

    Each is a ref below refs/conflicts/, named after its push, which everybody can fetch. Pushes
    that wait for others who must agree (quorum) are listed as well.

    \b
    Examples:
      gittorrent conflicts
      gittorrent conflicts project --json
    """
    place = open_place(repository)
    log = place.log
    listing = log.ledger.view().listing
    final = set(log.ledger.adopted.listing.conflicts())
    open_ones = [_conflict(log, each, is_final=each in final) for each in listing.conflicts()]
    waiting = [_waiting(log, line) for line in listing.waiting()]
    items: list[Conflict | Waiting] = [*listing.conflicts(), *listing.waiting()]
    pushes = [log.push(item.push) for item in items if item.push in log]
    people = _People(place.labels(pushes=pushes), int(time.time()))
    for item in (*open_ones, *waiting):
        item["label"] = people.label(item["key"])
    if as_json:
        print_json({"repository_id": log.repository, "conflicts": open_ones, "waiting": waiting})
        return
    if not open_ones and not waiting:
        click.echo("no conflicts, and nothing waits for others to agree")
    for each in open_ones:
        _show_conflict(each, people)
    for line in waiting:
        _show_waiting(line, people)


def _pushed(log: VerifiedLog, item: Conflict | Waiting) -> dict[str, Any]:
    """Return who pushed something, and when; clones hold no pushes that were taken long ago."""
    known = log.push(item.push).certificate if item.push in log else None
    return {
        "push_id": item.push,
        "key": str(item.key),
        "pusher": "" if known is None else known.pusher.decode(errors="backslashreplace").strip(),
        "time": None if known is None else known.time,
    }


def _conflict(log: VerifiedLog, conflict: Conflict, *, is_final: bool) -> dict[str, Any]:
    value = log.ledger.view().listing.value(conflict.ref)
    name, ref = (each.decode(errors="backslashreplace") for each in (conflict.name, conflict.ref))
    if conflict.ref.startswith(_BRANCHES) and value is not None:
        branch = ref.removeprefix("refs/heads/")
        steps = [f"git switch {branch}", "git pull", f"git pull REMOTE {name}", "git push"]
    else:
        steps = [f"git push REMOTE :{name}"]
    return {
        "name": name,
        "ref": ref,
        "value": conflict.value,
        "current": value,
        **_pushed(log, conflict),
        "final": is_final,
        "steps": steps,
    }


def _waiting(log: VerifiedLog, line: Waiting) -> dict[str, Any]:
    quorum = log.policy.policy.quorum_for(line.ref)
    same = [
        other.key
        for other in log.ledger.view().listing.entry(line.ref).waiting
        if (other.old, other.new) == (line.old, line.new)
    ]
    listed = () if quorum is None else quorum.keys
    return {
        "ref": line.ref.decode(errors="backslashreplace"),
        "old": line.old,
        "new": line.new,
        **_pushed(log, line),
        "needs": 0 if quorum is None else quorum.needs,
        "have": len({key for key in same if key in listed}),
        "others": [str(key) for key in listed if key not in same],
    }


class _People:
    """Says who pushed something, and how long ago.

    Args:
        labels: what keys are called.
        now: seconds since 1970.
    """

    def __init__(self, labels: Mapping[KeyRef, str], now: int) -> None:
        self._labels = {str(key): label for key, label in labels.items()}
        self._now = now

    def label(self, key: str) -> str:
        """Return what a key is called; empty if that is not known."""
        return self._labels.get(key, "")

    def key(self, key: str, pusher: str = "") -> str:
        """Return a key with what it is called, or else with the person that a push names."""
        person = self.label(key) or person_in(pusher)
        return printable(f"{key} ({person})" if person else key)

    def who(self, item: dict[str, Any]) -> str:
        """Return who pushed a conflict, or what waits."""
        when = "" if item["time"] is None else f", {how_long(self._now - item['time'])} ago"
        return f"{self.key(item['key'], item['pusher'])}{when}"


def _show_conflict(item: dict[str, Any], people: _People) -> None:
    click.echo(printable(item["name"]))
    click.echo(f"  {item['value']}, pushed by {people.who(item)}")
    current = "is gone" if item["current"] is None else f"is {item['current']}"
    state = "" if item["final"] else "; the keeper has not put that in order yet"
    click.echo(printable(f"  {item['ref']} {current}{state}"))
    what = "to merge it" if len(item["steps"]) > 1 else "to dismiss it, once it is of no use"
    click.echo(f"  {what}:")
    for step in item["steps"]:
        click.echo(printable(f"    {step}"))


def _show_waiting(item: dict[str, Any], people: _People) -> None:
    old, new = ((item[k] or "-")[:10] for k in ("old", "new"))
    click.echo(printable(f"{item['ref']} waits: {old} -> {new}"))
    click.echo(f"  pushed by {people.who(item)}")
    click.echo(f"  {item['have']} of {item['needs']} agree; the same can be pushed by")
    for key in item["others"]:
        click.echo(f"    {people.key(key)}")
