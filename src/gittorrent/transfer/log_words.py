"""What people are told of a log: what is not final yet, since when and by whom, and what is wrong.

Everything is one sentence, without a mark at its end. Must not know who is told, and how.
Source: docs/protocol/trust.md, "Provisional view" and "Which checkpoint".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.printable import date_of, decoded, printable
from gittorrent.push.history import awaited
from gittorrent.repository.freshness import newest_word
from gittorrent.trust.labels import key_labels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.ids import PushId, RefName
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.rule import Push
    from gittorrent.trust.keys import KeyRef
    from gittorrent.wire.messages import FreshLine

SHOWN_REFS = 3
"""Refs that are named; of the others the number is told."""

SHOWN_KEYS = 2
"""Keys that are named likewise."""


def not_final(log: VerifiedLog) -> str:
    """Say which refs are shown at values that the keeper has not confirmed; empty if none is."""
    shown, final = log.refs, log.final_refs
    changed = sorted(ref for ref in shown.keys() | final.keys() if shown.get(ref) != final.get(ref))
    hidden = {push.id for push in log.unjudged}
    pushes = [push for push in awaited(log) if push.id not in hidden]
    if not changed or not pushes:
        return ""
    verb = "is" if len(changed) == 1 else "are"
    words = _pushes(pushes, log)
    return f"{_refs(changed)} {verb} not final: {words}, not confirmed by the keeper yet"


def not_shown(log: VerifiedLog) -> str:
    """Say which pushes nobody can judge without objects that are not here; empty if none."""
    pushes = log.unjudged
    if not pushes:
        return ""
    return f"not shown, as objects are missing here: {_pushes(pushes, log)}"


def troubles(log: VerifiedLog) -> list[str]:
    """Say what keeps the log from going on: what a keeper or the roots signed that excludes."""
    if log.head is None:
        return []
    ledger, found = log.ledger, []
    if ledger.stopped:
        found.append(
            f"{ledger.stopped}; until then number {log.number} is the newest that counts here. To"
            " publish from an old backup does that: the owner's guide says what to do"
            " (docs/guide-owners.md, When the machine is lost)"
        )
    if rivals := ledger.rivals:
        names = " and ".join(version.id for version in rivals)
        found.append(
            f"the roots signed {len(rivals)} policies number {rivals[0].policy.version}, {names}:"
            " none counts until a checkpoint names one, or the roots sign another in place of them"
            " (docs/guide-owners.md, When two versions exclude each other)"
        )
    return found


def silence(log: VerifiedLog, fresh: FreshLine | None, url: str, now: int) -> str:
    """Say that nobody can tell whether there is something newer; empty if the keeper said so.

    Args:
        log: as it is now.
        fresh: the keeper's newest word by the mirror, not verified.
        url: of the mirror.
        now: seconds since 1970.
    """
    word = newest_word(log, fresh, now)
    if word is None or not word.is_old(log.policy.policy, now):
        return ""
    date = date_of(word.time)
    return (
        f"the keeper's newest word that {url} has is from {date:%Y-%m-%d %H:%M} UTC: the keeper is"
        " off, or something newer is withheld"
    )


def contradictions(log: VerifiedLog, seen: tuple[PushId, int] | None, url: str) -> list[str]:
    """Say what was verified on this machine before and is not in the log now.

    Args:
        log: as it is now.
        seen: the checkpoint with the highest number verified here, and that number.
        url: of the mirror that the log comes from.
    """
    if seen is None or seen[0] in log:
        return []
    head, number = seen
    if number > log.number:
        return [
            f"{url} is behind or withholds something: this machine has verified checkpoint {head},"
            " which it does not have"
        ]
    if number <= log.number - len(log.ids):
        return []  # from before a clone's log begins
    return [
        f"this machine has verified checkpoint {head} as number {number}, and {url} has another:"
        " the keeper signed both, or the roots have set one aside"
    ]


def _pushes(pushes: Iterable[Push], log: VerifiedLog) -> str:
    found = list(pushes)
    labels = key_labels(log.policies, ((push.key, push.certificates) for push in found))
    keys = [_key(key, labels.get(key)) for key in dict.fromkeys(push.key for push in found)]
    first = min(push.certificate.time for push in found)
    date = date_of(first)
    count = "1 push" if len(found) == 1 else f"{len(found)} pushes"
    return f"{count} of {_some(keys, SHOWN_KEYS)}, since {date:%Y-%m-%d %H:%M} UTC"


def _key(key: KeyRef, label: str | None) -> str:
    return f"{key} ({printable(label)})" if label else str(key)


def _refs(refs: Iterable[RefName]) -> str:
    return _some([printable(decoded(ref)) for ref in refs], SHOWN_REFS)


def _some(names: list[str], limit: int) -> str:
    """Return names as a list in words, cut short."""
    shown = names[:limit]
    if len(names) > limit:
        shown.append(f"{len(names) - limit} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
