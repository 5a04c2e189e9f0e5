"""``gittorrent keeper``: the key that puts pushes in order, and the machine that has it."""

from __future__ import annotations

import itertools
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gittorrent.cli.ages import how_long
from gittorrent.cli.news import offline_option
from gittorrent.cli.output import count, json_option, print_json
from gittorrent.cli.policy_place import (
    PolicyPlace,
    open_place,
    open_to_sign,
    takes_repository,
)
from gittorrent.cli.policy_result import DraftOptions, carry_on, result_json, show_result
from gittorrent.cli.signer import has_keeper_key
from gittorrent.cli.signing_clock import ahead_words
from gittorrent.errors import UsageError
from gittorrent.printable import printable
from gittorrent.push.fresh import MAX_AHEAD
from gittorrent.push.history import awaited
from gittorrent.repository.policy_drafts import can_publish, go_on_from, read_or_begin
from gittorrent.repository.recorded_key import recorded_signer
from gittorrent.signing.keys import NoSigningKey, make_ssh_key, resolve_signer
from gittorrent.store.copied_home import KEEPER_KEY
from gittorrent.store.home import open_home
from gittorrent.store.processes import KeepingFigures, NodeProcess
from gittorrent.store.signing_time import SigningTime
from gittorrent.store.snapshot import read_snapshots
from gittorrent.trust.key_files import FoundKey
from gittorrent.trust.policy_edit import set_keeper
from gittorrent.trust.policy_words import differences

if TYPE_CHECKING:
    from gittorrent.push.chain import Point
    from gittorrent.signing.keys import Signer

KEY_NAME = "keeper"
"""File of the keeper's key that is made, in the node's keys; later ones have a number."""

TRIAL = b"gittorrent: whether this key can sign\n"
"""What a keeper's key signs to show that it can: it means nothing anywhere."""


@click.group()
def keeper() -> None:
    """Say which machine puts pushes in order.

    The keeper signs checkpoints: in which order pushes count. It can be an always-on node with a
    key of its own, without a passphrase. It decides nothing else, and the roots can name another.

    \b
    Examples:
      gittorrent keeper here project
      gittorrent keeper show project
    """


@keeper.command()
@takes_repository
@click.option("--key", metavar="KEY", help="The key to keep with; by default one is made for it.")
@click.option(
    "--from",
    "checkpoint",
    metavar="CHECKPOINT",
    help="Last checkpoint of the keeper before that counts; by default the newest.",
)
@click.option("--root-key", metavar="KEY", help="Root key to sign the new version of the policy.")
@offline_option
@json_option
def here(
    repository: Path,
    key: str | None,
    checkpoint: str | None,
    root_key: str | None,
    offline: bool,
    as_json: bool,
) -> None:
    """Let this machine be the keeper: a new version of the policy that names its key.

    The key signs unattended, so it has no passphrase; it is best one that has no other rights.
    Where no root's key is here the new version is kept as a draft for the roots to sign. Where the
    keeper before signed two checkpoints in one place, --from names the one that counts, and another
    key goes on: one is made if the old one is this machine's.

    \b
    Examples:
      gittorrent keeper here project
      gittorrent keeper here project --root-key ~/.ssh/root
      gittorrent keeper here project --from 3379abe3f2
    """
    place = open_to_sign(repository, offline=offline)
    if not can_publish(place.carried):
        raise UsageError(
            f"{place.carried.layout.git_dir} is a clone, and a keeper signs where a node serves",
            hint="run it on the machine that publishes or mirrors the repository",
        )
    _require_side(place, checkpoint)
    signer = _keeper_signer(place, key, goes_on=checkpoint is None)
    signer.sign(TRIAL)
    # What this machine calls the key is for its user, and not what the policy says to all.
    found = FoundKey(signer.key, signer.certificate, "this machine")
    draft = set_keeper(read_or_begin(place.carried, place.log), found)
    if draft.policy.keeper != place.log.policy.policy.keeper:
        draft = go_on_from(draft, place.log, checkpoint)
    place.carried.remember_keeper(signer.spec)
    if not differences(place.log.policy.policy, draft.policy):
        click.echo(f"this machine is the keeper already, with {signer.key}", err=as_json)
    result = carry_on(place, draft, DraftOptions(root_key, as_json=as_json))
    if as_json:
        changes = differences(place.log.policy.policy, draft.policy, place.labels([found]))
        print_json({"keeper": str(signer.key), **result_json(place, result, changes)})
        return
    show_result(place, result, [found], as_json=False)


def _require_side(place: PolicyPlace, checkpoint: str | None) -> None:
    """Make sure that it is said which checkpoint counts, where the keeper signed two in one place.

    Raises:
        UsageError: it is not.
    """
    ledger = place.log.ledger
    if checkpoint is None and ledger.stopped and ledger.twins:
        twins = ledger.twins[0]
        raise UsageError(
            f"{ledger.stopped}, and say which of the two counts",
            hint=f"gittorrent keeper here --from {twins.first.id[:12]}, or {twins.second.id[:12]};"
            " what the other one took in is provisional again ('gittorrent log' shows both)",
        )


def _keeper_signer(place: PolicyPlace, key: str | None, *, goes_on: bool) -> Signer:
    """Return the key to keep with, made if there is none.

    Args:
        place: the repository.
        key: that the user named.
        goes_on: whether the key that is the keeper's now can be it further on.

    Raises:
        NoSigningKey: the one that is meant cannot be used.
        UsageError: it has signed what contradicts itself, and another one has to go on.
    """
    former = place.log.policy.policy.keeper
    signer = resolve_signer(key, place.config) if key is not None else _own_signer(place)
    if goes_on or signer.key != former:
        return signer
    if key is not None:
        raise UsageError(
            f"{former} is the keeper from which another one goes on",
            hint="leave --key away, and a key is made",
        )
    names = (f"{KEY_NAME}-{number}" for number in itertools.count(2))
    own = next(path for path in map(place.home.keys.joinpath, names) if not path.exists())
    return resolve_signer(_made_key(own), place.config)


def _own_signer(place: PolicyPlace) -> Signer:
    """Return the key that the repository records, or that of this home, made if there is none."""
    recorded, own = place.carried.keeper_key, place.home.keys / KEY_NAME
    if recorded is None:
        return resolve_signer(str(own) if own.exists() else _made_key(own), place.config)
    try:
        return recorded_signer(recorded, place.config)
    except NoSigningKey as error:
        forget = shlex.join(
            ["git", "-C", str(place.carried.layout.git_dir), "config", "--unset", KEEPER_KEY]
        )
        error.hint = f"use --key to say where it is; if it is lost, run '{forget}' first"
        raise


def _made_key(path: Path) -> str:
    """Make a keeper's key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    make_ssh_key(path, "gittorrent keeper")
    click.echo(f"made the keeper's key {path}", err=True)
    return str(path)


@keeper.command()
@takes_repository
@json_option
def show(repository: Path, as_json: bool) -> None:
    """Show who the keeper is, its newest checkpoint, and what waits for the next one.

    \b
    Examples:
      gittorrent keeper show
      gittorrent keeper show project --json
    """
    place = open_place(repository)
    found = _describe(place, int(time.time()))
    found["node"] = _node_keeping(place)
    if as_json:
        print_json(found)
        return
    where = "its key is on this machine" if found["is_here"] else "its key is not on this machine"
    click.echo(f"keeper      {found['keeper']} ({where})")
    click.echo(f"checkpoint  number {found['number']}, {found['checkpoint']}")
    if found["ahead"]:
        click.echo(f"            dated {how_long(found['ahead'])} ahead of this machine's clock")
    else:
        click.echo(f"            signed {how_long(found['age'])} ago")
    if found["waiting"]:
        since = how_long(found["waiting_since"])
        click.echo(f"waiting     {count(found['waiting'], 'push')}, the oldest for {since}")
    else:
        click.echo("waiting     nothing: all that is known here is final")
    if found["is_here"]:
        click.echo(f"node        {_node_words(found['node'], place)}")
    for trouble in found["trouble"]:
        click.echo(printable(f"warning: {trouble}"), err=True)


@keeper.command()
@click.option("--right", is_flag=True, help="Say that the clock is right.")
@json_option
def clock(*, right: bool, as_json: bool) -> None:
    """Show whether what is signed here is dated by this machine's clock.

    Mirrors hold what is dated ahead of their clocks until then, and later checkpoints may not be
    older. So a clock that is suddenly ahead is not signed by before most mirrors that can be asked
    agree, or --right says that it is right; until then what is signed is dated by the time that has
    passed. Ends with 1 while that is so.

    \b
    Examples:
      gittorrent keeper clock
      gittorrent keeper clock --right
    """
    signing = SigningTime(open_home().clock)
    if right:
        signing.confirm()
    ahead = int(signing.ahead())
    if as_json:
        print_json({"time": int(signing.now()), "ahead": ahead})
    elif ahead:
        click.echo(ahead_words(ahead))
    else:
        click.echo("what is signed here is dated by the clock")
    if ahead:
        raise SystemExit(1)


def _node_keeping(place: PolicyPlace) -> KeepingFigures | None:
    """Return what a node that runs here says of keeping the repository."""
    for process in read_snapshots(place.home.run):
        for each in process.keeping if isinstance(process, NodeProcess) else ():
            if each.repository_id == place.log.repository:
                return each
    return None


def _node_words(found: KeepingFigures | None, place: PolicyPlace) -> str:
    if found is not None:
        return found.words
    if place.carried.keeper_key is not None:
        way = "'gittorrent serve' would, and 'gittorrent publish' does when it is run"
    else:
        way = "'gittorrent publish' does when it is run; a node does after 'gittorrent keeper here'"
    return f"none that runs here signs checkpoints: {way}"


def _ahead_words(adopted: Point, now: int) -> str:
    """Say what comes of a checkpoint that is dated ahead, and which one to go on from."""
    at: Point | None = adopted
    while at is not None and at.time > now + MAX_AHEAD:
        at = at.previous
    text = (
        f"checkpoint {adopted.id} is dated {how_long(adopted.time - now)} ahead of this machine's"
        " clock: mirrors hold it until then, and all that follow."
    )
    if at is None:
        return f"{text} None before it is here that is not"
    cure = f"gittorrent keeper here --from {at.id[:12]}"
    return f"{text} If the clock is right, go on from before: '{cure}'"


def _describe(place: PolicyPlace, now: int) -> dict[str, Any]:
    log, ledger = place.log, place.log.ledger
    named = log.policy.policy.keeper
    waiting = [push.certificate.time for push in awaited(log)]
    trouble = [ledger.stopped] if ledger.stopped else []
    trouble += [f"checkpoint {each}, which it signed, does not hold: {why}"
                for each, why in ledger.refuted.items()]  # fmt: skip
    ahead = ledger.adopted.time - now
    if ahead > MAX_AHEAD:
        trouble.append(_ahead_words(ledger.adopted, now))
    return {
        "repository_id": log.repository,
        "keeper": str(named),
        "is_here": has_keeper_key(place),
        "checkpoint": ledger.adopted.id,
        "number": ledger.adopted.number,
        "age": max(0, now - ledger.adopted.time),
        "ahead": ahead if ahead > MAX_AHEAD else 0,
        "waiting": len(waiting),
        "waiting_since": max(0, now - min(waiting)) if waiting else None,
        "trouble": trouble,
        "twins": [[twins.first.id, twins.second.id] for twins in ledger.twins],
    }
