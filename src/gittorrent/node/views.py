"""The views that git's own clients are served from, kept up with what is published.

Tracks for each repository its view and what of the log and the reels it was last made for. A
request looks whether these have changed, which costs a few calls of stat; when they have, the view
is made anew in a thread, once for all who wait for it. Large views are packed in the background
then, one at a time.

Rules: views lie in the node's home, or in a directory of the node's own that goes with it; those of
repositories that are gone are removed. Must not know what is in a view.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import write_atomically
from gittorrent.errors import LocalError
from gittorrent.git.runner import Stopper
from gittorrent.node.events import EventLog
from gittorrent.repository.published_view import PublishedView

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gittorrent.ids import ManifestId, PushId
    from gittorrent.node.catalogue import Served
    from gittorrent.repository.carried import Carried

_log = EventLog(__name__)


class _Kept:
    """One view, and what it was last made for."""

    def __init__(self, view: PublishedView) -> None:
        self.view = view
        self.key: _Key | None = None
        self.lock = asyncio.Lock()


class _Key(Struct, frozen=True):
    latest: PushId | None
    reels: tuple[ManifestId, ...]


class Views:
    """The views of a node.

    Args:
        root: directory to keep them in; None for a temporary one.
        pack: packs a view in the background.
        make: makes a view of a repository at a place.
    """

    def __init__(
        self,
        root: Path | None,
        pack: Callable[[PublishedView], Coroutine[None, None, None]],
        make: Callable[[Carried, Path], PublishedView] = PublishedView,
    ) -> None:
        self._root = root
        self._pack = pack
        self._make = make
        self._kept: dict[Path, _Kept] = {}
        self._stopper = Stopper()
        self._packing: asyncio.Task[None] | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    async def view_of(self, served: Served) -> PublishedView:
        """Return a repository's view as of now.

        Raises:
            GitTorrentError: it is gone or damaged, or there is no room for the view.
        """
        kept = self._kept.get(served.carried.layout.git_dir) or self._keep(served.carried)
        if kept.key != _key_of(served):
            async with kept.lock:
                key = _key_of(served)
                if kept.key != key:
                    try:
                        await asyncio.to_thread(self._refresh, kept.view)
                    except OSError as error:
                        raise LocalError(
                            f"{kept.view.directory} cannot be made: {error}"
                        ) from error
                    kept.key = key
                    if not kept.view.is_whole:
                        _log.warning(
                            "not-whole",
                            "{repository} lacks objects that were published: stock git cannot"
                            " clone all of it; run 'gittorrent verify'",
                            repository=served.about.name,
                        )
                    self._begin_packing(kept.view)
        return kept.view

    def _keep(self, carried: Carried) -> _Kept:
        git_dir = carried.layout.git_dir
        try:
            kept = _Kept(self._make(carried, self._directory_for(git_dir)))
        except OSError as error:
            raise LocalError(f"there is no place for the view of {git_dir}: {error}") from error
        self._kept[git_dir] = kept
        return kept

    def _refresh(self, view: PublishedView) -> None:
        with self._stopper.watching():
            view.refresh()

    async def stop(self) -> None:
        """End what goes on in the background, and refuse to make views from now on."""
        self._stopper.stop()
        if self._packing is not None:
            self._packing.cancel()
            await asyncio.gather(self._packing, return_exceptions=True)
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
            self._kept.clear()

    def _begin_packing(self, view: PublishedView) -> None:
        if (self._packing is None or self._packing.done()) and view.wants_packing:
            self._packing = asyncio.get_running_loop().create_task(self._pack(view))

    def _directory_for(self, git_dir: Path) -> Path:
        """Return the place of a repository's view, with a note beside it whose it is."""
        root = self._directory()
        whose = os.fsencode(git_dir.absolute())
        name = hashlib.sha256(whose).hexdigest()[:32]
        write_atomically(root / f"{name}.of", whose)
        return root / f"{name}.git"

    def _directory(self) -> Path:
        if self._root is None:
            if self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="gittorrent-views-")
            return Path(self._temporary.name)
        if not self._kept:
            _remove_orphans(self._root)
        return self._root


def _key_of(served: Served) -> _Key:
    shelf = served.shelf
    return _Key(shelf.latest(), tuple(reel.id for reel in shelf.reels()))


def _remove_orphans(root: Path) -> None:
    """Remove views of repositories that are not there any more."""
    for note in root.glob("*.of"):
        if Path(os.fsdecode(note.read_bytes())).exists():
            continue
        shutil.rmtree(note.with_suffix(".git"), ignore_errors=True)
        with contextlib.suppress(OSError):
            note.with_suffix(".lock").unlink(missing_ok=True)
            note.unlink()
