"""Fuzz target: the manifest reader. A text is refused, or written again to the same bytes."""

from __future__ import annotations

from gittorrent.reel.manifest import ManifestError, parse_manifest
from gittorrent.reel.pack import WireView
from gittorrent.reel.parts import part_range

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

SEEDS: list[bytes] = [
    *(text.encode() for text in (_ONE, _OTHER, _HISTORY, _TIP)),
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
    if sum(segment.objects for segment in manifest.segments) != manifest.objects:
        raise RuntimeError("accepted segments that do not add up")
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
