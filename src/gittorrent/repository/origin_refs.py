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

from gittorrent.git.descent import Ancestry
from gittorrent.git.refs import apply_changes, head_target, read_refs, set_head
from gittorrent.ids import RefName, Refs
from gittorrent.push.certificate import CONFLICTS
from gittorrent.push.head_branch import compare_head
from gittorrent.push.log import changes_between
from gittorrent.push.origin_refs import Comparison, Side, compare, questions
from gittorrent.repository.last_published import RememberedPast, remember
from gittorrent.repository.pruned import bring_back
from gittorrent.repository.publishable import select_refs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import Oid
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.origin_refs import Parted
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.publishable import Unpublishable

ELSEWHERE = b"refs/gittorrent/elsewhere/"
"""Where an origin keeps what a ref is in the log, if it is something else here."""


def kept_name(ref: RefName) -> RefName:
    """Return where an origin keeps what ``ref`` is in the log."""
    return RefName(ELSEWHERE + ref.removeprefix(b"refs/"))


class OriginState(Struct, frozen=True):
    """An origin and its log, compared.

    Args:
        here: the origin's refs that are published.
        left_out: those that cannot be.
        elsewhere: the same refs as the log shows them.
        past: what is remembered of the last time.
        comparison: what is to be done with those that differ.
        own_head: the branch that the origin's HEAD names; None where it is detached.
        head: whose HEAD counts; None if it stays on both sides.
    """

    here: Refs
    left_out: tuple[Unpublishable, ...]
    elsewhere: Refs
    past: RememberedPast
    comparison: Comparison
    own_head: RefName | None
    head: Side | None

    @property
    def taken(self) -> list[tuple[RefName, Oid | None, Oid | None]]:
        """What the origin takes over: (ref, old value, new value) of each."""
        return [(line.ref, line.old, line.new) for line in self.comparison.take]

    @property
    def after(self) -> Refs:
        """The origin's refs once it took over what changed elsewhere."""
        refs = dict(self.here)
        for line in self.comparison.take:
            refs.pop(line.ref, None)
            if line.new is not None:
                refs[line.ref] = line.new
        return refs


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
    here, left_out = select_refs(carried, patterns)
    listing = log.ledger.view().listing
    elsewhere = select_shown(listing.refs(), patterns)
    past = RememberedPast(carried, log)
    bring_back(carried, log, (oid for _, oid in elsewhere.items() - here.items()))
    ancestry = Ancestry(carried.git)
    ancestry.prepare(questions(here, elsewhere, past))
    comparison = compare(here, elsewhere, past, ancestry.contains)
    own_head = head_target(carried.git)
    state = OriginState(here, left_out, elsewhere, past, comparison, own_head, None)
    head = compare_head(own_head, listing.head, past.head, state.after)
    return OriginState(here, left_out, elsewhere, past, comparison, own_head, head)


def select_shown(refs: Refs, patterns: Iterable[str]) -> Refs:
    """Return those of a log's refs that an origin publishes."""
    names = [pattern.removesuffix("/*").encode("utf-8", "surrogateescape") for pattern in patterns]
    exact, below = frozenset(names), tuple(name + b"/" for name in names)
    return {ref: oid for ref, oid in refs.items() if ref.startswith(below) or ref in exact}


def take_over(carried: Carried, log: VerifiedLog, state: OriginState) -> None:
    """Change an origin's refs and HEAD as others changed them; its lock is held.

    Raises:
        GitError: somebody pushed into the origin meanwhile: compare again.
    """
    apply_changes(carried.git, state.taken, carried.object_format)
    if state.head is Side.ELSEWHERE:
        set_head(carried.git, log.ledger.view().listing.head)


def follow_in_origin(carried: Carried, log: VerifiedLog) -> None:
    """Let an origin's refs follow a log that others' pushes came into, and publish nothing.

    The lock is held, and the log counts already.

    Raises:
        GitError: somebody pushed into the origin meanwhile; publishing looks again.
    """
    state = compare_origin(carried, log, carried.info.patterns)
    take_over(carried, log, state)
    keep_what_is_elsewhere(carried, log)
    note_compared(carried, log, state, state.comparison.parted)


def note_compared(
    carried: Carried, log: VerifiedLog, state: OriginState, parted: Iterable[Parted]
) -> None:
    """Remember for the next time what refs are now.

    Args:
        carried: the origin, which took over what others changed.
        log: its log, which counts already.
        state: what was found out before.
        parted: refs that are not the same here and in the log.
    """
    shown = log.ledger.view().listing.head
    is_head_same = state.head is Side.ELSEWHERE or state.own_head == shown
    remember(carried, log, state.past, parted, is_head_parted=not is_head_same)


def keep_what_is_elsewhere(carried: Carried, log: VerifiedLog) -> None:
    """Let refs hold what only the log of an origin has; its lock is held."""
    listing = log.ledger.view().listing
    shown = listing.refs()
    here = read_refs(carried.git)
    wanted: Refs = {conflict.name: conflict.value for conflict in listing.conflicts()}
    for ref, oid in shown.items() - here.items():
        wanted[kept_name(ref)] = oid
    present = {ref: oid for ref, oid in here.items() if _is_kept(ref, carried)}
    apply_changes(carried.git, changes_between(present, wanted), carried.object_format)


def _is_kept(ref: RefName, carried: Carried) -> bool:
    """Tell whether a ref is one that `keep_what_is_elsewhere` makes."""
    if ref.startswith(CONFLICTS):
        push = ref.removeprefix(CONFLICTS).partition(b"/")[0].decode("ascii", "replace")
        return carried.object_format.is_oid(push)
    return ref.startswith(ELSEWHERE)
