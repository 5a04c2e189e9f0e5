"""Keeps the bare copy that a clone is published through at the refs of the clone.

Tracked, in the clone, are the refs that were copied, with their values: one of them that is gone
was deleted by whoever works there, and goes from the copy too. Any other ref that only the copy has
stays: it was pushed there, came from another clone, or was published before this clone was made.

What others pushed to the copy is not set back unseen: a value of a ref that was not copied from
here, and is no object of the clone, may be newer than what the clone has. Once it was fetched, it
is the clone that counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.errors import UsageError
from gittorrent.git.history import describe
from gittorrent.git.packs import copy_refs_from
from gittorrent.git.refs import apply_changes, read_refs
from gittorrent.git.runner import Git
from gittorrent.ids import Oid, RefName
from gittorrent.repository.layout import Layout
from gittorrent.trust.refpattern import is_reserved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.git.repository import FoundRepository
    from gittorrent.ids import Refs


MAX_NAMED = 5
"""Refs that a refusal names: enough to see whose they are, and to fetch them by one command."""


class UnseenPushError(UsageError):
    """The copy has pushes that the clone which is published through it does not know."""


def copy_refs(clone: FoundRepository, copy: Git, patterns: Sequence[str]) -> list[RefName]:
    """Bring a bare copy up to date with a clone.

    Args:
        clone: where they come from.
        copy: the bare copy.
        patterns: such as ``refs/heads/*``, of the refs that are published.

    Returns:
        Refs that only the copy has, sorted, if nothing tells yet what was copied from the clone;
        so whether somebody deleted them there is not known.

    Raises:
        UnseenPushError: the copy has what this clone never had; nothing is changed.
    """
    layout = Layout(clone.git_dir)
    own, there = _selected(Git(clone.git_dir), patterns), _selected(copy, patterns)
    before = _copied(layout)
    gone = sorted((before or {}).keys() & there.keys() - own.keys())
    replaced = [name for name in [*gone, *sorted(own)] if name in there]
    foreign = {name: there[name] for name in replaced if there[name] != (before or {}).get(name)}
    _require_seen(clone, copy, foreign)
    # What is about to be copied counts as copied already if this is cut short.
    record_copied(layout, {**(before or {}), **own})
    apply_changes(copy, [(name, there[name], None) for name in gone], clone.object_format)
    copy_refs_from(copy, clone.git_dir, patterns)
    record_copied(layout, own)
    return sorted(there.keys() - own.keys()) if before is None else []


def _require_seen(clone: FoundRepository, copy: Git, refs: Refs) -> None:
    """Make sure that a clone knows what it is about to replace in its copy.

    Raises:
        UnseenPushError: it lacks what some of the refs point to.
    """
    oids = sorted(set(refs.values()))
    unknown = {
        oid for oid, kind in zip(oids, describe(Git(clone.git_dir), oids), strict=True) if not kind
    }
    names = [name.decode(errors="backslashreplace") for name in refs if refs[name] in unknown]
    if names:
        work = clone.git_dir.parent if clone.git_dir.name == ".git" else clone.git_dir
        few = " ".join(names[:MAX_NAMED])
        raise UnseenPushError(
            f"{copy.directory} has what was pushed there from elsewhere, and {work} never had:"
            f" {few}{' and others' if len(names) > MAX_NAMED else ''}",
            hint=f"run 'git -C {work} fetch {copy.directory} {few}', merge what it brings, and"
            " publish again; without merging, publishing sets those refs back",
        )


def record_copied(layout: Layout, refs: Refs) -> None:
    """Note which refs of a clone its bare copy has from it."""
    lines = (b"%s %s\n" % (name, oid.encode("ascii")) for name, oid in sorted(refs.items()))
    write_atomically(layout.copied_refs, b"".join(lines))


def _copied(layout: Layout) -> dict[RefName, Oid] | None:
    """Return what was copied, None where nothing tells; values were not always recorded."""
    try:
        lines = layout.copied_refs.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    parted = (line.partition(b" ") for line in lines)
    return {RefName(name): Oid(oid.decode("ascii")) for name, _, oid in parted}


def _selected(git: Git, patterns: Sequence[str]) -> Refs:
    found = read_refs(git, *(pattern.removesuffix("/*") for pattern in patterns))
    return {name: oid for name, oid in found.items() if not is_reserved(name)}
