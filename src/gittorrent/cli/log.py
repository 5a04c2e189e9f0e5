"""``gittorrent log``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gittorrent.cli.ages import how_long
from gittorrent.cli.output import json_option, print_json
from gittorrent.cli.policy_place import open_place, person_in, takes_repository
from gittorrent.git.runner import GitError
from gittorrent.printable import date_of, printable
from gittorrent.push.history import awaited, fates, in_order
from gittorrent.push.object import PushKind
from gittorrent.push.rule import Verdict
from gittorrent.repository.ref_changes import REWOUND, classify_changes, unclassified

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.ids import PushId
    from gittorrent.push.history import PushFate
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.ref_changes import RefChange
    from gittorrent.trust.signed_policy import VerifiedPolicy

UNJUDGED = "unjudged"
"""Verdict of what cannot be judged here, for want of objects."""


@click.command()
@takes_repository
@json_option
def log(repository: Path, as_json: bool) -> None:
    """Show who pushed what, newest first, verified from the beginning: final or not, and why not.

    A push is final once the keeper has signed a checkpoint that takes it. Until then it is
    provisional, and comes first here.

    \b
    Examples:
      gittorrent log project
      gittorrent log /srv/git/project.git
    """
    place = open_place(repository)
    carried = place.carried
    verified = carried.log_store.replay()
    found = list(fates(verified))
    known = place.labels(pushes=[fate.push for fate in found])
    labels = {str(key): label for key, label in known.items()}
    entries = _entries(carried, verified, found)
    for entry in entries:
        entry["label"] = labels.get(", ".join(entry["signers"]), "")
    if as_json:
        print_json(entries)
        return
    _show_trouble(verified)
    _show_unfinal(verified)
    for entry in entries:
        _show(entry)


def _show_trouble(log: VerifiedLog) -> None:
    """Print what a keeper signed that must not be, with the proof."""
    ledger = log.ledger
    if ledger.stopped:
        click.echo(f"warning: {ledger.stopped}", err=True)
    for checkpoint, why in ledger.refuted.items():
        click.echo(
            printable(f"warning: the keeper signed {checkpoint}, which does not hold: {why}"),
            err=True,
        )


def _show_unfinal(log: VerifiedLog) -> None:
    number = len(awaited(log))
    if number:
        last = how_long(int(time.time()) - log.ledger.adopted.time)
        pushes = "1 push is" if number == 1 else f"{number} pushes are"
        click.echo(f"{pushes} not final: the keeper last signed {last} ago")


def _show(entry: dict[str, Any]) -> None:
    click.echo(f"push {entry['push_id']}")
    when = "" if entry["date"] is None else f", {entry['date']}"
    who = ", ".join(entry["signers"])
    label = entry["label"] or person_in(entry["pusher"])
    named = f" ({printable(label)})" if label else ""
    click.echo(f"  {entry['kind']} by {who}{named}{when}")
    if entry["state"]:
        click.echo(f"  {entry['state']}")
    for change in entry["changes"]:
        old, new = ((change[k] or "-")[:10] for k in ("old", "new"))
        mark = " (rewound)" if change["change"] == REWOUND else ""
        fate = "" if change["verdict"] == Verdict.APPLIED.value else f"  {change['verdict']}"
        why = f": {change['reason']}" if change["reason"] else ""
        click.echo(f"  {old:10} -> {new:10} {printable(change['ref'])}{mark}{fate}{why}")


def _entries(carried: Carried, log: VerifiedLog, found: Sequence[PushFate]) -> list[dict[str, Any]]:
    """Return what is held, newest first: what is not final, then each checkpoint and its pushes."""
    changes = iter(_classified(carried, found))
    pushes: dict[PushId | None, list[dict[str, Any]]] = {}
    for fate in found:
        count = sum(len(unit.lines) for unit in fate.units)
        entry = _push_entry(fate, [next(changes) for _ in range(count)])
        pushes.setdefault(fate.checkpoint, []).append(entry)
    entries = pushes.get(None, [])[::-1]
    records = log.records
    ids = [record.id for record in records if record.kind is PushKind.POLICY]
    policies = dict(zip(ids, log.policies, strict=True))
    adopted = {record.id for record in records if record.is_in_chain}
    for known in reversed(in_order(log)):
        if known in policies:
            entries.append(_policy_entry(policies[known], known))
        else:
            entries.append(_checkpoint_entry(log, known, is_adopted=known in adopted))
            entries += pushes.get(known, [])[::-1] if known in adopted else []
    return entries


def _push_entry(fate: PushFate, changes: Sequence[RefChange]) -> dict[str, Any]:
    certificate = fate.push.certificate
    said = [(unit, line) for unit in fate.units for line in unit.lines]
    shown = [
        {
            "ref": change.shown,
            "change": change.change,
            "old": change.old,
            "new": change.new,
            "verdict": UNJUDGED if unit.verdict is None else unit.verdict.value,
            "reason": None if unit.reason is None else unit.reason.value,
        }
        for (unit, _), change in zip(said, changes, strict=True)
    ]
    is_final = fate.checkpoint is not None
    state = f"final since checkpoint {fate.number}" if is_final else "provisional"
    if not is_final and all(unit.verdict is Verdict.REFUSED for unit in fate.units):
        state = "refused: no checkpoint has to take it"
    return {
        "push_id": fate.push.id,
        "kind": PushKind.CERTIFICATE.value,
        "signer": str(fate.push.key),
        "signers": [str(fate.push.key)],
        "pusher": certificate.pusher.decode(errors="backslashreplace").strip(),
        "date": _date(certificate.time),
        "final": is_final,
        "checkpoint": fate.checkpoint,
        "state": state,
        "changes": shown,
    }


def _checkpoint_entry(log: VerifiedLog, push: PushId, *, is_adopted: bool) -> dict[str, Any]:
    signed = log.checkpoint(push)
    said = signed.checkpoint
    state = f"checkpoint {said.number}, policy version {said.version}"
    if not is_adopted:
        state += ", does not count"
    elif push in log.followed:
        state += ", believed by its signature: objects that it is about are not here"
    return {
        "push_id": push,
        "kind": PushKind.CHECKPOINT.value,
        "signer": str(signed.signer),
        "signers": [str(signed.signer)],
        "pusher": said.tagger.decode(errors="backslashreplace"),
        "date": _date(said.time),
        "final": is_adopted,
        "checkpoint": push,
        "state": state,
        "changes": [],
    }


def _policy_entry(verified: VerifiedPolicy, push: PushId) -> dict[str, Any]:
    return {
        "push_id": push,
        "kind": PushKind.POLICY.value,
        "signer": None,
        "signers": sorted(map(str, verified.signers)),
        "pusher": "",
        "date": None,
        "final": None,
        "checkpoint": None,
        "state": f"policy version {verified.policy.version}",
        "changes": [],
    }


def _date(seconds: int) -> str:
    return date_of(seconds).isoformat()


def _classified(carried: Carried, found: Iterable[PushFate]) -> list[RefChange]:
    """Tell what all changes were, asking git for those of all pushes together."""
    lines = [line for fate in found for unit in fate.units for line in unit.lines]
    changes = [(line.ref, line.old, line.new) for line in lines]
    try:
        return classify_changes(carried.git, changes)
    except GitError as error:
        # The log holds without the objects, and whoever lost some may want to see it just then.
        click.echo(f"warning: cannot tell which pushes rewound refs: {error}", err=True)
        return [unclassified(*change) for change in changes]
