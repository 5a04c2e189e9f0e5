"""One repository's part in live conversations: what is new goes out, what is told of comes in.

The shell around `gittorrent.push.spreading`: runs in the event loop, asks peers as the machine
says, and has what came taken in by a thread (`gittorrent.repository.taking_in`). Tracks the peers
of the repository, what is here as the loop needs to know it, and what arrived and was not taken in.

Rules: one batch at a time, all that came meanwhile is the next one. What fails on this machine is
logged, and asked for again when somebody tells of it again.
Source: docs/protocol/mirrorsync.md, Live conversations.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.errors import GitTorrentError, LocalError
from gittorrent.event_log import EventLog
from gittorrent.node.claimed_heads import ClaimedHeads
from gittorrent.node.fresh_intake import FreshIntake
from gittorrent.node.held_bytes import HeldBytes
from gittorrent.push.chain import CheckpointError
from gittorrent.push.spreading import Drop, Fetch, Item, PeerKey, Spreading, Tell
from gittorrent.repository.freshness import LEAST_APART, judge_fresh, keep_fresh, read_fresh
from gittorrent.repository.taking_in import Arrived, TakingIn
from gittorrent.wire.limits import MAX_PUSH_BYTES
from gittorrent.wire.messages import FetchLog, HaveCheckpoint, HavePush

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
    from pathlib import Path

    from gittorrent.ids import PushId
    from gittorrent.node.catalogue import Served
    from gittorrent.push import spreading
    from gittorrent.push.log import VerifiedLog
    from gittorrent.repository.kept_log import KeptLog
    from gittorrent.repository.taking_in import TakenIn
    from gittorrent.transfer.live_peer import LivePeer
    from gittorrent.transfer.mirror import LogEntry
    from gittorrent.transfer.off_loop import SerialExecutor
    from gittorrent.wire.messages import FreshLine, News

MAX_LOG_BYTES = 64 << 20
"""Bytes of entries that are taken at once over a live conversation: who is behind further takes
the log as mirrors do that begin."""

TICK_SECONDS = 0.5
"""How often it is looked whether somebody takes long to answer."""

_KEYS = itertools.count(1)
_log = EventLog(__name__)


class Standing(Struct, frozen=True):
    """What the event loop has to know of a log.

    Args:
        head: the checkpoint adopted.
        open: what no checkpoint names: policies, then pushes.
        policy: digest of the newest policy that counts.
        keeper: the key that signs checkpoints, by name.
        is_stopped: whether no checkpoint can follow for now.
        has_news: whether the keeper could sign something.
        entries: ids of everything held.
    """

    head: Item
    open: tuple[PushId, ...]
    policy: str
    keeper: str
    is_stopped: bool
    has_news: bool
    entries: frozenset[PushId]


def standing_of(log: VerifiedLog) -> Standing:
    """Return what the event loop has to know of a log that has a checkpoint."""
    ledger = log.ledger
    point = ledger.adopted
    policies = ledger.policy.since(point.policy) or ()
    return Standing(
        head=Item(point.id, point.number),
        open=(*(version.id for version in policies), *(push.id for push in log.unfinal)),
        policy=ledger.policy.digest,
        keeper=str(ledger.policy.policy.keeper),
        is_stopped=bool(ledger.stopped),
        has_news=bool(policies) or bool(ledger.view().judged),
        entries=frozenset(log.entries),
    )


class LiveRepository:
    """One repository; make it inside a running event loop, then `open` it.

    Args:
        served: the repository.
        kept: its log.
        executor: in which entries are taken in.
        bring: brings the objects that some pushes need; returns the packs that came.
        moved: told when the log came to stand elsewhere, in the event loop.
        held: counts what peers sent and is not taken in yet.
    """

    def __init__(
        self,
        served: Served,
        kept: KeptLog,
        executor: SerialExecutor,
        bring: Callable[[Served, Sequence[Arrived]], Awaitable[Sequence[Path]]],
        moved: Callable[[], None] = lambda: None,
        held: HeldBytes | None = None,
    ) -> None:
        self.served = served
        self.kept = kept
        self.executor = executor
        self._bring = bring
        self._moved = moved
        self._held = held or HeldBytes()
        self._taking = TakingIn(kept, time.time, time.monotonic)
        self._loop = asyncio.get_running_loop()
        self._spreading = Spreading(self)
        self._peers: dict[PeerKey, LivePeer] = {}
        self._arrived: dict[PushId, tuple[PeerKey, Arrived]] = {}
        self._waiting: set[PushId] = set()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._heads = ClaimedHeads(self.holds, lambda: self._known.head.number)
        self._logs_asked: dict[PeerKey, PushId] = {}
        self._fresh_intake = FreshIntake(self._take_fresh, self._start)
        self.fresh: FreshLine | None = None
        self.standing: Standing | None = None

    # -- what the machine asks

    def holds(self, entry: PushId) -> bool:
        """Tell whether an entry is here, waiting ones included."""
        standing = self._known
        return entry in standing.entries or entry in self._waiting

    def head(self) -> Item:
        """Return the checkpoint adopted."""
        return self._known.head

    def open(self) -> Sequence[PushId]:
        """Return what no checkpoint names yet."""
        return self._known.open

    @property
    def _known(self) -> Standing:
        assert self.standing is not None
        return self.standing

    # -- life

    async def begin(self) -> None:
        """Look at the log, and take in what comes from now on.

        Raises:
            GitTorrentError: the log cannot be read, or has no checkpoint.
        """
        await self.executor(self.kept.recover)
        self.standing = await self.executor(self._look)
        info, layout = self.served.info, self.served.carried.layout
        self.fresh = await self.executor(lambda: read_fresh(layout, info.repository_id))
        self._start(self._work())

    async def stop(self) -> None:
        """End what is under way."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look(self) -> Standing:
        with self.kept.reading() as log:
            return standing_of(log)

    # -- peers

    def joined(self, peer: LivePeer, *, is_called: bool) -> PeerKey:
        """Take note of a conversation; `left` must follow."""
        key = PeerKey(next(_KEYS))
        self._peers[key] = peer
        self._do(self._spreading.joined(key, is_called=is_called))
        return key

    def left(self, key: PeerKey) -> None:
        """Take note that a conversation is over."""
        self._heads.left(key)
        self._fresh_intake.left(key)
        self._logs_asked.pop(key, None)
        if self._peers.pop(key, None) is not None:
            self._do(self._spreading.left(key, self._loop.time()))

    def heard(self, key: PeerKey, message: News) -> None:
        """Take note of what a peer tells."""
        if isinstance(message, HavePush):
            self._do(self._spreading.told(key, Item(message.push), self._loop.time()))
        elif isinstance(message, HaveCheckpoint):
            item = Item(message.checkpoint, message.number)
            is_first = self._heads.said(key, item)
            self._do(self._spreading.told(key, item, self._loop.time()))
            if is_first and self.fresh is not None:
                self._peers[key].tell(self.fresh)
        else:
            self._fresh_intake.heard(key, message)

    @property
    def peers(self) -> int:
        """How many conversations there are."""
        return len(self._peers)

    async def hear_all(self, count: int, seconds: float) -> int:
        """Wait until so many mirrors that were called said what they have, and it is here.

        Args:
            count: of mirrors.
            seconds: after which no more are waited for.

        Returns:
            How many there are.
        """
        return await self._heads.hear(count, seconds)

    async def catch_up(self, seconds: float) -> None:
        """Wait until no peer says that it has a newer checkpoint, or for so many seconds."""
        await self._heads.catch_up(seconds)

    # -- freshness

    def say_fresh(self, line: FreshLine) -> None:
        """Tell everybody of a statement of freshness that was made here."""
        self.fresh = line
        for key in self._heads:
            self._peers[key].tell(line)

    async def _take_fresh(self, line: FreshLine) -> None:
        """Take note of a statement that a peer passed on, and pass it on if it counts."""
        if self.fresh is not None and line.time < self.fresh.time + LEAST_APART:
            return
        try:
            await self.executor(lambda: self._keep_fresh(line))
        except GitTorrentError as error:
            _log.debug(
                "not-fresh",
                "{repository}: {reason}",
                repository=self.served.info.name,
                reason=error,
            )
        else:
            self.say_fresh(line)

    def _keep_fresh(self, line: FreshLine) -> None:
        with self.kept.reading() as log:
            judge_fresh(log, line, time.time())
        keep_fresh(self.served.carried.layout, self.served.info.repository_id, line)

    # -- what came into the log otherwise

    async def adopt(self, previous: PushId, made: Arrived) -> bool:
        """Take in a checkpoint that was signed here, and tell everybody of it.

        Returns:
            Whether it counts: the log may have gone on meanwhile.

        Raises:
            GitTorrentError: this machine let us down.
        """
        before = self._known
        done, after = await self.executor(
            lambda: (self._taking.adopt(previous, made), self._look())
        )
        self._go_on(before, after, ())
        if done is not None and (done.faults or done.refuted):
            said = [*done.faults.values(), *done.refuted.values()]
            raise CheckpointError(f"what was signed here does not hold: {said[0]}")
        return done is not None

    async def look_again(self) -> None:
        """Find out what others put into the log: the depot, a command, another process."""
        before = self._known
        after = await self.executor(self._look)
        self._go_on(before, after, ())

    def _go_on(self, before: Standing, after: Standing, told: Iterable[Item]) -> None:
        """Take note that the log stands elsewhere, and tell everybody what is new."""
        now = self._loop.time()
        self.standing = after
        if (before.head, before.policy) != (after.head, after.policy):
            is_new_policy = before.policy != after.policy
            self._do(self._spreading.moved(now, is_new_policy=is_new_policy))
        for item in dict.fromkeys((*told, *map(Item, self._new_open(before, after)))):
            self._do(self._spreading.took(item, now))
        if before.head != after.head:
            self._do(self._spreading.took(after.head, now))
        self._heads.look()
        if before != after:
            self._moved()

    @staticmethod
    def _new_open(before: Standing, after: Standing) -> list[PushId]:
        return [entry for entry in after.open if entry not in before.entries]

    # -- what the machine wants done

    def _do(self, effects: Iterable[spreading.Effect]) -> None:
        for effect in effects:
            peer = self._peers.get(effect.peer)
            if peer is None:
                continue
            if isinstance(effect, Tell):
                peer.tell(_news(effect.item))
            elif isinstance(effect, Drop):
                _log.warning(
                    "left-out",
                    "{repository}: {peer} is left out: {reason}",
                    repository=self.served.info.name,
                    peer=peer.name,
                    reason=effect.reason,
                )
                peer.make_room(effect.reason)
            elif isinstance(effect, Fetch):
                self._start(self._fetch(effect.peer, peer, effect.item))
            else:
                self._start(self._fetch_log(effect.peer, peer, effect.item))
        self._set_timer()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _set_timer(self) -> None:
        """See to it that the time is noticed: not anew for each line that somebody says."""
        if self._timer is None and self._spreading.is_asking:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self._spreading.tick(self._loop.time()))

    async def _fetch(self, key: PeerKey, peer: LivePeer, item: Item) -> None:
        size, asking = 0, None
        if not item.number:
            asking = self._loop.create_task(peer.fetch_pack(item.id))
        try:
            data = await peer.fetch_push(item.id, MAX_PUSH_BYTES)
            size = len(data)
            self._held.add(key, size, peer.make_room)
            pack = None if asking is None else await asking
        except GitTorrentError as error:
            self._held.release(key, size)
            self._note_failure(key, item.id, error)
            return
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        self._keep_arrived(key, Arrived(item.id, data, pack))
        self._wake.set()

    def _keep_arrived(self, key: PeerKey, arrived: Arrived) -> None:
        """Let something be taken in that came and was counted."""
        if arrived.id in self._arrived:
            self._held.release(key, len(arrived.data))
        else:
            self._arrived[arrived.id] = (key, arrived)

    async def _fetch_log(self, key: PeerKey, peer: LivePeer, item: Item) -> None:
        """Fetch what lies between here and a checkpoint that is several ahead."""
        size = 0

        async def admit(entries: Sequence[LogEntry]) -> None:
            nonlocal size
            for entry, data in entries:
                size += len(data)
                if size > MAX_LOG_BYTES:
                    raise LocalError(f"{peer.name} is far ahead: its log is taken otherwise")
                if not self.holds(entry):
                    self._held.add(key, len(data), peer.make_room)
                    self._keep_arrived(key, Arrived(entry, bytes(data)))

        try:
            question = FetchLog(item.id, self._known.head.id)
            await peer.fetch_log(question, self.holds, admit)
        except GitTorrentError as error:
            self._note_failure(key, item.id, error)
        else:
            if self.holds(item.id):
                self._do(self._spreading.kept(item.id, self._loop.time()))
            elif item.id not in self._arrived:
                self._do(self._spreading.failed(key, item.id, self._loop.time()))
        self._wake.set()

    def _note_failure(self, key: PeerKey, entry: PushId, error: GitTorrentError) -> None:
        _log.info(
            "not-fetched",
            "{repository}: {entry} did not come: {reason}",
            repository=self.served.info.name,
            entry=entry,
            reason=error,
        )
        self._do(self._spreading.failed(key, entry, self._loop.time()))

    # -- taking in

    async def _work(self) -> None:
        """Take in what arrives, batch by batch, until cancelled."""
        while True:
            await self._wait()
            batch, self._arrived = self._arrived, {}
            try:
                await self._take(batch)
            except GitTorrentError as error:
                _log.error(
                    "not-taken",
                    "cannot take what is new in {repository}: {reason}",
                    repository=self.served.info.name,
                    reason=error,
                )
                self._give_up(batch)
            except Exception:
                # A mistake with one batch must not end all taking in for good.
                _log.exception("failed", "taking in failed")
                self._give_up(batch)
            finally:
                for key, arrived in batch.values():
                    self._held.release(key, len(arrived.data))

    def _give_up(self, batch: dict[PushId, tuple[PeerKey, Arrived]]) -> None:
        """Let what could not be taken in be asked for again when it is told of again."""
        for entry, (key, _) in batch.items():
            self._do(self._spreading.failed(key, entry, self._loop.time()))

    async def _wait(self) -> None:
        """Wait until something arrived, or what waits may go on."""
        deadline = self._taking.next_deadline()
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            pass  # then it is time for what waited
        self._wake.clear()

    async def _take(self, batch: dict[PushId, tuple[PeerKey, Arrived]]) -> None:
        before = self._known
        arrived = [each for _, each in batch.values()]
        done, after = await self.executor(lambda: self._take_in(arrived))
        if done.incomplete:
            await self._complete(done.incomplete, done)
            after = await self.executor(self._look)
        for item in done.new:
            pack = batch[item.id][1].pack if item.id in batch else None
            if pack is not None:
                self.served.content.push_packs.add(item.id, pack)
        self._go_on(before, after, done.new)
        self._settle(batch, done)

    def _take_in(self, arrived: Sequence[Arrived]) -> tuple[TakenIn, Standing]:
        done = self._taking.take(arrived) if arrived else self._taking.due()
        return done, self._look()

    async def _complete(self, missing: Sequence[Arrived], done: TakenIn) -> None:
        """Have the objects brought that did not come with pushes, and take these in then."""
        names = ", ".join(each.id for each in missing[:4])
        try:
            packs = await self._bring(self.served, missing)
        except GitTorrentError as error:
            _log.warning(
                "not-fetched",
                "{repository}: the objects of {entry} did not come: {reason}",
                repository=self.served.info.name,
                entry=names,
                reason=error,
            )
            return
        again = [Arrived(each.id, each.data) for each in missing]
        more = await self.executor(lambda: self._taking.take(again, packs))
        done.new += more.new
        done.incomplete = more.incomplete
        done.lacking = more.lacking

    def _log_to_ask_for(self, key: PeerKey, entry: PushId) -> Item | None:
        """Return an entry if it is to be asked for with all before it, which is done once.

        A checkpoint may name a policy that is not here, which may have named its signer as keeper:
        nobody tells of policies, they come with the log.
        """
        head = self._heads.get(key)
        if head is None or head.id != entry or key not in self._peers:
            return None
        asked, self._logs_asked[key] = self._logs_asked.get(key), entry
        return None if asked == entry else head

    def _settle(self, batch: dict[PushId, tuple[PeerKey, Arrived]], done: TakenIn) -> None:
        """Let the machine know what became of each entry."""
        now = self._loop.time()
        self._waiting |= set(done.kept)
        self._waiting -= {item.id for item in done.new}
        incomplete = {each.id for each in done.incomplete}
        for entry, (key, _) in batch.items():
            if entry in done.faults or entry in done.refuted:
                reason = done.faults.get(entry) or done.refuted.get(entry, "")
                self._do(self._spreading.failed(key, entry, now))
                self._do(self._spreading.lied(key, f"{entry} does not hold: {reason}", now))
            elif entry in incomplete:
                self._do(self._spreading.failed(key, entry, now))
            elif (entry in done.refused or entry in done.without_policy) and (
                head := self._log_to_ask_for(key, entry)
            ):
                self._start(self._fetch_log(key, self._peers[key], head))
            elif entry in done.refused:
                again = done.refused[entry]
                self._do(self._spreading.refused(entry, now, again=again))
            else:
                self._do(self._spreading.kept(entry, now))
        if done.lacking:
            for key in dict.fromkeys(key for key, _ in batch.values()):
                items = [Item(entry) for entry in sorted(done.lacking)]
                self._do(self._spreading.lacks(key, items, now))


def _news(item: Item) -> HaveCheckpoint | HavePush:
    return HaveCheckpoint(item.id, item.number) if item.number else HavePush(item.id)
