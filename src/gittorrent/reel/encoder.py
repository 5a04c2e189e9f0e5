"""How a segment is encoded: the exact ``git pack-objects`` command.

Pure: holds the options, runs nothing. Every setting that can change the bytes is named here with
the value of encoder version 1, even where it is git's default today, so that a change of default
cannot change a reel (docs/protocol/reels.md, "Encoding").
"""

from __future__ import annotations

ENCODER_VERSION = 1
"""Names these options together with the rules for joining and cutting into parts."""

_PINNED = (
    "core.looseCompression=-1",
    "core.bigFileThreshold=512m",
    "core.attributesFile=/dev/null",
    "pack.windowMemory=0",
    "pack.deltaCacheSize=256m",
    "pack.deltaCacheLimit=1000",
    "pack.packSizeLimit=0",
    "pack.useBitmaps=false",
    "pack.allowPackReuse=false",
    "pack.usePathWalk=false",
    "pack.useSparse=true",
    "pack.writeBitmapHashCache=false",
)

_FLAGS = (
    "--stdout",
    "--delta-base-offset",
    "--no-reuse-delta",
    "--no-reuse-object",
    "--threads=1",
    "--window=10",
    "--depth=50",
)

_LEVEL = {True: "-1", False: "0"}
"""Compression by whether git is to deflate: zlib's default level, or none."""

FIRST_GIT_WITH_NAME_HASH = (2, 49)
"""From this git on the name-hash function can be chosen, so it must be."""


def pack_objects_command(git_version: tuple[int, ...], *, deflated: bool = True) -> list[str]:
    """Return the words after ``git`` that encode one segment.

    Args:
        git_version: of the git that will run, such as (2, 47, 3).
        deflated: whether git is to deflate; what it packs is the same otherwise.
    """
    level = _LEVEL[deflated]
    words: list[str] = []
    for setting in (f"core.compression={level}", f"pack.compression={level}", *_PINNED):
        words += ["-c", setting]
    words += ["pack-objects", *_FLAGS]
    if git_version >= FIRST_GIT_WITH_NAME_HASH:
        words.append("--name-hash-version=1")
    return words
