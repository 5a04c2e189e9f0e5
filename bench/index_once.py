"""Indexes one pack with the compiled indexer, as a process of its own; for other programs here.

Arguments: the reels of a repository as ``gittorrent reel show --json`` prints them (a file), the
directory to write the index into, and ``strict`` or ``plain``. Prints wall and CPU seconds without
the start of Python.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from gittorrent_native import Indexer

from gittorrent.repository.index_settings import DEFAULT_MEMORY


def main() -> None:
    """Index the first reel, which is whole."""
    reel = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))[0]
    out = Path(sys.argv[2])
    wall, cpu = time.perf_counter(), time.process_time()
    indexer = Indexer(
        reel["pack"],
        size=reel["pack_size"],
        objects=reel["objects"],
        object_format=reel["object_format"],
        checksum_hex=reel["pack_checksum"],
        segments=[(segment["offset"], segment["objects"]) for segment in reel["segments"]],
        memory_limit=DEFAULT_MEMORY,
        fsck=sys.argv[3] == "strict",
    )
    indexer.advance(reel["pack_size"])
    summary = indexer.finish(out / "reel.idx", out / "reel.rev")
    if summary.missing:
        sys.exit(f"{len(summary.missing)} objects are missing from the pack")
    print(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    main()
