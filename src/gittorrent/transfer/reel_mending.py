"""Puts a reel of this machine right whose file is damaged, with what other mirrors give.

Only parts that are not what the manifest says are asked for, and only bytes that are what it says
are written, each where wrong ones stood: whoever reads the file meanwhile, and whatever else has it
by a hard link, gets more right bytes than before and no other ones. What lies around the parts is
made anew then (`gittorrent.repository.reel_repair`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import naming
from gittorrent.errors import GitTorrentError
from gittorrent.reel.pack import FilePiece
from gittorrent.reel.parts import part_range
from gittorrent.repository.reel_repair import mend_around, opened_to_mend, write_at
from gittorrent.transfer.mirror import wanted_pack
from gittorrent.transfer.pack_download import DownloadHandlers, PackDownload
from gittorrent.transfer.peer_manager import PeerManager, Sharing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gittorrent.repository.carried import Carried
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.reaching import Source

LONGEST_SECONDS = 3600.0
"""Time for one attempt: whoever gives next to nothing keeps others waiting no longer. What came
stays."""


class Mended(Struct, frozen=True):
    """What was put right.

    Args:
        parts: how many of them.
        around: whether what lies around them was.
    """

    parts: int
    around: bool


class ReelFile:
    """The file of a reel as a place for parts: see `PartStore`; to be closed."""

    def __init__(self, reel: StoredReel) -> None:
        """Open the file to write to it.

        Raises:
            OSError: this user may not.
        """
        self._reel = reel
        self._sound: set[int] = set()
        self.mended = 0
        found = reel.pack.stat()
        self._times = found.st_atime_ns, found.st_mtime_ns
        with ExitStack() as opened:
            self._file = opened.enter_context(opened_to_mend(reel.pack))
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Let go of the file."""
        self._opened.close()

    def marked(self, index: int) -> bool:
        """Tell whether a part is known to be sound."""
        return index in self._sound

    def recover(self) -> Iterator[int]:
        """Read all parts; yield each that is sound."""
        for index in range(len(self._reel.manifest.parts)):
            if self.holds(index):
                self._sound.add(index)
                yield index

    def holds(self, index: int) -> bool:
        """Tell whether a part is sound."""
        return self._reel.is_sound_part(index)

    def store(self, index: int, data: memoryview | bytes | bytearray) -> bool:
        """Write a part if its digest is right; tells whether it was."""
        manifest = self._reel.manifest
        if hashlib.sha256(data).hexdigest() != manifest.parts[index]:
            return False
        offset, count = part_range(index, manifest.pack_size, manifest.part_size)
        view, at = memoryview(data), 0
        with naming(self._reel.pack):
            for piece in self._reel.view.pieces(offset, count):
                size = piece.count if isinstance(piece, FilePiece) else len(piece)
                if isinstance(piece, FilePiece):
                    write_at(self._file, view[at : at + size], piece.offset)
                at += size
        # While it is not right as a whole, it is to count as the file that was found damaged.
        os.utime(self._file, ns=self._times)
        self._sound.add(index)
        self.mended += 1
        return True

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        os.fsync(self._file)

    def finish(self) -> None:
        """Let all parts be given again."""
        os.utime(self._file)


async def mend_reel(
    carried: Carried, reel: StoredReel, sources: Iterable[Source], limits: Limits
) -> Mended:
    """Put a reel's file right, and what git has beside it; returns what was wrong.

    Args:
        carried: the repository.
        reel: it.
        sources: mirrors of its repository.
        limits: of what is taken.

    Raises:
        NoSourceError: nobody gives what is wrong.
        TimeoutError: what is wrong does not come in time.
        LocalError: what lies around the parts is wrong, and could not be made anew.
        OSError: the file cannot be written to.
    """
    _make_index_anew(carried, reel)
    sharing = Sharing(listen=None, exchange=False)
    peer_manager = PeerManager(lambda _text: None, sharing, limits)
    with closing(ReelFile(reel)) as file:
        handlers = DownloadHandlers(is_growing=peer_manager.is_growing, on_ban=peer_manager.banned)
        download = PackDownload(
            wanted_pack(reel.manifest), file, handlers, peer_manager.client_timeouts
        )
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                peer_manager.gather(sources)
                peer_manager.help_with(download, reel.manifest.repository)
                await download.run()
        finally:
            peer_manager.rest(download.figures())
            await peer_manager.close()
        around = mend_around(carried, reel)
        file.finish()
        return Mended(file.mended, around)


def _make_index_anew(carried: Carried, reel: StoredReel) -> None:
    """Make the index of a pack anew where that is what is damaged: nobody need give it.

    Where that is no way, since the pack is damaged, too, it comes in parts like everything.
    """
    of = reel.manifest.shape.manifest
    pack = None if of is None else carried.reels.get(of)
    if pack is not None and pack.is_available:
        with suppress(GitTorrentError):
            mend_around(carried, pack)
