"""Brings a chain of reels into a repository: plan, download, prove, install."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.repository.receive import receiving
from gittorrent.repository.reelstore import ReelStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.layout import Layout
    from gittorrent.repository.logstore import LogStore
    from gittorrent.repository.receive import Receiver
    from gittorrent.transfer.acquire import Acquisition, Reporter


class Brought(Struct, frozen=True):
    """What a chain of reels brought.

    Args:
        push: the newest push whose objects are all here now.
        pack: the pack in the repository that was proved to refer to nothing outside itself.
    """

    push: PushId
    pack: Path | None


async def bring_reels(
    acquisition: Acquisition,
    layout: Layout,
    log: VerifiedLog,
    store: LogStore,
    have: Sequence[PushId],
    reporter: Reporter,
    *,
    keep: bool,
    admit: Callable[[int], None] = lambda _size: None,
) -> Brought | None:
    """Download, prove and install the reels that lead from ``have`` towards the log's head.

    Args:
        acquisition: open, its log fetched.
        layout: of the repository they go into, whose lock the caller holds.
        log: the verified log.
        store: holds its push objects.
        have: pushes whose objects are all here.
        reporter: tells the user.
        keep: whether packs are to survive repacking, as on mirrors.
        admit: told how many bytes the packs have; may refuse them by an error.

    Returns:
        What came; None if no reel helps.

    Raises:
        NoSourceError: the mirrors ran out; verified parts are kept.
        LyingReelError: a signed manifest led to the wrong objects.
    """
    chain = await acquisition.plan(log, have)
    if not chain:
        return None
    admit(sum(signed.manifest.pack_size for _, signed in chain))
    with receiving(layout, log.object_format, ReelStore(layout)) as receiver:
        for offer, signed in chain:
            tips = list(store.refs_at_in(log, offer.end).values())
            await acquisition.download(offer, signed, receiver, tips)
        end = chain[-1][0].end
        reporter.phase("checking connectivity")
        await asyncio.to_thread(_prove, receiver, log, store, have, end)
        await asyncio.to_thread(receiver.install, keep=keep)
        proved = receiver.self_contained_pack
    acquisition.discard_partial()
    return Brought(end, proved)


def _prove(
    receiver: Receiver, log: VerifiedLog, store: LogStore, have: Sequence[PushId], end: PushId
) -> None:
    tips = list(store.refs_at_in(log, end).values())
    known = [oid for push in have for oid in store.refs_at_in(log, push).values()]
    receiver.check(tips, known)
