"""Shows what mirrors said: who has what, how old it is, who contradicts whom."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from gittorrent.cli.ages import how_long
from gittorrent.cli.output import print_table
from gittorrent.errors import TrustError
from gittorrent.printable import printable
from gittorrent.push.fresh import Fresh
from gittorrent.repository.freshness import judge_fresh
from gittorrent.transfer.log_words import troubles

if TYPE_CHECKING:
    from gittorrent.ids import PushId
    from gittorrent.push.checkpoint import Checkpoint
    from gittorrent.transfer.surveying import Answer, Survey


def survey_json(found: Survey, now: int) -> dict[str, Any]:
    """Return what --json shows.

    Args:
        found: what was said.
        now: seconds since 1970.
    """
    first = found.first
    newest = None if found.log is None else found.log.ledger.adopted
    return {
        "repository_id": first.repository_id,
        "latest": first.latest,
        "number": None if newest is None else newest.number,
        "time": None if newest is None else newest.time,
        "auth": [
            {"refs": line.pattern.decode(errors="backslashreplace"), "key": line.key}
            for line in first.auth
        ],
        "mirrors": [
            {"url": each.url, "valid": each.valid, "state": each.state.value}
            for each in first.mirrors
        ],
        "asked": [
            _answer_json(found, answer, now) for answer in found.answers if _was_asked(answer)
        ],
        "equivocations": [
            {
                "what": each.what,
                "number": each.number,
                "entries": [
                    {
                        "push_id": signed.id,
                        "mirrors": list(signed.urls),
                        "push_object": base64.b64encode(signed.entry.encode()).decode("ascii"),
                    }
                    for signed in each.entries
                ],
            }
            for each in found.equivocations
        ],
    }


def _said(found: Survey, checkpoint: PushId | None) -> Checkpoint | None:
    """Return what a checkpoint says, if it came with the log of some mirror."""
    if found.log is None or checkpoint is None or checkpoint not in found.log:
        return None
    return found.log.checkpoint(checkpoint).checkpoint


def _was_asked(answer: Answer) -> bool:
    return answer.found is not None or bool(answer.trouble)


class _Word(Struct, frozen=True):
    """The keeper's newest word that a mirror has: a statement of freshness, or a checkpoint.

    Args:
        time: of it, in seconds; None if there is none that holds.
        trouble: why its statement does not count; empty if it does, or there is none.
    """

    time: int | None = None
    trouble: str = ""

    def is_old(self, found: Survey, now: int) -> bool:
        """Tell whether it says nothing of the present, by the policy."""
        if found.log is None or self.time is None:
            return False
        log = found.log
        said = Fresh(log.repository, log.ledger.adopted.id, self.time)
        return said.is_old(log.policy.policy, now)


def _word(found: Survey, answer: Answer, now: int) -> _Word:
    if answer.found is None or found.log is None:
        return _Word()
    said = _said(found, answer.found.latest)
    known = None if said is None else said.time
    line = answer.found.fresh
    if line is None:
        return _Word(known)
    try:
        word = judge_fresh(found.log, line, now)
    except TrustError as error:
        return _Word(known, f"its statement of freshness does not count: {error}")
    return _Word(max(word.time, known or 0))


def _answer_json(found: Survey, answer: Answer, now: int) -> dict[str, Any]:
    latest = None if answer.found is None else answer.found.latest
    said = _said(found, latest)
    return {
        "url": answer.url,
        "found": answer.way.value,
        "answers": answer.found is not None,
        "latest": latest,
        "number": None if said is None else said.number,
        "time": None if said is None else said.time,
        "not_final": None if answer.found is None else answer.found.untaken.count,
        "fresh": _word(found, answer, now).time,
        "trouble": answer.trouble or _word(found, answer, now).trouble,
    }


def show_survey(found: Survey, now: int) -> None:
    """Print it for people.

    Args:
        found: what was said.
        now: seconds since 1970.
    """
    first = found.first
    click.echo(f"repository  {first.repository_id}")
    click.echo(f"latest      {first.latest or 'no push yet'}")
    if found.log is not None:
        newest = found.log.ledger.adopted
        click.echo(f"checkpoint  number {newest.number}, {how_long(now - newest.time)} old")
    if any(map(_was_asked, found.answers)):
        rows = [_row(found, answer, now) for answer in found.answers]
        print_table(
            ("MIRROR", "CHECKPOINT", "AGE", "KEEPER SEEN", "NOT FINAL", "LISTED", "FOUND"), rows
        )
    elif found.answers:
        listed = [(answer.url, answer.listed) for answer in found.answers]
        table = [(url, each.state.value, f"{each.valid} s") for url, each in listed if each]
        print_table(("MIRROR", "STATE", "VALID FOR"), table)
    for answer in found.answers:
        trouble = answer.trouble or _word(found, answer, now).trouble
        if trouble:
            click.echo(printable(f"warning: {answer.url}: {trouble}"), err=True)
    for trouble in [] if found.log is None else troubles(found.log):
        click.echo(printable(f"warning: {trouble}"), err=True)
    _show_equivocations(found)


def _row(found: Survey, answer: Answer, now: int) -> tuple[str, ...]:
    listed = "no" if answer.listed is None else answer.listed.state.value
    way = answer.way.value
    if answer.found is None:
        return (answer.url, "no answer", "", "", "", listed, way)
    said = _said(found, answer.found.latest)
    if said is None:
        shown = "nothing" if answer.found.latest is None else answer.found.latest[:10]
        return (answer.url, shown, "", "", "", listed, way)
    untaken = str(answer.found.untaken.count or "")
    word = _word(found, answer, now)
    seen = "" if word.time is None else f"{how_long(now - word.time)} ago"
    seen += ", old" if word.is_old(found, now) else ""
    checkpoint, age = f"number {said.number}", how_long(now - said.time)
    return (answer.url, checkpoint, age, seen, untaken, listed, way)


def _show_equivocations(found: Survey) -> None:
    """Print what was signed twice in one place; the texts are for programs."""
    for each in found.equivocations:
        signers = "the keeper" if each.what == "checkpoint" else "the roots"
        click.echo(
            f"{signers} signed {len(each.entries)} {each.what} entries number {each.number}:"
        )
        for signed in each.entries:
            where = ", ".join(signed.urls) or "known from the log"
            click.echo(printable(f"  {signed.id}  {where}"))
    if found.equivocations:
        click.echo("the signed texts, which prove it, are in what --json prints")
