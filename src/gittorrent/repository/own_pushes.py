"""Turns what changed in an origin into pushes, within what its log and policy allow.

Rules: a ref changes by compare-and-swap against what the log shows. The branch that HEAD names is
deleted only together with another HEAD; where its owner named none, the likeliest takes its place,
and so where HEAD named a branch that never was.
What several keys must agree on waits for them. What cannot be published is named and left as it
is on both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.push.certificate import Line
from gittorrent.push.head_branch import successor
from gittorrent.push.origin_refs import Parted, Side, Trouble
from gittorrent.push.publication import HeadChange, parts_of
from gittorrent.push.refnames import shown_name
from gittorrent.push.rule import Verdict
from gittorrent.repository.origin_refs import select_shown
from gittorrent.trust.policy import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gittorrent.ids import Oid, RefName
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.origin_refs import OriginState
    from gittorrent.repository.signed_entries import EntrySigner
    from gittorrent.trust.keys import KeyRef


class Pushed(Struct, frozen=True):
    """What became of an origin's changes.

    Args:
        changes: (ref, old value, new value) of what was published.
        parted: refs that are not the same here and in the log.
        head: the branch that HEAD names everywhere from now on; None if it did before.
    """

    changes: tuple[tuple[RefName, Oid | None, Oid | None], ...]
    parted: tuple[Parted, ...]
    head: RefName | None


def push_changes(
    log: VerifiedLog,
    entries: EntrySigner,
    state: OriginState,
    key: KeyRef,
    note: Callable[[str], None],
) -> Pushed:
    """Add pushes of what changed in an origin to a copy of its log.

    Args:
        log: the copy.
        entries: adds entries to it.
        state: the origin, compared with it.
        key: who signs.
        note: told what the owner should know.

    Raises:
        NotAllowedError: the policy does not let the key do some of it.
    """
    parted = {each.ref: each for each in state.comparison.parted}
    lines = []
    for line in state.comparison.publish:
        if _is_waiting(log, line, key):
            parted[line.ref] = _parted(line, Trouble.WAITING)
        else:
            lines.append(line)
    lines += _dismissals(log, state, key, note)
    head = _head_change(log, state, lines, key, note)
    shown = log.ledger.view().listing.head
    if head is None:
        for line in [line for line in lines if line.ref == shown and line.new is None]:
            lines.remove(line)
            parted[shown] = _parted(line, Trouble.HEAD_BRANCH)
    for part in parts_of(lines, head):
        for item in entries.push(part):
            verdict = item.outcome.verdict
            trouble = Trouble.WAITING if verdict is Verdict.WAITING else Trouble.BOTH_MOVED
            if verdict is not Verdict.APPLIED:
                parted.update((line.ref, _parted(line, trouble)) for line in item.unit.lines)
    return Pushed(
        tuple((line.ref, line.old, line.new) for line in lines if line.ref not in parted),
        tuple(parted[ref] for ref in sorted(parted)),
        None if head is None else head.head,
    )


def _dismissals(
    log: VerifiedLog, state: OriginState, key: KeyRef, note: Callable[[str], None]
) -> list[Line]:
    """Return the lines that end conflicts whose refs were deleted in the origin."""
    found = []
    for conflict in state.dismissed:
        if conflict.key == key or log.policy.policy.allows(conflict.ref, key, Change.DELETE):
            found.append(Line(conflict.value, None, conflict.name))
        else:
            note(
                f"warning: {shown_name(conflict.name)} was deleted here and stays open: that takes"
                f" force on {shown_name(conflict.ref)}, or the key of who left it"
            )
    return found


def _head_change(
    log: VerifiedLog,
    state: OriginState,
    lines: Sequence[Line],
    key: KeyRef,
    note: Callable[[str], None],
) -> HeadChange | None:
    """Return what is to become of HEAD."""
    shown = log.ledger.view().listing
    former = shown.head
    published = {line.ref: line.new for line in lines}
    is_nowhere = published.get(former, shown.value(former)) is None
    if state.head is not Side.HERE and not is_nowhere:
        return None
    chosen = state.own_head if state.head is Side.HERE else None
    value = None if chosen is None else published.get(chosen, shown.value(chosen))
    if value is None and is_nowhere:
        before = select_shown(shown.refs(), state.patterns)
        after = {ref: oid for ref, oid in {**before, **published}.items() if oid is not None}
        chosen = state.own_head if state.own_head in after else successor(former, before, after)
        value = None if chosen is None else after[chosen]
    if chosen is None or value is None:
        return None
    if not log.policy.policy.allows(chosen, key, Change.REWIND):
        name = chosen.decode(errors="backslashreplace")
        if chosen == state.own_head:
            note(
                f"warning: HEAD names {name} here, and {key} may not make that the default branch"
                f" for everybody: it takes force on {name}"
            )
        return None
    return HeadChange(chosen, value, former)


def _is_waiting(log: VerifiedLog, line: Line, key: KeyRef) -> bool:
    """Tell whether this key has pushed this very line already, and others must do so too."""
    waiting = log.ledger.view().listing.entry(line.ref).waiting
    return any((each.old, each.new, each.key) == (line.old, line.new, key) for each in waiting)


def _parted(line: Line, trouble: Trouble) -> Parted:
    return Parted(line.ref, line.old, line.new, line.old, trouble)
