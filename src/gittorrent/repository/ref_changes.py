"""What a push did to each ref, in git's words: created, moved forward, rewound, deleted.

The log says only what the values were. Whether a move was forward follows from the objects, so it
is asked of the repository that has them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.git.descent import descends
from gittorrent.git.history import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.git.runner import Git
    from gittorrent.ids import Oid, RefName

CREATED, MOVED, REWOUND, DELETED = "created", "moved", "rewound", "deleted"

_ORDER = (REWOUND, DELETED, CREATED, MOVED)
"""What took something away comes first: of long lists only the beginning is shown."""


class RefChange(Struct, frozen=True):
    """What became of a ref.

    Args:
        name: its name.
        old: its value before, None where it is new.
        new: its value now, None where it is gone.
        change: `CREATED`, `MOVED`, `REWOUND` (what it was is no part of what it is) or `DELETED`.
            A move to what is not here, as in a clone of one branch, is `MOVED`.
    """

    name: RefName
    old: Oid | None
    new: Oid | None
    change: str

    @property
    def shown(self) -> str:
        """The name as text."""
        return self.name.decode(errors="backslashreplace")


def classify_changes(
    git: Git, changes: Iterable[tuple[RefName, Oid | None, Oid | None]]
) -> list[RefChange]:
    """Tell what each change of a ref was, of one push or of many.

    Args:
        git: the repository that has the objects.
        changes: (name, old value, new value) of each.

    Raises:
        GitError: git failed.
    """
    found = list(changes)
    if not found:
        return []
    moves = [(old, new) for _, old, new in found if old is not None and new is not None]
    present = describe(git, [new for _, new in moves])
    here = [move for move, info in zip(moves, present, strict=True) if info is not None]
    forward = dict(zip(here, descends(git, here), strict=True))
    changed = []
    for name, old, new in found:
        each = unclassified(name, old, new)
        if old is not None and new is not None and not forward.get((old, new), True):
            each = replace(each, change=REWOUND)
        changed.append(each)
    return changed


def unclassified(name: RefName, old: Oid | None, new: Oid | None) -> RefChange:
    """Return a change of a ref as far as the log alone tells: every move is `MOVED`."""
    return RefChange(name, old, new, CREATED if old is None else DELETED if new is None else MOVED)


def in_order_of_weight(changes: Iterable[RefChange]) -> list[RefChange]:
    """Return changes with rewinds and deletions first, then by name."""
    return sorted(changes, key=lambda each: (_ORDER.index(each.change), each.name))


def describe_changes(changes: Sequence[RefChange]) -> str:
    """Return such as ``1 ref rewound, 2 created``; nothing for no changes."""
    counted = Counter(each.change for each in changes)
    words = [f"{counted[change]} {change}" for change in _ORDER if counted[change]]
    if words:
        number, _, rest = words[0].partition(" ")
        words[0] = f"{number} {'ref' if number == '1' else 'refs'} {rest}"
    return ", ".join(words)
