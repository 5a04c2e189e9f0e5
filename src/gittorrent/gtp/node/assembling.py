"""Puts the blocks of a download together and proves that nothing is missing.

Tracks a scratch repository that borrows the target's objects. Packs of blocks in their order are
one pack when their headers and trailers are dropped, so git indexes them in one go; only when that
fails is each indexed alone. Nothing is visible in the target before `install`.
Source: docs/protocol/gtp01.md, Verification.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError
from gittorrent.git import history, packs
from gittorrent.git.fsckrules import RulesBrokenError
from gittorrent.git.runner import GitError
from gittorrent.gtp.blocks import COMMITS
from gittorrent.gtp.limits import MIB
from gittorrent.gtp.messages import BlockName, ReelName
from gittorrent.gtp.node.blockstore import check_pack
from gittorrent.ids import Oid
from gittorrent.reel.pack import HEADER_SIZE, pack_header

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from gittorrent.git.fsckrules import FsckRules
    from gittorrent.git.runner import Git
    from gittorrent.gtp.node.blockstore import BlockStore

_TRAILER = 20
_COMPACTED_PACK = 256 * MIB
"""Bytes of a pack made of stored blocks: it is read into memory like a block that came."""

_MODEST = ("--threads=2", "--window-memory=256m")
"""Keeps git from holding many large objects at once: small packs may have brought them."""

_MOST_MISSING = 1_000_000
"""Missing objects that are listed; more than that is no repair but a download."""


class Assembler(Struct):
    """Works in one scratch repository.

    Args:
        staging: a scratch repository whose alternates are the target's objects.
        store: the blocks.
        folder: for intermediate files, on the same file system.
    """

    staging: Git
    store: BlockStore
    folder: Path

    def missing(self, oids: Sequence[Oid]) -> list[Oid]:
        """Return those of ``oids`` that are not here."""
        found = history.describe(self.staging, oids)
        return [oid for oid, info in zip(oids, found, strict=True) if info is None]

    def take_objects(self, pack: bytes, oids: Sequence[Oid]) -> None:
        """Index a pack of objects that were asked for by id.

        Raises:
            MessageError: it is no pack.
            GitError: it is broken.
            GitTorrentError: it has not all of what was asked.
        """
        if check_pack(pack):
            self._index([pack])
        missing = self.missing(oids)
        if missing:
            raise GitTorrentError(f"{len(missing)} of {len(oids)} objects asked for did not come")

    def take_reel(self, reel: ReelName, block_size: int) -> None:
        """Index all stored blocks of a reel, in order.

        Raises:
            GitError: some are broken.
        """
        names = [
            BlockName(reel, index, block_size)
            for index in sorted(self.store.have(reel, block_size))
        ]
        try:
            self._index(self._pack(name) for name in names)
        except GitError:
            # Objects that come twice confuse git within one pack, and do no harm in several.
            for name in names:
                self._index([self._pack(name)])

    def empty(self) -> None:
        """Forget everything that was indexed."""
        for file in (self.staging.directory / "objects" / "pack").iterdir():
            file.unlink()

    def compact(self, reel: ReelName) -> int:
        """Rewrite the stored blocks of a reel so that each object is in one; returns their bytes.

        Where blocks are commits. Those whose bases did not come yet stay as they are.
        """
        names = [BlockName(reel, n, COMMITS) for n in sorted(self.store.have(reel, COMMITS))]
        unpacked = []
        for name in names:
            pack = self._pack(name)
            if pack:
                git = self.staging.indexing(len(pack))
                done = git.attempt("unpack-objects", "-q", stdin=pack)
                if done.returncode == 0:
                    unpacked.append(name)
        made = self._pack_loose(f"--max-pack-size={_COMPACTED_PACK}")
        if len(made) <= len(unpacked):
            for at, name in enumerate(unpacked):
                self.store.put(name, 0, made[at].read_bytes() if at < len(made) else b"")
        for path in made:  # what is indexed in the end is what the store has
            for suffix in (".pack", ".idx", ".rev"):
                path.with_suffix(suffix).unlink(missing_ok=True)
        return sum(self.store.size(name) for name in names)

    def splice(self, reel: ReelName) -> None:
        """Index what there is of a reel that is given up, and forget its blocks.

        Deltas whose bases are in blocks that never came are lost; everything else is used.
        """
        for size in self.store.sizes(reel):
            for index in sorted(self.store.have(reel, size)):
                pack = self._pack(BlockName(reel, index, size))
                if pack:
                    git = self.staging.indexing(len(pack))
                    git.attempt("unpack-objects", "-q", "-r", stdin=pack)
        self._pack_loose()
        self.store.remove_reel(reel)

    def _pack_loose(self, *options: str) -> list[Path]:
        """Put loose objects into packs, and return these."""
        objects = self.staging.directory / "objects"
        loose = [
            file for folder in objects.glob("[0-9a-f][0-9a-f]") for file in sorted(folder.iterdir())
        ]
        if not loose:
            return []
        ids = "".join(f"{file.parent.name}{file.name}\n" for file in loose)
        words = ["pack-objects", "-q", *_MODEST, *options, str(objects / "pack" / "pack")]
        out = self.staging.run(*words, stdin=ids.encode("ascii")).decode("ascii")
        for file in loose:
            file.unlink()
        return [objects / "pack" / f"pack-{checksum}.pack" for checksum in out.split()]

    def lacking(self, tips: Collection[Oid], known: Collection[Oid]) -> list[Oid]:
        """Return what ``tips`` reach and is not here; ``known`` is taken for granted."""
        absent = self.missing(sorted(tips))
        if absent:
            return absent
        if history.is_connected(self.staging, sorted(tips), sorted(known)):
            return []
        asked = "".join(f"{oid}\n" for oid in sorted(tips))
        asked += "".join(f"^{oid}\n" for oid in sorted(known))
        words = ["rev-list", "--objects", "--missing=print", "--stdin"]
        done = self.staging.attempt(*words, stdin=asked.encode("ascii"))
        lines = [line for line in done.stdout.splitlines() if line.startswith(b"?")]
        return [Oid(line[1:41].decode("ascii")) for line in lines[:_MOST_MISSING]]

    def install(
        self,
        target: Git,
        rules: FsckRules | None,
        tips: Collection[Oid],
        known: Collection[Oid],
    ) -> None:
        """Move what was indexed into the target's object store.

        Args:
            target: the repository to fill.
            rules: what its objects must keep to, None for no rules.
            tips: what was proved to be complete.
            known: what was there before.

        Raises:
            RulesBrokenError: an object that the tips reach breaks the rules.
        """
        indexed = sorted((self.staging.directory / "objects" / "pack").glob("pack-*.pack"))
        if rules is not None:
            try:
                self._hold(indexed, rules)
            except RulesBrokenError:
                # Perhaps only of what a peer sent besides, which must not end the download.
                indexed = self._reached(tips, known)
                self._hold(indexed, rules)
        for pack in indexed:
            packs.adopt_pack(pack, target.directory / "objects" / "pack" / pack.name)
        self.empty()

    def _hold(self, indexed: Collection[Path], rules: FsckRules) -> None:
        for pack in indexed:
            git = self.staging.indexing(pack.stat().st_size)
            packs.hold_to_rules(git, pack, rules)

    def _reached(self, tips: Collection[Oid], known: Collection[Oid]) -> list[Path]:
        """Make one pack of what the tips reach, without what a peer sent besides."""
        objects = self.staging.directory / "objects"
        made = packs.copy_objects(self.staging, tips, objects, without=known)
        return [] if made is None else [made]

    def _pack(self, name: BlockName) -> bytes:
        found = self.store.get(name)
        return b"" if found is None else found[1]

    def _index(self, parts: Iterable[bytes]) -> None:
        """Join packs and let git index the result."""
        joined = self.folder / "joined"
        joined.mkdir(parents=True, exist_ok=True)
        path = joined / "pack"
        try:
            if self._join(parts, path):
                _append_checksum(path)
                packs.index_file(self.staging.indexing(path.stat().st_size), path, thin=True)
        finally:
            path.unlink(missing_ok=True)

    def _join(self, parts: Iterable[bytes], path: Path) -> int:
        """Write packs as one without a checksum; returns how many objects that has."""
        objects = 0
        with path.open("wb") as out:
            out.write(pack_header(0))
            for part in parts:
                if part:
                    objects += check_pack(part)
                    out.write(part[HEADER_SIZE:-_TRAILER])
            out.seek(0)
            out.write(pack_header(objects))
        return objects


def _append_checksum(path: Path) -> None:
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    with path.open("ab") as out:
        out.write(digest.digest())
