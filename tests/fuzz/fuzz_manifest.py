"""Fuzz target: the manifest reader. A text is refused, or written again to the same bytes."""

from __future__ import annotations

from gittorrent.ids import SHA1
from gittorrent.reel.manifest import ManifestError, parse_manifest
from gittorrent.reel.pack import WireView
from gittorrent.reel.pack_index import HEAD_SIZE, least_size
from gittorrent.reel.parts import part_range
from gittorrent.shapes import ShapeKind

_ONE = f"""\
gittorrent manifest 1
repository {"a2" * 26}
object-format sha1
start -
end {"cd" * 20}
encoder 1
target 1073741824
part-size 1048576
objects 30
pack-size 1053576
pack-checksum {"ef" * 20}
segment 12 10 400 {"a" * 40} {"b" * 40}
segment 600 20 0
part {"0" * 64}
part {"1" * 64}
"""
_OTHER = (
    _ONE.replace("sha1", "sha256")
    .replace("start -", f"start {'12' * 32}")
    .replace("cd" * 20, "cd" * 32)
    .replace("ef" * 20, "ef" * 32)
    .replace(f" {'a' * 40} {'b' * 40}", f" {'a' * 64}")
)

_HISTORY = _OTHER.replace("encoder", "shape history\nencoder")
_TIP = (
    _ONE.replace("encoder", f"shape tip {'a' * 40}\nencoder")
    .replace(f"12 10 400 {'a' * 40} {'b' * 40}", f"12 30 400 {'a' * 40}")
    .replace("segment 600 20 0\n", "")
)

_INDEX = (
    _ONE.replace("encoder", f"shape index {'2' * 64}\nencoder")
    .replace("1053576", str(least_size(30, SHA1)))
    .replace(f"segment 12 10 400 {'a' * 40} {'b' * 40}\nsegment 600 20 0\n", "")
    .replace(f"part {'1' * 64}\n", "")
)

SEEDS: list[bytes] = [
    *(text.encode() for text in (_ONE, _OTHER, _HISTORY, _TIP, _INDEX)),
    b"gittorrent manifest 1\n",
    b"",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as a manifest; raises only when the reader itself is wrong."""
    try:
        manifest = parse_manifest(data)
    except ManifestError:
        return
    if manifest.text() != data:
        raise RuntimeError("accepted a text that is not in canonical form")
    is_index = manifest.shape.kind is ShapeKind.INDEX
    if sum(s.objects for s in manifest.segments) != (0 if is_index else manifest.objects):
        raise RuntimeError("accepted segments that do not add up")
    if is_index and manifest.pack_size > HEAD_SIZE + 64 + manifest.objects * 48:
        raise RuntimeError("accepted an index larger than its objects can make it")
    last, size = part_range(len(manifest.parts) - 1, manifest.pack_size, manifest.part_size)
    if size <= 0 or last + size != manifest.pack_size:
        raise RuntimeError("accepted parts that do not cover the pack")
    view = WireView(
        manifest.object_format, manifest.objects, manifest.pack_size, manifest.pack_checksum
    )
    if not 12 < view.middle_end < manifest.pack_size:
        raise RuntimeError("accepted a pack without room for its objects")


if __name__ == "__main__":
    from harness import run

    run(one_input)
