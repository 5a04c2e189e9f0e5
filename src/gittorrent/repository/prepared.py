"""Packs that were brought before an ordinary fetch, and that it builds on or that leave nothing.

They lie indexed in a scratch repository. Where their indexer found that they lack nothing but what
is not wanted, and they are just what is wanted, they are moved in as they are: no walk is needed.
Otherwise each try of a fetch gets them by hard link, refs that tell the other end of them, and,
where their history is cut off, a line in its ``shallow`` file; what is proved and kept of them
the fetch's quarantine decides, as of all that came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import write_atomically
from gittorrent.git import history
from gittorrent.git.packs import adopt_pack, link_pack_file

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import Oid
    from gittorrent.repository.layout import Layout

_REFS = "refs/gittorrent/base"


class Prepared(Struct, frozen=True):
    """What was brought.

    Args:
        apart: the scratch repository that it lies in.
        packs: paths of the packs, with their indexes beside them.
        base: commits and tags of which the fetch tells the other end.
        is_cut_off: whether the history before ``base`` is not there.
        promised: whether what the packs refer to may be missing, as in partial clones.
        is_exact: whether, by what is signed, they hold what is wanted and nothing else; of a
            single commit annotated tags besides, which lead to it.
        leaves: kind of the objects that are not wanted though they are referred to.
        lacks: kinds of objects that the packs refer to and that are nowhere; None: not known.
    """

    apart: Git
    packs: Sequence[Path]
    base: Sequence[Oid]
    is_cut_off: bool = False
    promised: bool = False
    is_exact: bool = False
    leaves: str = ""
    lacks: frozenset[str] | None = None

    def take_whole(
        self, layout: Layout, wants: Sequence[Oid], tags: Collection[Oid], *, follows: bool
    ) -> bool:
        """Install it as it is, if it was found to be all that is wanted; blocks.

        Args:
            layout: of the repository, whose lock the caller holds.
            wants: what is to be here in the end.
            tags: what the log's tags point at.
            follows: whether annotated tags may come besides.

        Returns:
            Whether it was; nothing has happened otherwise.
        """
        if not self.is_exact or self.lacks is None or not self.lacks <= {self.leaves}:
            return False
        if not self._holds(wants, tags if self.is_cut_off else (), follows=follows):
            return False
        for pack in self.packs:
            if self.promised:
                pack.with_suffix(".promisor").touch()
            adopt_pack(pack, layout.pack(pack.stem.removeprefix("pack-")))
        if self.is_cut_off and "commit" in self.lacks:
            lines = "".join(f"{oid}\n" for oid in self.base)
            write_atomically(layout.git_dir / "shallow", lines.encode("ascii"))
        return True

    def _holds(self, wants: Sequence[Oid], tags: Collection[Oid], *, follows: bool) -> bool:
        """Tell whether all that is wanted is there, and no tag that leads elsewhere or may not."""
        asked = list(dict.fromkeys([*wants, *tags]))
        found = dict(zip(asked, history.describe(self.apart, asked), strict=True))
        if any(found[want] is None for want in wants):
            return False
        came = [oid for oid, info in found.items() if info is not None and info.kind == "tag"]
        if not self.is_cut_off:
            return True
        if not follows and not set(came) <= set(wants):
            return False
        commits = {want for want in wants if want not in came}
        return commits.union(history.peel(self.apart, came)) <= set(self.base)

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
