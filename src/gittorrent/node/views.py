"""The views that stock git clients are served from, kept up to date with what is published.

Tracks for each repository its view and what of the log and the reels it was last made for. A
request looks whether these have changed, which costs a few calls of stat by the repository's
executor; when they have, the view is made anew in a thread, once for all who wait for it. Large
views are packed in the background then, one at a time.

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
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import locked, write_atomically
from gittorrent.errors import LocalError
from gittorrent.event_log import EventLog
from gittorrent.git.runner import Stopper
from gittorrent.repository.published_view import PublishedView
from gittorrent.repository.readers_file import has_private

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gittorrent.ids import ManifestId
    from gittorrent.node.catalogue import Served
    from gittorrent.repository.carried import Carried

_log = EventLog(__name__)

_FINAL = "final"
"""Where those views lie that show nothing provisional."""


class _Kept:
    """One view, once there is one, and what it was last made for."""

    def __init__(self) -> None:
        self.carried: Carried | None = None
        self.view: PublishedView | None = None
        self.key: _Key | None = None
        self.lock = asyncio.Lock()


class _Key(Struct, frozen=True):
    log: object
    reels: tuple[ManifestId, ...]


class Views:
    """The views of a node.

    Args:
        root: directory to keep them in; None for a temporary one.
        pack: packs a view in the background.
        make: makes a view of a repository at a place.
        final_only: whether views show only what the newest checkpoint has taken. Those lie apart,
            since another process may serve the others.
    """

    def __init__(
        self,
        root: Path | None,
        pack: Callable[[PublishedView], Coroutine[None, None, None]],
        make: Callable[..., PublishedView] = PublishedView,
        *,
        final_only: bool = False,
    ) -> None:
        self._root = root
        self._pack = pack
        self._make = make
        self._final_only = final_only
        self._kept: dict[Path, _Kept] = {}
        self._stopper = Stopper()
        self._making: set[asyncio.Future[tuple[PublishedView, bool]]] = set()
        self._packing: asyncio.Task[None] | None = None
        self._placing = threading.Lock()
        self._swept: set[Path] = set()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def change(self, *, final_only: bool) -> None:
        """Show only what is final from now on, or all; see the class."""
        if final_only != self._final_only:
            self._final_only = final_only
            self._kept.clear()

    async def view_of(self, served: Served) -> PublishedView:
        """Return a repository's view as of now.

        Raises:
            GitTorrentError: it is gone or damaged, or there is no room for the view.
        """
        kept = self._kept.setdefault(served.carried.layout.git_dir, _Kept())
        if kept.carried is not served.carried:  # it may be another repository at the same place
            kept.carried, kept.view = served.carried, None
        if kept.view is None or kept.key != await _key_of(served, kept.view):
            async with kept.lock:
                key = await _key_of(served, kept.view)
                if key is None:
                    kept.view, key = None, await _key_of(served)
                if kept.view is None or kept.key != key:
                    kept.view = await self._renew(served, kept.view)
                    kept.key = key
        return kept.view

    async def _renew(self, served: Served, known: PublishedView | None) -> PublishedView:
        """Make a view what is published now; it is finished even if this is cancelled."""
        loop = asyncio.get_running_loop()
        refresh = partial(self._refresh, served.carried, known, final_only=self._final_only)
        making = loop.run_in_executor(None, refresh)
        self._making.add(making)
        making.add_done_callback(self._making.discard)
        try:
            view, wants_packing = await asyncio.shield(making)
        except OSError as error:
            git_dir = served.carried.layout.git_dir
            raise LocalError(f"the view of {git_dir} cannot be made: {error}") from error
        if not view.is_whole:
            _log.warning(
                "not-whole",
                "{repository} lacks objects that were published: stock git cannot"
                " clone all of it; run 'gittorrent verify'",
                repository=served.info.name,
            )
        if wants_packing and (self._packing is None or self._packing.done()):
            self._packing = loop.create_task(self._pack(view))
        return view

    def _refresh(
        self, carried: Carried, known: PublishedView | None, *, final_only: bool
    ) -> tuple[PublishedView, bool]:
        """Do that, in a thread; tells as well whether packing would pay."""
        with self._stopper.watching():
            make = partial(self._make, final_only=True) if final_only else self._make
            git_dir = carried.layout.git_dir
            view = known or make(carried, self._directory_for(git_dir, final_only=final_only))
            is_private = has_private(carried.layout)
            if is_private and view.directory.exists():  # made while it was public
                view.directory.chmod(0o700)
            view.refresh()
            if is_private:
                view.directory.chmod(0o700)
            return view, view.wants_packing

    async def stop(self) -> None:
        """End what goes on in the background, and refuse to make views from now on."""
        self._stopper.stop()
        if self._packing is not None:
            self._packing.cancel()
            await asyncio.gather(self._packing, return_exceptions=True)
        await asyncio.gather(*self._making, return_exceptions=True)
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
            self._kept.clear()

    def _directory_for(self, git_dir: Path, *, final_only: bool) -> Path:
        """Return the place of a repository's view, with a note beside it whose it is."""
        with self._placing:
            root = self._directory(_FINAL if final_only else "")
        directory = _directory_in(root, git_dir)
        write_atomically(directory.with_suffix(".of"), os.fsencode(git_dir.absolute()))
        return directory

    def _directory(self, kind: str) -> Path:
        if self._root is None:
            if self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="gittorrent-views-")
            return Path(self._temporary.name) / kind
        root = self._root / kind
        if root not in self._swept:
            _remove_orphans(root)
            self._swept.add(root)
        return root


def _directory_in(root: Path, git_dir: Path) -> Path:
    """Return where the view of a repository is, if there is one."""
    whose = os.fsencode(git_dir.absolute())
    return root / f"{hashlib.sha256(whose).hexdigest()[:32]}.git"


async def _key_of(served: Served, view: PublishedView | None = None) -> _Key | None:
    """Return what a view has to be made for; asked by the repository's executor.

    None where the view that was made is gone: `gittorrent remove` does that.
    """
    content = served.content

    def read() -> _Key | None:
        if view is not None and not view.directory.is_dir():
            return None
        return _Key(content.state(), tuple(reel.id for reel in content.reels()))

    return await served.reading(read)


def remove_view(root: Path, git_dir: Path) -> None:
    """Remove the view of a repository that is not carried any more, if there is one.

    A node that runs makes it anew should it need it.
    """
    for place in (root, root / _FINAL):
        directory = _directory_in(place, git_dir)
        if directory.with_suffix(".of").exists():
            with locked(directory.with_suffix(".lock")):
                shutil.rmtree(directory, ignore_errors=True)
                for suffix in (".of", ".lock"):
                    directory.with_suffix(suffix).unlink(missing_ok=True)


def _remove_orphans(root: Path) -> None:
    """Remove views of repositories that are not there any more."""
    for note in root.glob("*.of"):
        if Path(os.fsdecode(note.read_bytes())).exists():
            continue
        shutil.rmtree(note.with_suffix(".git"), ignore_errors=True)
        with contextlib.suppress(OSError):
            note.with_suffix(".lock").unlink(missing_ok=True)
            note.unlink()
