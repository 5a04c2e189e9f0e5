"""Packs whose indexes were taken as signed, until they are checked.

``gittorrent/unchecked/<manifest id>.pack`` and ``.idx`` are further names of what went into the
repository, so that the check reads what came, whatever git has repacked since. ``.json`` beside
them is written last: with it the check is owed, and stays owed until it has come to an end, however
often its process is killed. Meanwhile a ``.keep`` beside the pack itself makes git's own repacking
leave it alone, and a symbolic link in the object directory makes ``git clone`` refuse to copy or
link its files, where the copy would hear nothing of what the check finds; what goes by git's
transport is hashed by whoever takes it. Source: docs/protocol/reels.md, "Signed indexes".
"""

from __future__ import annotations

import filecmp
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.durable import locked, make_directory, sync_directory, write_atomically
from gittorrent.errors import LocalError
from gittorrent.git import scratch
from gittorrent.git.integrity import drop_derived
from gittorrent.git.packs import link_pack_file
from gittorrent.git.packs_aside import pack_folders
from gittorrent.ids import ManifestId, RepositoryId, is_sha256
from gittorrent.reel.manifest import parse_manifest
from gittorrent.repository.index_settings import index_settings
from gittorrent.repository.indexing import PackBrokenError
from gittorrent.repository.native_indexing import choose_indexer
from gittorrent.repository.niceness import start_yielding
from gittorrent.repository.stale_files import clear_building
from gittorrent.trust.signature import split_signed

if TYPE_CHECKING:
    from gittorrent.git.runner import Git
    from gittorrent.reel.manifest import Manifest
    from gittorrent.repository.indexing import IndexedPack
    from gittorrent.repository.layout import Layout
    from gittorrent.repository.receive import SignedManifest


KEEP_REASON = "gittorrent: not checked yet"
"""Content of the .keep file beside such a pack."""


class Owed(Struct, frozen=True):
    """A check that is owed.

    Args:
        manifest: of the pack.
        key: that signed the index.
        repository: whose reel it is.
    """

    manifest: ManifestId
    key: str
    repository: RepositoryId


class Verdict(Struct, frozen=True):
    """What a check came to.

    Args:
        fault: what does not hold; empty when all does.
        is_mended: whether the pack is whole, and its true index is in place of a false one,
            wherever the pack is there still.
    """

    fault: str = ""
    is_mended: bool = False


class Unchecked:
    """The packs of one repository that are still to be checked.

    Args:
        layout: of the repository.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = layout.unchecked

    def note(self, signed: SignedManifest, index: SignedManifest, pack: Path, idx: Path) -> None:
        """Note that a check is owed, before pack and index go into the repository.

        Args:
            signed: manifest of the pack.
            index: manifest of its index.
            pack: the whole pack.
            idx: its index, as signed.
        """
        manifest = signed.manifest.id
        make_directory(self._folder)
        said = {"key": str(index.key), "repository": signed.manifest.repository}
        with locked(self._layout.unchecked_lock):
            self._forget(manifest)
            link_pack_file(pack, self._path(manifest, "pack"))
            link_pack_file(idx, self._path(manifest, "idx"))
            write_atomically(self._path(manifest, "manifest"), signed.file)
            write_atomically(self._path(manifest, "json"), json.dumps(said).encode("utf-8"))
            self._guard()

    def pack_of(self, manifest: ManifestId) -> Path:
        """Return the second name of a pack, whose index is beside it."""
        return self._path(manifest, "pack")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is owed, and nothing left of what was."""
        return not any(self._folder.glob("*"))

    def sweep(self) -> None:
        """Remove what a crash left of checks that are not owed; the caller holds the lock."""
        owed = {each.manifest for each in self.owed()}
        if not owed:
            self._layout.copy_guard.unlink(missing_ok=True)
        for path in self._folder.glob("*"):
            if path.name.partition(".")[0] not in owed:
                path.unlink()

    def owed(self) -> list[Owed]:
        """Return the checks that are owed.

        Raises:
            LocalError: a note is damaged; its pack has to be taken for unchecked.
        """
        found = []
        for path in sorted(self._folder.glob("*.json")):
            name = path.name.removesuffix(".json")
            try:
                said = json.loads(path.read_text(encoding="utf-8"))
                owed = Owed(ManifestId(name), said["key"], RepositoryId(said["repository"]))
            except FileNotFoundError:
                continue  # it has just been paid
            except (ValueError, KeyError, TypeError) as error:
                raise LocalError(
                    f"{path} is damaged: {error}", hint="clone again; nothing else can be trusted"
                ) from error
            if is_sha256(name):
                found.append(owed)
        return found

    def check(self, owed: Owed) -> Verdict:
        """Index a pack anew, and compare; the check stays owed until `paid`.

        Raises:
            LocalError: this machine could not do it.
        """
        layout, manifest = self._layout, self._manifest(owed)
        with locked(layout.building_lock):
            clear_building(layout)  # of whoever was killed there
            return self._compare(owed, manifest)

    def _compare(self, owed: Owed, manifest: Manifest) -> Verdict:
        layout = self._layout
        with scratch.receiving(layout.building, manifest.object_format) as staging:
            try:
                indexed = self._index(staging, manifest)
            except PackBrokenError as error:
                return Verdict(f"it is broken: {error}")
            if not indexed.self_contained:
                return Verdict("objects are missing in it")
            made, place = indexed.path.with_suffix(".idx"), layout.pack(manifest.pack_checksum)
            is_true = filecmp.cmp(made, self._path(owed.manifest, "idx"), shallow=False)
            if place.with_suffix(".idx").exists():
                for suffix in (".rev",) if is_true else (".idx", ".rev"):
                    if made.with_suffix(suffix).exists():
                        _put(made.with_suffix(suffix), place.with_suffix(suffix))
        if not is_true:
            drop_derived(layout.git_dir / "objects")
        return Verdict() if is_true else Verdict("its index gave objects out for others", True)

    def paid(self, owed: Owed) -> None:
        """Note that a check is not owed any more; the caller holds the lock."""
        checksum = self._manifest(owed).pack_checksum
        for folder in pack_folders(self._layout.objects):
            keep = folder / self._layout.pack(checksum, "keep").name
            if keep.is_file() and keep.read_text(encoding="utf-8") == f"{KEEP_REASON}\n":
                keep.unlink()
        if self.owed() == [owed]:
            self._layout.copy_guard.unlink(missing_ok=True)
        self._forget(owed.manifest)

    def _index(self, staging: Git, manifest: Manifest) -> IndexedPack:
        wire = staging.directory / "unchecked.pack"
        link_pack_file(self._path(manifest.id, "pack"), wire)
        settings = replace(index_settings(self._layout.git_dir), fsck=False, detect=True)
        indexer = start_yielding(lambda: choose_indexer(staging, wire, manifest, settings))
        try:
            return indexer.finish()
        except BaseException:
            indexer.abandon()
            raise

    def _manifest(self, owed: Owed) -> Manifest:
        text, _ = split_signed(self._path(owed.manifest, "manifest").read_bytes())
        return parse_manifest(text)

    def _guard(self) -> None:
        """Keep git from copying files of objects; it is in place before any are."""
        guard = self._layout.copy_guard
        make_directory(guard.parent)
        try:
            guard.symlink_to(Path(os.path.relpath(self._folder, guard.parent)))
        except FileExistsError:
            return
        except OSError as error:
            raise LocalError(
                f"cannot make a symbolic link in {guard.parent}: {error.strerror}",
                hint="without one gittorrent.index=signed is not safe here: unset it",
            ) from error
        sync_directory(guard.parent)

    def _forget(self, manifest: ManifestId) -> None:
        for suffix in ("json", "manifest", "keep", "idx", "pack"):
            self._path(manifest, suffix).unlink(missing_ok=True)

    def _path(self, manifest: ManifestId, suffix: str) -> Path:
        return self._folder / f"{manifest}.{suffix}"


def _put(source: Path, target: Path) -> None:
    """Put a file beside a pack, as open as the pack, in place of one that may be in use."""
    source.chmod(target.with_suffix(".pack").stat().st_mode & 0o777)
    source.rename(target)
