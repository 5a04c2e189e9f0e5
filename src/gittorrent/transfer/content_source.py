"""What one end of a conversation can serve: the port that answers questions.

A node's is a carried repository; somebody who only takes has an empty one. Answers are looked up
when the question's turn comes, so nothing is held for a peer that does not read. A source may read
from disk: where that must hold up nobody else, it is asked by a `SerialExecutor` (`off_loop`), and
is used there alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from gittorrent.ids import ManifestId, PushId
    from gittorrent.reel.pack import FileView, WireView
    from gittorrent.wire.messages import FetchLog, HaveBundle, HaveCheckpoint
    from gittorrent.wire.reelname import ReelName


class ServedPack(Struct, frozen=True):
    """A reel's pack that can be served.

    Args:
        reel: the reel's name.
        path: the file on disk.
        view: how the wire form lies in it.
        part_size: bytes of a part.
        parts: number of parts.
        has: tells whether a part may be served; None where all may.
    """

    reel: ReelName
    path: Path
    view: WireView | FileView
    part_size: int
    parts: int
    has: Callable[[int], bool] | None = None


class ContentSource(Protocol):
    """What can be asked for."""

    def head(self) -> HaveCheckpoint | None:
        """Return what to announce: the newest checkpoint that the log has adopted."""
        ...

    def push(self, push: PushId) -> bytes | None:
        """Return a push object."""
        ...

    def push_pack(self, push: PushId) -> bytes | None:
        """Return the pack that comes with a push; None if there is none, or it is too large."""
        ...

    def log_entries(self, question: FetchLog) -> Sequence[PushId] | None:
        """Return the ids of the entries asked for, each after those it names; None if not here."""
        ...

    def deflated_log(self, question: FetchLog) -> Iterable[bytes] | None:
        """Return the pieces of the stream of these entries; None if they are not here.

        They are made while they are asked for, and raise EntryGoneError if an entry is damaged.
        """
        ...

    def offers(self, reel: ReelName) -> Sequence[HaveBundle]:
        """Return the reels that help from the reel's start to its end."""
        ...

    def shaped_offers(self, reel: ReelName) -> Sequence[HaveBundle]:
        """Return the same of other shapes than the whole, which somebody asks for."""
        ...

    def manifest(self, manifest: ManifestId) -> bytes | None:
        """Return a manifest with its signature."""
        ...

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        """Return the pack of a reel."""
        ...


class EmptyContentSource:
    """Has nothing to give."""

    def head(self) -> HaveCheckpoint | None:
        """Announce nothing."""
        return None

    def push(self, push: PushId) -> bytes | None:
        """Have no push."""
        del push
        return None

    def push_pack(self, push: PushId) -> bytes | None:
        """Have no pack."""
        del push
        return None

    def log_entries(self, question: FetchLog) -> Sequence[PushId] | None:
        """Have no log."""
        del question
        return None

    def deflated_log(self, question: FetchLog) -> Iterable[bytes] | None:
        """Have no log."""
        del question
        return None

    def offers(self, reel: ReelName) -> Sequence[HaveBundle]:
        """Have no reel."""
        del reel
        return ()

    def shaped_offers(self, reel: ReelName) -> Sequence[HaveBundle]:
        """Have none of these either."""
        del reel
        return ()

    def manifest(self, manifest: ManifestId) -> bytes | None:
        """Have no manifest."""
        del manifest
        return None

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        """Have no pack."""
        del manifest
        return None
