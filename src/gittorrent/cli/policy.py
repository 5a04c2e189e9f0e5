"""``gittorrent policy``: who may do what, and how that changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gittorrent.cli.news import offline_option
from gittorrent.cli.output import json_option, print_json
from gittorrent.cli.policy_change import add, remove
from gittorrent.cli.policy_place import (
    STDIN,
    PolicyPlace,
    complete_files,
    key_option,
    open_place,
    open_to_sign,
    repository_option,
    takes_repository,
)
from gittorrent.cli.policy_result import (
    DraftOptions,
    carry_on,
    show_changes,
    show_result,
    show_warnings,
)
from gittorrent.errors import UsageError
from gittorrent.printable import printable
from gittorrent.push.object import PushKind
from gittorrent.repository.policy_drafts import read_draft, with_rivals
from gittorrent.trust.policy import WebOfTrust
from gittorrent.trust.policy_draft import DraftError, PolicyDraft, parse_draft
from gittorrent.trust.policy_words import describe, differences, warnings

if TYPE_CHECKING:
    from gittorrent.trust.policy import Policy, Rule
    from gittorrent.trust.policy_words import PolicyChange


@click.group()
def policy() -> None:
    """Say who may push where, who may read, and who may change that.

    The policy is a signed text that all mirrors and clones check. It names keys and the refs that
    each may change; the roots, whose signatures make the next version; and the keeper, which signs
    the order of pushes. At first the owner's key is all of these.

    \b
    Examples:
      gittorrent policy show project
      gittorrent policy add alice.pub 'refs/heads/*' -r project
      gittorrent policy remove alice.pub -r project
    """


policy.add_command(add)
policy.add_command(remove)


@policy.command()
@takes_repository
@json_option
def show(repository: Path, as_json: bool) -> None:
    """Show the policy that counts, and what the draft of the next version would change.

    \b
    Examples:
      gittorrent policy show
      gittorrent policy show /srv/git/project.git --json
    """
    place = open_place(repository)
    now = place.log.policy.policy
    draft = _kept(place)
    labels = place.labels()
    if as_json:
        print_json(_policy_json(place, draft))
        return
    for line in describe(now, labels):
        click.echo(printable(line))
    for warning in warnings(now):
        click.echo(f"warning: {warning}", err=True)
    if draft is not None:
        signers = draft.signers(place.log.policy)
        click.echo(
            f"draft of version {draft.policy.version}, signed by {len(signers)} of the"
            f" {now.threshold} roots it takes:"
        )
        show_changes(differences(now, draft.policy, labels))


def _kept(place: PolicyPlace) -> PolicyDraft | None:
    """Return the draft that is kept, unless it does not follow any more: then say so."""
    try:
        return read_draft(place.carried, place.log)
    except DraftError as error:
        click.echo(f"warning: {error}\nhint: {error.hint}", err=True)
        return None


def _policy_json(place: PolicyPlace, draft: PolicyDraft | None) -> dict[str, Any]:
    now, labels = place.log.policy.policy, place.labels()
    return {
        "repository_id": place.log.repository,
        "name": now.name,
        "version": now.version,
        "digest": now.digest,
        "checkpoint": now.checkpoint,
        "head": now.head.decode(errors="backslashreplace"),
        "threshold": now.threshold,
        "roots": [str(root) for root in now.roots],
        "keeper": str(now.keeper),
        "rules": [_rule_json(rule) for rule in now.rules],
        "quorums": [
            {
                "pattern": str(line.pattern),
                "needs": line.needs,
                "keys": [str(each) for each in line.keys],
            }
            for line in now.quorums
        ],
        "certificates": [
            {"key": str(pin.key), "digest": pin.digest, "label": labels.get(pin.key, "")}
            for pin in now.keys
        ],
        "labels": [{"key": str(each.key), "label": each.text} for each in now.labels],
        "mirrors": list(now.mirrors),
        "fresh_within": now.fresh_within,
        "private": now.private,
        "readers": [str(key) for key in now.readers],
        "warnings": warnings(now),
        "draft": None if draft is None else _draft_json(place, draft),
    }


def _rule_json(rule: Rule) -> dict[str, Any]:
    found: dict[str, Any] = {"pattern": str(rule.pattern), "grant": rule.grant.value or "plain"}
    if isinstance(rule.who, WebOfTrust):
        found["web_of_trust"] = {"depth": rule.who.depth, "needs": rule.who.needs}
    else:
        found["key"] = str(rule.who)
    return found


def _draft_json(place: PolicyPlace, draft: PolicyDraft) -> dict[str, Any]:
    previous = place.log.policy
    return {
        "version": draft.policy.version,
        "path": str(place.carried.layout.policy_draft),
        "signers": sorted(map(str, draft.signers(previous))),
        "needed": previous.policy.threshold,
        "changes": differences(previous.policy, draft.policy, place.labels()),
    }


@policy.command()
@click.argument("file", required=False, shell_complete=complete_files)
@click.option("--no-publish", is_flag=True, help="Do not publish it, even if enough have signed.")
@click.option("-y", "--yes", is_flag=True, help="Sign without asking.")
@repository_option
@key_option
@offline_option
@json_option
def sign(
    file: str | None,
    no_publish: bool,
    yes: bool,
    repository: Path,
    key: str | None,
    offline: bool,
    as_json: bool,
) -> None:
    """Sign the draft of the next version, and publish it if enough roots have signed.

    FILE is a draft from another machine ('-' for standard input); the signature is added to it.
    Without FILE it is the draft kept in the repository. Signatures that were collected in
    several copies of a draft are put together here, one FILE at a time.

    \b
    Examples:
      gittorrent policy sign
      gittorrent policy sign ~/mail/policy-draft --key ~/.ssh/root
    """
    place = open_to_sign(repository, offline=offline or no_publish)
    draft = _to_sign(place, file)
    changes = differences(place.log.policy.policy, draft.policy, place.labels())
    if not yes and not as_json and sys.stdin.isatty() and sys.stderr.isatty():
        show_changes(changes)
        show_warnings(draft, place.log.policy.policy)
        click.confirm("Sign that?", abort=True, err=True)
    options = DraftOptions(key, publish=not no_publish, as_json=as_json)
    path = None if file in (None, STDIN) else Path(str(file))
    show_result(place, carry_on(place, draft, options, path), as_json=as_json)


def _to_sign(place: PolicyPlace, file: str | None) -> PolicyDraft:
    """Return the draft that is meant, with the signatures of the copy that is kept.

    Raises:
        UsageError: there is none.
        DraftError: it follows another policy than the one that counts.
    """
    if file is None:
        draft = read_draft(place.carried, place.log)
        if draft is None:
            raise UsageError(
                f"no draft is kept in {place.carried.layout.git_dir}",
                hint="name a file, or make one: gittorrent policy add, gittorrent policy remove",
            )
        return draft
    draft = parse_draft(_read(file))
    draft.check_follows(place.log.policy)
    draft = with_rivals(draft, place.log)
    kept = _kept(place)
    if kept is not None and kept.policy == draft.policy:
        return draft.merged(kept, place.log.policy)
    return draft.merged(draft, place.log.policy)


def _read(file: str) -> bytes:
    if file == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {file}") from error


@policy.command()
@click.argument("file", required=False, shell_complete=complete_files)
@click.option("--from", "old", type=int, metavar="N", help="The older version.")
@click.option("--to", "new", type=int, metavar="N", help="The newer version; by default the last.")
@repository_option
@json_option
def diff(
    file: str | None, old: int | None, new: int | None, repository: Path, as_json: bool
) -> None:
    """Say in words what a draft changes, or how two versions differ.

    FILE is a draft from another machine ('-' for standard input). Without FILE and versions it is
    the draft kept in the repository, or else what the last version changed.

    \b
    Examples:
      gittorrent policy diff
      gittorrent policy diff ~/mail/policy-draft
      gittorrent policy diff --from 1 --to 3
    """
    place = open_place(repository)
    before, after = _compared(place, file, old, new)
    changes = differences(before, after, place.labels())
    if as_json:
        print_json({"from": before.version, "to": after.version, "changes": changes})
        return
    click.echo(f"version {before.version} to version {after.version}:")
    show_changes(changes)


def _compared(
    place: PolicyPlace, file: str | None, old: int | None, new: int | None
) -> tuple[Policy, Policy]:
    now = place.log.policy.policy
    if file is not None:
        return now, parse_draft(_read(file)).policy
    draft = _kept(place) if old is None and new is None else None
    if draft is not None:
        return now, draft.policy
    chain = _chain(place)
    new = now.version if new is None else new
    old = max(1, new - 1) if old is None else old
    for version in (old, new):
        if version not in chain:
            raise UsageError(
                f"there is no version {version} of this policy: the last is {now.version}"
            )
    return chain[old], chain[new]


def _chain(place: PolicyPlace) -> dict[int, Policy]:
    """Return the versions that the one that counts goes back to, by number."""
    by_digest = {each.policy.digest: each.policy for each in place.log.policies}
    found: dict[int, Policy] = {}
    at: Policy | None = place.log.policy.policy
    while at is not None:
        found[at.version] = at
        at = by_digest.get(at.previous or "")
    return found


@policy.command()
@takes_repository
@json_option
def log(repository: Path, as_json: bool) -> None:
    """List the versions of the policy, newest first: who signed each, and what it changed.

    \b
    Examples:
      gittorrent policy log
      gittorrent policy log project --json
    """
    place = open_place(repository)
    entries = _versions(place)
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        beside = "" if entry["counts"] else " (does not count: another has its place)"
        click.echo(f"version {entry['version']}{beside}")
        click.echo(f"  push {entry['push_id']}")
        click.echo(f"  signed by {', '.join(entry['signers'])}")
        show_changes(entry["changes"])


def _versions(place: PolicyPlace) -> list[dict[str, Any]]:
    log, labels = place.log, place.labels()
    ids = [record.id for record in log.records if record.kind is PushKind.POLICY]
    counted = {each.digest for each in _chain(place).values()}
    by_digest = {each.policy.digest: each.policy for each in log.policies}
    found: list[dict[str, Any]] = []
    for push_id, verified in zip(ids, log.policies, strict=True):
        said = verified.policy
        before = by_digest.get(said.previous or "")
        changes: list[PolicyChange] = []
        if before is not None:
            changes = differences(before, said, labels)
        found.append(
            {
                "version": said.version,
                "push_id": push_id,
                "digest": said.digest,
                "checkpoint": said.checkpoint,
                "signers": sorted(map(str, verified.signers)),
                "counts": said.digest in counted,
                "changes": changes,
            }
        )
    return found[::-1]
