"""The helper deflates a pack anew: the bytes of the definition, and clear errors."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gittorrent_native as native
import packing
import pytest
from deflating import deflated
from packing import OFS_DELTA, REF_DELTA, Entry


def test_the_bytes_of_deflate_are_those_of_the_definition(tmp_path: Path) -> None:
    """A digest written down: no version of the helper, or of the zlib in it, may change it."""
    pieces = [hashlib.sha256(b"%d" % (n % 40)).digest()[: n % 30] for n in range(20000)]
    content = b"".join(pieces)
    entries = [
        packing.whole("blob", content),
        Entry(OFS_DELTA, content[:5000], 0, level=0),
        Entry(REF_DELTA, content[:77], b"\1" * 20, level=9),
        packing.whole("commit", b""),
        Entry(OFS_DELTA, content[-70000:], 1, level=0),
    ]
    data = deflated(packing.write(entries).data, tmp_path)
    digest = hashlib.sha256(data).hexdigest()
    assert digest == "4e6c8dfc84c4ff79bec4362c634d8ca94d83251c265bdfc05e1feab9c85689f1"
    parsed = packing.parse(data)
    assert [(e.number, e.payload, e.base) for e in parsed.entries] == [
        (e.number, e.payload, e.base) for e in entries
    ]


def test_no_room_for_the_pack(tmp_path: Path) -> None:
    data = packing.write([packing.whole("blob", b"abc")]).data
    source = tmp_path / "source.pack"
    source.write_bytes(data)
    with source.open("rb") as file, pytest.raises(OSError, match="No space left"):
        native.deflate_pack(file.fileno(), "/dev/full")
    with source.open("rb") as file, pytest.raises(OSError, match="creating the deflated pack"):
        native.deflate_pack(file.fileno(), tmp_path / "none" / "x.pack")


def test_impossible_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file descriptor"):
        native.deflate_pack(-1, tmp_path / "x.pack")
    with pytest.raises(OSError, match="Bad file descriptor"):
        native.deflate_pack(1 << 20, tmp_path / "x.pack")
    with pytest.raises(ValueError, match="object_format"):
        native.deflate_pack(0, tmp_path / "x.pack", object_format="md5")


def test_what_is_no_pack_is_refused_with_a_place(tmp_path: Path) -> None:
    data = packing.write([packing.whole("blob", b"abc"), packing.whole("tree", b"")]).data
    with pytest.raises(native.CorruptPack, match="ends early, after 20 bytes"):
        deflated(data[:20], tmp_path)
    broken = packing.resealed(data[:15] + b"\xff" + data[16:])
    with pytest.raises(native.CorruptPack) as caught:
        deflated(broken, tmp_path)
    assert caught.value.offset == 12
