"""Quarantine for an ordinary fetch: objects are installed once proved to be what was wanted.

The fetch runs in a scratch repository in ``gittorrent/incoming`` that borrows the real one's
objects. Nothing leaves it before every id that was wanted is there with all it reaches; a place
where history is cut off that nobody asked for, and objects missing, are the mirror's fault. What
nobody asked for at all stays behind: only what the wanted ids reach is moved into the repository.

Tracks how much the repository may hold: everything, a history cut off at known commits (its
``shallow`` file), or objects that were left out on purpose (a partial clone). Must not know where
the objects came from.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import write_atomically
from gittorrent.errors import TrustError
from gittorrent.git import history, packs, scratch
from gittorrent.git.repository import read_config
from gittorrent.ids import Oid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from gittorrent.git.fetching import FetchOptions
    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.git.runner import Git
    from gittorrent.ids import ObjectFormat
    from gittorrent.repository.layout import Layout

INFINITE_DEPTH = 0x7FFFFFFF
"""The depth by which git says that history is not to be cut off anywhere (fetch-pack)."""


class IncompleteSourceError(TrustError):
    """A mirror sent less than it was asked for."""


class Extent(Struct, frozen=True):
    """How much of its history a repository holds.

    Args:
        shallow: commits at which it is cut off.
        partial: whether objects were left out on purpose.
    """

    shallow: frozenset[str] = frozenset()
    partial: bool = False

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing may be missing."""
        return not self.shallow and not self.partial


def extent_of(git_dir: Path) -> Extent:
    """Return how much of its history a repository holds, by what git keeps there."""
    config = read_config(git_dir, isolated=True)
    partial = any(key == "extensions.partialclone" or key.endswith(".promisor") for key in config)
    return Extent(_read_shallow(git_dir), partial)


class Quarantine:
    """One ordinary fetch, apart; use `quarantine`.

    Args:
        layout: of the repository.
        object_format: of its objects.
        staging: the scratch repository.
        extent: of the repository before the fetch.
        borrows: whether what the repository has is taken for granted.
    """

    def __init__(
        self,
        layout: Layout,
        object_format: ObjectFormat,
        staging: Git,
        extent: Extent,
        *,
        borrows: bool,
    ) -> None:
        self._layout = layout
        self._format = object_format
        self._extent = extent
        self._borrows = borrows
        self.staging = staging

    def check(
        self, wants: Sequence[Oid], options: FetchOptions, welcome: Collection[Oid] = ()
    ) -> None:
        """Prove that what was wanted is there, and drop what was not.

        Args:
            wants: the ids asked for.
            options: how they were asked for.
            welcome: annotated tags that may have come besides; then what they reach has to be here.

        Raises:
            IncompleteSourceError: it is not all there.
        """
        packs.pack_loose(self.staging)
        self._check_boundary(wants, options)
        present = history.describe(self.staging, wants)
        for want, found in zip(wants, present, strict=True):
            if found is None:
                raise IncompleteSourceError(f"it did not send {want}")
        uncut = self._cut_off_no_more()
        wants = [*wants, *self._tags_that_came(welcome), *uncut]
        # Where the boundary moves, what comes lies behind what the refs reach.
        skips_known = self._borrows and not (
            uncut or options.moves_boundary or options.has("refetch")
        )
        count = self._required(wants, options, skips_known).count()
        if count is None:
            raise IncompleteSourceError("it sent less than what was asked for needs")
        # All that was reached came now, unless some of it was here; so equal numbers say enough.
        if self._borrows or count != sum(packs.count_objects(pack) for pack in self._packs()):
            partial = self._extent.partial or "filter" in options.settings
            reached = history.Reached(
                self.staging, wants, without_borrowed=skips_known, may_lack=partial
            )
            self._drop_others(reached.ids())

    def _required(
        self, wants: Sequence[Oid], options: FetchOptions, skips_known: bool
    ) -> history.Reached:
        """Return what has to be here, whatever a filter left out."""
        spec = options.settings.get("filter", [""])[-1]
        only_blobs = spec.startswith("blob:") and not self._borrows
        # Trees may lack what they hold if they came by another filter; no commit lacks its parents.
        only_commits = spec.startswith(("blob:", "tree:")) and not only_blobs
        if not spec:
            only_commits = self._borrows and self._extent.partial
        return history.Reached(
            self.staging,
            wants,
            without_borrowed=skips_known,
            may_lack=bool(spec) and not only_blobs and not only_commits,
            without_blobs=only_blobs,
            only_commits=only_commits,
        )

    def hold_to(self, rules: FsckRules, source: str) -> None:
        """Hold everything that was checked to fsck's rules, which nobody did while it came.

        Args:
            rules: what objects must keep to.
            source: who sent them, such as a URL.

        Raises:
            RulesBrokenError: an object breaks the rules.
        """
        for pack in self._packs():
            git = self.staging.indexing(pack.stat().st_size)
            packs.hold_to_rules(git, pack, rules, source=source)

    def forget_boundary(self, commits: Collection[Oid], wants: Sequence[Oid]) -> None:
        """Take commits off the boundary that only stood there to fetch what lies beyond them.

        Args:
            commits: that are cut off.
            wants: the ids asked for; what they reach keeps its boundary.
        """
        before = _read_shallow(self.staging.directory)
        if not before & set(commits):
            return
        reached = {commit.oid for commit in history.commits_between(self.staging, (), wants)}
        kept = before - (set(commits) - reached)
        path = self.staging.directory / "shallow"
        path.write_text("".join(f"{oid}\n" for oid in sorted(kept)), encoding="ascii")

    def install(self) -> None:
        """Move everything that was checked into the repository."""
        for pack in self._packs():
            packs.adopt_pack(pack, self._layout.pack(pack.stem.removeprefix("pack-")))
        shallow = _read_shallow(self.staging.directory)
        if shallow == self._extent.shallow:
            return
        path = self._layout.git_dir / "shallow"
        if shallow:
            write_atomically(path, (self.staging.directory / "shallow").read_bytes())
        else:
            path.unlink(missing_ok=True)

    def _packs(self) -> list[Path]:
        return sorted((self.staging.directory / "objects" / "pack").glob("pack-*.pack"))

    def _cut_off_no_more(self) -> list[Oid]:
        """Return commits whose parents have to be here from now on.

        A mirror that is asked for all of history makes all of a clone's boundary whole, whichever
        refs are wanted, and git names those alone that are new.
        """
        left = self._extent.shallow - _read_shallow(self.staging.directory)
        return [Oid(oid) for oid in sorted(left)]

    def _tags_that_came(self, welcome: Collection[Oid]) -> list[Oid]:
        """Return the annotated tags among some ids that this fetch brought."""
        found_here = history.describe(self.staging, welcome)
        tags = [found.oid for found in found_here if found is not None and found.kind == "tag"]
        if not (tags and self._borrows):
            return tags
        with scratch.borrowing(self._layout.objects, self._format) as git:
            before = history.describe(git, tags)
        return [oid for oid, known in zip(tags, before, strict=True) if known is None]

    def _check_boundary(self, wants: Sequence[Oid], options: FetchOptions) -> None:
        """Refuse shallow boundaries that were not asked for, new ones and old ones."""
        shallow = _read_shallow(self.staging.directory)
        depth = options.settings.get("depth", ["0"])[-1]
        asked = options.moves_boundary or options.has("update-shallow")
        if shallow - self._extent.shallow and (not asked or depth == str(INFINITE_DEPTH)):
            raise IncompleteSourceError("its history is cut off (it is a shallow repository)")
        if not shallow or not depth.isdigit() or int(depth) == 0:
            return
        if options.has("deepen-relative"):
            misplaced = self._not_deeper(shallow, wants, int(depth))
        else:
            # Parents of a commit that is nearer than the depth asked for are missing there.
            misplaced = shallow & history.nearer_than(self.staging, wants, int(depth))
        if misplaced:
            raise IncompleteSourceError("its history is cut off before the depth asked for")

    def _not_deeper(
        self, shallow: frozenset[str], wants: Sequence[Oid], more: int
    ) -> frozenset[str]:
        """Return where what the wanted ids reach is cut off less than ``more`` below before."""
        reached = {commit.oid for commit in history.commits_between(self.staging, (), wants)}
        before = [Oid(oid) for oid in sorted(self._extent.shallow & reached)]
        if not before:
            return shallow & reached
        below = {commit.oid for commit in history.commits_between(self.staging, (), before)}
        near = history.nearer_than(self.staging, before, more + 1)
        return (shallow & reached) - (below - near)

    def _drop_others(self, reached: set[str]) -> None:
        """Make packs that hold more than was reached anew, without the rest.

        What the repository has anyway may be in them: git completes a pack by such objects.
        """
        for pack in self._packs():
            held = packs.listed(self.staging, pack)
            others = [Oid(oid) for oid in held if oid not in reached]
            if not others or (self._borrows and self._has_all(others)):
                continue
            wanted = [oid for oid in held if oid in reached]
            promised = pack.with_suffix(".promisor")
            made = packs.pack_objects(self.staging, wanted) if wanted else None
            if made is not None and promised.exists():
                shutil.copyfile(promised, made.with_suffix(".promisor"))
            if made != pack:
                packs.remove_pack(pack)

    def _has_all(self, oids: Sequence[Oid]) -> bool:
        """Tell whether the repository itself has all of some objects."""
        with scratch.borrowing(self._layout.objects, self._format) as git:
            return None not in history.describe(git, oids)


@contextlib.contextmanager
def quarantine(
    layout: Layout, object_format: ObjectFormat, extent: Extent, *, borrows: bool
) -> Iterator[Quarantine]:
    """Yield a place to fetch into; what was not installed is gone afterwards.

    Args:
        layout: of the repository, whose lock the caller holds.
        object_format: of its objects.
        extent: of what it holds.
        borrows: whether what it holds is taken for granted; if not, everything has to come.
    """
    alternates = (layout.objects,) if borrows and layout.has_objects() else ()
    with scratch.receiving(layout.incoming, object_format, alternates) as staging:
        if extent.shallow:
            shutil.copyfile(layout.git_dir / "shallow", staging.directory / "shallow")
        yield Quarantine(layout, object_format, staging, extent, borrows=bool(alternates))


def _read_shallow(git_dir: Path) -> frozenset[str]:
    try:
        return frozenset((git_dir / "shallow").read_text(encoding="ascii").split())
    except FileNotFoundError:
        return frozenset()
