"""Downloads one pack from many mirrors at once.

Carries out what the scheduler in `swarm` decides: asks mirrors, verifies and stores parts in
threads, tells of each that is there. Whatever mirrors do, the result
is either the whole pack, every part of it verified, or an error that names what happened.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from gittorrent.errors import LocalError, UnreachableError
from gittorrent.store.processes import DownloadFigures, MirrorFigures
from gittorrent.swarm.bitmap import PartSet
from gittorrent.swarm.download import Download
from gittorrent.swarm.events import (
    Ask,
    Ban,
    Cancel,
    Finished,
    PartArrived,
    PartFromElsewhere,
    PartMissing,
    PartProgress,
    PartTakenUp,
    PartVerified,
    PartWrong,
    PeerBusy,
    PeerHas,
    PeerJoined,
    PeerKey,
    PeerKind,
    PeerLost,
    Starved,
    Tick,
)
from gittorrent.transfer.beginnings import Beginnings, Place
from gittorrent.transfer.client_timeouts import ClientTimeouts
from gittorrent.transfer.patience import Patience
from gittorrent.transfer.task_set import TaskSet
from gittorrent.transfer.working import abortable, unbroken
from gittorrent.wire.messages import WrongParts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gittorrent.swarm.events import Effect, Event
    from gittorrent.swarm.settings import Settings
from gittorrent.transfer.mirror import Mirror, WantedPack

TICK_SECONDS = 0.25
"""How often progress is sampled and deadlines are looked at."""

SYNC_BYTES = 256 << 20
"""Bytes verified between two syncs to disk."""


class NoSourceError(UnreachableError):
    """No mirror is left that has the missing parts."""


class WithheldError(NoSourceError):
    """Those who offered a pack do not give it, and are not listened to any more: look again."""


class DownloadHandlers(Struct, frozen=True):
    """Who hears of how a download goes; nobody by default.

    Args:
        on_part: told of each verified part (from 0), those recovered from disk first.
        on_progress: told how far it is, at the beginning and then a few times a second.
        is_growing: tells whether further mirrors may still join.
        on_growth: called a few times a second with the verified parts.
        on_claim: called when a mirror says which parts it has, None for all.
        on_ban: called with a mirror that lied or sent a wrong part.
        stands_in: tells of a mirror whether what is wanted may come from it in another way.
    """

    on_part: Callable[[int], None] = lambda _part: None
    on_progress: Callable[[DownloadFigures], None] = lambda _figures: None
    is_growing: Callable[[], bool] = lambda: False
    on_growth: Callable[[PartSet], None] = lambda _have: None
    on_claim: Callable[[Mirror, PartSet | None], None] = lambda _mirror, _parts: None
    on_ban: Callable[[Mirror], None] = lambda _mirror: None
    stands_in: Callable[[Mirror], bool] = lambda _mirror: False


UNHEARD = DownloadHandlers()
"""Of those who only wait for the pack."""


class PartStore(Protocol):
    """Where parts are kept; see `gittorrent.store.partial.PartialPack`, which is one."""

    def recover(self) -> Iterator[int]:
        """Read what is there; yield each part that is right."""
        ...

    def marked(self, index: int) -> bool:
        """Tell whether a part is marked as right, by anybody."""
        ...

    def holds(self, index: int) -> bool:
        """Tell whether a part is right."""
        ...

    def store(self, index: int, data: memoryview | bytes | bytearray) -> bool:
        """Write a part if its digest is right; tells whether it was."""
        ...

    def sync(self) -> None:
        """Make what is there survive a power cut."""
        ...


class _Named(Struct, frozen=True):
    """What stays known of a mirror that is gone; see `Mirror`."""

    url: str
    name: str
    called_us: bool


class PackDownload:
    """The download of one pack; a `PartSink` for its mirrors.

    Args:
        wanted: the pack.
        partial: where it is stored.
        handlers: who hears of how it goes.
        client_timeouts: how long to wait for parts.
        settings: of the scheduler; its own by default.
    """

    def __init__(
        self,
        wanted: WantedPack,
        partial: PartStore,
        handlers: DownloadHandlers = UNHEARD,
        client_timeouts: ClientTimeouts | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.wanted = wanted
        self._partial = partial
        self._handlers = handlers
        self._loop = asyncio.get_running_loop()
        self._client_timeouts = client_timeouts or ClientTimeouts()
        self._settings = settings
        self._flowing: dict[PeerKey, tuple[int, int]] = {}
        self._beginnings = Beginnings()
        self._taken_up: dict[tuple[PeerKey, int], int] = {}  # bytes that had come before
        self._patience = Patience(self._client_timeouts, self._loop.time())
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="parts")
        self._keys = itertools.count(1)
        self._mirrors: dict[PeerKey, Mirror] = {}
        self._names: dict[PeerKey, _Named] = {}
        self._claims: dict[PeerKey, PartSet | None] = {}
        self._faults: dict[PeerKey, str] = {}
        self._gone: dict[_Named, MirrorFigures] = {}
        self._tasks = TaskSet()
        self._storing: set[int] = set()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._starved_since: float | None = None
        self._starved_reason = "no mirror has it"
        self._received = 0
        self._unsynced = 0
        self._machine: Download | None = None

    async def run(self) -> None:
        """Download until every part is verified.

        Raises:
            NoSourceError: nobody left has what is missing.
            DiskFullError: there is no room for it.
        """
        stopped = threading.Event()
        recovered = await abortable(stopped.set, self._recover, stopped)
        shape = self.wanted.shape
        self._machine = Download(
            self.wanted.total,
            shape.part_size,
            shape.pack_size,
            _part_set(self.wanted.total, recovered),
            random.SystemRandom().randrange,
            self._settings,
        )
        self._handlers.on_growth(self._machine.have)
        for key, mirror in list(self._mirrors.items()):
            self._welcome(key, mirror)
        self._handle(Tick())
        self._handlers.on_progress(self.figures())
        for part in recovered:
            self._handlers.on_part(part)
        self._patience.renew(self._loop.time())  # up to now it was us who read the disk
        watcher = self._loop.create_task(self._watch())
        watcher.add_done_callback(self._note_failure)
        try:
            await self._done
        finally:
            watcher.cancel()
            try:
                await asyncio.gather(watcher, *self._tasks, return_exceptions=True)
            finally:
                # Whatever cuts this short: idle threads would keep the process from ending.
                self._threads.shutdown(wait=True)
        self._announce()
        await unbroken(self._partial.sync)
        self._handlers.on_progress(self.figures())

    def _recover(self, stopped: threading.Event) -> list[int]:
        """Return the parts that are on disk already; in a thread."""
        return list(
            itertools.takewhile(lambda _part: not stopped.is_set(), self._partial.recover())
        )

    def add(self, mirror: Mirror, have: PartSet | None) -> None:
        """Let a mirror take part, now or later.

        Args:
            mirror: who.
            have: the parts it has, None for all.
        """
        if self._key(mirror) is not None or self._done.done():
            return
        key = PeerKey(next(self._keys))
        self._mirrors[key] = mirror
        self._names[key] = _Named(mirror.url, mirror.name, mirror.called_us)
        self._claims[key] = have
        if self._machine is not None:
            self._welcome(key, mirror)

    def add_empty(self, mirror: Mirror) -> None:
        """Let a mirror take part that has nothing yet and will tell when it has."""
        self.add(mirror, PartSet(self.wanted.total))

    def _welcome(self, key: PeerKey, mirror: Mirror) -> None:
        mirror.begin(self.wanted, self)
        if all(known.url != mirror.url for other, known in self._names.items() if other != key):
            self._patience.joined()
        begun = self._beginnings.parts_of(_place_of(mirror))
        self._handle(PeerJoined(key, self._claims.pop(key), mirror.kind, begun))

    def mirror_has(self, mirror: Mirror, parts: PartSet | None) -> None:
        """Note which parts a mirror says it has."""
        self._handlers.on_claim(mirror, parts)
        self._tell(mirror, lambda key: PeerHas(key, parts))

    def figures(self) -> DownloadFigures:
        """Return how far the download is."""
        machine = self._machine
        if machine is None:
            return DownloadFigures(0, self.wanted.total, self.wanted.shape.pack_size, 0, ())
        mirrors = (*self._figures_of(machine).values(), *self._gone.values())
        return DownloadFigures(
            len(machine.have),
            self.wanted.total,
            self.wanted.shape.pack_size,
            self._received,
            mirrors,
        )

    def _figures_of(self, machine: Download) -> dict[PeerKey, MirrorFigures]:
        """Return what came from each mirror that the scheduler still knows."""
        return {
            report.peer: MirrorFigures(
                self._names[report.peer].url,
                report.rate,
                report.delivered_parts,
                report.delivered_bytes,
                report.banned or self._faults.get(report.peer, ""),
                self._names[report.peer].called_us,
            )
            for report in machine.report(self._loop.time())
        }

    def part_arrived(self, mirror: Mirror, part: int, data: bytearray | bytes) -> None:
        """Take the bytes of a part: verify and store them in a thread."""
        key = self._key(mirror)
        if key is None or self._machine is None or self._done.done():
            return
        self._note_flow(key, part, len(data))
        needed = self._machine.wants(part)
        self._handle(PartArrived(key, part, len(data)))
        if needed:
            self._tasks.start(self._store(key, part, data))

    def taken_up(self, mirror: Mirror, part: int) -> bytes:
        """Hand over the beginning of a part that a mirror is asked for, if it came from there."""
        key = self._key(mirror)
        beginning = b"" if key is None else self._beginnings.take(_place_of(mirror), part)
        if key is not None and beginning:
            self._taken_up[key, part] = len(beginning)
            self._handle(PartTakenUp(key, part, len(beginning)))
        return beginning

    def part_broke_off(self, mirror: Mirror, part: int, beginning: bytes) -> None:
        """Keep the beginning of a part for when its mirror is there again."""
        key, machine = self._key(mirror), self._machine
        if key is None or machine is None or mirror.called_us:
            return  # whoever called us calls from another port the next time
        self._note_flow(key, part, len(beginning))
        if part not in machine.have:
            self._beginnings.keep(_place_of(mirror), part, beginning)

    def parts_missing(self, mirror: Mirror, first: int, last: int) -> None:
        """Note that a mirror lacks parts it claimed to have."""
        self._tell(mirror, lambda key: PartMissing(key, first, last))

    def mirror_busy(self, mirror: Mirror, seconds: float) -> None:
        """Leave a mirror alone for a while."""
        self._tell(mirror, lambda key: PeerBusy(key, seconds))

    def part_queued(self, mirror: Mirror) -> None:
        """Go on waiting: what was asked for has its turn when others were served."""
        key = self._key(mirror)
        if key is not None and self._owes(key):
            self._patience.queued(self._loop.time())

    def mirror_lost(self, mirror: Mirror, reason: str) -> None:
        """Go on without a mirror."""
        key = self._key(mirror)
        if key is not None:
            self._faults[key] = reason
            self._remember(key, reason)
            self._tell(mirror, lambda key: PeerLost(key, reason))
            self._mirrors.pop(key, None)

    def _remember(self, key: PeerKey, reason: str) -> None:
        """Keep the figures of a mirror that the scheduler is about to forget."""
        if self._machine is not None and not self._done.done():
            known = self._figures_of(self._machine).get(key)
            if known is not None:
                # Of one that is lost again and again there is one entry.
                before = self._gone.get(self._names[key])
                self._gone[self._names[key]] = replace(
                    known,
                    rate=0.0,
                    parts=known.parts + (0 if before is None else before.parts),
                    bytes=known.bytes + (0 if before is None else before.bytes),
                    fault=known.fault or reason,
                )

    def _tell(self, mirror: Mirror, event_of: Callable[[PeerKey], Event]) -> None:
        key = self._key(mirror)
        if key is not None and self._machine is not None and not self._done.done():
            self._handle(event_of(key))

    def _key(self, mirror: Mirror) -> PeerKey | None:
        return next((key for key, known in self._mirrors.items() if known is mirror), None)

    async def _store(self, key: PeerKey, part: int, data: bytearray | bytes) -> None:
        self._storing.add(part)
        try:
            good = await self._loop.run_in_executor(self._threads, self._partial.store, part, data)
        except (LocalError, OSError) as error:
            if not self._done.done():
                self._done.set_exception(error)
            return
        finally:
            self._storing.discard(part)
        if self._done.done():
            return
        if not good:
            if (mirror := self._mirrors.get(key)) is not None:
                # One that is honest has a bad disk and does not know.
                reel, manifest, total = self.wanted.reel, self.wanted.manifest, self.wanted.total
                mirror.tell(WrongParts(reel, manifest, part, part, total))
            self._handle(PartWrong(key, part))
            return
        self._beginnings.forget(part)
        self._received += len(data)
        self._unsynced += len(data)
        self._handle(PartVerified(key, part))
        self._handlers.on_part(part)
        if self._unsynced >= SYNC_BYTES:
            self._unsynced = 0
            await self._loop.run_in_executor(self._threads, self._partial.sync)

    def _note_failure(self, watcher: asyncio.Task[None]) -> None:
        """Make the download fail if the task that drives it ended: it could wait for ever."""
        if not watcher.cancelled() and not self._done.done():
            error = watcher.exception()
            if error is not None:
                self._done.set_exception(error)

    async def _watch(self) -> None:
        """Look at the clock, at parts on their way and at what other processes stored."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            assert self._machine is not None
            for key, mirror in list(self._mirrors.items()):
                flowing = mirror.flowing()
                if flowing is not None:
                    self._note_flow(key, *flowing)
                    self._handle(PartProgress(key, *flowing))
            await self._adopt_from_elsewhere()
            self._handle(Tick())
            self._announce()
            self._handlers.on_progress(self.figures())
            self._check_starved()

    def _announce(self) -> None:
        assert self._machine is not None
        self._handlers.on_growth(self._machine.have)

    async def _adopt_from_elsewhere(self) -> None:
        machine = self._machine
        assert machine is not None
        for part in range(self.wanted.total):
            if (
                self._partial.marked(part)
                and part not in machine.have
                and part not in self._storing
                and await self._loop.run_in_executor(self._threads, self._partial.holds, part)
            ):
                self._beginnings.forget(part)
                self._handle(PartFromElsewhere(part))
                self._handlers.on_part(part)

    def _note_flow(self, key: PeerKey, part: int, received: int) -> None:
        """Count the bytes of parts, those of unfinished ones included."""
        before = self._flowing.get(key)
        known = self._taken_up.get((key, part), 0)
        counted = max(known, before[1]) if before is not None and before[0] == part else known
        if received > counted:
            self._patience.flowed(received - counted)
        self._flowing[key] = (part, received)

    def _check_starved(self) -> None:
        now = self._loop.time()
        owing = {key for key in self._mirrors if self._owes(key)}
        stands_in = self._handlers.stands_in
        has_others = any(stands_in(m) for key, m in self._mirrors.items() if key not in owing)
        if reason := self._patience.give_up(now, is_owed=bool(owing), has_others=has_others):
            self._fail(reason)
        since = self._starved_since
        if since is not None and now - since > self._client_timeouts.starved:
            self._fail(self._starved_reason)
        elif not self._mirrors and not self._handlers.is_growing():
            self._fail("no mirror is left")

    def _owes(self, key: PeerKey) -> bool:
        """Tell whether a mirror was asked for parts that it has not given."""
        return self._machine is not None and self._machine.owes(key)

    def _fail(self, reason: str) -> None:
        if self._done.done():
            return
        here = 0 if self._machine is None else len(self._machine.have)
        met = Counter(f"{self._names[key].name}: {why}" for key, why in self._faults.items())
        faults = "; ".join(f"{fault}, {n} times" if n > 1 else fault for fault, n in met.items())
        details = f" ({faults})" if faults else ""
        self._done.set_exception(
            NoSourceError(
                f"the download stopped with {here} of {self.wanted.total} parts: {reason}{details}",
                hint="try again later; verified parts are kept and need no second download",
            )
        )

    def _handle(self, event: Event) -> None:
        assert self._machine is not None
        if self._done.done():
            return
        for effect in self._machine.handle(self._loop.time(), event):
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Ask):
            self._starved_since = None
            mirror = self._mirrors.get(effect.peer)
            if mirror is not None:
                mirror.ask(effect.first, effect.last)
        elif isinstance(effect, Cancel):
            mirror = self._mirrors.get(effect.peer)
            if mirror is not None:
                mirror.cancel(effect.first, effect.last)
        elif isinstance(effect, Ban):
            mirror = self._mirrors.pop(effect.peer, None)
            self._faults[effect.peer] = effect.reason
            if mirror is not None:
                self._handlers.on_ban(mirror)
                self._tasks.start(mirror.close())
        elif isinstance(effect, Finished):
            if not self._done.done():
                self._done.set_result(None)
        elif isinstance(effect, Starved):
            self._starved_since = self._starved_since or self._loop.time()
            self._starved_reason = effect.reason


def _place_of(mirror: Mirror) -> Place:
    """Return what is to blame for bytes of a mirror: of a web server its URL alone."""
    is_one_host = mirror.kind is PeerKind.SESSION
    return Place(mirror.url, mirror.address if is_one_host else "")


def _part_set(total: int, parts: list[int]) -> PartSet:
    found = PartSet(total)
    for part in parts:
        found.add(part)
    return found
