"""What commands show of names that disappeared suddenly and are held back (`store.held`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.cli.output import count
from gittorrent.push.purge_guard import Decision
from gittorrent.store.held import HeldKind
from gittorrent.terminal import show_duration

if TYPE_CHECKING:
    from gittorrent.store.held import HeldRow

MAX_NAMES = 100
"""Names that are listed of one row: enough to see what happened."""

MAX_IN_WORDS = 3
"""Names in a line for people."""

_NOUNS = {HeldKind.REFS: "ref", HeldKind.REPOSITORIES: "repository", HeldKind.TRACKED: "ref"}
_KEPT = {
    HeldKind.REFS: "their objects are kept",
    HeldKind.REPOSITORIES: "carried on",
    HeldKind.TRACKED: "published on",
}


class HeldStatus(Struct, frozen=True):
    """Names that are held back, as ``--json`` shows them.

    Args:
        number: to confirm or refuse them by.
        kind: ``refs`` of a mirror, ``repositories`` of a collection, or ``tracked`` refs.
        subject: id of the repository, or name of the tracked one, that they belong to.
        title: what that is called.
        names: that disappeared, up to `MAX_NAMES`.
        held: how many they are.
        total: how many there were before.
        since: when they disappeared, in seconds since 1970.
        until: when they go though nobody says anything; None for never.
        decision: ``waiting``, ``confirmed`` or ``refused``.
    """

    number: int
    kind: str
    subject: str
    title: str
    names: list[str]
    held: int
    total: int
    since: int
    until: int | None
    decision: str


def held_status(row: HeldRow) -> HeldStatus:
    """Return what there is to say of names that are held back."""
    return HeldStatus(
        row.number,
        row.kind.value,
        row.subject,
        row.title,
        sorted(row.names)[:MAX_NAMES],
        len(row.names),
        row.total,
        row.since,
        row.until or None,
        row.decision.value,
    )


def in_words(row: HeldRow, now: float) -> str:
    """Return the same for people, in one line.

    Args:
        row: what is held back.
        now: seconds since 1970.
    """
    noun = _NOUNS[row.kind]
    names = sorted(row.names)
    shown = [row.names[name] or name for name in names] if row.is_of_collection else names
    more = f" and {len(names) - MAX_IN_WORDS} more" if len(names) > MAX_IN_WORDS else ""
    ago = show_duration(max(0.0, now - row.since))
    what = f"{row.title}: {len(names)} of {count(row.total, noun)} disappeared at once"
    if row.kind is HeldKind.REFS:
        what = f"{row.title}: {len(names)} of {count(row.total, noun)} were deleted or rewritten"
    number = f"{row.number}: " if row.number else ""
    return (
        f"{number}{what} {ago} ago ({', '.join(shown[:MAX_IN_WORDS])}{more});"
        f" {_what_next(row, now)}"
    )


def _what_next(row: HeldRow, now: float) -> str:
    kept, name = _KEPT[row.kind], row.number or row.title
    if row.kind is HeldKind.REFS:
        kept += f" below refs/gittorrent/kept/{row.since}/"
    if row.decision is Decision.CONFIRMED:
        return "confirmed, and about to go"
    if row.decision is Decision.REFUSED:
        return f"{kept}, since that was refused; 'gittorrent confirm {name}' lets them go"
    when = f", or for {show_duration(max(0.0, row.until - now))}" if row.until else ""
    return (
        f"{kept} until 'gittorrent confirm {name}'{when};"
        f" 'gittorrent confirm --refuse {name}' keeps them for good"
    )
