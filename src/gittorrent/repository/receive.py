"""Installs reels in a repository, all at once, after their connectivity is proved.

Packs of a whole chain of reels gather in one scratch repository that borrows the real one's
objects. When what the log's head needs is proved present, packs and loose objects are moved into
the real object store in one go, manifests after them. A crash or a wrong reel before that leaves
stale files in ``gittorrent/incoming`` and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import Batch, share_like_directory
from gittorrent.errors import LocalError, TrustError
from gittorrent.git import history, packs, scratch
from gittorrent.git.packs import link_pack_file
from gittorrent.git.runner import GitError
from gittorrent.ownership import link_same
from gittorrent.reel.manifest import ManifestError
from gittorrent.reel.pack import HEADER_SIZE, pack_header
from gittorrent.reel.pack_index import HEAD_SIZE, PackIndexError, check_ends
from gittorrent.repository.index_settings import IndexSettings, index_settings
from gittorrent.repository.indexing import PackBrokenError, feeding
from gittorrent.repository.indexstore import IndexStore, index_file
from gittorrent.repository.native_indexing import choose_indexer
from gittorrent.repository.niceness import start_yielding
from gittorrent.repository.reelstore import StoredReel, copy_wire_form, verified_parts
from gittorrent.repository.unchecked import KEEP_REASON as UNCHECKED
from gittorrent.repository.unchecked import Unchecked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from gittorrent.git.runner import Git
    from gittorrent.ids import ManifestId, ObjectFormat, Oid
    from gittorrent.reel.manifest import Manifest
    from gittorrent.repository.indexing import IndexedPack, Indexer
    from gittorrent.repository.layout import Layout
    from gittorrent.repository.reelstore import ReelStore
    from gittorrent.trust.keys import KeyRef
    from gittorrent.trust.signature import Signature

KEEP_REASON = "gittorrent reel"
"""Content of the .keep file beside a reel's pack."""


class LyingReelError(TrustError):
    """A reel's parts match its signed manifest, but the objects are not what the push needs.

    Args:
        message: what is wrong.
        key: whoever signed the manifest.
    """

    def __init__(self, message: str, key: KeyRef) -> None:
        hint = "the key that signed it is not believed here any more; fetching instead"
        super().__init__(message, hint=hint)
        self.key = key


class SignedManifest(Struct, frozen=True):
    """A manifest whose signature was verified: only `Receiver.verified` should make one."""

    manifest: Manifest
    signature: Signature
    key: KeyRef

    @property
    def file(self) -> bytes:
        """Text and signature as they travel."""
        return self.manifest.text() + self.signature.data


class _Taken(Struct, frozen=True):
    signed: SignedManifest
    pack: Path | None
    wire: Path
    lacks: frozenset[str] | None = None
    index: SignedManifest | None = None


class Receiver:
    """Receives reels into one repository; use `receiving`.

    Args:
        layout: of the repository.
        object_format: of the repository.
        reels: where manifests and small reels are kept.
        staging: the scratch repository.
        settings: how to index.
    """

    def __init__(
        self,
        layout: Layout,
        object_format: ObjectFormat,
        reels: ReelStore,
        staging: Git,
        settings: IndexSettings,
    ) -> None:
        self._layout = layout
        self._format = object_format
        self._reels = reels
        self._staging = staging
        self._settings = settings
        self._taken: list[_Taken] = []
        self._proved: set[Oid] = set()
        self._self_contained: Path | None = None
        self.self_contained_pack: Path | None = None
        self._guard = threading.Lock()
        self._local: Indexer | None = None
        self._stopped = False

    @property
    def count(self) -> int:
        """How many reels were taken."""
        return len(self._taken)

    def has(self, manifest: ManifestId) -> bool:
        """Tell whether a reel was taken."""
        return any(taken.signed.manifest.id == manifest for taken in self._taken)

    @property
    def packs(self) -> list[Path]:
        """The packs that were taken and indexed, apart."""
        return [taken.pack for taken in self._taken if taken.pack is not None]

    @property
    def lacks(self) -> frozenset[str] | None:
        """Kinds of objects that what was taken refers to and that are nowhere; None: unknown."""
        found: frozenset[str] = frozenset()
        for taken in self._taken:
            if taken.lacks is None:
                return None
            found |= taken.lacks
        return found

    @property
    def checks_rules(self) -> bool:
        """Whether objects are to keep to fsck's rules."""
        return self._settings.rules is not None

    @property
    def staging(self) -> Git:
        """The scratch repository that they are in."""
        return self._staging

    def begin(self, signed: SignedManifest, wire: Path) -> Indexer:
        """Start to index the wire form of a reel while it arrives at ``wire``.

        Raises:
            LyingReelError: there can be no such pack.
        """
        staging, manifest, settings = self._staging, signed.manifest, self._settings
        try:
            return start_yielding(lambda: choose_indexer(staging, wire, manifest, settings))
        except PackBrokenError as error:
            raise LyingReelError(
                f"there can be no reel as {manifest.id} describes: {error}", signed.key
            ) from error

    def finish_indexing(self, indexer: Indexer, signed: SignedManifest) -> IndexedPack:
        """Wait for the index of a reel's pack.

        Raises:
            RulesBrokenError: an object breaks fsck's rules, which accuses nobody.
            LyingReelError: the pack is the one that the manifest describes, and broken.
            LocalError: this machine could not do it.
        """
        try:
            return indexer.finish()
        except PackBrokenError as error:
            raise self._broken(signed, error) from error

    def is_small(self, manifest: Manifest) -> bool:
        """Tell whether a reel's objects are kept loose, so that it needs no indexer."""
        return self._reels.is_small(manifest)

    def take_indexed(
        self, signed: SignedManifest, wire: Path, pack: IndexedPack, tips: Iterable[Oid]
    ) -> None:
        """Note that a reel is complete and indexed.

        Args:
            signed: its manifest.
            wire: the wire form.
            pack: what the indexer made of it.
            tips: what the refs of its end push point at.
        """
        self._check_wire_form(signed, wire)
        self._taken.append(_Taken(signed, pack.path, wire, pack.lacks))
        if pack.self_contained:
            present = history.describe(self._staging, tips)
            if all(info is not None for info in present):
                self._note_proof(signed, pack.path, tips)

    def take_local_with_index(
        self,
        signed: SignedManifest,
        index: SignedManifest,
        stored: StoredReel,
        tips: Iterable[Oid],
    ) -> None:
        """Take a reel and its signed index from another repository of this machine.

        Args:
            signed: manifest of the reel.
            index: manifest of the pack's index.
            stored: the reel there, whose pack has an index beside it.
            tips: what the refs of the reel's end push point at.

        Raises:
            LocalError: one of them is damaged or gone, or there is no room; nothing was taken.
            LyingReelError: they are what the manifests say, and do not go together.
        """
        other = StoredReel(index.manifest.id, index.manifest, index.signature, index_file(stored))
        places = []
        for each in (stored, other):
            place = self._staging.directory / f"{each.id}.wire"
            copy_wire_form(each, place)
            for _ in verified_parts(each, place):
                if self._stopped:
                    raise LocalError("stopped")
            places.append(place)
        self.take_with_index(signed, places[0], index, places[1], tips)

    def take_local(self, signed: SignedManifest, stored: StoredReel, tips: Iterable[Oid]) -> None:
        """Take a reel from another repository of this machine: by hard link, where that is safe.

        Nothing of what that repository says is believed: each part is verified where it is put, and
        the index is made anew.

        Args:
            signed: its manifest.
            stored: the reel there.
            tips: what the refs of its end push point at.

        Raises:
            LocalError: it is damaged or gone, or there is no room; nothing of it was taken.
            RulesBrokenError: an object breaks fsck's rules.
            LyingReelError: the pack is the one of the manifest, and broken.
        """
        manifest = signed.manifest
        wire = self._staging.directory / f"{manifest.id}.wire"
        copy_wire_form(stored, wire)
        try:
            if self._reels.is_small(manifest):
                for _ in verified_parts(stored, wire):
                    pass
                self.take_small(signed, wire)
            else:
                self._take_large(signed, stored, wire, tips)
        except BaseException:
            wire.unlink(missing_ok=True)
            raise

    def take_with_index(
        self,
        signed: SignedManifest,
        wire: Path,
        index: SignedManifest,
        index_wire: Path,
        tips: Iterable[Oid],
    ) -> None:
        """Take a complete reel with its index as it was signed, without looking into the pack.

        The repository owes the check of that from then on (`gittorrent.repository.unchecked`).

        Args:
            signed: manifest of the reel.
            wire: its pack, each part of which is verified.
            index: manifest of the pack's index, which goes with the reel's.
            index_wire: the index, each part of which is verified.
            tips: what the refs of the reel's end push point at.

        Raises:
            LyingReelError: pack or index are not what the manifests say.
        """
        self._check_wire_form(signed, wire)
        try:
            check_index_file(index_wire, signed.manifest, index.manifest)
        except PackIndexError as error:
            raise LyingReelError(
                f"the index of reel {signed.manifest.id} is none: {error}", index.key
            ) from error
        folder = self._staging.directory / "objects" / "pack"
        pack = folder / f"pack-{signed.manifest.pack_checksum}.pack"
        link_pack_file(wire, pack)
        link_pack_file(index_wire, pack.with_suffix(".idx"))
        self._taken.append(_Taken(signed, pack, wire, index=index))
        try:
            is_whole = None not in history.describe(self._staging, tips)
        except GitError as error:
            # Offsets beyond the pack, or beyond the index: git gives up.
            if error.is_own_trouble:
                raise
            is_whole = False
        if not is_whole:
            raise LyingReelError(
                f"reel {signed.manifest.id} lacks what refs point at, by its signed index",
                index.key,
            )
        self._note_proof(signed, pack, tips)

    def stop(self) -> None:
        """Make `take_local`, which another thread may be in, come to its end."""
        with self._guard:
            self._stopped = True
        if self._local is not None:
            self._local.abandon()

    def _take_large(
        self, signed: SignedManifest, stored: StoredReel, wire: Path, tips: Iterable[Oid]
    ) -> None:
        with self._guard:
            if self._stopped:
                raise LocalError("stopped")
            indexer = self._local = self.begin(signed, wire)
        try:
            feed = feeding(indexer, signed.manifest)
            for part in verified_parts(stored, wire):
                if self._stopped:
                    raise LocalError("stopped")
                feed(part)
            indexed = self.finish_indexing(indexer, signed)
        except BaseException:
            indexer.abandon()
            raise
        self.take_indexed(signed, wire, indexed, tips)
        if signed.manifest.start is None and wire.exists() and not wire.samefile(indexed.path):
            # Git wrote a pack of its own, of the same bytes; the one that may be shared serves.
            wire.replace(indexed.path)
        if signed.manifest.start is None:
            for suffix in (".idx", ".rev"):
                link_same(stored.pack.with_suffix(suffix), indexed.path.with_suffix(suffix))

    def take_small(self, signed: SignedManifest, wire: Path) -> None:
        """Unpack a small reel that is complete.

        Raises:
            RulesBrokenError: one of its objects breaks fsck's rules.
            LyingReelError: its objects cannot be unpacked.
        """
        self._check_wire_form(signed, wire)
        try:
            packs.unpack_file(self._staging, wire, rules=self._settings.rules)
        except GitError as error:
            if error.is_own_trouble:
                raise
            raise self._broken(signed, error) from error
        self._taken.append(_Taken(signed, None, wire))

    def check(self, tips: Sequence[Oid], known: Iterable[Oid]) -> None:
        """Prove that everything ``tips`` reach is there.

        Args:
            tips: what refs shall point at.
            known: ids whose whole past was present before.

        Raises:
            LyingReelError: something is missing though the reels should have brought it.
        """
        proved = self._proved.union(known)
        wanted = [tip for tip in dict.fromkeys(tips) if tip not in proved]
        if wanted and self._self_contained is not None and not self._proved:
            proved |= self._newest_in(self._self_contained, wanted)
        if wanted and not history.is_connected(self._staging, wanted, sorted(proved)):
            raise LyingReelError("the reels lack objects that the push needs", self._last_key())

    def _newest_in(self, pack: Path, tips: Sequence[Oid]) -> set[Oid]:
        """Return the newest commits, among those in the past of tips, of a pack that is whole.

        A clone does not know what refs pointed to where its oldest reel ends; what it does not
        have to look into is found by the commits alone. Where one of them is missing nothing is.
        """
        try:
            commits = history.commits_between(self._staging, (), tips)
        except GitError as error:
            if error.is_own_trouble:
                raise
            return set()
        with scratch.blank(self._format) as alone:
            for file in (pack, pack.with_suffix(".idx")):
                (alone.directory / "objects" / "pack" / file.name).symlink_to(file)
            found = history.describe(alone, [commit.oid for commit in commits])
        inside = [commit for commit, info in zip(commits, found, strict=True) if info is not None]
        newest = {commit.oid for commit in inside}
        return newest.difference(*(commit.parents for commit in inside))

    def install(self, *, keep: bool) -> None:
        """Move everything received into the repository.

        Args:
            keep: whether the packs are to survive repacking, as on mirrors.
        """
        for taken in self._taken:
            if taken.pack is not None and taken.index is not None:
                idx = taken.pack.with_suffix(".idx")
                Unchecked(self._layout).note(taken.signed, taken.index, taken.pack, idx)
        for taken in self._taken:
            if taken.pack is not None:
                self._adopt(taken, taken.pack, keep=keep)
        move_loose(self._staging.directory / "objects", self._layout.objects)
        for taken in self._taken:
            manifest = taken.signed.manifest
            if self._reels.is_small(manifest):
                self._reels.adopt_copy(manifest, taken.wire)
            self._reels.store_manifest(manifest, taken.signed.signature)
            if taken.index is not None:
                indexes = IndexStore(self._layout, self._reels)
                indexes.store(taken.index.manifest, taken.index.signature)

    def _adopt(self, taken: _Taken, pack: Path, *, keep: bool) -> None:
        """Move one pack into the repository."""
        manifest, reason = taken.signed.manifest, KEEP_REASON if keep else ""
        target = named = self._layout.pack(manifest.pack_checksum)
        if taken.index is not None:
            # Git removes the .keep beside what it is told of: that is another name of the pack.
            reason, named = UNCHECKED, Unchecked(self._layout).pack_of(manifest.id)
        if pack == self._self_contained:
            self.self_contained_pack = named
        packs.adopt_pack(pack, target, keep=reason)

    def _note_proof(self, signed: SignedManifest, pack: Path, tips: Iterable[Oid]) -> None:
        """Note that a whole history refers to nothing outside its pack.

        Says nothing where objects are borrowed: a tip may be there and not in the pack.
        """
        borrows = (self._staging.directory / "objects" / "info" / "alternates").exists()
        if signed.manifest.start is None and not borrows:
            self._proved.update(tips)
            self._self_contained = pack

    def _check_wire_form(self, signed: SignedManifest, wire: Path) -> None:
        """Compare the pack's own count and checksum with what the manifest says of them."""
        manifest = signed.manifest
        with wire.open("rb") as file:
            header = file.read(HEADER_SIZE)
            file.seek(manifest.pack_size - self._format.raw_size)
            trailer = file.read()
        if header != pack_header(manifest.objects) or trailer.hex() != manifest.pack_checksum:
            raise LyingReelError(
                f"the pack of reel {manifest.id} is not the one its manifest describes", signed.key
            )

    def _broken(self, signed: SignedManifest, error: Exception) -> LyingReelError:
        return LyingReelError(
            f"the pack of reel {signed.manifest.id} is broken: {error}", signed.key
        )

    def _last_key(self) -> KeyRef:
        if not self._taken:
            raise ManifestError("nothing was received")
        return self._taken[-1].signed.key


@contextlib.contextmanager
def receiving(layout: Layout, object_format: ObjectFormat, reels: ReelStore) -> Iterator[Receiver]:
    """Yield a receiver for one repository; its scratch space is gone afterwards.

    Git's configuration says how to index, and whether objects must keep to fsck's rules.
    """
    alternates = (layout.objects,) if layout.has_objects() else ()
    with scratch.receiving(layout.incoming, object_format, alternates) as staging:
        yield Receiver(layout, object_format, reels, staging, index_settings(layout.git_dir))


def check_index_file(path: Path, pack: Manifest, index: Manifest) -> None:
    """Compare the ends of an index with what the manifests of pack and index say.

    Raises:
        PackIndexError: it is not the index of that pack.
    """
    tail = 2 * pack.object_format.raw_size
    with path.open("rb") as file:
        head = file.read(HEAD_SIZE)
        file.seek(-tail, os.SEEK_END)
        last = file.read()
    check_ends(head, last, pack.objects, pack.pack_checksum, index.pack_checksum)


def move_loose(source: Path, target: Path) -> None:
    """Move loose objects from one object directory to another; they survive a power cut."""
    with Batch() as batch:
        add_loose(batch, source, target)


def add_loose(batch: Batch, source: Path, target: Path) -> None:
    """Let a batch move loose objects from one object directory to another."""
    for folder in sorted(source.glob("[0-9a-f][0-9a-f]")):
        into = target / folder.name
        if not into.is_dir():
            into.mkdir(exist_ok=True)
            share_like_directory(into)
            batch.made(into)
        for file in folder.iterdir():
            batch.move(file, into / file.name)
