"""Finds out how this machine can make a reel's bytes: by making some that are known.

Git's bytes depend on the zlib it runs on, and its deltas may change with a later version. So
before the first reel a small pack is encoded, whose digest is written down here. What gives
that digest is used, the native helper first, since its deflate runs beside git and on all cores.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent import native
from gittorrent.git import scratch
from gittorrent.git.runner import executable
from gittorrent.git.version import git_version
from gittorrent.ids import SHA1
from gittorrent.reel.packing import ReelError, pack_and_deflate, pack_as_git_does

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat

KNOWN = "f46f4c2d9ce2e3989eb14528fed6e49c9a1de870d8e1d9eb5030d0cb20eaf717"
"""SHA-256 of the pack that encoder version 1 makes of `_objects`."""


class UnfitEncoderError(ReelError):
    """Reels made on this machine would not be the bytes that others make; says what to do."""


class Encoder(Struct, frozen=True):
    """How segments are encoded on this machine.

    Args:
        deflates: whether the native helper deflates; git does otherwise.
        trouble: why the bytes are not those of the definition; empty when they are.
        remedy: what to do about it.
    """

    deflates: bool
    trouble: str = ""
    remedy: str = ""

    def require(self) -> None:
        """Refuse to go on with an encoder whose bytes are others.

        Raises:
            UnfitEncoderError: they are.
        """
        if self.trouble:
            raise UnfitEncoderError(f"{self.trouble}; {self.remedy}")

    def pack(
        self,
        git: Git,
        source: Path,
        target: Path,
        object_format: ObjectFormat,
        threads: int,
        report: Callable[[float], None],
    ) -> None:
        """Encode a segment; see `gittorrent.reel.packing`."""
        if self.deflates:
            pack_and_deflate(git, source, target, object_format, threads, report)
        else:
            pack_as_git_does(git, source, target, report)


def find_encoder() -> Encoder:
    """Return the way of encoding that gives the bytes of the definition, or the next best.

    Tried once for each git and helper in the life of a process.

    Raises:
        GitError: git cannot pack at all.
    """
    return _find(executable(), git_version(), native.can_deflate())


@functools.cache
def _find(path: str, version: tuple[int, ...], can_deflate: bool) -> Encoder:
    ways = [Encoder(deflates=True)] if can_deflate else []
    ways.append(Encoder(deflates=False))
    for way in ways:
        if _digest(way) == KNOWN:
            return way
    shown = ".".join(map(str, version))
    if can_deflate:
        return Encoder(
            deflates=True,
            trouble=f"git {shown} ({path}) chooses other deltas than reels are defined by, so"
            " nobody makes the same reels as this machine",
            remedy="use another version of git, or a newer gittorrent",
        )
    return Encoder(
        deflates=False,
        trouble=f"git {shown} ({path}) compresses differently from stock zlib, by which reels are"
        " defined, so nobody makes the same reels as this machine",
        remedy="install gittorrent-native 0.2 or newer, which compresses in its place"
        + ("" if native.is_wanted() else f", and do not set {native.SWITCH}=0"),
    )


def _digest(way: Encoder) -> str:
    """Return the digest of the pack that a way of encoding makes; empty if it makes none."""
    with scratch.blank(SHA1) as git, tempfile.TemporaryDirectory(dir=git.directory) as staging:
        source, target = Path(staging, "in"), Path(staging, "pack")
        source.write_bytes(b"".join(_store(git, content) for content in _objects()))
        try:
            way.pack(git, source, target, SHA1, 1, lambda _share: None)
        except ReelError:
            return ""
        return hashlib.sha256(target.read_bytes()).hexdigest()


def _objects() -> list[bytes]:
    """Return the contents of blobs that compress well, the second of which is made of the first.

    Chains of equal strings are long enough in them for implementations of deflate to differ.
    """
    pieces = [hashlib.sha256(b"%d" % (n % 40)).digest()[: n % 30] for n in range(2000)]
    words = b"".join(piece.hex().encode()[: 3 + n % 7] for n, piece in enumerate(pieces))
    first = b"".join(pieces)
    return [first, first[:9000] + words[:700] + first[9500:], words]


def _store(git: Git, content: bytes) -> bytes:
    """Write a blob into the scratch repository; returns its line for pack-objects."""
    data = b"blob %d\0" % len(content) + content
    oid = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    path = git.directory / "objects" / oid[:2] / oid[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(data))
    return f"{oid} probe\n".encode("ascii")
