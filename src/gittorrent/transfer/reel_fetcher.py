"""Fetches one reel: from a repository of this machine, or from all mirrors at once.

What is downloaded is shared with whoever asks from the first verified part on, and indexed while
the rest arrives. Partial downloads are kept until `ReelFetcher.discard` says that they are of no
use.
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gittorrent.errors import LocalError
from gittorrent.git.repository import NotARepositoryError, find_repository
from gittorrent.repository.cache import sweep_unattended
from gittorrent.repository.indexing import feeding
from gittorrent.repository.layout import Layout
from gittorrent.repository.reelstore import ReelStore, ReelStoreError
from gittorrent.repository.same_pack import same_packs
from gittorrent.repository.shapestore import ShapeStore
from gittorrent.sizes import show_bytes
from gittorrent.store.partial import PartialPack, expire
from gittorrent.store.privacy import is_private
from gittorrent.store.processes import DownloadProcess
from gittorrent.store.snapshot import Snapshot
from gittorrent.transfer.mirror import WantedPack, wanted_pack
from gittorrent.transfer.pack_download import DownloadHandlers, NoSourceError, PackDownload
from gittorrent.transfer.working import abortable, stoppable, unbroken

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from gittorrent.ids import Oid
    from gittorrent.repository.indexing import Indexer
    from gittorrent.repository.receive import Receiver, SignedManifest
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.store.processes import DownloadFigures
    from gittorrent.swarm.bitmap import PartSet
    from gittorrent.transfer.client_timeouts import ClientTimeouts
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.peer_manager import PeerManager

MOST_FORKS = 3
"""Forks whose pack is tried before it is downloaded: one will do, and there may be thousands."""

LOOK_SECONDS = 1.0
"""How often it is looked whether there is still room: others fill the disk as well."""


class ReelFetcher:
    """Brings reels for one acquisition.

    ``nearby`` names further repositories of this machine that may have them.

    Args:
        peer_manager: whom to download from and share with.
        context: of the world around it.
    """

    def __init__(self, peer_manager: PeerManager, context: Context) -> None:
        self._peer_manager = peer_manager
        self._context = context
        self._kept: list[PartialPack] = []
        self.nearby: Sequence[Path] = ()

    def close(self) -> None:
        """Release the partial downloads, which stay on disk to be resumed."""
        for download in self._kept:
            download.close()
        self._kept.clear()

    def discard(self) -> None:
        """Remove what was downloaded: it is in the repository, or worth nothing."""
        self._peer_manager.content.end()
        for download in self._kept:
            download.remove()
        self._kept.clear()

    async def take(
        self,
        signed: SignedManifest,
        receiver: Receiver,
        tips: Sequence[Oid],
        client_timeouts: ClientTimeouts,
    ) -> None:
        """Bring one reel to the receiver, from this machine or from the mirrors.

        Args:
            signed: its verified manifest.
            receiver: takes it into the repository.
            tips: what the refs of the reel's end point at.
            client_timeouts: how long parts are waited for.

        Raises:
            NoSourceError: nobody has what is missing; verified parts are kept.
        """
        manifest = signed.manifest

        def take(signed: SignedManifest, stored: StoredReel) -> None:
            receiver.take_local(signed, stored, tips)

        if await self._take_local(signed, take, receiver):
            return
        self._expire()
        download = await unbroken(self._open_partial, signed)
        small = receiver.is_small(manifest)
        indexer = None if small else receiver.begin(signed, download.pack)
        reporter = self._context.reporter
        try:
            wanted = wanted_pack(manifest)
            await self._download_parts(wanted, signed, download, indexer, client_timeouts)
            reporter.phase("indexing")
            if indexer is None:
                await stoppable(receiver.take_small, signed, download.pack)
            else:
                finish = receiver.finish_indexing
                indexed = await abortable(indexer.abandon, finish, indexer, signed)
                await stoppable(receiver.take_indexed, signed, download.pack, indexed, tips)
                indexer = None
        finally:
            if indexer is not None:
                await asyncio.to_thread(indexer.abandon)

    async def take_with_index(
        self,
        signed: SignedManifest,
        index: SignedManifest,
        receiver: Receiver,
        tips: Sequence[Oid],
        client_timeouts: ClientTimeouts,
    ) -> None:
        """Bring one reel to the receiver, and its index as it was signed; nothing is indexed.

        Where nobody gives the index it is made here, as ever.

        Args:
            signed: its verified manifest.
            index: the verified manifest of its pack's index.
            receiver: takes both into the repository.
            tips: what the refs of the reel's end point at.
            client_timeouts: how long parts of the pack are waited for.

        Raises:
            NoSourceError: nobody has what is missing of the pack; verified parts are kept.
        """

        def take(signed: SignedManifest, stored: StoredReel) -> None:
            receiver.take_local_with_index(signed, index, stored, tips)

        if await self._take_local(signed, take, receiver):
            return
        self._expire()
        try:
            idx = await self._download_as_it_is(index, self._peer_manager.impatient)
        except NoSourceError as error:
            self._context.reporter.note(f"nobody gives the signed index; it is made here: {error}")
            await self.take(signed, receiver, tips, client_timeouts)
            return
        pack = await self._download_as_it_is(signed, client_timeouts)
        await stoppable(receiver.take_with_index, signed, pack, index, idx, tips)

    async def _download_as_it_is(
        self, signed: SignedManifest, client_timeouts: ClientTimeouts
    ) -> Path:
        """Download a pack, or an index, that is not looked into; returns where it is."""
        download = await unbroken(self._open_partial, signed)
        wanted = wanted_pack(signed.manifest)
        await self._download_parts(wanted, signed, download, None, client_timeouts)
        return download.pack

    def _expire(self) -> None:
        """Remove what nobody will go on with."""
        home = self._context.home
        expire(home.partial)
        sweep_unattended(home.cache, home.control, self._context.clock())

    def _open_partial(self, signed: SignedManifest) -> PartialPack:
        """Open the partial download of a reel; `close` or `discard` lets go of it."""
        download = PartialPack(self._context.home.partial, signed.manifest, signed.file)
        self._kept.append(download)
        return download

    async def _take_local(
        self,
        signed: SignedManifest,
        take: Callable[[SignedManifest, StoredReel], None],
        receiver: Receiver,
    ) -> bool:
        """Take a reel from this machine if it is there and whole; tells whether it was.

        Args:
            signed: its manifest.
            take: takes it from the repository that has it.
            receiver: by which it does that.
        """
        reporter = self._context.reporter
        for stored in await asyncio.to_thread(self._local_copies, signed):
            reporter.phase("indexing")
            try:
                await abortable(receiver.stop, take, signed, stored)
            except LocalError as error:
                reporter.note(f"{error}; downloading instead")
                continue
            size = show_bytes(signed.manifest.pack_size)
            reporter.note(f"took {size} from {stored.pack}, without a download")
            return True
        return False

    def _local_copies(self, signed: SignedManifest) -> list[StoredReel]:
        """Return the copies of a reel in repositories of this machine, or of its pack in forks."""
        manifest = signed.manifest
        if not self._context.take_local:
            return []
        rows = self._context.database.carried()
        own = [Path(row.path) for row in rows if row.repository_id == manifest.repository]
        found = []
        for path in (*self.nearby, *own):
            with contextlib.suppress(ReelStoreError, NotARepositoryError):
                layout = Layout(find_repository(path).git_dir)
                reel = ReelStore(layout).get(manifest.id) or ShapeStore(layout).get(manifest.id)
                if reel is not None and reel.is_available:
                    found.append(reel)
        if found or is_private(self._context.database, manifest.repository):
            return found
        others = [row for row in rows if row.repository_id != manifest.repository]
        places = [(Path(row.path), row.repository_id) for row in others]
        return list(islice(same_packs(signed, places), MOST_FORKS))

    async def _download_parts(
        self,
        wanted: WantedPack,
        signed: SignedManifest,
        partial: PartialPack,
        indexer: Indexer | None,
        client_timeouts: ClientTimeouts,
    ) -> None:
        """Download a pack together with everybody there is, sharing what arrives."""
        peer_manager = self._peer_manager
        reporter = self._context.reporter
        snapshot = Snapshot(self._context.home.run, "download")

        def show(figures: DownloadFigures) -> None:
            reporter.downloading(wanted.manifest, figures)
            snapshot.write(
                lambda: DownloadProcess(
                    repository_id=signed.manifest.repository,
                    download=figures,
                    giving=peer_manager.giving(),
                )
            )

        def share(have: PartSet) -> None:
            peer_manager.content.begin(wanted, signed, partial, have)
            peer_manager.announce(download, have)

        download = PackDownload(
            wanted,
            partial,
            DownloadHandlers(
                (lambda _part: None) if indexer is None else feeding(indexer, signed.manifest),
                show,
                peer_manager.is_growing,
                share,
                peer_manager.take_claim,
                peer_manager.banned,
                peer_manager.stands_in,
            ),
            client_timeouts,
        )
        peer_manager.help_with(download, signed.manifest.repository)
        try:
            await self._while_there_is_room(download.run())
        finally:
            peer_manager.rest(download.figures())
            snapshot.remove()

    async def _while_there_is_room(self, work: Coroutine[None, None, None]) -> None:
        """Do something that fills the disk; end it when no more is to be taken.

        Raises:
            NoRoomError: there is none, or there was none any more.
        """
        space, place = self._context.space, self._context.home.partial
        loading = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([loading], timeout=LOOK_SECONDS))[0]:
                await asyncio.to_thread(space.require, place)
        except BaseException:
            loading.cancel()
            await asyncio.wait([loading])
            if not loading.cancelled():
                loading.exception()  # of no interest: it was to end
            raise
        loading.result()
