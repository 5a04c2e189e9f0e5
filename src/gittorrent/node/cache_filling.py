"""Fills a repository of the node's cache, from mirrors or from a clone of this machine.

Either way the log is verified from its first policy on, manifests by their signatures, and packs by
their manifests. What is interrupted or does not verify gets no expiry time, and is removed by the
next sweep.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from gittorrent.durable import locked
from gittorrent.errors import IdentityError, LocalError, TrustError
from gittorrent.reel.path import ReelOffer, reached
from gittorrent.repository.cache import adopt
from gittorrent.repository.carried import CACHE, Carried, RepositoryInfo, object_format_of
from gittorrent.transfer.acquire import Acquisition
from gittorrent.transfer.log_extent import LogExtent
from gittorrent.transfer.manifests import verify_manifest
from gittorrent.transfer.mirror import NotThereError
from gittorrent.transfer.updating import Update, Updater
from gittorrent.transfer.working import unbroken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gittorrent.ids import Oid, PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.receive import SignedManifest
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.store.database import Database
    from gittorrent.transfer.context import Context
    from gittorrent.transfer.location import Location


async def fill_from_mirrors(
    target: Carried, location: Location, context: Context, admit: Callable[[int], None]
) -> None:
    """Download what the mirrors have as reels, up to the newest push that any of them reaches.

    Args:
        target: repository of the cache.
        location: the mirror to begin with, and the repository.
        context: of the world around it.
        admit: told how many bytes will come; may refuse them by an error.

    Raises:
        GitTorrentError: the reasons acquiring has.
    """
    async with Acquisition(location, context) as acquisition:
        await acquisition.open()
        with locked(target.layout.lock, wait=False):
            _clear(target)
            log = await acquisition.fetch_log(
                target.log_store, target.object_format, LogExtent.SHORT
            )
            _require_public(log)
            acquisition.gather(log)
            # No ordinary fetch: what is kept here is what can be given on, and that is reels.
            update = Update(None, _completed(target, log), keep=True, admit=admit)
            updater = Updater(acquisition, target.layout, log, target.log_store, context)
            await updater.bring(update)
            await unbroken(_commit, target, log, location)


def fill_from_clone(
    target: Carried,
    source: Path,
    location: Location,
    database: Database,
    admit: Callable[[int], None],
) -> None:
    """Take the reels of a clone on this machine, as far as they hold.

    Args:
        target: repository of the cache.
        source: git directory of the clone.
        location: a mirror, and the repository.
        database: says which keys are not believed here.
        admit: told how many bytes will come; may refuse them by an error.

    Raises:
        GitTorrentError: the clone's log does not hold, or none of its reels does.
    """
    clone = Carried(source, object_format_of(source), location.expected)
    log = clone.log_store.replay()
    if log.head is None or log.repository != location.expected:
        raise IdentityError(f"{source} is not a clone of {location.expected}")
    _require_public(log)
    with locked(target.layout.lock, wait=False):
        _clear(target)
        found = []
        for reel in _leading_on(clone, target, log):
            found.append((reel, _verify(reel, log, database)))
        admit(sum(reel.manifest.pack_size for reel, _ in found))
        for reel, signed in found:
            before = _values_at(log, signed.manifest.start)
            adopt(target, reel, signed, _values_at(log, signed.manifest.end), before)
        known = target.log_store.ids()
        if log.head not in known:
            if known and known[-1] not in log:
                raise TrustError(f"the log of {source} does not continue the one known here")
            for push in log.entries:
                target.log_store.store_push(push, clone.log_store.push(push))
            _commit(target, log, location)


def _require_public(log: VerifiedLog) -> None:
    """Make sure that what is kept may be given to whoever asks.

    Raises:
        LocalError: the repository is private.
    """
    if log.policy.policy.private:
        raise LocalError(f"{log.policy.policy.name} is private, and nothing is kept of it here")


def _values_at(log: VerifiedLog, checkpoint: PushId | None) -> list[Oid]:
    """Return what refs point to at a checkpoint; nothing for one from before the log begins.

    What is not proved there is proved with the reel that leads to one that is known.
    """
    return list(log.refs_at(checkpoint).values()) if checkpoint in log.ids else []


def _clear(target: Carried) -> None:
    """Remove what an interrupted run left behind."""
    for stale in target.layout.incoming.glob("*"):
        shutil.rmtree(stale, ignore_errors=True)


def _has(target: Carried, reel: StoredReel) -> bool:
    present = target.reels.get(reel.id)
    return present is not None and present.is_available


def _verify(reel: StoredReel, log: VerifiedLog, database: Database) -> SignedManifest:
    signed = verify_manifest(reel.manifest_file, log, _offer(reel))
    reason_not = database.distrusted(log.repository, str(signed.key))
    if reason_not is not None:
        raise TrustError(f"{signed.key} is not believed here: {reason_not}")
    return signed


def _completed(target: Carried, log: VerifiedLog) -> list[PushId]:
    """Return the newest checkpoint that the reels in the cache lead to, from the beginning on."""
    there = {reel.manifest.end for reel in _led_to(_available(target))}
    newest = [push for push in log.ids if push in there]
    return newest[-1:]


def _leading_on(clone: Carried, target: Carried, log: VerifiedLog) -> list[StoredReel]:
    """Return the clone's reels that can be checked in the cache, in the order to take them.

    What builds on objects that no reel brings is of no use there: nobody could tell whether it is
    whole.
    """
    known, begins_late = set(log.ids), log.begins_late
    reels = [
        reel
        for reel in _available(clone)
        if reel.manifest.repository == log.repository
        and (begins_late or reel.manifest.end in known)
    ]
    ordered = _led_to([*_available(target), *reels])
    return [reel for reel in ordered if reel in reels and not _has(target, reel)]


def _available(carried: Carried) -> list[StoredReel]:
    return [reel for reel in carried.reels.all() if reel.is_available]


def _led_to(reels: Sequence[StoredReel]) -> list[StoredReel]:
    """Return the reels that others, or none, lead to from the beginning on, in that order."""
    offers = {_offer(reel): reel for reel in reels}
    return [offers[offer] for offer in reached(offers)]


def _offer(reel: StoredReel) -> ReelOffer:
    manifest = reel.manifest
    return ReelOffer(reel.id, manifest.start, manifest.end, manifest.pack_size)


def _commit(target: Carried, log: VerifiedLog, location: Location) -> None:
    """Make a log the one of a repository in the cache, if there is a reel to go with it."""
    if not any(reel.is_available for reel in target.reels.all()):
        raise NotThereError(f"{location.url} has no reel")
    name = log.policy.policy.name
    source = location.pinned_url(log.repository)
    target.set_info(RepositoryInfo(log.repository, name, CACHE, source=source))
    target.log_store.commit(log)
