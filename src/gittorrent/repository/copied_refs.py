"""Keeps the bare copy that a clone is published through at the refs of the clone.

Tracked, in the clone, are the names of refs that were copied: one of them that is gone was deleted
by whoever works there, and goes from the copy too. Any other ref that only the copy has stays: it
was pushed there, came from another clone, or was published before this clone was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import write_atomically
from gittorrent.git.packs import copy_refs_from
from gittorrent.git.refs import apply_changes, read_refs
from gittorrent.git.runner import Git
from gittorrent.ids import RefName
from gittorrent.repository.layout import Layout
from gittorrent.trust.refpattern import is_reserved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.git.repository import FoundRepository
    from gittorrent.ids import Refs


def copy_refs(clone: FoundRepository, copy: Git, patterns: Sequence[str]) -> list[RefName]:
    """Bring a bare copy up to date with a clone.

    Args:
        clone: where they come from.
        copy: the bare copy.
        patterns: such as ``refs/heads/*``, of the refs that are published.

    Returns:
        Refs that only the copy has, sorted, if nothing tells yet what was copied from the clone;
        so whether somebody deleted them there is not known.
    """
    layout = Layout(clone.git_dir)
    own, there = _selected(Git(clone.git_dir), patterns), _selected(copy, patterns)
    before = _copied(layout)
    # What is about to be copied counts as copied already if this is cut short.
    record_copied(layout, own.keys() | (before or set()))
    gone = sorted((before or set()) & there.keys() - own.keys())
    apply_changes(copy, [(name, there[name], None) for name in gone], clone.object_format)
    copy_refs_from(copy, clone.git_dir, patterns)
    record_copied(layout, own)
    return sorted(there.keys() - own.keys()) if before is None else []


def record_copied(layout: Layout, names: Iterable[RefName]) -> None:
    """Note which refs of a clone its bare copy has from it."""
    write_atomically(layout.copied_refs, b"".join(b"%s\n" % name for name in sorted(names)))


def _copied(layout: Layout) -> set[RefName] | None:
    try:
        return {RefName(line) for line in layout.copied_refs.read_bytes().splitlines()}
    except FileNotFoundError:
        return None


def _selected(git: Git, patterns: Sequence[str]) -> Refs:
    found = read_refs(git, *(pattern.removesuffix("/*") for pattern in patterns))
    return {name: oid for name, oid in found.items() if not is_reserved(name)}
