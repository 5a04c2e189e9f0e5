"""Ids of very many objects are those of few."""

from __future__ import annotations

import pytest

from gittorrent.git import scratch
from gittorrent.git.hashing import hash_objects, hash_packed, tree_content
from gittorrent.ids import SHA1, SHA256, ObjectFormat, Oid
from support.programs import GITS


@pytest.mark.parametrize("program", GITS)
@pytest.mark.parametrize("object_format", [SHA1, SHA256], ids=lambda f: str(f.name))
def test_a_pack_of_objects_has_the_ids_of_files(
    object_format: ObjectFormat, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITTORRENT_GIT", program)
    # Around the lengths at which the header of an object gets longer.
    sizes = [0, 1, 15, 16, 2047, 2048, 262143, 262144]
    blobs = [b"%d" % number + b"x" * size for number, size in enumerate(sizes)]
    blobs += blobs[:3]
    with scratch.blank(object_format) as git:
        ids = hash_objects(git, "blob", blobs, write=False)
        assert hash_packed(git, object_format, "blob", blobs) == ids
        trees = [tree_content([("text", oid)]) for oid in ids]
        made = hash_objects(git, "tree", trees, write=False)
        assert hash_packed(git, object_format, "tree", trees) == made
        commits = [commit(tree) for tree in made]
        made = hash_objects(git, "commit", commits, write=False)
        assert hash_packed(git, object_format, "commit", commits) == made
        assert hash_packed(git, object_format, "blob", []) == []


def commit(tree: Oid) -> bytes:
    person = b"A U Thor <author@example.org> 1 +0000\n"
    return b"tree %s\nauthor %scommitter %s\nx\n" % (tree.encode(), person, person)
