"""Objects made by us, hashed and stored by git.

Git's SHA-1 detects collision attacks and Python's does not, so ids that others rely on come from
git. Many objects are hashed by one process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gittorrent.durable import temporary_directory
from gittorrent.ids import Oid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gittorrent.git.runner import Git


def hash_objects(
    git: Git, kind: str, contents: Sequence[bytes], *, write: bool, any_form: bool = False
) -> list[Oid]:
    """Return the ids of objects.

    Args:
        git: the repository whose object format counts.
        kind: ``blob``, ``tree``, ``commit`` or ``tag``.
        contents: one for each object.
        write: whether to store them in the repository.
        any_form: whether contents may break the form that git makes them in, as old objects and
            those of other programs do; otherwise one that breaks it fails all.
    """
    if not contents:
        return []
    options = ["-w"] if write else []
    options += ["--literally"] if any_form else []
    with temporary_directory("hash") as folder:
        paths = []
        for number, content in enumerate(contents):
            path = folder / str(number)
            path.write_bytes(content)
            paths.append(f"{path}\n")
        out = git.run(
            "hash-object",
            "-t",
            kind,
            *options,
            "--no-filters",
            "--stdin-paths",
            stdin="".join(paths).encode(),
        )
    return [Oid(line) for line in out.decode("ascii").split()]


def tree_content(files: Sequence[tuple[str, Oid]]) -> bytes:
    """Return the content of a tree of plain files, given sorted by name."""
    return b"".join(
        b"100644 " + name.encode("ascii") + b"\0" + bytes.fromhex(oid) for name, oid in files
    )
