"""The helper's ``list`` and ``fetch``: lists verified refs and brings objects.

Refs are listed only after the whole log behind them was verified. Objects come by reels where they
can, by an ordinary fetch where no reel covers them or less than everything is wanted; they become
visible together, when everything the refs need is proved present.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gittorrent.durable import locked, locked_patiently, write_atomically
from gittorrent.errors import GitTorrentError
from gittorrent.git import history
from gittorrent.git.repository import configured, list_config
from gittorrent.git.runner import Git, GitError
from gittorrent.helper.peeling import peeled_tags
from gittorrent.helper.proved_tips import ProvedTips
from gittorrent.ids import RefName
from gittorrent.repository.index_settings import IndexSettings
from gittorrent.repository.layout import Layout
from gittorrent.repository.logstore import LogStore, listed_pushes
from gittorrent.repository.quarantine import extent_of
from gittorrent.repository.readers_file import is_private_here
from gittorrent.repository.stale_files import remove_stale_files
from gittorrent.store.privacy import note_private
from gittorrent.transfer.acquire import Acquisition
from gittorrent.transfer.candidates import require_confidential
from gittorrent.transfer.location import SCHEME
from gittorrent.transfer.log_extent import LogExtent
from gittorrent.transfer.log_words import not_final, not_shown
from gittorrent.transfer.ordinary import Wanted as Needed
from gittorrent.transfer.untaken import UntakenPushes
from gittorrent.transfer.updating import Update, Updater
from gittorrent.transfer.working import stoppable, unbroken
from gittorrent.wire.control import Fetch, Keep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gittorrent.helper.commands import Options, Wanted
    from gittorrent.ids import ObjectFormat, Oid, PushId, Refs
    from gittorrent.push.log import VerifiedLog
    from gittorrent.terminal import TerminalReporter
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.local_node import LocalNode
    from gittorrent.transfer.location import Location

CANDIDATES = 32
"""Newest pushes looked at for what the repository has already."""


HELPER_PREFIX = f"{SCHEME}::"
"""What a URL of another scheme begins with that this helper is to handle."""

CLONE_KEEP = "gittorrent is fetching"
"""Content of a .keep file that protects a new pack until git's refs point into it."""


class Fetcher:
    """Lists and fetches for one run of the helper.

    ``locked`` is the .keep file of a pack with proved tips, for git to look there and delete it.

    Args:
        remote: name of git's remote.
        url: as git gave it.
        location: the mirror to begin with.
        git_dir: git directory to keep the log and to fetch into.
        context: of the world around it.
        reporter: tells the user.
        node: of this machine, to download in our place; None to leave it alone.
        indexing: how packs are indexed.
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
        indexing: IndexSettings | None = None,
    ) -> None:
        self._remote = remote
        self._url = url
        self._location = location
        self._layout = Layout(git_dir)
        self._reporter = reporter
        self._context = context
        self._node = node
        self._indexing = indexing or IndexSettings()
        self._acquisition = Acquisition(location, context)
        self._log: VerifiedLog | None = None
        self._store: LogStore | None = None
        self._tips = ProvedTips(self._layout.incoming)
        self._keeps: list[Path] = []
        self.locked: Path | None = None
        self.has_reels = False

    async def open(self) -> None:
        """Reach the first mirror and learn who it carries.

        Raises:
            GitTorrentError: the reasons `Acquisition.open` has.
        """
        known = self._location.expected or self._context.database.known_url(self._location.url)
        if known is not None and is_private_here(self._layout, known):
            # The clone knows it, whatever became of the database.
            note_private(self._context.database, known, private=True)
            url = self._location.full_url
            require_confidential(
                self._location,
                known,
                "a fetch from there tells this clone if it is public by now; without one,"
                f" 'gittorrent forget {url}', and clone it anew",
            )
        await self._acquisition.open()

    async def close(self) -> None:
        """End all conversations; git's refs are in place, or it has given up."""
        for keep in self._keeps:
            keep.unlink(missing_ok=True)  # git removes only the one that it was told of last
        self._tips.close()
        await self._acquisition.__aexit__()

    @property
    def context(self) -> Context:
        """The world around it."""
        return self._context

    @property
    def is_private(self) -> bool:
        """Whether the repository is for those alone whom its policy names."""
        return self._log is not None and self._log.policy.policy.private

    def is_known(self) -> bool:
        """Tell whether this URL led to a verified repository before."""
        return self._context.database.known_url(self._location.url) is not None

    async def list_refs(self) -> tuple[ObjectFormat, Refs, bytes | None]:
        """Return the object format, the verified refs, and the branch HEAD names, if any."""
        object_format = self._acquisition.object_format
        self._store = LogStore(self._layout, object_format, self._acquisition.claimed)
        log = await self._acquisition.fetch_log(self._store, object_format, LogExtent.SHORT)
        self._log = log
        if self._acquisition.first_contact:
            remembered = "" if self._context.home.lacking else "; remembered"
            self._reporter.note(
                f"first contact with {self._acquisition.url}: it is repository"
                f" {log.repository}{remembered}"
            )
        if log.unjudged:
            source = self._acquisition.first
            await UntakenPushes(self._layout, log, self._store, [source], self._context).look()
        self._say_what_is_not_final(log)
        return object_format, log.refs, log.default_branch

    def _say_what_is_not_final(self, log: VerifiedLog) -> None:
        """Say it once: a fetch that finds the same is silent, unless all details are wanted."""
        shown, told = not_final(log), self._layout.told(log.repository)
        if told.is_file() and told.read_bytes() == shown.encode("utf-8"):
            self._reporter.detail(shown)
        elif shown:
            self._reporter.note(shown)
            write_atomically(told, shown.encode("utf-8"))
        else:
            told.unlink(missing_ok=True)
        if hidden := not_shown(log):
            self._reporter.detail(hidden)

    async def peeled(self, refs: Refs, *, is_kept: bool) -> dict[RefName, Oid]:
        """Return what the annotated tags among verified refs lead to, as far as it is known.

        Args:
            refs: verified.
            is_kept: whether git has a repository; into an empty one it clones, and has no use
                for this.
        """
        if is_kept and not self._layout.has_objects():
            return {}
        try:
            return await peeled_tags(self._layout, refs, self._acquisition.tags)
        except GitTorrentError as reason:
            self._reporter.detail(f"what some tags lead to is not known: {reason}")
        return {}

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
        assert self._store is not None
        async with locked_patiently(self._layout.lock):
            self._remove_stale_files()
            update = await stoppable(self._plan, self._log, wants, options)
            if update.reels:
                await self._ask_node(self._log, update.have)
                # Only now: mirrors would count us among those who download.
                self._acquisition.gather(self._log)
            updater = Updater(
                self._acquisition, self._layout, self._log, self._store, self._context
            )
            brought = await updater.bring(update)
            if brought.push is not None and brought.is_proved:
                self.has_reels = True
                self._protect(brought.pack)
            if brought.is_proved and options.check_connectivity and not brought.has_all:
                await stoppable(self._show_proved, wants)
            await unbroken(self._commit)
        return brought.is_proved

    async def keep_log(self) -> None:
        """Remember what was verified where git found nothing to fetch, as of a new policy.

        Only of a repository whose log is here, and only where all that moved since is here too.
        Whoever only asks what refs there are need not be able to write: the next fetch does it.
        """
        if self._log is None or self._store is None or not self._store.path.is_file():
            return
        try:
            with locked(self._layout.lock, wait=False):
                if await stoppable(self._lacks_entries, self._log, self._store):
                    await unbroken(self._commit)
                else:
                    await unbroken(self._pin_remote)
        except (OSError, GitError) as error:
            self._reporter.detail(f"the log of {self._log.repository} is not kept: {error}")

    def _lacks_entries(self, log: VerifiedLog, store: LogStore) -> bool:
        """Tell whether the log that is here has not what was verified, though its objects are."""
        if store.records() == list(log.records):
            return False
        moved = list(set(log.refs.values()).difference(store.open().refs.values()))
        return all(history.describe(self._git(), moved)) and (
            not moved or history.is_connected_to_refs(self._git(), moved)
        )

    def _plan(self, log: VerifiedLog, wants: Sequence[Wanted], options: Options) -> Update:
        """Decide how to bring what git wants; blocks."""
        fetch = options.for_fetch()
        wanted = [Needed(want.oid, RefName(os.fsencode(want.name))) for want in wants]
        verified = set(log.refs.values())
        extent = extent_of(self._layout.git_dir)
        is_limited = fetch.limits_history or not extent.is_whole
        if is_limited or not all(want.oid in verified for want in wants):
            return Update(wanted, reels=False, options=fetch, extent=extent)
        is_empty = not self._layout.has_objects()
        have = [] if is_empty else self._pushes_present(log)
        # A repository with its own history and no push we know: git negotiates best.
        is_foreign = not (is_empty or have) and self._has_refs()
        if self._indexing.signed and self._indexing.fsck and is_empty:
            self._reporter.note(
                "gittorrent.index=signed is left out: fetch.fsckObjects, transfer.fsckObjects or"
                " gittorrent.paranoid wants objects checked before they are used"
            )
        return Update(
            wanted,
            have,
            reels=not is_foreign,
            options=fetch,
            signed_index=self._indexing.takes_signed,
        )

    def _protect(self, pack: Path | None) -> None:
        """Keep a new pack from being repacked until git's refs point into it."""
        if pack is not None:
            self._lock(pack.with_suffix(".keep"))

    def _show_proved(self, wants: Sequence[Wanted]) -> None:
        """Name a pack to git that has all tips, instead of one that has not."""
        self._lock(self._tips.show(self._git(), [want.oid for want in wants]))

    def _lock(self, keep: Path) -> None:
        keep.write_text(f"{CLONE_KEEP}\n", encoding="ascii")
        self._keeps.append(keep)
        self.locked = keep

    def _remove_stale_files(self) -> None:
        """Remove what a run that was killed left behind."""
        assert self._log is not None
        remove_stale_files(self._layout, listed_pushes(self._layout).union(self._log.entries))
        for keep in (self._layout.objects / "pack").glob("pack-*.keep"):
            if keep.read_bytes() == f"{CLONE_KEEP}\n".encode():
                keep.unlink()

    def _commit(self) -> None:
        """Remember what was verified, and pin the remote's URL to the repository."""
        assert self._log is not None
        assert self._store is not None
        self._store.commit(self._log)
        self._pin_remote()

    def _pin_remote(self) -> None:
        assert self._log is not None
        pinned = self._location.pinned_url(self._log.repository)
        if self._location.expected is None and self._pin(pinned):
            self._reporter.note(f"{self._remote} is now {pinned}")

    def _pin(self, pinned: str) -> bool:
        """Replace the URL that git gave in the remote, whose others stay; tells whether it is."""
        key = f"remote.{self._remote}.url"
        git = configured(self._layout.git_dir, isolated=True)
        # git takes off the name of the helper before it hands a URL over.
        plain = self._url.removeprefix(HELPER_PREFIX)
        found = {
            value
            for name, value in list_config(git)
            if name == key and value.removeprefix(HELPER_PREFIX) == plain
        }
        for value in found:
            git.run("config", "--local", "--fixed-value", "--replace-all", key, pinned, value)
        return bool(found)

    def _git(self) -> Git:
        return Git(self._layout.git_dir)

    async def _ask_node(self, log: VerifiedLog, have: Sequence[PushId]) -> None:
        """Let the node of this machine download, for this clone and others that want the same."""
        head = log.head
        if self._node is None or head is None or head in have or log.policy.policy.private:
            return
        base = have[-1] if have else None
        request = Fetch(log.repository, head, base, self._location.pinned_url(log.repository))
        self._acquisition.look_in(await self._node.fetch(request))

    async def hand_over(self, seconds: int) -> bool:
        """Let the node of this machine give what was fetched to others; tells whether it does."""
        if self._node is None or self._log is None or self.is_private:
            return False
        repository = self._log.repository
        url = self._location.pinned_url(repository)
        where = os.fsencode(self._layout.git_dir)
        return await self._node.keep(Keep(seconds, repository, url, where)) is not None

    def _pushes_present(self, log: VerifiedLog) -> list[PushId]:
        """Return the newest push whose objects are all here, if there is one."""
        git = self._git()
        for push in list(reversed(log.ids))[:CANDIDATES]:
            tips = list(dict.fromkeys(log.refs_at(push).values()))
            if not tips or any(info is None for info in history.describe(git, tips)):
                continue
            if history.is_connected_to_refs(git, tips):
                return [push]
        return []

    def _has_refs(self) -> bool:
        return bool(self._git().run("for-each-ref", "--count=1"))
