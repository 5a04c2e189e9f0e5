"""The node's cache: repositories that it keeps for a while for the clones of its machine.

``GITTORRENT_HOME/cache/<repository id>.git`` is a repository with log, manifests and packs, and
without refs; ``gittorrent/kept`` in it says until when it is kept. Packs are hard links of clones'
packs wherever disks allow, so what is kept often costs no room of its own.

Rules: everything here has an expiry time; what has none is removed at once. One node at a time
changes the cache (it holds the lock of the control socket); without a node it is only swept.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import write_atomically
from gittorrent.errors import GitTorrentError
from gittorrent.git.broken_files import broken_files
from gittorrent.git.repository import create_bare
from gittorrent.git.stale_locks import set_mark
from gittorrent.ids import RepositoryId, is_repository_id
from gittorrent.repository.carried import CACHE, Carried, object_format_of
from gittorrent.repository.receive import receiving
from gittorrent.store.control_socket import take_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from gittorrent.ids import ObjectFormat, Oid
    from gittorrent.repository.receive import SignedManifest
    from gittorrent.repository.reelstore import StoredReel


class Kept(Struct, frozen=True):
    """Something in the cache.

    Args:
        carried: the repository.
        until: when it goes, in seconds since 1970.
        size: bytes of its packs, were they all its own.
    """

    carried: Carried
    until: float
    size: int


class Cache:
    """The cache of one node.

    Args:
        root: ``GITTORRENT_HOME/cache``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def kept(self) -> list[Kept]:
        """Return what is in the cache and usable, what goes first first."""
        found = [kept for _, kept in self._look() if kept is not None]
        return sorted(found, key=lambda kept: kept.until)

    def find(self, repository: RepositoryId) -> Kept | None:
        """Return what is kept of one repository."""
        return _read(self._path(repository))

    def open(self, repository: RepositoryId, object_format: ObjectFormat) -> Carried:
        """Return the repository to gather reels in; made, without a time to go, if need be."""
        path = self._path(repository)
        if not (path / "HEAD").exists() or broken_files(path):
            shutil.rmtree(path, ignore_errors=True)
        create_bare(path, object_format)
        set_mark(path, is_ours=True)
        return Carried(path, object_format, repository)

    def keep(self, repository: RepositoryId, until: float) -> float:
        """Keep a repository until a time at least; returns until when it is kept now."""
        kept = self.find(repository)
        if kept is not None and kept.until >= until:
            return kept.until
        write_atomically(_time_file(self._path(repository)), f"{until:.0f}\n".encode("ascii"))
        return until

    def drop(self, repository: RepositoryId) -> None:
        """Remove what is kept of a repository."""
        path = self._path(repository)
        # Without its time nobody takes a half removed repository for a kept one.
        _time_file(path).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)

    def sweep(self, now: float, spare: frozenset[RepositoryId] = frozenset()) -> list[RepositoryId]:
        """Remove what is past its time or says none.

        Args:
            now: seconds since 1970.
            spare: repositories that are being worked on.

        Returns:
            What was removed.
        """
        gone = [
            repository
            for repository, kept in self._look()
            if repository not in spare and (kept is None or kept.until <= now)
        ]
        for repository in gone:
            self.drop(repository)
        return gone

    def _path(self, repository: RepositoryId) -> Path:
        return self._root / f"{repository}.git"

    def _look(self) -> Iterator[tuple[RepositoryId, Kept | None]]:
        for path in sorted(self._root.iterdir()) if self._root.is_dir() else ():
            name = path.name.removesuffix(".git")
            if is_repository_id(name):
                yield RepositoryId(name), _read(path)


def adopt(
    target: Carried,
    reel: StoredReel,
    signed: SignedManifest,
    tips: Sequence[Oid],
    known: Iterable[Oid],
) -> None:
    """Take a reel from another repository of this machine into the cache, and believe none of it.

    Args:
        target: in the cache.
        reel: in the other repository.
        signed: its manifest, verified anew.
        tips: what the refs of its end push point at.
        known: what those of its start point at; their whole past is in the cache.

    Raises:
        DamagedCopyError: the pack is not what the manifest says.
        LyingReelError: it is, and does not bring what the push needs.
        LocalError: there is no room.
    """
    with receiving(target.layout, target.object_format, target.reels) as receiver:
        receiver.take_local(signed, reel, tips)
        receiver.check(tips, known)
        receiver.install(keep=True)


def sweep_unattended(root: Path, control: Path, now: float) -> None:
    """Remove what is past its time, where no node runs that would.

    Args:
        root: ``GITTORRENT_HOME/cache``.
        control: path of the node's control socket.
        now: seconds since 1970.
    """
    if not root.is_dir() or not any(root.iterdir()):
        return
    place = take_place(control)
    if place is not None:
        try:
            Cache(root).sweep(now)
        finally:
            os.close(place)


def _time_file(path: Path) -> Path:
    return path / "gittorrent" / "kept"


def _read(path: Path) -> Kept | None:
    """Return what is kept at a path; None if it is not whole or does not say until when."""
    try:
        until = float(_time_file(path).read_text(encoding="ascii"))
        carried = Carried(path, object_format_of(path))
        if carried.info.role != CACHE or broken_files(path):
            return None
    except (OSError, ValueError, KeyError, GitTorrentError):
        return None
    packed = [*path.glob("objects/pack/pack-*.pack"), *path.glob("gittorrent/reels/*.pack")]
    return Kept(carried, until, sum(_size(file) for file in packed))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
