"""Indexing a pack while it still arrives: the port, and git's own indexer behind it.

An `Indexer` is told what of the pack file is verified, works through it in its own time, and ends
in a pack with its index in a scratch repository. Nothing is visible before.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from gittorrent.errors import TrustError
from gittorrent.git.packs import IndexingProcess
from gittorrent.git.runner import GitError
from gittorrent.reel.arrival import Arrival

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.git.runner import Git
    from gittorrent.reel.manifest import Manifest

_CHUNK = 1 << 20


class PackBrokenError(TrustError):
    """A pack whose every part was as announced is no pack, or not the one announced."""


class IndexedPack(Struct, frozen=True):
    """A pack with its index in a scratch repository.

    Args:
        path: of the ``.pack``; the index lies beside it.
        self_contained: whether everything its objects refer to is known to be in it.
        lacks: kinds of objects that those in it refer to, and that are neither in it nor in the
            repository; None where that is not known.
    """

    path: Path
    self_contained: bool
    lacks: frozenset[str] | None = None


class Indexer(Protocol):
    """Indexes one pack."""

    def advance(self, prefix: int) -> None:
        """Note that the first ``prefix`` bytes of the pack file are verified; never blocks."""
        ...

    def segment_ready(self, number: int) -> None:
        """Note that all bytes of a segment are verified, whatever precedes it; never blocks.

        The last segment has the pack's trailer with it.
        """
        ...

    def finish(self) -> IndexedPack:
        """Wait for the index; the whole pack must be there.

        Raises:
            RulesBrokenError: the pack is whole, and an object breaks fsck's rules.
            PackBrokenError: the pack is broken.
            LocalError: this machine could not do it.
        """
        ...

    def abandon(self) -> None:
        """Stop and leave nothing running."""
        ...


def feeding(indexer: Indexer, manifest: Manifest) -> Callable[[int], None]:
    """Return what tells an indexer of the pack's parts (from 0), in whatever order they come.

    Args:
        indexer: of the pack.
        manifest: what the pack consists of.
    """
    arrival = Arrival(manifest)

    def feed(part: int) -> None:
        before = arrival.prefix
        prefix, segments = arrival.add(part)
        for number in segments:
            indexer.segment_ready(number)
        if prefix > before:
            indexer.advance(prefix)

    return feed


class GitIndexer:
    """``git index-pack``, fed by a thread as the pack grows.

    Args:
        scratch: repository to index into.
        pack: the growing pack file.
        size: bytes it will have.
        thin: whether bases may be missing from it.
        rules: what objects must keep to, None for no rules.
        links: whether what its objects refer to is there, in it or in ``scratch``; git gives up a
            pack that is said to have everything and has not.
    """

    def __init__(
        self,
        scratch: Git,
        pack: Path,
        size: int,
        *,
        thin: bool,
        rules: FsckRules | None = None,
        links: bool = True,
    ) -> None:
        is_checked = links and not thin
        self._process = IndexingProcess(scratch, thin=thin, check_connected=is_checked, rules=rules)
        self._pack = pack
        self._size = size
        self._prefix = 0
        self._stopped = False
        self._grown = threading.Condition()
        self._feeder = threading.Thread(target=self._feed, name="index-feeder", daemon=True)
        self._feeder.start()

    def advance(self, prefix: int) -> None:
        """Note that the first ``prefix`` bytes are verified."""
        with self._grown:
            self._prefix = max(self._prefix, prefix)
            self._grown.notify()

    def segment_ready(self, number: int) -> None:
        """Wait for what precedes the segment: git reads a pack from its beginning only."""

    def finish(self) -> IndexedPack:
        """Wait for the index.

        Raises:
            RulesBrokenError: an object breaks fsck's rules.
            PackBrokenError: the pack is broken.
            GitError: this machine let git down.
        """
        self.advance(self._size)
        self._feeder.join()
        try:
            pack, connected = self._process.finish()
        except GitError as error:
            if error.is_own_trouble:
                raise
            raise PackBrokenError(str(error)) from error
        return IndexedPack(pack, connected)

    def abandon(self) -> None:
        """Stop and leave nothing running."""
        with self._grown:
            self._stopped = True
            self._grown.notify()
        self._process.abandon()
        self._feeder.join()

    def _feed(self) -> None:
        position = 0
        with self._pack.open("rb") as source:
            while position < self._size:
                limit = self._wait_beyond(position)
                if limit is None:
                    return
                while position < limit:
                    data = source.read(min(_CHUNK, limit - position))
                    try:
                        self._process.stdin.write(data)
                    except (BrokenPipeError, ValueError):
                        return  # finish() reports what git said
                    position += len(data)

    def _wait_beyond(self, position: int) -> int | None:
        """Wait until more than ``position`` bytes are verified; None when stopped."""
        with self._grown:
            self._grown.wait_for(lambda: self._stopped or self._prefix > position)
            return None if self._stopped else self._prefix
