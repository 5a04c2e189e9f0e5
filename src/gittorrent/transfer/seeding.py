"""Turns a clone into a seed: gives the reels it holds, or can build, to whoever asks.

Nothing is downloaded but the log and the manifests. The seed listens on a port of its own, tells
the mirror it names where that is, and is introduced by it to downloaders. By notices that mirror
and those it lists tell of the seed in their lists too, for some minutes at a time.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import locked
from gittorrent.errors import GitTorrentError, LocalError, UnreachableError
from gittorrent.git.history import MissingObjectError
from gittorrent.ids import format_of
from gittorrent.repository.carried import CLONE, About, Carried
from gittorrent.repository.litter import clear_litter
from gittorrent.repository.logstore import listed_pushes
from gittorrent.repository.rebuild import rebuild_reel
from gittorrent.transfer.acquire import Acquisition
from gittorrent.transfer.announcing import announce_for_long
from gittorrent.transfer.callers import Callers
from gittorrent.transfer.git_mirror import Exchange, GitMirror, open_git_mirror
from gittorrent.transfer.hub import PeerHub
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.slot_queue import SlotQueue
from gittorrent.wire.reelname import ReelName

if TYPE_CHECKING:
    from collections.abc import Callable

    from gittorrent.ids import PushId
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.receive import SignedManifest
    from gittorrent.transfer.acquire import Context
    from gittorrent.transfer.location import Location
    from gittorrent.transfer.shelf import Shelf

RETRY_SECONDS = 30.0
"""Time between attempts to reach the mirror again."""


MAX_CALLERS = 80
"""Conversations that others may have with a seed."""


class NothingToSeedError(GitTorrentError):
    """The clone holds no whole reel, and none can be built from its objects."""


class Prepared(Struct, frozen=True):
    """What a clone can give.

    Args:
        held: reels whose packs were there.
        built: reels whose packs were built from objects, without a download.
        failed: reels that could not be built here.
    """

    held: int
    built: int
    failed: int


async def prepare(
    carried: Carried,
    location: Location,
    context: Context,
    progress: Callable[[str, int, int], None],
) -> Prepared:
    """Make sure that a clone has the log and every reel it can give.

    Args:
        carried: the clone.
        location: a mirror of its repository.
        context: of the world around it.
        progress: told how far building is.

    Raises:
        NothingToSeedError: there is nothing to give.
        GitTorrentError: the reasons acquiring has.
    """
    async with Acquisition(location, context) as acquisition:
        await acquisition.open()
        latest = acquisition.mirror_list.latest
        object_format = format_of(latest) if latest is not None else None
        if object_format is None:
            raise UnreachableError(f"{location.url} has no push yet")
        carried = Carried(carried.layout.git_dir, object_format, acquisition.claimed)
        with locked(carried.layout.lock):
            clear_litter(carried.layout, listed_pushes(carried.layout))
            log = await acquisition.fetch_log(carried.log_store, object_format)
            chain = [signed for _, signed in await acquisition.plan(log, ())]
            result = await asyncio.to_thread(_build_missing, carried, log, chain, progress)
            if not result.held + result.built:
                raise NothingToSeedError(
                    f"{carried.layout.git_dir} holds no reel of {log.policy.policy.name}",
                    hint="fetch in it first: a seed needs all branches and tags of a push",
                )
            carried.log_store.commit(log)
            name = log.policy.policy.name
            carried.set_about(
                About(log.repository, name, CLONE, source=location.pinned_url(log.repository))
            )
    return result


def _build_missing(
    carried: Carried,
    log: VerifiedLog,
    chain: list[SignedManifest],
    progress: Callable[[str, int, int], None],
) -> Prepared:
    held = built = failed = 0
    store = carried.log_store
    for signed in chain:
        manifest = signed.manifest
        stored = carried.reels.get(manifest.id)
        if stored is not None and stored.is_available:
            held += 1
            continue
        start = () if manifest.start is None else store.refs_at_in(log, manifest.start).values()
        end = store.refs_at_in(log, manifest.end).values()
        try:
            done = rebuild_reel(carried, signed, start, end, progress)
        except MissingObjectError:
            done = False
        built += done
        failed += not done
    return Prepared(held, built, failed)


async def seed(
    shelf: Shelf,
    carried: Carried,
    location: Location,
    limits: Limits,
    port: int = 0,
    slots: SlotQueue | None = None,
) -> None:
    """Serve a prepared clone until cancelled.

    Args:
        shelf: gives what the clone holds.
        carried: the clone.
        location: the mirror to be introduced by.
        limits: of what is sent.
        port: to listen on; 0 takes a free one.
        slots: upload slots, if they are shared with other conversations of this process.

    Raises:
        LocalError: something else listens at the port.
    """
    callers: set[GitMirror] = set()
    exchange = Exchange(secrets.token_hex(20), shelf, limits, slots or SlotQueue())
    hub = PeerHub(
        carried.about.repository_id, exchange, callers.add, Callers(MAX_CALLERS), callers.discard
    )
    announcing = None
    listens = hub.start(port)
    if port and not listens:
        raise LocalError(
            f"cannot listen at port {port}: {hub.trouble}", hint="choose another, or 0 for any"
        )
    endpoint = location.endpoint
    if listens and endpoint is not None and endpoint.scheme == "git":
        work = announce_for_long(endpoint, hub.url_at, lambda: _latest(carried))
        announcing = asyncio.get_running_loop().create_task(work)
    try:
        while True:
            await _be_introduced(shelf, carried, location, exchange, hub)
            await asyncio.sleep(RETRY_SECONDS)
    finally:
        if announcing is not None:
            announcing.cancel()
            await asyncio.gather(announcing, return_exceptions=True)
        await hub.close()
        await asyncio.gather(*(c.close() for c in list(callers)), return_exceptions=True)


def _latest(carried: Carried) -> PushId | None:
    """Return the newest push of a log; none if the repository has just been removed."""
    ids = carried.log_store.ids()
    return ids[-1] if ids else None


async def _be_introduced(
    shelf: Shelf, carried: Carried, location: Location, exchange: Exchange, hub: PeerHub
) -> None:
    """Talk to the mirror that introduces us to others, as long as that goes well."""
    endpoint = location.endpoint
    if endpoint is None or endpoint.scheme != "git":
        return  # a web server introduces nobody
    try:
        mirror = await open_git_mirror(endpoint, exchange)
    except GitTorrentError:
        return
    try:
        _announce(mirror, shelf, carried, hub)
        await mirror.wait_closed()
    finally:
        await mirror.close()


def _announce(mirror: GitMirror, shelf: Shelf, carried: Carried, hub: PeerHub) -> None:
    mirror.tell(hub.invitation(mirror.own_address))
    head = carried.log_store.ids()[-1]
    for offer in shelf.offers(ReelName(None, head)):
        mirror.tell(offer)
