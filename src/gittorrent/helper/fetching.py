"""What the helper does for git: list the verified refs, bring the objects.

Refs are listed only after the whole log behind them was verified. Objects come by reels where
they can, by an ordinary fetch where no reel covers them or less than everything is wanted; they
become visible together, when everything the refs need is proved present.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gittorrent.durable import locked_patiently
from gittorrent.errors import UnreachableError
from gittorrent.git import history
from gittorrent.git.fetching import FetchFailedError, fetch_over_http, fetch_pack
from gittorrent.git.repository import read_config, set_config
from gittorrent.git.runner import Child, Git
from gittorrent.ids import format_of
from gittorrent.repository.layout import Layout
from gittorrent.repository.litter import clear_litter
from gittorrent.repository.logstore import LogStore, listed_pushes
from gittorrent.repository.receive import LyingReelError, check_descents
from gittorrent.transfer.acquire import Acquisition
from gittorrent.transfer.bring import bring_reels
from gittorrent.wire.control import Fetch, Keep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gittorrent.helper.commands import Options, Wanted
    from gittorrent.ids import ObjectFormat, Oid, PushId, Refs
    from gittorrent.push.log import VerifiedLog
    from gittorrent.terminal import TerminalReporter
    from gittorrent.transfer.acquire import Context
    from gittorrent.transfer.local_node import LocalNode
    from gittorrent.transfer.location import Location

CANDIDATES = 32
"""Newest pushes looked at for what the repository has already."""


CLONE_KEEP = "gittorrent is fetching"
"""Content of a .keep file that protects a new pack until git's refs point into it."""


class Fetcher:
    """Lists and fetches for one run of the helper.

    ``locked`` is the .keep file of a pack that proved self-contained, for git to delete.

    Args:
        remote: name of git's remote.
        url: as git gave it.
        location: the mirror to begin with.
        git_dir: git directory to keep the log and to fetch into.
        context: of the world around it.
        reporter: tells the user.
        node: of this machine, to download in our place; None to leave it alone.
    """

    def __init__(
        self,
        remote: str,
        url: str,
        location: Location,
        git_dir: Path,
        context: Context,
        reporter: TerminalReporter,
        node: LocalNode | None = None,
    ) -> None:
        self._remote = remote
        self._url = url
        self._location = location
        self._layout = Layout(git_dir)
        self._reporter = reporter
        self._context = context
        self._node = node
        self._acquisition = Acquisition(location, context)
        self._log: VerifiedLog | None = None
        self._store: LogStore | None = None
        self.locked: Path | None = None
        self.has_reels = False

    async def open(self) -> None:
        """Reach the first mirror and learn who it carries.

        Raises:
            GitTorrentError: the reasons `Acquisition.open` has.
        """
        await self._acquisition.open()

    async def close(self) -> None:
        """End all conversations."""
        await self._acquisition.__aexit__()

    def is_known(self) -> bool:
        """Tell whether this URL led to a verified repository before."""
        return self._context.database.known_url(self._location.url) is not None

    async def list_refs(self) -> tuple[ObjectFormat, Refs, bytes]:
        """Return the object format, the verified refs, and the branch HEAD names."""
        latest = self._acquisition.mirror_list.latest
        object_format = format_of(latest) if latest is not None else None
        if object_format is None:
            raise UnreachableError(f"{self._location.url} has no push to clone yet")
        self._store = LogStore(self._layout, object_format, self._acquisition.claimed)
        self._log = await self._acquisition.fetch_log(self._store, object_format)
        if self._acquisition.first_contact:
            self._reporter.note(
                f"first contact with {self._location.url}: it is repository"
                f" {self._log.repository}; remembered"
            )
        return object_format, self._log.refs, bytes(self._log.policy.policy.head)

    async def fetch(self, wants: Sequence[Wanted], options: Options) -> bool:
        """Bring the objects that git wants.

        Returns:
            Whether everything is proved present, so that git need not check.

        Raises:
            GitTorrentError: they cannot be had, or do not hold together.
        """
        if self._log is None:
            await self.list_refs()
        assert self._log is not None
        oids = list(dict.fromkeys(want.oid for want in wants))
        verified = set(self._log.refs.values())
        in_log = all(oid in verified for oid in oids)
        async with locked_patiently(self._layout.lock):
            self._remove_litter()
            plain = self._is_incomplete() or options.for_fetch().limits_history
            if plain or not in_log:
                self._acquisition.gather(self._log)
                await self._fetch_plainly(wants, options)
                proved = False
            else:
                proved = await self._fetch_reels(wants, oids, options)
            await asyncio.to_thread(self._commit, plain)
        return proved

    def _remove_litter(self) -> None:
        """Remove what a run that was killed left behind."""
        assert self._log is not None
        assert self._store is not None
        clear_litter(self._layout, listed_pushes(self._layout).union(self._log.ids))
        for keep in (self._layout.objects / "pack").glob("pack-*.keep"):
            if keep.read_bytes() == f"{CLONE_KEEP}\n".encode():
                keep.unlink()

    def _is_incomplete(self) -> bool:
        config = read_config(self._layout.git_dir, sealed=True)
        partial = any(
            key == "extensions.partialclone" or key.endswith(".promisor") for key in config
        )
        return partial or (self._layout.git_dir / "shallow").exists()

    def _commit(self, incomplete: bool) -> None:
        """Remember what was verified, and pin the remote's URL to the repository."""
        assert self._log is not None
        assert self._store is not None
        if not incomplete:
            self._log.descents = check_descents(self._git(), self._log.descents)
        self._store.commit(self._log)
        key = f"remote.{self._remote}.url"
        config = read_config(self._layout.git_dir, sealed=True)
        pinned = self._location.pinned_url(self._log.repository)
        if self._location.expected is None and config.get(key) == self._url != pinned:
            set_config(self._git(), {key: pinned})
            self._reporter.note(f"{self._remote} is now {pinned}")

    def _git(self) -> Git:
        return Git(self._layout.git_dir)

    async def _fetch_reels(
        self, wants: Sequence[Wanted], oids: Sequence[Oid], options: Options
    ) -> bool:
        """Bring objects by reels, and what they leave by an ordinary fetch."""
        log, store = self._log, self._store
        assert log is not None
        assert store is not None
        is_empty = not self._layout.has_objects()
        have = [] if is_empty else await asyncio.to_thread(self._pushes_present, store, log)
        if not (is_empty or have) and await asyncio.to_thread(self._has_refs):
            self._acquisition.gather(log)
            # A repository with its own history and no push we know: git negotiates best.
            await self._fetch_plainly(wants, options)
            return False
        await self._ask_node(log, have)
        # Only now: mirrors would count us among those who download.
        self._acquisition.gather(log)
        known = [oid for push in have for oid in store.refs_at_in(log, push).values()]
        try:
            brought = await bring_reels(
                self._acquisition, self._layout, log, store, have, self._reporter, keep=False
            )
        except LyingReelError as error:
            self._acquisition.distrust(log, error)
            brought = None
        tips = set(known if brought is None else store.refs_at_in(log, brought.push).values())
        left = [want for want in wants if want.oid not in tips]
        if left:
            left = [w for w in left if not await asyncio.to_thread(self._has, w.oid)]
        if left:
            await self._fetch_plainly(left, options)
            return False
        self.has_reels = brought is not None
        if brought is not None and brought.pack is not None:
            self.locked = brought.pack.with_suffix(".keep")
            self.locked.write_text(f"{CLONE_KEEP}\n", encoding="ascii")
        return brought is not None or not oids

    async def _ask_node(self, log: VerifiedLog, have: Sequence[PushId]) -> None:
        """Let the node of this machine download, for us and whoever else wants the same."""
        head = log.head
        if self._node is None or head is None or head in have:
            return
        base = have[-1] if have else None
        request = Fetch(log.repository, head, base, self._location.pinned_url(log.repository))
        self._acquisition.look_in(await self._node.fetch(request))

    async def hand_over(self, seconds: int) -> bool:
        """Let the node of this machine give what was fetched to others; tells whether it does."""
        if self._node is None or self._log is None:
            return False
        repository = self._log.repository
        url = self._location.pinned_url(repository)
        where = os.fsencode(self._layout.git_dir)
        return await self._node.keep(Keep(seconds, repository, url, where)) is not None

    def _pushes_present(self, store: LogStore, log: VerifiedLog) -> list[PushId]:
        """Return the newest push whose objects are all here, if there is one."""
        git = self._git()
        for push in list(reversed(log.ids))[:CANDIDATES]:
            tips = list(dict.fromkeys(store.refs_at_in(log, push).values()))
            if not tips or any(info is None for info in history.describe(git, tips)):
                continue
            if history.is_connected_to_refs(git, tips):
                return [push]
        return []

    def _has_refs(self) -> bool:
        return bool(self._git().run("for-each-ref", "--count=1"))

    def _has(self, oid: Oid) -> bool:
        return history.describe(self._git(), [oid])[0] is not None

    async def _fetch_plainly(self, wants: Sequence[Wanted], options: Options) -> None:
        """Fetch from the first mirror's upload-pack, or another's when it fails."""
        self._reporter.close()
        failures = []
        for url in self._acquisition.mirror_urls():
            try:
                if url.startswith("git:"):
                    oids = [want.oid for want in wants]
                    await _in_thread(
                        fetch_pack, self._layout.git_dir, url, oids, options.for_fetch()
                    )
                else:
                    pairs = [(want.oid, want.name) for want in wants]
                    await _in_thread(
                        fetch_over_http, self._layout.git_dir, url, pairs, options.for_fetch()
                    )
            except FetchFailedError as error:
                failures.append(str(error))
            else:
                return
        raise FetchFailedError("; ".join(failures) or "no mirror to fetch from")


async def _in_thread(fetch: Callable[..., object], *arguments: object) -> None:
    """Fetch in a thread; the git that does it ends when this is cancelled."""
    child = Child()
    try:
        await asyncio.to_thread(fetch, *arguments, child)
    except asyncio.CancelledError:
        child.stop()
        raise
