"""Puts a reel of this machine right whose file is damaged, with what other mirrors give.

Only parts that are not what the manifest says are asked for, and only bytes that are what it says
are written, each where wrong ones stood: whoever reads the file meanwhile, and whatever else has it
by a hard link, gets more right bytes than before and no other ones. What git added to the file,
its beginning and its trailer are in no part: whether the file as a whole is right is looked at in
the end.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import closing
from typing import TYPE_CHECKING

from gittorrent.durable import naming
from gittorrent.errors import LocalError
from gittorrent.reel.pack import FilePiece
from gittorrent.reel.parts import part_range
from gittorrent.transfer.mirror import wanted_pack
from gittorrent.transfer.pack_download import DownloadHandlers, PackDownload
from gittorrent.transfer.peer_manager import PeerManager, Sharing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.transfer.limiter import Limits
    from gittorrent.transfer.reaching import Source

READ_BYTES = 1 << 20
"""Bytes of a file that are read at a time."""


class NotMendedError(LocalError):
    """A file is still damaged where no part of it is."""


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
        mode = stat.S_IMODE(found.st_mode)
        if not mode & stat.S_IWUSR:  # git's packs are read-only
            reel.pack.chmod(mode | stat.S_IWUSR)
        try:
            self._file = os.open(reel.pack, os.O_RDWR)
        finally:
            reel.pack.chmod(mode)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

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
                    self._write(view[at : at + size], piece.offset)
                at += size
        # While it is not right as a whole, it is to count as the file that was found damaged.
        os.utime(self._file, ns=self._times)
        self._sound.add(index)
        self.mended += 1
        return True

    def _write(self, data: memoryview, offset: int) -> None:
        while data:
            written = os.pwrite(self._file, data, offset)
            data, offset = data[written:], offset + written

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        os.fsync(self._file)

    def finish(self) -> None:
        """Let all parts be given again; compare the file with the checksum that git has at its end.

        Raises:
            NotMendedError: it is another one.
        """
        os.utime(self._file)
        name = self._reel.manifest.object_format.name
        digest, size = hashlib.new(name), self._reel.manifest.object_format.raw_size
        left = os.fstat(self._file).st_size - size
        with self._reel.pack.open("rb") as file:
            while left > 0 and (data := file.read(min(READ_BYTES, left))):
                digest.update(data)
                left -= len(data)
            if file.read() != digest.digest():
                raise NotMendedError(
                    f"{self._reel.pack} is damaged where no mirror can help",
                    hint="'gittorrent verify' says what that concerns",
                )


async def mend_reel(reel: StoredReel, sources: Iterable[Source], limits: Limits) -> int:
    """Put a reel's file right; returns how many parts were wrong.

    Args:
        reel: it.
        sources: mirrors of its repository.
        limits: of what is taken.

    Raises:
        NoSourceError: nobody gives what is wrong.
        NotMendedError: the file is damaged elsewhere, too.
        OSError: it cannot be written to.
    """
    sharing = Sharing(listen=None, exchange=False)
    peer_manager = PeerManager(lambda _text: None, sharing, limits)
    with closing(ReelFile(reel)) as file:
        handlers = DownloadHandlers(is_growing=peer_manager.is_growing, on_ban=peer_manager.banned)
        download = PackDownload(
            wanted_pack(reel.manifest), file, handlers, peer_manager.client_timeouts
        )
        try:
            peer_manager.gather(sources)
            peer_manager.help_with(download, reel.manifest.repository)
            await download.run()
        finally:
            peer_manager.rest(download.figures())
            await peer_manager.close()
        file.finish()
        return file.mended
