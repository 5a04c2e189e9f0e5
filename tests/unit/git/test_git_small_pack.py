"""Packs made and joined in memory: git stores what is in them, and finds what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git import scratch
from gittorrent.git.small_pack import NewObject, SmallPackError, joined_pack, pack_objects_in
from gittorrent.ids import SHA1, SHA256, ObjectFormat
from support.gitcmd import git, init, text


@pytest.mark.parametrize("object_format", [SHA1, SHA256], ids=["sha1", "sha256"])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 2047, 2048, 300_000])
def test_git_stores_what_was_made(object_format: ObjectFormat, size: int) -> None:
    made = [NewObject("blob", b"x" * size), NewObject("tag", b"no tag, but that is not looked at")]
    pack = joined_pack([], made, object_format)
    assert pack_objects_in(pack, object_format) == 2
    with scratch.blank(object_format) as staging:
        staging.run("unpack-objects", "-q", stdin=pack)
        for item in made:
            oid = item.id(object_format)
            assert staging.run("cat-file", item.kind, oid) == item.content


def test_packs_with_deltas_are_joined(tmp_path: Path) -> None:
    source = init(tmp_path / "source.git", "sha1")
    oids = []
    for number in range(3):
        lines = b"".join(b"%d %d\n" % (number, line) for line in range(500))
        oids.append(text(source, "hash-object", "-w", "--stdin", stdin=b"same\n" * 2000 + lines))
    packs = [
        git(source, "pack-objects", "--stdout", "-q", "--delta-base-offset",
            stdin="".join(f"{oid} f\n" for oid in some).encode())
        for some in (oids, oids[1:])
    ]  # fmt: skip
    new = NewObject("blob", b"new")
    with scratch.blank(SHA1) as staging:
        staging.run("unpack-objects", "-q", stdin=joined_pack(packs, [new], SHA1))
        for oid in (*oids, new.id(SHA1)):
            assert staging.run("cat-file", "-t", oid) == b"blob\n"


@pytest.mark.parametrize("cut", [0, 5, 12, 31, -1])
def test_what_is_no_pack(cut: int) -> None:
    pack = joined_pack([], [NewObject("blob", b"content")], SHA1)
    with pytest.raises(SmallPackError):
        pack_objects_in(pack[:cut], SHA1)
    with pytest.raises(SmallPackError):
        pack_objects_in(pack[:-1] + b"?", SHA1)
