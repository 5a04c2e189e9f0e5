"""Packs that were brought before an ordinary fetch, and that it builds on.

They lie indexed in a scratch repository. Each try of the fetch gets them by hard link, refs that
tell the other end of them, and, where their history is cut off, a line in its ``shallow`` file.
What is proved and kept of them the fetch's quarantine decides, as of all that came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.git import history
from gittorrent.git.packs import link_pack_file

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import Oid

_REFS = "refs/gittorrent/base"


class Prepared(Struct, frozen=True):
    """What was brought.

    Args:
        packs: paths of the packs, with their indexes beside them.
        base: commits and tags of which the fetch tells the other end.
        is_cut_off: whether the history before ``base`` is not there.
        promised: whether what the packs refer to may be missing, as in partial clones.
    """

    packs: Sequence[Path]
    base: Sequence[Oid]
    is_cut_off: bool = False
    promised: bool = False

    def put(self, staging: Git) -> None:
        """Put everything into the scratch repository of a fetch.

        Raises:
            LocalError: there is no room.
            GitError: git cannot read what is there.
        """
        folder = staging.directory / "objects" / "pack"
        for pack in self.packs:
            for path in (pack, pack.with_suffix(".rev"), pack.with_suffix(".idx")):
                if path.exists():
                    link_pack_file(path, folder / path.name)
            if self.promised:
                (folder / pack.name).with_suffix(".promisor").touch()
        present = history.describe(staging, self.base)
        lines = [f"{info.oid} {_REFS}/{number}\n" for number, info in enumerate(present) if info]
        (staging.directory / "packed-refs").write_text("".join(lines), encoding="ascii")
        if self.is_cut_off:
            cut = self.cut_off(staging)
            (staging.directory / "shallow").write_text(
                "".join(f"{oid}\n" for oid in cut), encoding="ascii"
            )

    def still_welcome(self, staging: Git, tags: Collection[Oid]) -> Collection[Oid]:
        """Return the tags that may come by the fetch: those here lead to what may not stay."""
        if not self.is_cut_off:
            return tags
        found = history.describe(staging, tags)
        return [tag for tag, info in zip(tags, found, strict=True) if info is None]

    def cut_off(self, staging: Git) -> list[Oid]:
        """Return the commits whose parents are not there, which those without any are not."""
        found = history.describe(staging, self.base)
        commits = [info.oid for info in found if info is not None and info.kind == "commit"]
        contents = history.read_objects(staging, commits) if commits else []
        return [
            commit
            for commit, content in zip(commits, contents, strict=True)
            if b"\nparent " in content.partition(b"\n\n")[0]
        ]
