"""The definition of a reel's plan, once more: slow, simple, and not a line of the program's own.

Reads the raw objects through ``git cat-file`` and does the rest here: order by repeated
selection, first reach by recursive walk, trailing objects by set arithmetic, cuts and edges by
the words of the definition (docs/protocol/reels.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from support import gitcmd

_COMMITTER = re.compile(rb"^committer (.*)$", re.MULTILINE)
_DATE = re.compile(rb".*>[ \t]+([0-9]+)")
_TREE, _GITLINK = 0o040000, 0o160000


@dataclass(frozen=True)
class ReferenceSegment:
    """The lines pack-objects is to be fed, with the figures of the manifest."""

    edges: list[str]
    lines: list[bytes]
    raw_size: int
    frontier: tuple[str, ...]


class Objects:
    """Every object of a repository, in memory."""

    def __init__(self, git_dir: Path) -> None:
        self._contents: dict[str, tuple[str, bytes]] = {}
        out = gitcmd.git(git_dir, "cat-file", "--batch-all-objects", "--batch", "--unordered")
        self._hex = 40
        at = 0
        while at < len(out):
            end = out.index(b"\n", at)
            oid, kind, size = out[at:end].decode().split()
            self._hex = len(oid)
            self._contents[oid] = (kind, out[end + 1 : end + 1 + int(size)])
            at = end + 1 + int(size) + 1

    def kind(self, oid: str) -> str:
        return self._contents[oid][0]

    def content(self, oid: str) -> bytes:
        return self._contents[oid][1]

    @cached_property
    def all(self) -> set[str]:
        return set(self._contents)

    def target(self, tag: str) -> str:
        return self.content(tag).split(b"\n")[0].split(b" ")[1].decode()

    def peel(self, oid: str) -> str:
        while self.kind(oid) == "tag":
            oid = self.target(oid)
        return oid

    def chain(self, oid: str) -> list[str]:
        found = [oid]
        while self.kind(found[-1]) == "tag":
            found.append(self.target(found[-1]))
        return found

    def parents(self, commit: str) -> list[str]:
        head = self.content(commit).split(b"\n\n")[0].split(b"\n")
        return [line[7:].decode() for line in head if line.startswith(b"parent ")]

    def tree_of(self, commit: str) -> str:
        return self.content(commit).split(b"\n")[0][5:].decode()

    def time(self, commit: str) -> int:
        line = _COMMITTER.search(self.content(commit))
        found = _DATE.match(line[1]) if line else None
        return min(int(found[1]), 2**64 - 1) if found else 0

    def entries(self, tree: str) -> list[tuple[int, bytes, str]]:
        data, found, at = self.content(tree), [], 0
        while at < len(data):
            mode, rest = data[at:].split(b" ", 1)
            name = rest.split(b"\0", 1)[0]
            at += len(mode) + 1 + len(name) + 1
            found.append((int(mode, 8), name, data[at : at + self._hex // 2].hex()))
            at += self._hex // 2
        return found

    def walk(self, oid: str, path: bytes, seen: set[str]) -> list[tuple[str, bytes]]:
        """List a tree or blob and what it holds, in git's order, leaving out what was seen."""
        if oid in seen:
            return []
        seen.add(oid)
        found = [(oid, path)]
        if self.kind(oid) == "tree":
            for mode, name, entry in self.entries(oid):
                if mode != _GITLINK:
                    found += self.walk(entry, path + b"/" + name if path else name, seen)
        return found

    def ancestors(self, oids: Iterable[str]) -> set[str]:
        waiting = [self.peel(oid) for oid in oids]
        found: set[str] = set()
        while waiting:
            oid = waiting.pop()
            if oid not in found and self.kind(oid) == "commit":
                found.add(oid)
                waiting += self.parents(oid)
        return found

    def without_blobs(self, oids: Iterable[str], named: Iterable[str]) -> set[str]:
        """Return those of ``oids`` that are no blobs, or are named directly or through tags."""
        named = {link for oid in named for link in self.chain(oid)}
        return {oid for oid in oids if self.kind(oid) != "blob" or oid in named}

    def reachable(self, oids: Iterable[str]) -> set[str]:
        oids = list(oids)
        found = {link for oid in oids for link in self.chain(oid)}
        seen: set[str] = set()
        for oid in oids:
            if self.kind(self.peel(oid)) in ("tree", "blob"):
                self.walk(self.peel(oid), b"", seen)
        for commit in self.ancestors(oids):
            found.add(commit)
            self.walk(self.tree_of(commit), b"", seen)
        return found | seen


def plan(
    objects: Objects, start: list[str], end: list[str], smallest: int, *, history: bool = False
) -> tuple[int, list[ReferenceSegment]]:
    """Return the target and the segments of a reel; no segments when there is nothing.

    ``history``: the reel of commits and trees alone.
    """
    members = objects.ancestors(end) - objects.ancestors(start)
    order = _order(objects, members)
    boundary = {p for c in order for p in objects.parents(c) if p not in members} if start else []
    seen: set[str] = set()
    for commit in boundary:
        objects.walk(objects.tree_of(commit), b"", seen)
    groups = [
        [(commit, None), *objects.walk(objects.tree_of(commit), b"", seen)] for commit in order
    ]
    if history:
        groups = [[at for at in group if objects.kind(at[0]) != "blob"] for group in groups]
    listed = {oid for group in groups for oid, _ in group}
    trailing = _history_trailing if history else _trailing
    tail = sorted(trailing(objects, start, end) - listed)
    if not groups and not tail:
        return 0, []
    sizes = [sum(len(objects.content(oid)) for oid, _ in group) for group in groups]
    total = sum(sizes) + sum(len(objects.content(oid)) for oid in tail)
    target = smallest
    while total > 16 * target:
        target *= 2
    return target, _cut(objects, order, groups, sizes, tail, target)


def _order(objects: Objects, members: set[str]) -> list[str]:
    placed: list[str] = []
    left = set(members)
    while left:
        ready = [c for c in left if not left & set(objects.parents(c))]
        first = min(ready, key=lambda c: (objects.time(c), c))
        placed.append(first)
        left.remove(first)
    return placed


def _trailing(objects: Objects, start: list[str], end: list[str]) -> set[str]:
    named = {link for oid in end for link in objects.chain(oid)}
    wanted = {oid for oid in named if objects.kind(oid) == "tag"}
    for oid in named:
        if objects.kind(oid) in ("tree", "blob"):
            wanted |= {found for found, _ in objects.walk(oid, b"", set())}
    return wanted - objects.reachable(start)


def _history_trailing(objects: Objects, start: list[str], end: list[str]) -> set[str]:
    wanted = objects.without_blobs(_trailing(objects, [], end), end)
    return wanted - objects.without_blobs(objects.reachable(start), start)


def tip(objects: Objects, commit: str, end: list[str]) -> ReferenceSegment:
    """Return the one segment of the reel of a commit alone."""
    lines: list[tuple[str, bytes | None]] = [(commit, None)]
    lines += objects.walk(objects.tree_of(commit), b"", set())
    links = {link for oid in end for link in objects.chain(oid)}
    tags = sorted(oid for oid in links if objects.kind(oid) == "tag")
    lines += [(tag, None) for tag in tags if objects.peel(tag) == commit]
    raw = sum(len(objects.content(oid)) for oid, _ in lines)
    return ReferenceSegment([], [_line(*line) for line in lines], raw, (commit,))


def _cut(
    objects: Objects,
    order: list[str],
    groups: list[list[tuple[str, bytes | None]]],
    sizes: list[int],
    tail: list[str],
    target: int,
) -> list[ReferenceSegment]:
    runs: list[list[int]] = [[]]
    for index in range(len(order)):
        if sum(sizes[i] for i in runs[-1]) >= target and runs[-1]:
            runs.append([])
        runs[-1].append(index)
    segments = []
    for number, run in enumerate(runs):
        commits = [order[i] for i in run]
        outside: list[str] = []
        for commit in reversed(commits):
            for parent in objects.parents(commit):
                if parent not in commits and parent not in outside:
                    outside.append(parent)
        lines = [_line(oid, path) for i in run for oid, path in groups[i]]
        raw = sum(sizes[i] for i in run)
        if number == len(runs) - 1:
            lines += [_line(oid, None) for oid in tail]
            raw += sum(len(objects.content(oid)) for oid in tail)
        fathers = {p for commit in commits for p in objects.parents(commit)}
        frontier = tuple(sorted(c for c in commits if c not in fathers))
        segments.append(ReferenceSegment(outside[:10], lines, raw, frontier))
    return segments


def _line(oid: str, path: bytes | None) -> bytes:
    if path is None:
        return oid.encode() + b"\n"
    # git prints a name up to its first line feed.
    return oid.encode() + b" " + path.split(b"\n")[0] + b"\n"
