"""Lists what a reel consists of, with git.

Works in a scratch repository that borrows the objects, so that nothing but the objects and the tips
counts. The result is a `ReelIndex`: groups of objects in the order that every node finds.
Source: docs/protocol/gtp01.md, "Reels and blocks" and "The dialect of 2008".
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.git import history
from gittorrent.gtp.blocks import ReelIndex, ReelObject
from gittorrent.gtp.messages import Kind
from gittorrent.gtp.order2008 import order_of_2008
from gittorrent.ids import Oid
from gittorrent.reel.order import Commit, canonical_order

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from gittorrent.git.runner import Git
    from gittorrent.gtp.profile import Profile

_KINDS = {"commit": Kind.COMMIT, "tree": Kind.TREE, "blob": Kind.BLOB, "tag": Kind.TAG}
_TREES_AT_ONCE = 2000
"""Trees read into memory together."""


class _Group(Struct):
    commit: Commit
    found: list[tuple[Oid, bytes]]


def list_reel(
    git: Git, start: Collection[Oid], end: Collection[Oid], profile: Profile
) -> ReelIndex:
    """Return the index of the reel between two sets of tips.

    Args:
        git: a scratch repository that borrows the objects.
        start: what the reference it starts after names; empty from the beginning of history.
        end: what the reference it leads to names.
        profile: whose order and groups count.

    Raises:
        MissingObjectError: the repository lacks some of it.
    """
    before, after = sorted(set(start)), sorted(set(end))
    if profile.blocks_are_commits:
        commits = order_of_2008(_date_order(git, before, after))
    else:
        walked = history.commits_between(git, before, after)
        commits = canonical_order([Commit(c.oid, c.time, c.parents) for c in walked])
    groups = _groups(git, commits, before)
    listed = {oid for group in groups for oid, _ in group.found}
    trailing = _trailing(git, before, after, listed)
    infos = _describe(git, [oid for group in groups for oid, _ in group.found] + trailing)
    if profile.blocks_are_commits:
        return _index_by_commit(groups, trailing, infos)
    return _index(git, groups, trailing, infos)


def _index_by_commit(
    groups: list[_Group], trailing: list[Oid], infos: Mapping[Oid, ReelObject]
) -> ReelIndex:
    """Commits first in their groups, as the peer of 2008 has them; the rest joins the last."""
    index = ReelIndex()
    tail = [infos[oid] for oid in trailing]
    for number, group in enumerate(groups):
        members = [_named(infos, oid, path) for oid, path in group.found]
        if number == len(groups) - 1:
            members += tail
        index.add(members, group.commit.parents)
    if tail and not groups:
        index.add(tail)
    return index


def _index(
    git: Git, groups: list[_Group], trailing: list[Oid], infos: Mapping[Oid, ReelObject]
) -> ReelIndex:
    """Blobs by id, trees after those they contain, then the commit; tags after what they tag."""
    index = ReelIndex()
    trees = [o for g in groups if not _is_chain(g, infos) for o in _of_kind(g, infos, Kind.TREE)]
    needs = _tree_entries(git, trees + [o for o in trailing if infos[o].kind is Kind.TREE])
    for group in groups:
        paths = dict(group.found)
        found = _of_kind(group, infos, Kind.TREE)
        # Each tree of a chain contains the next one, so there is but one order.
        ordered = found[::-1] if _is_chain(group, infos) else _dependency_order(found, needs)
        order = [*sorted(_of_kind(group, infos, Kind.BLOB)), *ordered, group.commit.oid]
        index.add([_named(infos, oid, paths[oid]) for oid in order], group.commit.parents)
    needs |= _tag_targets(git, [o for o in trailing if infos[o].kind is Kind.TAG])
    for kind in (Kind.BLOB, Kind.TREE, Kind.TAG):
        for oid in _dependency_order([o for o in trailing if infos[o].kind is kind], needs):
            index.add([infos[oid]])
    return index


def _of_kind(group: _Group, infos: Mapping[Oid, ReelObject], kind: Kind) -> list[Oid]:
    return [oid for oid, _ in group.found if infos[oid].kind is kind]


def _named(infos: Mapping[Oid, ReelObject], oid: Oid, path: bytes) -> ReelObject:
    found = infos[oid]
    return ReelObject(oid, found.kind, found.size, path) if path else found


def _date_order(git: Git, before: list[Oid], after: list[Oid]) -> list[Commit]:
    asked = "".join(f"{oid}\n" for oid in after) + "".join(f"^{oid}\n" for oid in before)
    words = ["rev-list", "--date-order", "--reverse", "--no-commit-header", "--encoding=none"]
    out = git.run(*words, "--format=%ct %H %P", "--stdin", stdin=asked.encode("ascii"))
    found = []
    for line in out.decode("ascii").splitlines():
        time, oid, *parents = line.rstrip(" ").split(" ")
        found.append(Commit(Oid(oid), int(time or "0"), tuple(Oid(p) for p in parents)))
    return found


def _groups(git: Git, commits: list[Commit], before: list[Oid]) -> list[_Group]:
    """Return the commits with the objects each is first to reach and ``before`` does not."""
    groups = [_Group(commit, []) for commit in commits]
    if not commits:
        return groups
    members = {commit.oid for commit in commits}
    old = {str(oid) for oid in history.reachable_objects(git, before)} if before else set()
    outside = {p for c in commits for p in c.parents if p not in members} if before else set()
    at = -1
    ordered = (commit.oid for commit in commits)
    with history.listed_in_commit_order(git, ordered, sorted(outside)) as lines:
        for line in lines:
            oid, _, path = line.rstrip(b"\n").partition(b" ")
            name = Oid(oid.decode("ascii"))
            if at + 1 < len(groups) and name == groups[at + 1].commit.oid:
                at += 1
            if name not in old:
                groups[at].found.append((name, path))
    return groups


def _is_chain(group: _Group, infos: Mapping[Oid, ReelObject]) -> bool:
    """Tell whether each tree of a group lies in the one before, so that its order is plain."""
    paths = [path for oid, path in group.found if infos[oid].kind is Kind.TREE]
    pairs = itertools.pairwise(paths)
    return all(not outer or inner.startswith(outer + b"/") for outer, inner in pairs)


def _dependency_order(oids: Collection[Oid], needs: Mapping[Oid, Collection[Oid]]) -> list[Oid]:
    """Order objects: of those whose dependencies are out, the smallest id first."""
    members = set(oids)
    waiting = {oid: {n for n in needs.get(oid, ()) if n in members} for oid in members}
    users: dict[Oid, list[Oid]] = {}
    for oid, needed in waiting.items():
        for dependency in needed:
            users.setdefault(dependency, []).append(oid)
    ready = [oid for oid, needed in waiting.items() if not needed]
    heapq.heapify(ready)
    ordered = []
    while ready:
        oid = heapq.heappop(ready)
        ordered.append(oid)
        for user in users.get(oid, ()):
            waiting[user].discard(oid)
            if not waiting[user]:
                heapq.heappush(ready, user)
    return ordered


def _tree_entries(git: Git, trees: list[Oid]) -> dict[Oid, set[Oid]]:
    needs: dict[Oid, set[Oid]] = {}
    for at in range(0, len(trees), _TREES_AT_ONCE):
        chunk = trees[at : at + _TREES_AT_ONCE]
        for tree, content in zip(chunk, history.read_objects(git, chunk), strict=True):
            needs[tree] = set(_entries(content))
    return needs


def _entries(content: bytes) -> Iterator[Oid]:
    at = 0
    while at < len(content):
        end = content.index(b"\0", at) + 1
        yield Oid(content[end : end + 20].hex())
        at = end + 20


def _tag_targets(git: Git, tags: list[Oid]) -> dict[Oid, set[Oid]]:
    contents = history.read_objects(git, tags) if tags else []
    return {
        tag: {history.tagged_object(content)} for tag, content in zip(tags, contents, strict=True)
    }


def _trailing(git: Git, before: list[Oid], after: list[Oid], listed: set[Oid]) -> list[Oid]:
    """Return what the tips name besides commits, that no commit and no earlier tip reaches."""
    tags, roots = _walk_tags(git, after)
    reached = set(history.reachable_objects(git, sorted(roots))) if roots else set()
    found = (tags | reached) - listed
    if found and before:
        old_tags, _ = _walk_tags(git, before)
        found -= old_tags
        found -= set(history.reachable_objects(git, before)) if reached else set()
    return sorted(found)


def _walk_tags(git: Git, oids: Iterable[Oid]) -> tuple[set[Oid], set[Oid]]:
    """Return the tags that ``oids`` name, directly or through tags, and the trees and blobs."""
    tags: set[Oid] = set()
    roots: set[Oid] = set()
    waiting = list(oids)
    while waiting:
        fresh = []
        for oid, info in zip(waiting, history.describe(git, waiting), strict=True):
            if info is None:
                raise history.MissingObjectError(oid, str(git.objects))
            if info.kind == "tag" and oid not in tags:
                tags.add(oid)
                fresh.append(oid)
            elif info.kind in ("tree", "blob"):
                roots.add(oid)
        contents = history.read_objects(git, fresh) if fresh else []
        waiting = [history.tagged_object(content) for content in contents]
    return tags, roots


def _describe(git: Git, oids: list[Oid]) -> dict[Oid, ReelObject]:
    found = {}
    for oid, info in zip(oids, history.describe(git, oids), strict=True):
        if info is None:
            raise history.MissingObjectError(oid, str(git.objects))
        found[oid] = ReelObject(oid, _KINDS[info.kind], info.size)
    return found
