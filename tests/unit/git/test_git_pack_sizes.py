"""What objects of a pack come to is told without unpacking them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git import packs
from gittorrent.git.pack_sizes import unpacked_size
from gittorrent.ids import OBJECT_FORMATS, SHA1
from support import gitcmd, nodes
from support.inflating import inflating_pack
from support.repositories import noise


@pytest.mark.parametrize("name", ["sha1", "sha256"])
@pytest.mark.parametrize("form", ["--delta-base-offset", "--no-reuse-delta"])
def test_sizes_are_those_that_git_finds(tmp_path: Path, name: str, form: str) -> None:
    """Of all kinds of entries, with offsets of one byte and more."""
    git_dir = gitcmd.init(tmp_path / "project.git", name)
    data = noise("data", 300_000)
    for number in range(5):
        nodes.add_commit(git_dir, "refs/heads/main", "file", data + b"%d" % number)
        nodes.add_commit(git_dir, "refs/heads/main", "small", b"%d\n" % number)
    gitcmd.git(git_dir, "tag", "-a", "-m", "one", "v1", "main")
    words = ["pack-objects", "-q", "--revs", form, "--all", str(tmp_path / "pack")]
    checksum = gitcmd.text(git_dir, *words, stdin=b"")
    pack = tmp_path / f"pack-{checksum}.pack"
    object_format = OBJECT_FORMATS[name]
    found = packs.placed(pack, object_format)
    asked = "".join(f"{oid}\n" for _, oid in found).encode()
    sizes = gitcmd.text(git_dir, "cat-file", "--batch-check=%(objectsize)", stdin=asked)
    read = pack.read_bytes()
    ours = [unpacked_size(read, [offset], object_format) for offset, _ in found]
    assert ours == [int(size) for size in sizes.split()]
    assert unpacked_size(read, [o for o, _ in found], object_format) == sum(ours)


def test_a_delta_that_stands_for_much(tmp_path: Path) -> None:
    git_dir = gitcmd.init(tmp_path / "project.git")
    data = inflating_pack(1 << 26)
    gitcmd.git(git_dir, "index-pack", "--stdin", stdin=data)
    (pack,) = (git_dir / "objects" / "pack").glob("*.pack")
    offsets = [offset for offset, _ in packs.placed(pack, SHA1)]
    assert len(data) < 2000
    assert unpacked_size(data, offsets, SHA1) == (1 << 26) + (1 << 16)
