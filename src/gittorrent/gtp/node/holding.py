"""What this node can give of one repository: complete reels, their blocks, objects by id.

Tracks which believed references are complete, an index for each reel that was asked for, and the
packs made last. Only objects in those reels are ever given out, whatever else the repository holds.
Blocking; callers run it in threads.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from gittorrent.errors import UsageError
from gittorrent.git import history, scratch
from gittorrent.git.repository import find_repository, require_complete
from gittorrent.git.runner import Git
from gittorrent.gtp.errors import MessageError
from gittorrent.gtp.limits import MIB
from gittorrent.gtp.messages import (
    BEGINNING,
    BlockName,
    ObjectsRequest,
    ReelName,
    ReelOffer,
    ScanEntry,
)
from gittorrent.gtp.node.listing import list_reel
from gittorrent.gtp.node.packing import pack_block, pack_objects
from gittorrent.ids import SHA1, Oid

if TYPE_CHECKING:
    from pathlib import Path

    from gittorrent.gtp.believed import ReferenceBook
    from gittorrent.gtp.blocks import ReelIndex
    from gittorrent.gtp.profile import Profile
    from gittorrent.gtp.reference import Reference

MAX_CACHED = 64 * MIB
"""Bytes of packs kept: several peers ask for the same blocks at about the same time."""

MAX_OFFERED = 16
"""References whose reels are offered, the newest ones: each reel costs a listing."""

_WIDEST_2008 = 0xFFFFFFFF


class Holding:
    """One repository, for giving.

    Args:
        path: a repository, bare or not.
        profile: dialect of the swarm.
        book: believed references.

    Raises:
        UsageError: it cannot be served.
    """

    def __init__(self, path: Path, profile: Profile, book: ReferenceBook) -> None:
        found = find_repository(path)
        if found.object_format is not SHA1:
            raise UsageError(
                f"{path} uses {found.object_format.name}; GTP/0.1 knows SHA-1 only",
                hint="publish and serve it with 'gittorrent publish' instead",
            )
        self.git = Git(found.git_dir)
        require_complete(self.git)
        self._profile = profile
        self._book = book
        self._complete: dict[bytes, Reference] = {}
        self._tips: dict[bytes, frozenset[Oid]] = {}
        self._indexes: dict[ReelName, ReelIndex] = {}
        self._ids: dict[ReelName, frozenset[Oid]] = {}
        self._cache: OrderedDict[BlockName, tuple[int, bytes]] = OrderedDict()
        self._cached = 0
        self._lock = threading.RLock()
        self._stack = contextlib.ExitStack()
        self._staging = self._stack.enter_context(
            scratch.borrowing(found.git_dir / "objects", SHA1)
        )

    def close(self) -> None:
        """Remove the scratch space."""
        self._stack.close()

    def refresh(self) -> frozenset[bytes]:
        """Find which believed references are complete; returns their ids.

        In the dialect of 2008 one is when all is here that a peer of 2008 sends.
        """
        with self._lock:
            for reference in self._book.newest_first():
                if reference.id in self._complete:
                    continue
                tips = sorted(reference.tips)
                found = history.describe(self._staging, tips)
                here = {oid for oid, info in zip(tips, found, strict=True) if info is not None}
                absent = reference.tips - here
                if not absent or (here and absent <= self._book.may_lack(reference)):
                    self._complete[reference.id] = reference
                    self._tips[reference.id] = frozenset(here)
                    self._ids.clear()
            return frozenset(self._complete)

    def references(self) -> list[Reference]:
        """Return the complete references, newest first."""
        return [r for r in self._book.newest_first() if r.id in self._complete]

    def offers(self) -> list[ReelOffer]:
        """Return the reels that can be given, and their sizes."""
        with self._lock:
            newest = self.references()[:MAX_OFFERED]
            reels = [ReelName(BEGINNING, reference.id) for reference in newest[:1]]
            if not self._profile.blocks_are_commits and len(newest) > 1:
                ends = [BEGINNING, *(reference.id for reference in reversed(newest))]
                reels += [ReelName(start, end) for start, end in itertools.pairwise(ends)]
            return [offer for reel in dict.fromkeys(reels) if (offer := self._offer(reel))]

    def count(self, reel: ReelName, block_size: int) -> int:
        """Return a reel's number of blocks; raises `MessageError` when there is no such reel."""
        return self._index(reel).count(block_size)

    def play(self, block: BlockName) -> tuple[int, bytes]:
        """Return a block's offset and pack; raises `MessageError` when there is none."""
        with self._lock:
            known = self._cache.get(block)
            if known is not None:
                self._cache.move_to_end(block)
                return known
        found = self._index(block.reel).block(block.index, block.size)
        made = found.offset, pack_block(self._staging, found)
        with self._lock:
            if block not in self._cache:
                self._cache[block] = made
                self._cached += len(made[1])
            while self._cached > MAX_CACHED and len(self._cache) > 1:
                self._cached -= len(self._cache.popitem(last=False)[1][1])
        return made

    def scan(self, block: BlockName) -> tuple[int, tuple[ScanEntry, ...]]:
        """Return a block's offset and objects; raises `MessageError` when there is none."""
        found = self._index(block.reel).block(block.index, block.size)
        entries = (
            ScanEntry(bytes.fromhex(item.oid), item.kind, min(item.size, _WIDEST_2008))
            for item in found.objects
        )
        return found.offset, tuple(entries)

    def objects(self, request: ObjectsRequest) -> bytes:
        """Return the pack of objects asked for; raises `MessageError` when one is not ours."""
        wanted = [Oid(oid.hex()) for oid in request.objects]
        bases = [Oid(oid.hex()) for oid in request.bases]
        with self._lock:
            if not self._ids:
                for offer in self.offers():
                    members = frozenset(item.oid for item in self._index(offer.reel).objects)
                    self._ids[offer.reel] = members
        if not all(any(oid in ids for ids in self._ids.values()) for oid in wanted):
            raise MessageError("an object was asked for that is in no reel")
        known = [base for base in bases if any(base in ids for ids in self._ids.values())]
        return pack_objects(self._staging, wanted, known)

    def _offer(self, reel: ReelName) -> ReelOffer | None:
        index = self._index(reel)
        if not self._profile.blocks_are_commits:
            return ReelOffer(reel, index.size)
        # The peer of 2008 counts commits, trees and blobs, and cannot bear a reel without commits.
        size = sum(item.size for item in index.objects if item.kind < 4)
        return ReelOffer(reel, min(size, _WIDEST_2008)) if index.groups else None

    def _index(self, reel: ReelName) -> ReelIndex:
        with self._lock:
            known = self._indexes.get(reel)
            if known is not None:
                return known
            end = self._tips.get(reel.end)
            before = frozenset() if reel.start == BEGINNING else self._tips.get(reel.start)
            if end is None or before is None:
                raise MessageError(f"there is no reel {reel} here")
            if len(self._indexes) >= 4 * MAX_OFFERED:
                # References are few, but a peer may ask for the reel between any two of them.
                self._indexes.clear()
                self._ids.clear()
            made = list_reel(self._staging, before, end, self._profile)
            self._indexes[reel] = made
            return made
