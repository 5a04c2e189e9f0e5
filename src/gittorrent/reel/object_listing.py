"""Lists the objects of a reel with git: commit by commit, and those that no commit reaches.

The order is that of `gittorrent.reel.order`. Listings go through a spool file, since histories with
ten million objects do not belong in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from gittorrent.git import history
from gittorrent.reel.packing import ReelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import Oid
    from gittorrent.reel.order import Commit


class ObjectListing(Struct):
    """Which objects each commit is first to reach: the spooled lines and where they begin."""

    path: Path
    counts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])

    def contains(self, wanted: set[bytes]) -> set[bytes]:
        """Return those of ``wanted`` (hexadecimal ids) that are listed."""
        found = set()
        with self.path.open("rb") as spool:
            for line in spool:
                oid = line.split(b" ", 1)[0].rstrip(b"\n")
                if oid in wanted:
                    found.add(oid)
        return found


def list_objects(
    git: Git,
    commits: list[Commit],
    has_start: bool,
    spool_path: Path,
    progress: Callable[[str, int, int], None],
    *,
    without_blobs: bool = False,
) -> ObjectListing:
    """Spool the objects commit by commit, perhaps without blobs; count what each brings."""
    listing = ObjectListing(spool_path)
    spool_path.touch()
    if not commits:
        return listing
    members = {commit.oid for commit in commits}
    outside = {p for commit in commits for p in commit.parents if p not in members}
    boundary = sorted(outside) if has_start else []
    counter = history.SizeCounter(git)
    try:
        ordered = (commit.oid for commit in commits)
        with history.listed_in_commit_order(
            git, ordered, boundary, without_blobs=without_blobs
        ) as lines:
            listed = _spool(lines, commits, listing, counter, progress)
        if listed != len(commits):
            raise ReelError(f"git listed {listed} of {len(commits)} commits in the order asked")
    except BaseException:
        counter.abandon()
        raise
    sizes = counter.finish()
    position = 0
    for count in listing.counts:
        listing.sizes.append(sum(sizes[position : position + count]))
        position += count
    return listing


def _spool(
    lines: Iterable[bytes],
    commits: list[Commit],
    listing: ObjectListing,
    counter: history.SizeCounter,
    progress: Callable[[str, int, int], None],
) -> int:
    """Write down what git lists; return how many of the commits came in the order asked."""
    expected = [commit.oid.encode("ascii") + b"\n" for commit in commits]
    expected.append(b"")
    hex_size = len(commits[0].oid)
    at = count = position = 0
    with listing.path.open("wb") as spool:
        for line in lines:
            if line == expected[at]:
                if at:
                    listing.counts.append(count)
                    listing.starts.append(position)
                at += 1
                count = 0
                if at % 4096 == 0:
                    progress("planning", at, len(commits))
            spool.write(line)
            position += len(line)
            count += 1
            counter.add(line[:hex_size])
    listing.counts.append(count)
    listing.starts.append(position)
    return at


def trailing_objects(
    git: Git,
    start: Iterable[Oid],
    end: list[Oid],
    listing: ObjectListing,
    *,
    without_blobs: bool = False,
) -> list[history.ObjectInfo]:
    """Return what ``end`` names besides commits and ``start`` does not reach, sorted by id.

    ``start`` is looked at only where ``end`` names anything but commits. Without blobs, those that
    are named are there all the same.
    """
    named = {oid: kind for oid, kind in _named(git, end).items() if kind != "commit"}
    if not named:
        return []
    start = list(start)
    named_before = _named(git, start)
    named = {oid: kind for oid, kind in named.items() if oid not in named_before}
    tags = {oid for oid, kind in named.items() if kind == "tag"}
    roots = sorted(oid for oid, kind in named.items() if kind in ("tree", "blob"))
    reached: set[Oid] = set()
    if roots:
        reached = {oid for oid in roots if named[oid] == "blob"} if without_blobs else set()
        held = [oid for oid in roots if oid not in reached]
        reached.update(history.reachable_objects(git, held, without_blobs=without_blobs))
        if start:
            before = history.reachable_objects(git, start, without_blobs=without_blobs)
            reached.difference_update(before)
        listed = listing.contains({oid.encode("ascii") for oid in reached})
        reached = {oid for oid in reached if oid.encode("ascii") not in listed}
    return _described(git, sorted(tags | reached))


def tags_of(git: Git, end: Iterable[Oid], commit: Oid) -> list[history.ObjectInfo]:
    """Return the tag objects that ``end`` names and that lead to a commit, sorted by id.

    Of a chain of tags each counts, whether or not ``end`` names it itself.
    """
    targets: dict[Oid, Oid] = {}
    waiting = sorted(set(end))
    while waiting:
        infos = _described(git, waiting)
        tags = [info.oid for info in infos if info.kind == "tag"]
        contents = history.read_objects(git, tags) if tags else []
        targets |= {
            tag: history.tagged_object(content) for tag, content in zip(tags, contents, strict=True)
        }
        waiting = sorted({targets[tag] for tag in tags} - targets.keys())
    leading = {commit}
    while more := {tag for tag, target in targets.items() if target in leading} - leading:
        leading |= more
    return _described(git, sorted(leading - {commit}))


def _described(git: Git, oids: list[Oid]) -> list[history.ObjectInfo]:
    found = []
    for oid, info in zip(oids, history.describe(git, oids), strict=True):
        if info is None:
            raise history.MissingObjectError(oid, str(git.objects))
        found.append(info)
    return found


def _named(git: Git, oids: Iterable[Oid]) -> dict[Oid, str]:
    """Return what ``oids`` name directly or through tags, with the type of each."""
    named: dict[Oid, str] = {}
    waiting = list(oids)
    while waiting:
        tags = []
        for oid, info in zip(waiting, history.describe(git, waiting), strict=True):
            if info is None:
                raise history.MissingObjectError(oid, str(git.objects))
            named[oid] = info.kind
            if info.kind == "tag":
                tags.append(oid)
        contents = history.read_objects(git, tags) if tags else []
        targets = {history.tagged_object(content) for content in contents}
        waiting = sorted(target for target in targets if target not in named)
    return named
