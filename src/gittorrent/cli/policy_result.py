"""What becomes of a draft once a command has changed it: signed, published, or kept; and its words.

Shared by the commands that change or sign a policy.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from gittorrent.cli.output import print_json
from gittorrent.cli.signer import find_signer, root_signer
from gittorrent.cli.signing_clock import signing_clock
from gittorrent.durable import write_atomically
from gittorrent.printable import printable
from gittorrent.repository.policy_drafts import (
    can_publish,
    discard_draft,
    keep_draft,
    publish_draft,
)
from gittorrent.repository.readers_file import close_to_others
from gittorrent.repository.signed_entries import author_in
from gittorrent.store.database import Database
from gittorrent.store.privacy import note_private
from gittorrent.trust.policy_words import differences, warnings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gittorrent.cli.policy_place import PolicyPlace
    from gittorrent.repository.policy_drafts import PolicyPublished
    from gittorrent.trust.key_files import FoundKey
    from gittorrent.trust.policy import Policy
    from gittorrent.trust.policy_draft import PolicyDraft
    from gittorrent.trust.policy_words import Labels, PolicyChange


class DraftOptions(Struct, frozen=True):
    """How far to take a draft.

    Args:
        key: the root key that the user named.
        sign: whether to sign it, if a root's key is at hand.
        publish: whether to publish it when enough roots signed.
        as_json: whether programs read the result.
    """

    key: str | None
    sign: bool = True
    publish: bool = True
    as_json: bool = False


class DraftResult(Struct, frozen=True):
    """What became of a draft.

    Args:
        draft: as it is now.
        path: where it is kept; None once it is published.
        published: what publishing came to.
    """

    draft: PolicyDraft
    path: Path | None
    published: PolicyPublished | None = None


def carry_on(
    place: PolicyPlace, draft: PolicyDraft, options: DraftOptions, path: Path | None = None
) -> DraftResult:
    """Sign a draft if a root's key is at hand, publish it if that was the last one, or keep it.

    Args:
        place: the repository.
        draft: the draft, changed or read.
        options: how far to go.
        path: of a file to keep it in besides the repository's own.

    Raises:
        NoSigningKey: the key that was named cannot be used.
        UsageError: it is no root's.
    """
    previous = place.log.policy
    if not differences(previous.policy, draft.policy):
        discard_draft(place.carried)
        return DraftResult(draft, None)
    if options.sign:
        roots = draft.roots(previous)
        signer = root_signer(options.key, place.config, place.home, place.carried, roots)
        if signer is not None:
            draft = draft.with_signature(signer.sign(draft.policy.text()), previous)
    if path is not None:
        _keep_in(path, draft.encode())
    is_ready = options.publish and draft.is_complete(previous) and can_publish(place.carried)
    if not is_ready:
        keep_draft(place.carried, draft)
        return DraftResult(draft, path or place.carried.layout.policy_draft)
    keeper = find_signer([draft.policy.keeper], place.config, place.home, place.carried)
    clock = signing_clock(place.home, lambda text: click.echo(text, err=True))
    author = author_in(place.carried.layout.git_dir, clock)
    published = publish_draft(place.carried, draft, keeper, author)
    close_to_others(place.carried.layout, place.home.repositories)
    _remember(place)
    return DraftResult(draft, None, published)


def _keep_in(path: Path, data: bytes) -> None:
    """Write a draft back to where it came from: nobody else may have what others signed in it."""
    if path.is_file():
        write_atomically(path.resolve(), data)
    else:  # a pipe, or what the shell makes of one
        path.write_bytes(data)


def _remember(place: PolicyPlace) -> None:
    """Let the node know how far the log has got."""
    log = place.carried.log()
    database = Database(place.home.database)
    try:
        note_private(database, log.repository, private=log.policy.policy.private)
        if log.head is not None:
            database.saw_head(log.repository, log.head, log.number, int(time.time()))
    finally:
        database.close()


def show_result(
    place: PolicyPlace,
    result: DraftResult,
    found: Iterable[FoundKey] = (),
    passed_over: Iterable[str] = (),
    *,
    as_json: bool,
) -> None:
    """Say what became of a draft."""
    previous, draft = place.log.policy, result.draft
    labels = place.labels(found)
    changes = differences(previous.policy, draft.policy, labels)
    for why in passed_over:
        click.echo(f"warning: passed over {printable(why)}", err=True)
    if as_json:
        print_json(result_json(place, result, changes))
        return
    if not changes:
        click.echo("nothing to change: the policy says that already")
        return
    show_changes(changes)
    done = result.published
    if done is None:
        _say_what_is_missing(place, result, labels)
    else:
        click.echo(f"published as version {done.version} of the policy: {done.push_id}")
        if not done.counts:
            click.echo(
                "another version with that number was published: the keeper's next checkpoint says"
                " which counts ('gittorrent policy log')"
            )
        elif done.checkpoint is None:
            click.echo(f"it is final once the keeper signs: {draft.policy.keeper}")
        else:
            click.echo(f"checkpoint  {done.checkpoint}")
    show_warnings(draft, previous.policy)


def show_changes(changes: Iterable[PolicyChange]) -> None:
    """Print what a version changes."""
    for change in changes:
        click.echo(printable(f"  {change}"))


def show_warnings(draft: PolicyDraft, before: Policy) -> None:
    """Print what weakens a policy and did not before: nobody reads what is said each time.

    'gittorrent policy show' says all.
    """
    known = warnings(before)
    for warning in warnings(draft.policy):
        if warning in known:
            continue
        click.echo(f"warning: {warning}", err=True)


def result_json(
    place: PolicyPlace, result: DraftResult, changes: Iterable[PolicyChange]
) -> dict[str, Any]:
    """Return what --json shows of what became of a draft."""
    previous, done = place.log.policy, result.published
    return {
        "repository_id": place.log.repository,
        "version": result.draft.policy.version,
        "changes": list(changes),
        "signers": sorted(map(str, result.draft.signers(previous))),
        "needed": previous.policy.threshold,
        "draft": None if result.path is None else str(result.path),
        "published": None if done is None else done.push_id,
        "checkpoint": None if done is None else done.checkpoint,
        "warnings": warnings(result.draft.policy),
    }


def _say_what_is_missing(place: PolicyPlace, result: DraftResult, labels: Labels) -> None:
    previous, draft = place.log.policy, result.draft
    signers = draft.signers(previous)
    missing = draft.missing(previous)
    where = result.path or place.carried.layout.policy_draft
    click.echo(f"kept as a draft of version {draft.policy.version}: {where}")
    if missing > 0:
        click.echo(f"{missing} more {'root' if missing == 1 else 'roots'} must sign, of these:")
        for root in draft.roots(previous):
            if root not in signers:
                label = labels.get(root)
                click.echo(f"  {root}{f' ({printable(label)})' if label else ''}")
        click.echo("send them the file; each runs 'gittorrent policy sign FILE' and sends it back")
    elif can_publish(place.carried):
        click.echo("enough roots signed: 'gittorrent policy sign' publishes it")
    else:
        click.echo(
            "enough roots signed: 'gittorrent policy sign FILE' publishes it, where the repository"
            " is published or mirrored"
        )
