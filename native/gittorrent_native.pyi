"""Indexes git packs as they arrive, and deflates those of reels."""

from collections.abc import Callable
from os import PathLike
from typing import final

__version__: str
ZLIB_VERSION: str
"""Version of the stock zlib built in, whose bytes `deflate_pack` makes."""

def deflate_pack(
    source: int,
    target: str | PathLike[str],
    *,
    object_format: str = "sha1",
    threads: int = 0,
) -> tuple[int, int, str]:
    """Write a pack anew with every entry deflated as git does on stock zlib at level 6.

    ``source`` is the descriptor of a file or pipe with the pack, which is read to its end and stays
    open; ``git pack-objects`` with compression 0 makes one that is the same whatever zlib it runs
    on. ``target`` is created or replaced. Entries stay what they are, in their order; distances of
    offset deltas and the trailer are made right. ``threads`` deflate side by side, 0 for one per
    CPU. Memory is bounded, but for 16 bytes for each entry.

    Returns the number of entries, the size in bytes, and the trailer in hexadecimal. Raises
    CorruptPack for what is no pack, its trailer included, OSError, or ValueError for impossible
    arguments; ``target`` holds anything then. May be called from any thread; lets go of the
    interpreter.
    """

class IndexerError(Exception):
    """Root of this module's own exceptions."""

    what: str
    """What failed, without the place."""
    offset: int | None
    """The pack offset of the entry concerned, if there is one."""

class CorruptPack(IndexerError):
    """The pack, or an object in it, breaks the rules; theirs."""

class MissingBase(CorruptPack):
    """The base of a delta is neither in the pack nor in the caller's repository; theirs."""

class Cancelled(IndexerError):
    """The caller cancelled."""

@final
class Summary:
    """What became of a pack."""

    @property
    def checksum(self) -> str:
        """The pack's trailer in hexadecimal; of the completed pack if it was thin."""
    @property
    def objects(self) -> int:
        """Objects in the pack, with appended bases."""
    @property
    def size(self) -> int:
        """Size of the pack in bytes, with appended bases."""
    @property
    def appended(self) -> list[str]:
        """Bases appended to complete a thin pack, in order."""
    @property
    def missing(self) -> list[tuple[str, str | None]]:
        """What the pack refers to and lacks: id and the kind it must be of, sorted by id.

        Empty for a pack that is self-contained and connected. Otherwise the caller has to find
        each of them in its repository, reachable from its refs. A kind of None means that only
        ``tips`` named it.
        """
    @property
    def unchecked(self) -> list[tuple[str, str]]:
        """What trees name ``.gitmodules`` or ``.gitattributes`` and the pack lacks.

        Git obeys these files; their content has not been checked. Of submodules only those with
        the second name are here: git's fsck refuses a repository without their commit.
        """

@final
class Indexer:
    """Indexes one pack file while it grows.

    Workers start at once and sleep when there is nothing to do. Every method may be called from any
    thread; those that may wait let go of the interpreter. The first error stops all work, and
    every later call raises it. An indexer that is dropped is cancelled.
    """

    def __new__(
        cls,
        path: str | PathLike[str],
        *,
        size: int,
        objects: int,
        object_format: str = "sha1",
        checksum_hex: str | None = None,
        segments: list[tuple[int, int]] = ...,
        threads: int = 0,
        memory_limit: int = 268435456,
        detect_collisions: bool = True,
        check_objects: bool = True,
        fsck: bool = True,
        largest_object: int = 68719476736,
        spill_dir: str | PathLike[str] | None = None,
    ) -> Indexer:
        """Open a pack, of which nothing but the file need be there.

        ``size`` is that of the whole pack in bytes with its trailer, ``objects`` its count, and
        ``checksum_hex`` the trailer if it is known beforehand. ``segments`` lists the first
        offset and the object count of each segment, from offset 12 on; empty means one.
        ``threads`` is 0 for one per CPU. ``memory_limit`` is the memory to use in bytes, about;
        less of it costs time, never success. ``detect_collisions`` looks out for SHA-1 collision
        attacks as git does. ``check_objects`` parses objects and follows their links; ``fsck``
        also holds them to git's fsck rules as ``--strict`` does. Objects above ``largest_object``
        bytes are refused. Large objects go through temporary files in ``spill_dir``, by default the
        pack's folder.

        Raises ValueError for impossible arguments, OSError if the file cannot be opened.
        """
    def advance(self, prefix_bytes: int) -> None:
        """Tell that everything before ``prefix_bytes`` is in the file now; it never shrinks."""
    def segment_ready(self, number: int) -> None:
        """Tell that all bytes of a segment are in the file now, whatever precedes it.

        The pack's 12-byte header must be in the file before the first segment is announced, and
        the trailer before the last.
        """
    def progress(self) -> tuple[int, int, int]:
        """Return entries found, objects resolved, and bytes of the pack gone through."""
    def cache_counts(self) -> tuple[int, int]:
        """Return how often a base was still in memory, and how often it had to be made again."""
    def finish(
        self,
        idx_path: str | PathLike[str],
        rev_path: str | PathLike[str] | None = None,
        *,
        completed_path: str | PathLike[str] | None = None,
        read_object: Callable[[str], tuple[str, bytes] | None] | None = None,
        deflate: Callable[[bytes], bytes] | None = None,
        tips: list[str] = ...,
    ) -> Summary:
        """Wait for the work to end, check the whole, and write the index.

        Everything must have been announced. ``read_object(id)`` returns the kind and content of an
        object of the caller's repository, or None; it is called in this thread for the bases of
        a thin pack, which is then completed, and for ``.gitmodules`` and
        ``.gitattributes`` that are not in the pack. ``deflate`` compresses appended bases,
        ``zlib.compress`` at git's level by default. A thin pack is completed at
        ``completed_path``, from a copy; or in place without one. Nothing is written there for a pack
        that lacks no base (``appended`` is empty then). ``tips`` are ids that must be in the pack.

        Files appear complete, synced and read-only, or not at all. Raises CorruptPack (or its
        subclass MissingBase), OSError, ValueError if bytes are outstanding, or what a callable
        raised; a thin pack is then left as it was.
        """
    def cancel(self) -> None:
        """Stop all work and wait until it has stopped."""
