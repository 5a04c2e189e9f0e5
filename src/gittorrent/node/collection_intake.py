"""What newer content of a collection changes: what is named, what is gone, what is held back.

Pure. Rules: what the owners add counts at once; what they take out goes if that is ordinary; if
many disappear at once, those that are here for the collection alone wait for a confirmation, since
nothing happens to others; a mistake in the document takes nothing out.
Source: docs/protocol/collections.md, Following.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.ids import RepositoryId
from gittorrent.push.purge_guard import REPOSITORIES, WINDOW_SECONDS, judge
from gittorrent.store.collected import CollectedRow
from gittorrent.store.held import HeldKind, HeldRow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gittorrent.node.collection_file import CollectionFile
    from gittorrent.push.purge_guard import Threshold


class Before(Struct, frozen=True):
    """What was known of a collection.

    Args:
        collection: id of its repository.
        title: what it is called.
        named: that it named, what is held among them.
        held: what is held back of it.
        recent: how many repositories disappeared lately.
        names: of those that are here for this collection alone, by id: they go if it lets go.
    """

    collection: RepositoryId
    title: str
    named: Mapping[RepositoryId, CollectedRow]
    held: Sequence[HeldRow]
    recent: int
    names: Mapping[RepositoryId, str]


class Intake(Struct, frozen=True):
    """What follows from newer content.

    Args:
        rows: all that is named, or stays for now.
        gone: repositories that the owners took out for good.
        hold: what is to be held back; None for nothing.
        released: names that are held no more.
        departed: how many disappeared just now.
    """

    rows: Sequence[CollectedRow]
    gone: frozenset[RepositoryId]
    hold: HeldRow | None
    released: frozenset[str]
    departed: int


def take_in(
    found: CollectionFile, before: Before, now: int, threshold: Threshold = REPOSITORIES
) -> Intake:
    """Return what the content of a collection changes.

    Args:
        found: the content, final.
        before: what was known.
        now: seconds since 1970.
        threshold: from where on a disappearance is sudden.
    """
    known: dict[str, CollectedRow] = {str(each): row for each, row in before.named.items()}
    rows = _rows(found, before, now)
    # Wrong entries stay what they were; what cannot be read may be any of those before.
    there = frozenset[str](found.named) if found.is_whole else found.named | known.keys()
    judged = judge(
        frozenset(known),
        there,
        threshold,
        now=now,
        held=[row.for_judging() for row in before.held],
        recent=before.recent,
        arrived=len(_arrived(known, now) & there),
    )
    stay = (judged.held | there) & known.keys() - rows.keys()
    last = len(found.entries)
    hold = _hold(judged.newly_held & before.names.keys(), before, now)
    nothing_here = judged.newly_held - before.names.keys()
    kept = [replace(known[each], place=last) for each in sorted(stay - nothing_here)]
    return Intake(
        [*rows.values(), *kept],
        frozenset(map(RepositoryId, judged.go | nothing_here)),
        hold,
        judged.go | judged.back,
        judged.departed,
    )


def _arrived(known: Mapping[str, CollectedRow], now: int) -> set[str]:
    """Return what was added lately; not what was there when the collection was followed first."""
    first = min((row.since for row in known.values()), default=now)
    since = max(first, now - WINDOW_SECONDS)
    return {each for each, row in known.items() if row.since > since}


def _rows(found: CollectionFile, before: Before, now: int) -> dict[str, CollectedRow]:
    """Return what the entries say; those that were there keep the time since when they are."""
    return {
        entry.repository: CollectedRow(
            entry.repository,
            entry.name or "",
            entry.priority,
            place,
            tuple(url.url for url in entry.urls),
            before.named[entry.repository].since if entry.repository in before.named else now,
        )
        for place, entry in enumerate(found.entries)
    }


def _hold(names: Collection[str], before: Before, now: int) -> HeldRow | None:
    """Return what is to be recorded of names that disappeared suddenly; None for nothing."""
    if not names:
        return None
    called = {str(each): name for each, name in before.names.items() if each in names}
    return HeldRow(
        HeldKind.REPOSITORIES,
        before.collection,
        before.title,
        called,
        total=len(before.names),
        since=now,
    )


def let_go(before: Before, now: int) -> Intake | None:
    """Return what follows where held names may go though no content can be read; None for nothing.

    Args:
        before: what is known.
        now: seconds since 1970.
    """
    held = [row.for_judging() for row in before.held]
    names = frozenset[str]().union(*(each.names for each in held if each.is_released(now)))
    if not names:
        return None
    rows = [row for row in before.named.values() if row.repository not in names]
    gone = frozenset(each for each in before.named if each in names)
    return Intake(rows, gone, None, names, 0)
