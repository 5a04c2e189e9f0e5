"""The compiled indexer, where it is installed: several times faster than ``git index-pack``.

`gittorrent-native` works on the growing file itself, reads segments side by side because the
manifest says where they begin, and follows the links of objects in the same pass. It never writes
to the file, which others may be downloading from at the same time: a thin pack is completed in a
copy. Like git it looks out for SHA-1 collision attacks, and like git it holds received objects to
fsck's rules only where the user asked for that (docs/decisions/0013-compiled-indexer.md).
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from gittorrent import native
from gittorrent.errors import LocalError
from gittorrent.git import history
from gittorrent.git.fsckrules import FsckRules, RulesBrokenError
from gittorrent.git.packs import index_file, link_pack_file
from gittorrent.git.reader import ObjectReader
from gittorrent.repository.index_settings import IndexSettings
from gittorrent.repository.indexing import GitIndexer, IndexedPack, PackBrokenError
from gittorrent.shapes import HISTORY, WHOLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import Oid
    from gittorrent.reel.manifest import Manifest
    from gittorrent.repository.indexing import Indexer

_RULE = re.compile(r"(?:(?:commit|tree|blob|tag) [0-9a-f]+: )?[a-z]+[A-Z][A-Za-z0-9]*: ")
"""How the indexer begins what it says of a broken rule: the object, and git's name for the rule."""


class NativeIndexer:
    """Indexes a pack while it grows.

    Args:
        scratch: repository that gets the indexed pack; its alternates provide a thin pack's bases.
        pack: the growing file, which is only read.
        manifest: what the pack consists of.
        settings: how to index.

    Raises:
        PackBrokenError: there can be no such pack.
        LocalError: this machine could not begin.
    """

    def __init__(
        self, scratch: Git, pack: Path, manifest: Manifest, settings: IndexSettings
    ) -> None:
        self._native = native.load()
        self._scratch = scratch
        self._pack = pack
        self._manifest = manifest
        self._fsck = settings.fsck
        try:
            self._indexer: Any = self._native.Indexer(
                pack,
                size=manifest.pack_size,
                objects=manifest.objects,
                object_format=manifest.object_format.name,
                checksum_hex=manifest.pack_checksum,
                segments=[(segment.offset, segment.objects) for segment in manifest.segments],
                memory_limit=settings.memory,
                detect_collisions=settings.detect,
                fsck=settings.fsck,
            )
        except ValueError as error:
            raise PackBrokenError(f"{error}") from error
        except OSError as error:
            raise LocalError(f"cannot index {pack}: {error}") from error

    def advance(self, prefix: int) -> None:
        """Note that the first ``prefix`` bytes are verified."""
        with self._leaving_faults_to_finish():
            self._indexer.advance(prefix)

    def segment_ready(self, number: int) -> None:
        """Note that a segment is verified, whatever precedes it."""
        with self._leaving_faults_to_finish():
            self._indexer.segment_ready(number)

    def finish(self) -> IndexedPack:
        """Wait for the index.

        Raises:
            RulesBrokenError: an object breaks fsck's rules.
            PackBrokenError: the pack is broken, or refers to what is neither in it nor in the
                scratch repository.
            LocalError: this machine could not do it.
        """
        folder = self._scratch.directory / "objects" / "pack"
        target = folder / f"pack-{self._manifest.pack_checksum}.pack"
        thin = self._manifest.start is not None
        try:
            with ObjectReader(self._scratch) as reader:
                self._indexer.advance(self._manifest.pack_size)
                summary = self._indexer.finish(
                    target.with_suffix(".idx"),
                    target.with_suffix(".rev"),
                    completed_path=target,
                    read_object=reader.read if thin else None,
                )
        except self._native.CorruptPack as error:
            if self._fsck and _RULE.match(error.what):
                raise RulesBrokenError(f"{error}") from error
            raise PackBrokenError(f"{error}") from error
        except OSError as error:
            raise LocalError(f"indexing {self._pack} failed: {error}") from error
        if not summary.appended:
            link_pack_file(self._pack, target)
        missing: list[tuple[Oid, str]] = summary.missing
        is_whole = not missing
        if thin:
            self._require(missing)
            # What is left are files that a reel of history leaves out.
            missing = [each for each in missing if each[1] == self._passed]
        if self._fsck and summary.unchecked:
            oid, name = summary.unchecked[0]
            raise RulesBrokenError(f"{name} {oid} cannot be read")
        lacks = frozenset(kind for _, kind in missing)
        return IndexedPack(target, self_contained=is_whole, lacks=lacks)

    def abandon(self) -> None:
        """Stop and leave nothing running."""
        self._indexer.cancel()

    def _leaving_faults_to_finish(self) -> contextlib.AbstractContextManager[None]:
        """Return a context without the indexer's faults: it keeps the first for `finish`."""
        return contextlib.suppress(self._native.IndexerError, OSError)

    @property
    def _passed(self) -> str:
        """Kind of the objects that may be missing: history leaves files out, wherever they are."""
        return "blob" if self._manifest.shape == HISTORY else ""

    def _require(self, missing: Sequence[tuple[Oid, str]]) -> None:
        """Refuse a thin pack that refers to objects the repository does not have.

        That they can be reached there is for whoever knows the refs to prove.
        """
        wanted = [(oid, kind) for oid, kind in missing if kind != self._passed]
        found = history.describe(self._scratch, (oid for oid, _ in wanted))
        for (oid, kind), info in zip(wanted, found, strict=True):
            if info is None or info.kind != kind:
                there = "nowhere" if info is None else f"a {info.kind}"
                raise PackBrokenError(f"the pack refers to {kind} {oid}, which is {there}")


def choose_indexer(
    scratch: Git, pack: Path, manifest: Manifest, settings: IndexSettings
) -> Indexer:
    """Return the indexer to use for a pack: the compiled one where it is installed, else git's.

    Args:
        scratch: repository to index into.
        pack: the growing pack file.
        manifest: signed and verified.
        settings: how to index.

    Raises:
        PackBrokenError: there can be no such pack.
        LocalError: this machine could not begin.
    """
    # The compiled one knows the rules and no exceptions from them.
    is_for_git = settings.paranoid or (settings.fsck and settings.exceptions != FsckRules())
    if is_for_git or not native.is_available():
        return GitIndexer(
            scratch,
            pack,
            manifest.pack_size,
            thin=manifest.start is not None,
            rules=settings.rules,
            links=manifest.shape == WHOLE,
        )
    return NativeIndexer(scratch, pack, manifest, settings)


def index_own_pack(scratch: Git, pack: Path, manifest: Manifest, settings: IndexSettings) -> Path:
    """Index a pack that was made here, of objects that are here; return its indexed form's path.

    Args:
        scratch: where to work; its alternates provide a thin pack's bases.
        pack: the whole pack.
        manifest: what it consists of.
        settings: how to index; objects of one's own are not held to fsck's rules.

    Raises:
        PackBrokenError: git made a pack that cannot be indexed.
        LocalError: this machine could not do it.
    """
    if settings.paranoid or not native.is_available():
        return index_file(scratch, pack, thin=manifest.start is not None)
    indexer = NativeIndexer(scratch, pack, manifest, replace(settings, fsck=False, detect=True))
    try:
        return indexer.finish().path
    except BaseException:
        indexer.abandon()
        raise
