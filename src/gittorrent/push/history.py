"""What became of each push of a log, for people: when, what, why not; and the order to show it in.

Pure. A checkpoint holds a verdict for each unit that it took and no reasons; they follow from the
rule, judged once more on the state before it. Where that state, or an object, is not here there is
only the verdict.

Must not know how anything is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.chain import units_on
from gittorrent.push.object import PushKind
from gittorrent.push.rule import UnknownObjectError, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gittorrent.ids import PushId, RefName
    from gittorrent.push.certificate import Line
    from gittorrent.push.chain import Point
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.rule import Push, Reason

_AS_EXPECTED = (Verdict.APPLIED, Verdict.WAITING)


class UnitFate(Struct, frozen=True):
    """What became of a unit.

    Args:
        lines: what it was to change.
        verdict: the word for it; None if it cannot be judged here, for want of objects.
        reason: why it did not simply happen; None if it did, or if that is not known.
    """

    lines: tuple[Line, ...]
    verdict: Verdict | None
    reason: Reason | None = None


class PushFate(Struct, frozen=True):
    """What became of a push.

    Args:
        push: what was pushed, and by whom.
        checkpoint: the one that took it; None if it is not final.
        number: of that checkpoint; 0 if it is not final.
        units: what became of each unit, in the order in which they were applied.
    """

    push: Push
    checkpoint: PushId | None
    number: int
    units: tuple[UnitFate, ...]


def fates(log: VerifiedLog) -> Iterator[PushFate]:
    """Yield what became of every push that is held: final ones in their order, then the others."""
    for checkpoint in _chain(log):
        yield from _taken(log, checkpoint)
    yield from _provisional(log)


def awaited(log: VerifiedLog) -> list[Push]:
    """Return the pushes that wait for a checkpoint: those that none has taken and that count here.

    One that is refused as a whole changes nothing for anybody. It stays in the logs of mirrors that
    accepted it before they knew of the policy that forbids it, and no keeper need ever hear of it.
    """
    if log.head is None:
        return []
    view = log.ledger.view()
    judged: dict[PushId, bool] = {}
    for item in view.judged:
        counts = item.outcome.verdict is not Verdict.REFUSED
        judged[item.unit.push.id] = judged.get(item.unit.push.id, False) or counts
    return [push for push in log.unfinal if judged.get(push.id, True)]


def in_order(log: VerifiedLog) -> list[PushId]:
    """Return the checkpoints and policies of a log as they follow from each other, oldest first.

    Entries come in any order. A policy stands before the checkpoint that names it; what none of the
    chain names, and checkpoints that do not count, stand behind what they were made on.
    """
    chain = _chain(log)
    named = {entry for each in chain for entry in log.checkpoint(each).checkpoint.adopted}
    beside: dict[PushId | None, list[PushId]] = {}
    for entry, made_on in _made_on(log):
        if entry not in named:
            beside.setdefault(_anchor(log, made_on, frozenset(chain)), []).append(entry)
    found = beside.get(None, [])
    for each in chain:
        adopted = log.checkpoint(each).checkpoint.adopted
        found += [entry for entry in adopted if entry in log]
        found += [each, *beside.get(each, [])]
    return found


def _made_on(log: VerifiedLog) -> Iterator[tuple[PushId, PushId | None]]:
    """Yield policies, and checkpoints that do not count, with the checkpoint that they name."""
    policies = iter(log.policies)
    for record in log.records:
        if record.kind is PushKind.POLICY:
            yield record.id, next(policies).policy.checkpoint
        elif record.kind is PushKind.CHECKPOINT and not record.is_in_chain:
            yield record.id, log.checkpoint(record.id).checkpoint.previous


def _anchor(log: VerifiedLog, checkpoint: PushId | None, chain: frozenset[PushId]) -> PushId | None:
    """Return the nearest checkpoint of the chain that leads to one; None if that is not held."""
    while checkpoint is not None and checkpoint not in chain:
        if checkpoint not in log:
            return None
        checkpoint = log.checkpoint(checkpoint).checkpoint.previous
    return checkpoint


def _chain(log: VerifiedLog) -> list[PushId]:
    return [
        record.id
        for record in log.records
        if record.kind is PushKind.CHECKPOINT and record.is_in_chain
    ]


def _taken(log: VerifiedLog, checkpoint: PushId) -> Iterator[PushFate]:
    """Yield the pushes that a checkpoint took and that are held."""
    said = log.checkpoint(checkpoint).checkpoint
    reasons = _reasons(log, checkpoint)
    units: dict[PushId, list[UnitFate]] = {}
    pushes = {push: log.push(push) for push in said.pushes if push in log}
    for item in said.taken:
        push = pushes.get(item.push)
        if push is None:
            continue
        lines = _lines(push, item.ref)
        fate = UnitFate(lines, item.verdict, reasons.get((item.push, item.ref)))
        units.setdefault(item.push, []).append(fate)
    for name, found in units.items():
        yield PushFate(pushes[name], checkpoint, said.number, tuple(found))


def _lines(push: Push, ref: RefName | None) -> tuple[Line, ...]:
    lines = push.certificate.lines
    return lines if ref is None else tuple(line for line in lines if line.ref == ref)


def _reasons(log: VerifiedLog, checkpoint: PushId) -> dict[tuple[PushId, RefName | None], Reason]:
    """Judge the units of a checkpoint once more, if some did not simply happen."""
    point = log.ledger.point(checkpoint)
    said = log.checkpoint(checkpoint).checkpoint
    if point is None or point.previous is None:
        return {}
    if all(item.verdict in _AS_EXPECTED for item in said.taken):
        return {}
    try:
        return _judged(log, point, point.previous)
    except UnknownObjectError:
        return {}


def _judged(
    log: VerifiedLog, point: Point, before: Point
) -> dict[tuple[PushId, RefName | None], Reason]:
    copies = [log.ledger.push_copy(*item) for item in point.checkpoint.push_copies.items()]
    pushes = [copy for copy in copies if copy is not None]
    if len(pushes) < len(copies):
        return {}
    units = {(u.push.id, u.ref): u for u in units_on(before, pushes, point.keeper_since)}
    found: dict[tuple[PushId, RefName | None], Reason] = {}
    listing = before.listing
    for item in point.checkpoint.taken:
        outcome = judge(listing, units[item.push, item.ref], point.policy.policy, log.evidence)
        listing = outcome.listing
        if outcome.reason is not None:
            found[item.push, item.ref] = outcome.reason
    return found


def _provisional(log: VerifiedLog) -> Iterator[PushFate]:
    """Yield the pushes that no checkpoint took, those that cannot be judged last."""
    if log.head is None:
        return
    units: dict[PushId, list[UnitFate]] = {}
    for item in log.ledger.view().judged:
        fate = UnitFate(item.unit.lines, item.outcome.verdict, item.outcome.reason)
        units.setdefault(item.unit.push.id, []).append(fate)
    for push in sorted(log.unfinal, key=lambda each: (each.id not in units, each.certificate.time)):
        found = units.get(push.id) or [UnitFate(push.certificate.lines, None)]
        yield PushFate(push, None, 0, tuple(found))
