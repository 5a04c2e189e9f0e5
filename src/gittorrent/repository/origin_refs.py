"""Lets an origin's refs and its log follow each other, as far as they can.

Others' pushes reach an origin through its log; its own are made into it, by ordinary ssh. What
both are about is found out by `gittorrent.push.origin_refs`; here git is asked, and the origin's
refs are changed. Publishing does the rest (`gittorrent.repository.publish`).

What only the log has must not be lost to git's housekeeping, and must be there to be merged: open
conflicts have refs of their own, ``refs/conflicts/...``, and what a ref is in the log, where that
is not what it is here, is ``refs/gittorrent/elsewhere/...``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.git.descent import Ancestry
from gittorrent.git.refs import apply_changes, head_target, read_ref, read_refs, set_head
from gittorrent.git.runner import GitError
from gittorrent.git.work_trees import branches_in_use
from gittorrent.ids import Oid, RefName, Refs
from gittorrent.push.certificate import CONFLICTS, subject_of
from gittorrent.push.head_branch import compare_head
from gittorrent.push.log import changes_between
from gittorrent.push.origin_refs import Comparison, Side, compare, questions, withhold
from gittorrent.repository.last_published import RememberedPast, remember
from gittorrent.repository.pruned import bring_back
from gittorrent.repository.publishable import list_selected, publishable
from gittorrent.repository.ref_listing import RefListing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gittorrent.push.listing import Conflict, Listing
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.origin_refs import Parted
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.publishable import Unpublishable

ELSEWHERE = b"refs/gittorrent/elsewhere/"
"""Where an origin keeps what a ref is in the log, if it is something else here."""


_ATTEMPTS = 3
"""How often refs are compared anew because somebody pushed meanwhile."""


def kept_name(ref: RefName) -> RefName:
    """Return where an origin keeps what ``ref`` is in the log."""
    return RefName(ELSEWHERE + ref.removeprefix(b"refs/"))


class OriginState(Struct, frozen=True):
    """An origin and its log, compared.

    Args:
        patterns: of the refs that are published.
        listing: the origin's refs that these select, as they were.
        names: the refs that were looked at, since others cannot differ; None if all were.
        left_out: refs that cannot be published.
        past: what is remembered of the last time.
        comparison: what is to be done with those that differ.
        own_head: the branch that the origin's HEAD names; None where it is detached.
        head: whose HEAD counts; None if it stays on both sides.
        dismissed: open conflicts whose refs were deleted here, which is to be published.
    """

    patterns: tuple[str, ...]
    listing: RefListing
    names: frozenset[RefName] | None
    left_out: tuple[Unpublishable, ...]
    past: RememberedPast
    comparison: Comparison
    own_head: RefName | None
    head: Side | None = None
    dismissed: tuple[Conflict, ...] = ()

    @property
    def taken(self) -> list[tuple[RefName, Oid | None, Oid | None]]:
        """What the origin takes over: (ref, old value, new value) of each."""
        return [(line.ref, line.old, line.new) for line in self.comparison.take]

    def value(self, ref: RefName) -> Oid | None:
        """Return what a ref is in the origin, once it took over what changed elsewhere."""
        taken = next((line for line in self.comparison.take if line.ref == ref), None)
        return self.listing.value(ref) if taken is None else taken.new


def compare_origin(carried: Carried, log: VerifiedLog, patterns: tuple[str, ...]) -> OriginState:
    """Compare an origin's refs and HEAD with those of its log, which has a checkpoint.

    The lock is held, since objects may have to be brought back.

    Args:
        carried: the origin.
        log: its log.
        patterns: of the refs that are published.

    Raises:
        NothingPublishableError: a pattern is none.
        BrokenRefError: a ref cannot be read.
    """
    listing = RefListing(list_selected(carried, patterns))
    shown = log.ledger.view().listing
    past = RememberedPast(carried, log)
    names = past.candidates(listing)
    if names is None:
        selected, elsewhere = listing.refs, select_shown(shown.refs(), patterns)
    else:
        selected = listing.only(names)
        values = ((ref, shown.value(ref)) for ref in names)
        elsewhere = select_shown({r: oid for r, oid in values if oid is not None}, patterns)
    here, left_out = publishable(selected, carried.git, elsewhere)
    bring_back(carried, log, (oid for _, oid in elsewhere.items() - here.items()))
    ancestry = Ancestry(carried.git)
    ancestry.prepare(questions(here, elsewhere, past))
    comparison = compare(here, elsewhere, past, ancestry.contains)
    comparison = withhold(comparison, branches_in_use(carried.layout.git_dir), past)
    looked_at = None if names is None else frozenset(names)
    own_head = head_target(carried.git)
    state = OriginState(patterns, listing, looked_at, left_out, past, comparison, own_head)
    branches = {own_head, shown.head} - {None}
    there = {branch for branch in branches if branch and state.value(branch) is not None}
    head = compare_head(own_head, shown.head, past.head, there)
    return replace(state, head=head, dismissed=_dismissed(carried, shown, past))


def _dismissed(carried: Carried, shown: Listing, past: RememberedPast) -> tuple[Conflict, ...]:
    """Return the open conflicts that had a ref in the origin, which somebody deleted."""
    if not past.conflicts:
        return ()
    present = read_refs(carried.git, CONFLICTS.decode("ascii"))
    deleted = past.conflicts - present.keys()
    return tuple(each for each in shown.conflicts() if each.name in deleted) if deleted else ()


def select_shown(refs: Refs, patterns: Iterable[str]) -> Refs:
    """Return those of a log's refs that an origin publishes."""
    names = [pattern.removesuffix("/*").encode("utf-8", "surrogateescape") for pattern in patterns]
    exact, below = frozenset(names), tuple(name + b"/" for name in names)
    return {ref: oid for ref, oid in refs.items() if ref.startswith(below) or ref in exact}


def take_over(carried: Carried, log: VerifiedLog, patterns: tuple[str, ...]) -> OriginState:
    """Compare an origin with its log, and let refs and HEAD follow what others changed.

    The lock is held; whoever pushes by ssh does not ask for it, so refs may change all the same,
    and are compared anew then.

    Args:
        carried: the origin.
        log: its log.
        patterns: of the refs that are published.

    Raises:
        GitError: git failed, or refs changed again and again.
    """
    for attempt in range(_ATTEMPTS):
        state = compare_origin(carried, log, patterns)
        try:
            apply_changes(carried.git, state.taken, carried.object_format)
        except GitError as error:
            is_same = list_selected(carried, patterns) == state.listing.text
            if is_same or error.is_own_trouble or attempt == _ATTEMPTS - 1:
                raise
            continue
        break
    if state.head is Side.ELSEWHERE:
        set_head(carried.git, log.ledger.view().listing.head)
    return state


def follow_in_origin(carried: Carried, log: VerifiedLog) -> OriginState:
    """Let an origin's refs follow a log that others' pushes came into, and publish nothing.

    The lock is held, and the log counts already.

    Returns:
        What was found out, and taken over.

    Raises:
        GitError: git failed, or refs changed again and again; publishing looks anew.
    """
    state = take_over(carried, log, carried.info.patterns)
    pending = [line.ref for line in state.comparison.publish]
    gone = [each.name for each in state.dismissed]
    note_compared(carried, log, state, state.comparison.parted, pending, gone)
    return state


def note_compared(
    carried: Carried,
    log: VerifiedLog,
    state: OriginState,
    parted: Collection[Parted],
    pending: Iterable[RefName] = (),
    dismissed: Collection[RefName] = (),
) -> None:
    """Keep what only the log has, and remember for the next time what refs are now.

    Args:
        carried: the origin, which took over what others changed; its lock is held.
        log: its log, which counts already.
        state: what was found out before.
        parted: refs that are not the same here and in the log.
        pending: refs that changed here, and are not published yet.
        dismissed: refs of conflicts that were deleted here, which is not published yet.
    """
    conflicts = _keep_what_is_elsewhere(carried, log, state, dismissed)
    shown = log.ledger.view().listing.head
    is_head_same = state.head is Side.ELSEWHERE or state.own_head == shown
    again = [*pending, *(each.name for each in state.left_out)]
    listing = state.listing.after(state.comparison.take)
    remember(
        carried, log, state.past, listing, parted, again, {*conflicts, *dismissed},
        is_head_parted=not is_head_same,
    )  # fmt: skip


def _keep_what_is_elsewhere(
    carried: Carried, log: VerifiedLog, state: OriginState, dismissed: Collection[RefName]
) -> set[RefName]:
    """Let refs hold what only the log of an origin has; return those of open conflicts."""
    listing = log.ledger.view().listing
    present = read_refs(carried.git, CONFLICTS.decode("ascii"), ELSEWHERE.decode("ascii"))
    present = {ref: oid for ref, oid in present.items() if _is_kept(ref, carried)}
    if state.names is None:
        own, shown = read_refs(carried.git), listing.refs()
        conflicts = list(listing.conflicts())
    else:
        names = {*state.names, *map(_subject, present), *map(subject_of, state.past.conflicts)}
        own = _own_values(carried, state, names)
        values = ((ref, listing.value(ref)) for ref in names)
        shown = {ref: oid for ref, oid in values if oid is not None}
        conflicts = [each for ref in names for each in listing.entry(ref).conflicts]
    wanted: Refs = {c.name: c.value for c in conflicts if c.name not in dismissed}
    kept = set(wanted)
    wanted.update((kept_name(ref), oid) for ref, oid in shown.items() - own.items())
    apply_changes(carried.git, changes_between(present, wanted), carried.object_format)
    return kept


def _own_values(carried: Carried, state: OriginState, names: Iterable[RefName]) -> Refs:
    """Return what refs of an origin are, those too that it does not publish."""
    selected = select_shown(dict.fromkeys(names, Oid("")), state.patterns)
    found = state.listing.only(selected)
    for line in state.comparison.take:
        found.pop(line.ref, None)
        found.update({} if line.new is None else {line.ref: line.new})
    for ref in names:
        if ref not in selected:
            oid = read_ref(carried.git, ref.decode("utf-8", "surrogateescape"))
            found.update({} if oid is None else {ref: oid})
    return found


def _subject(kept: RefName) -> RefName:
    """Return the ref of which a kept one holds something."""
    if kept.startswith(ELSEWHERE):
        return RefName(b"refs/" + kept.removeprefix(ELSEWHERE))
    return subject_of(kept)


def _is_kept(ref: RefName, carried: Carried) -> bool:
    """Tell whether a ref is one that `_keep_what_is_elsewhere` makes."""
    if ref.startswith(CONFLICTS):
        push = ref.removeprefix(CONFLICTS).partition(b"/")[0].decode("ascii", "replace")
        return carried.object_format.is_oid(push)
    return ref.startswith(ELSEWHERE)
