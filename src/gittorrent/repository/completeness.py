"""Whether a mirror has all the objects that its log's newest checkpoint needs.

Walking a whole history takes seconds to minutes, so what was proved is written down, together with
what the object store looked like: the packs with their sizes, and how many loose objects there
were. While all of that is still there, and the log is the same, nothing needs to be walked. A
mirror without such a note, or one that lost a pack or loose objects since, is walked once.

Damage within files is not seen here; `gittorrent verify` looks for that.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.git import history

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.push.rule import Push
    from gittorrent.repository.carried import Carried


def is_complete(carried: Carried, head: PushId) -> bool:
    """Tell whether everything is here that the refs at the log's head reach; blocks.

    Pushes that no checkpoint has taken are shown only where their objects are here.

    Raises:
        GitError: git was killed or ran out of something, which says nothing about the objects.
    """
    if _is_noted(carried, head):
        return True
    tips = sorted(set(carried.log_store.refs_at(head).values()))
    present = history.describe(carried.git, tips)
    if None in present or not history.is_connected(carried.git, tips):
        forget_complete(carried)
        return False
    record_complete(carried)
    return True


def without_objects(git: Git, log: VerifiedLog) -> tuple[Push, ...]:
    """Return the pushes on top that cannot be shown whole: what they set refs to is not here.

    Where a value decides whether its push counts, the log cannot judge it (`VerifiedLog.unjudged`).
    A tag, and what is no branch, counts whatever it leads to; so it is looked at here.

    Raises:
        GitError: this machine let git down.
    """
    unjudged = {push.id for push in log.unjudged}
    if not log.unfinal:
        return ()
    shown = set(log.refs.values())
    values = {push.id: push.values & shown for push in log.unfinal if push.id not in unjudged}
    asked = sorted(set().union(*values.values()))
    found = zip(asked, history.describe(git, asked) if asked else (), strict=True)
    lacking = {oid for oid, info in found if info is None}
    return tuple(
        push
        for push in log.unfinal
        if push.id in unjudged or not lacking.isdisjoint(values[push.id])
    )


def record_complete(carried: Carried) -> None:
    """Note that everything is here that the refs at the log's head reach: it was proved."""
    head = carried.log_store.head()
    lines = [head, *(f"{name} {size}" for name, size in sorted(_packs(carried).items()))]
    lines.append(f"loose {_loose(carried)}")
    write_atomically(_note(carried), "".join(f"{line}\n" for line in lines).encode())


def forget_complete(carried: Carried) -> None:
    """Let the next look walk the history, since something is wrong."""
    _note(carried).unlink(missing_ok=True)


def _note(carried: Carried) -> Path:
    return carried.log_store.path.with_name("complete")


def _is_noted(carried: Carried, head: PushId) -> bool:
    try:
        first, *others = _note(carried).read_text(encoding="utf-8").splitlines()
        noted = {name: int(size) for name, _, size in (line.rpartition(" ") for line in others)}
    except (FileNotFoundError, ValueError):
        return False
    loose = noted.pop("loose", 0)
    return first == head and noted.items() <= _packs(carried).items() and loose <= _loose(carried)


def _packs(carried: Carried) -> dict[str, int]:
    """Return the packs that git finds, with their sizes."""
    folder = carried.layout.objects / "pack"
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    return {
        name: size
        for name, size in sizes.items()
        if name.endswith(".pack") and f"{name.removesuffix('pack')}idx" in sizes
    }


def _loose(carried: Carried) -> int:
    """Return the number of loose objects."""
    folders = [entry for entry in os.scandir(carried.layout.objects) if len(entry.name) == 2]
    return sum(1 for folder in folders for _ in os.scandir(folder))
