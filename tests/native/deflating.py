"""Runs the helper's deflate on a pack that comes out of a pipe."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import gittorrent_native as native


def deflated(data: bytes, tmp_path: Path, object_format: str = "sha1", threads: int = 0) -> bytes:
    """Deflate a pack; what is said of the result is checked."""
    source, target = tmp_path / "source.pack", tmp_path / "deflated.pack"
    source.write_bytes(data)
    with subprocess.Popen(["cat", source], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        made = native.deflate_pack(
            cat.stdout.fileno(), target, object_format=object_format, threads=threads
        )
    found = target.read_bytes()
    trailer = hashlib.new(object_format, found[: -hashlib.new(object_format).digest_size])
    assert made == (int.from_bytes(data[8:12], "big"), len(found), trailer.hexdigest())
    return found
