"""Makes the packs that answer play and request messages, with git.

Deltas may build on the parents of a block's commits, which the receiver has by then. What git has
in packs already is reused, so serving costs little; packs of one block made by two nodes differ in
bytes and agree in objects. Source: docs/protocol/gtp01.md, Packs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gittorrent.git.runner import Git
    from gittorrent.gtp.blocks import Block
    from gittorrent.ids import Oid

_WORDS = ("pack-objects", "--stdout", "--delta-base-offset", "-q", "--threads=1")


def pack_block(git: Git, block: Block) -> bytes:
    """Return a block's objects as a thin pack; nothing for an empty block."""
    if not block.objects:
        return b""
    lines = [b"-" + base.encode("ascii") for base in block.bases]
    lines += [
        item.oid.encode("ascii") + (b" " + item.path if item.path else b"")
        for item in block.objects
    ]
    return git.run(*_WORDS, stdin=b"\n".join(lines) + b"\n")


def pack_objects(git: Git, oids: Iterable[Oid], bases: Iterable[Oid]) -> bytes:
    """Return objects as a pack that is thin against what ``bases`` (commits) hold."""
    lines = [f"-{base}" for base in bases] + [str(oid) for oid in oids]
    return git.run(*_WORDS, stdin="".join(f"{line}\n" for line in lines).encode("ascii"))
