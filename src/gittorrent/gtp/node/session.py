"""Taking part in a swarm: to give a repository, or to clone one.

Puts exchange, holding, target and swarm together for one repository. Cloning ends when the newest
believed reference that anybody leads to is complete; giving goes on until it is stopped.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError, UnreachableError, UnverifiedError, UsageError
from gittorrent.git.repository import find_repository
from gittorrent.gtp.believed import ReferenceBook
from gittorrent.gtp.exchange import Exchange
from gittorrent.gtp.limits import MAX_REEL_SIZE
from gittorrent.gtp.node.holding import Holding
from gittorrent.gtp.node.swarm import Swarm
from gittorrent.gtp.node.target import (
    Target,
    check_out,
    load_references,
    prepare_directory,
    save_reference,
)
from gittorrent.gtp.reference import reference_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gittorrent.gtp.metainfo import Metainfo
    from gittorrent.gtp.node.daemon import GtpNode
    from gittorrent.gtp.reference import Reference
    from gittorrent.ids import RefName

_log = logging.getLogger(__name__)

SETTLE_SECONDS = 2.0
"""How long to wait for a way to a newer reference, once an older one is complete; or for a newer
one to be heard of, where a clone was complete before."""

POLL_SECONDS = 0.1


def open_seed(
    node: GtpNode,
    metainfo: Metainfo,
    path: Path,
    *,
    allow_unverified: bool = False,
    body: bytes | None = None,
) -> Swarm:
    """Return a swarm in which this node gives the repository at ``path``.

    Args:
        node: takes part in the swarm.
        metainfo: of the swarm.
        path: the repository.
        allow_unverified: whether unsigned references that it remembers are believed; those that
            peers tell of never are.
        body: a reference object to give besides those it remembers.

    Raises:
        BadReferenceError: ``body`` is not to be believed.
        UnverifiedError: it remembers references, none of which is to be believed.
        UsageError: it cannot be served.
        UnreachableError: it lacks what every reference names.
    """
    book = ReferenceBook(metainfo, allow_unverified=allow_unverified)
    git_dir = find_repository(path).git_dir
    refused = load_references(git_dir, metainfo.repo_hash, book)
    if body is not None:
        book.add(reference_id(body), body)
    book.require_signatures()
    holding = Holding(path, metainfo.profile, book)
    have = holding.refresh()
    if not have:
        holding.close()
        raise _nothing_to_give(path, book, refused)
    exchange = _GivingExchange(metainfo.profile, book, have)
    return Swarm(
        metainfo=metainfo,
        exchange=exchange,
        holding=holding,
        target=None,
        open_holding=lambda: holding,
        meet=lambda link, peers: node.meet(metainfo.repo_hash, peers, link.teller()),
        remember=lambda _reference: None,
    )


def _nothing_to_give(path: Path, book: ReferenceBook, refused: int) -> GitTorrentError:
    if len(book):
        return UnreachableError(
            f"{path} lacks what the references of this metainfo file name",
            hint="name the repository it was made from, or update it",
        )
    if refused:
        return UnverifiedError(
            f"{path} remembers {refused} reference objects of this swarm, which nobody signed",
            hint="pass --allow-unverified to give what they name",
        )
    return UsageError(
        f"neither the metainfo file nor {path} has a reference object that lists refs",
        hint="make one with --sign",
    )


class _GivingExchange(Exchange):
    """An exchange at a node that only gives: it takes no path, whatever it hears of."""

    def _reconsider(self, now: float, *, gone: bool = False) -> None:
        del now, gone


class CloneOptions(Struct, frozen=True):
    """How to clone.

    Args:
        bare: whether refs are mirrored into a bare repository.
        block_size: to ask for; 0 for the usual one.
        allow_unverified: whether unsigned references are believed.
        timeout: seconds without any progress after which to give up.
        max_bytes: of packs to take.
    """

    bare: bool = False
    block_size: int = 0
    allow_unverified: bool = False
    timeout: float = 300.0
    max_bytes: int = MAX_REEL_SIZE


class Clone:
    """A clone under way.

    Args:
        node: takes part in the swarm.
        metainfo: of the repository.
        path: where it goes.
        options: how.
    """

    def __init__(
        self, node: GtpNode, metainfo: Metainfo, path: Path, options: CloneOptions
    ) -> None:
        self._options = options
        self._path = path
        self._metainfo = metainfo
        self.book = ReferenceBook(metainfo, allow_unverified=options.allow_unverified)
        self._git = prepare_directory(path, bare=options.bare)
        load_references(self._git.directory, metainfo.repo_hash, self.book)
        self.target = Target(self._git, metainfo, self.book, mirror=options.bare)
        complete = self.target.complete()
        self._was_complete = complete is not None
        self.exchange = Exchange(
            metainfo.profile,
            self.book,
            () if complete is None else (complete.id,),
            block_size=options.block_size,
            seed=random.getrandbits(32),
            stored=self.target.store.have,
            max_bytes=options.max_bytes,
        )
        self.swarm = Swarm(
            metainfo=metainfo,
            exchange=self.exchange,
            holding=None if complete is None else self._open_holding(),
            target=self.target,
            open_holding=self._open_holding,
            meet=lambda link, peers: node.meet(metainfo.repo_hash, peers, link.teller()),
            remember=self._remember,
        )

    async def run(
        self, progress: Callable[[str, int, int], None]
    ) -> tuple[Reference, list[RefName]]:
        """Wait until the clone is complete.

        Args:
            progress: told of blocks.

        Returns:
            the reference it has, and which of its refs were left out, since nobody sent their
            objects.

        Raises:
            UnreachableError: nothing came for too long.
        """
        swarm, settled = self.swarm, 0.0
        swarm.last_progress = time.monotonic()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if swarm.failure is not None:
                raise swarm.failure
            progress("blocks", *self.exchange.progress())
            now = time.monotonic()
            if self.exchange.is_idle and self.exchange.have:
                settled = settled or now
                # What was here from the start says nothing of what peers have now.
                fresh = self.exchange.has_newest and not self._was_complete
                if fresh or now - settled > SETTLE_SECONDS:
                    break
            else:
                settled = 0.0
            if now - swarm.last_progress > self._options.timeout:
                raise self._stuck()
        return await asyncio.to_thread(self._finish)

    def close(self) -> None:
        """Remove scratch space; blocks stay for the next attempt."""
        self.target.close()
        if self.swarm.holding is not None:
            self.swarm.holding.close()

    def _finish(self) -> tuple[Reference, list[RefName]]:
        complete = [r for r in self.book.newest_first() if r.id in self.exchange.have]
        if not self._options.bare:
            check_out(self._git, self._path, complete[0])
        return complete[0], self.target.left_out(complete[0])

    def _stuck(self) -> GitTorrentError:
        peers = len(self.swarm.links)
        if not self.book.newest_first():
            why = "no peer sent a reference object that can be verified"
        elif self.exchange.is_idle:
            why = "no peer has reels that lead to it"
        else:
            done, total = self.exchange.progress()
            why = f"{total - done} of {total} blocks are missing and no peer has them"
        return UnreachableError(
            f"cannot clone {self._metainfo.repo_hash.hex()} from {peers} peers: {why}",
            hint="what was received is kept; run the same command again when more peers are there",
        )

    def _open_holding(self) -> Holding:
        holding = Holding(self._path, self._metainfo.profile, self.book)
        holding.refresh()
        return holding

    def _remember(self, reference: bytes) -> None:
        found = self.book.get(reference)
        if found is not None:
            save_reference(self._git.directory, self._metainfo.repo_hash, found.body)
