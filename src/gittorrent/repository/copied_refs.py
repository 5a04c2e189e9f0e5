"""Keeps the bare copy that a clone is published through at the refs of the clone.

Tracked, in the clone, are the refs that were copied, with their values. So refs are compared as
those of an origin and its log are (`gittorrent.push.origin_refs`): what changed in the clone goes
to the copy, deletions too; what others changed in the copy, or the copy took over, stays there;
what changed in both is refused unless one value contains the other, or the clone's branch once was
what the copy has, as after ``git push`` to the copy and ``git commit --amend``.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import write_atomically
from gittorrent.errors import UsageError
from gittorrent.git.descent import Ancestry
from gittorrent.git.packs import copy_refs_from
from gittorrent.git.refs import apply_changes, read_refs
from gittorrent.git.runner import Git
from gittorrent.ids import Oid, RefName
from gittorrent.push.origin_refs import Trouble, compare, questions
from gittorrent.repository.hidden_refs import hidden_refs
from gittorrent.repository.layout import Layout
from gittorrent.trust.refpattern import is_reserved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gittorrent.git.repository import FoundRepository
    from gittorrent.ids import Refs
    from gittorrent.push.origin_refs import Comparison, Parted

MAX_NAMED = 5
"""Refs that a message names: enough to see whose they are, and to fetch them by one command."""


class PartedCopyError(UsageError):
    """Refs changed both in a clone and in the copy that it is published through."""


class Copied(Struct, frozen=True):
    """What copying came to, each sorted.

    Args:
        left: refs that only the copy has, if nothing tells yet what was copied from the clone; so
            whether somebody deleted them there is not known.
        newer: refs of the clone that are something else in the copy, since others changed them.
        hidden: refs that were not copied, since the clone hides them from whoever fetches there.
    """

    left: tuple[RefName, ...]
    newer: tuple[RefName, ...]
    hidden: tuple[RefName, ...] = ()


class _CopiedBefore(Struct, frozen=True):
    """What is remembered of the last copying (`gittorrent.push.origin_refs.Past`)."""

    refs: Refs

    def knows(self, ref: RefName) -> bool:
        del ref
        return True

    def value(self, ref: RefName) -> Oid | None:
        return self.refs.get(ref)

    def is_settled(self, ref: RefName, value: Oid) -> bool:
        del ref, value
        return True  # nothing is done to the clone


def copy_refs(clone: FoundRepository, copy: Git, patterns: Sequence[str]) -> Copied:
    """Bring a bare copy up to date with a clone.

    Args:
        clone: where they come from.
        copy: the bare copy.
        patterns: such as ``refs/heads/*``, of the refs that are published.

    Raises:
        PartedCopyError: refs changed in both; nothing is changed.
    """
    layout = Layout(clone.git_dir)
    own, there = _selected(Git(clone.git_dir), patterns), _selected(copy, patterns)
    before = _copied(layout)
    new = [ref for ref in own if ref not in there and ref not in (before or {})]
    hidden = tuple(sorted(hidden_refs(Git(clone.git_dir), new)))
    own = {ref: oid for ref, oid in own.items() if ref not in hidden}
    ancestries = [Ancestry(git) for git in (Git(clone.git_dir), copy)]

    def compared(before: Refs) -> Comparison:
        past = _CopiedBefore(before)
        for ancestry in ancestries:
            ancestry.prepare(questions(own, there, past))
        return compare(own, there, past, contains)

    def contains(outer: Oid, inner: Oid) -> bool:
        return any(bool(ancestry.contains(outer, inner)) for ancestry in ancestries)

    found = compared(before or {})
    if found.parted and (had := _had_here(Git(clone.git_dir), found.parted)):
        found = compared({**(before or {}), **had})
    _require_together(clone, copy, found.parted)
    gone = [(line.ref, line.old, None) for line in found.publish if line.new is None]
    apply_changes(copy, gone, clone.object_format)
    newer = tuple(line.ref for line in found.take if line.ref in own)
    there_now = [each for each in patterns if each.endswith("*") or os.fsencode(each) in own]
    copy_refs_from(copy, clone.git_dir, there_now, (*newer, *hidden))
    record_copied(layout, own)
    left = sorted(there.keys() - own.keys()) if before is None else ()
    return Copied(tuple(left), newer, hidden)


def name_few(refs: Iterable[RefName]) -> str:
    """Return names for a message, the first few of them."""
    names = [name.decode(errors="backslashreplace") for name in refs]
    return " ".join(names[:MAX_NAMED]) + (" and others" if len(names) > MAX_NAMED else "")


def _had_here(git: Git, parted: Iterable[Parted]) -> dict[RefName, Oid]:
    """Return the values in the copy that branches of the clone had, and have moved on from.

    As for ``git push --force-if-includes`` the reflog tells: who moved a branch away from a value
    has seen it, and what was only fetched from others does not count.
    """
    had = {}
    for each in parted:
        if each.here is None or each.elsewhere is None:
            continue
        said = git.attempt("rev-list", "--walk-reflogs", os.fsdecode(each.ref), "--")
        if each.elsewhere.encode("ascii") in said.stdout.split():
            had[each.ref] = each.elsewhere
    return had


def _require_together(clone: FoundRepository, copy: Git, parted: Sequence[Parted]) -> None:
    if not parted:
        return
    if all(each.trouble is Trouble.DIRECTORY for each in parted):
        raise _beside_each_other(clone, copy, parted)
    names = [each.ref for each in parted]
    there = [each.ref for each in parted if each.elsewhere is not None]
    words = [name.decode(errors="backslashreplace") for name in there[:MAX_NAMED]]
    work = clone.place
    fetch = f"run 'git -C {work} fetch {' '.join([str(copy.directory), *words])}', "
    raise PartedCopyError(
        f"{copy.directory} has what was pushed there from elsewhere, and {work} has something else"
        f" since: {name_few(names)}",
        hint=f"{fetch if there else ''}merge what is there, and publish again",
    )


def _beside_each_other(
    clone: FoundRepository, copy: Git, parted: Iterable[Parted]
) -> PartedCopyError:
    """Say which refs have names that no repository can have together."""
    made = name_few(each.ref for each in parted if each.here is not None)
    there = [each.ref for each in parted if each.here is None]
    words = [name.decode(errors="backslashreplace") for name in there[:MAX_NAMED]]
    push = ["git", "-C", str(clone.place), "push", str(copy.directory), "--delete", *words]
    return PartedCopyError(
        f"{made} cannot be beside what only {copy.directory} has: {name_few(there)}",
        hint=f"delete that with '{shlex.join(push)}', or choose other names",
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
