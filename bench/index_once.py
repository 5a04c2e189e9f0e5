"""Indexes one pack with the compiled indexer, as a process of its own; for ``index.py``.

Arguments: the reels of a repository as ``gittorrent reel show --json`` prints them (a file), the
directory to write the index into, and ``strict`` or ``plain``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gittorrent_native import Indexer


def main() -> None:
    """Index the first reel, which is whole."""
    reel = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))[0]
    out = Path(sys.argv[2])
    indexer = Indexer(
        reel["pack"],
        size=reel["pack_size"],
        objects=reel["objects"],
        object_format=reel["object_format"],
        checksum_hex=reel["pack_checksum"],
        segments=[(segment["offset"], segment["objects"]) for segment in reel["segments"]],
        fsck=sys.argv[3] == "strict",
    )
    indexer.advance(reel["pack_size"])
    summary = indexer.finish(out / "reel.idx", out / "reel.rev")
    if summary.missing:
        sys.exit(f"{len(summary.missing)} objects are missing from the pack")


if __name__ == "__main__":
    main()
