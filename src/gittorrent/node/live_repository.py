"""One repository's part in live conversations: what is new goes out, what is told of comes in.

The shell around `gittorrent.push.spreading`: runs in the event loop, asks peers as the machine
says (`entry_fetcher`), and has what came taken in by a thread (`entry_intake`). Tracks the peers
of the repository, and what is here as the loop needs to know it.

Rules: whoever is told of is asked by the machine alone; what fails on this machine is logged, and
asked for again later. When it stops, its conversations end: nobody would hear of them any more.
Source: docs/protocol/mirrorsync.md, Live conversations.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

from gittorrent.disk_space import UNBOUNDED
from gittorrent.errors import GitTorrentError
from gittorrent.event_log import EventLog
from gittorrent.node.claimed_heads import ClaimedHeads
from gittorrent.node.entry_fetcher import EntryFetcher
from gittorrent.node.entry_intake import EntryIntake
from gittorrent.node.fresh_intake import FreshIntake
from gittorrent.node.held_bytes import HeldBytes
from gittorrent.node.reel_follower import ReelFollower
from gittorrent.push.chain import CheckpointError
from gittorrent.push.fresh import MAX_AHEAD
from gittorrent.push.spreading import Drop, Fetch, Invite, Item, PeerKey, Spreading, Tell
from gittorrent.repository.arrived_objects import Arrived
from gittorrent.repository.freshness import LEAST_APART, judge_fresh, keep_fresh, read_fresh
from gittorrent.shapes import WHOLE
from gittorrent.transfer.task_set import TaskSet
from gittorrent.wire.limits import MAX_SENT_BYTES
from gittorrent.wire.messages import (
    ALL,
    HaveBundle,
    HaveCheckpoint,
    HavePush,
    SendPushes,
    SentPush,
)
from gittorrent.wire.reelname import ReelName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gittorrent.disk_space import Space
    from gittorrent.ids import PushId
    from gittorrent.node.catalogue import Served
    from gittorrent.node.entry_intake import Batch, Bring
    from gittorrent.node.log_summary import LogSummary
    from gittorrent.push import spreading
    from gittorrent.repository.carried import Carried
    from gittorrent.repository.kept_log import KeptLog
    from gittorrent.repository.reelstore import StoredReel
    from gittorrent.repository.taking_in import TakenIn
    from gittorrent.store.processes import LackingFigures
    from gittorrent.transfer.live_peer import LivePeer
    from gittorrent.transfer.off_loop import SerialExecutor
    from gittorrent.wire.messages import FreshLine, News

TICK_SECONDS = 0.5
"""How often it is looked whether somebody takes long to answer."""

OPENED_ANEW = "this repository was opened anew here; call again"
"""What peers are told when it stops, such as when it was replaced under the running node."""

_KEYS = itertools.count(1)
_log = EventLog(__name__)


class LiveRepository:
    """One repository; make it inside a running event loop, then `open` it.

    Args:
        served: the repository.
        kept: its log.
        executor: in which entries are taken in.
        bring: brings the objects that some pushes need; returns the packs that came.
        moved: told when the log came to stand elsewhere, in the event loop.
        held: counts what peers sent and is not taken in yet.
        space: tells whether there is room for what they have.

    ``on_change`` is called whenever what there is to say of it may have changed.
    """

    def __init__(
        self,
        served: Served,
        kept: KeptLog,
        executor: SerialExecutor,
        bring: Bring,
        moved: Callable[[], None] = lambda: None,
        held: HeldBytes | None = None,
        space: Space = UNBOUNDED,
    ) -> None:
        self.space = space
        self.served = served
        self.kept = kept
        self.executor = executor
        self._moved = moved
        self._held = held or HeldBytes()
        self._loop = asyncio.get_running_loop()
        self._intake = EntryIntake(served, kept, executor, bring, self._held, self, space)
        self._fetcher = EntryFetcher(self, self._held, self._intake.put)
        self._spreading = Spreading(self)
        self._peers: dict[PeerKey, LivePeer] = {}
        self._tasks = TaskSet()
        self._timer: asyncio.TimerHandle | None = None
        self._heads = ClaimedHeads(self.holds, lambda: self._known.head.number, self._loop.time)
        self._logs_asked: dict[PeerKey, PushId] = {}
        self._may_send: dict[PeerKey, int] = {}
        self._lacking: frozenset[PushId] = frozenset()
        self._fresh_intake = FreshIntake(self._take_fresh, self._tasks.start)
        self._reels = ReelFollower(self, self._tasks.start)
        self.fresh: FreshLine | None = None
        self.summary: LogSummary | None = None
        self.on_change: Callable[[], None] = lambda: None

    # -- what the machine asks

    def holds(self, entry: PushId) -> bool:
        """Tell whether an entry is here, waiting ones included."""
        return entry in self._known.entries or entry in self._intake.waiting

    def head(self) -> Item:
        """Return the checkpoint adopted."""
        return self._known.head

    def begins(self) -> int:
        """Return the number of the first checkpoint that is known here."""
        return self._known.begins

    def open(self) -> Sequence[PushId]:
        """Return what no checkpoint names yet."""
        return self._known.open

    @property
    def _known(self) -> LogSummary:
        assert self.summary is not None
        return self.summary

    # -- life

    async def begin(self) -> None:
        """Look at the log, and take in what comes from now on.

        Raises:
            GitTorrentError: the log cannot be read, or has no checkpoint.
        """
        await self.executor(self.kept.recover)
        self.summary = await self._intake.look()
        info, layout = self.served.info, self.served.carried.layout
        self.fresh = await self.executor(lambda: read_fresh(layout, info.repository_id))
        self._tasks.start(self._intake.run())

    async def stop(self) -> None:
        """End what is under way, and all conversations, whose other ends call again."""
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.stop()
        self._intake.stop()
        for key, peer in self._peers.items():
            self._held.coming(key, 0, peer.make_room)
            peer.make_room(OPENED_ANEW)
        self._peers.clear()

    # -- peers

    def joined(self, peer: LivePeer, *, is_called: bool) -> PeerKey:
        """Take note of a conversation; `left` must follow."""
        key = PeerKey(next(_KEYS))
        if self._has_turned_private(self._known):
            peer.make_room(OPENED_ANEW)
            return key
        self._peers[key] = peer
        if is_called:
            self._heads.called(key)
        self._do(self._spreading.joined(key, is_called=is_called))
        return key

    def left(self, key: PeerKey) -> None:
        """Take note that a conversation is over."""
        self._heads.left(key)
        self._fresh_intake.left(key)
        self._reels.left(key)
        self._logs_asked.pop(key, None)
        self._may_send.pop(key, None)
        peer = self._peers.pop(key, None)
        if peer is not None:
            self._held.coming(key, 0, peer.make_room)
            self._do(self._spreading.left(key, self._loop.time()))
        self.on_change()

    def announced(self, key: PeerKey, size: int) -> None:
        """Take note that a message of so many bytes is on its way from a peer; 0 when it came."""
        if key in self._peers:
            self._held.coming(key, size, self._peers[key].make_room)

    def heard(
        self, key: PeerKey, message: News | HaveBundle, payload: bytearray | None = None
    ) -> None:
        """Take note of what a peer tells, and what it sent along."""
        if key not in self._peers:
            return  # it was told to call again
        if isinstance(message, SentPush):
            self._take_sent(key, message, bytes(payload or b""))
        elif isinstance(message, SendPushes):
            self._may_send[key] = message.most
        elif isinstance(message, HavePush):
            self._do(self._spreading.told(key, Item(message.push), self._loop.time()))
        elif isinstance(message, HaveCheckpoint):
            item = Item(message.checkpoint, message.number)
            is_first = self._heads.said(key, item)
            self._do(self._spreading.told(key, item, self._loop.time()))
            self._ask_for_lacking(key, item)
            if is_first and self.fresh is not None:
                self._peers[key].tell(self.fresh)
            if is_first:
                self._reels.greeted(key, self._peers[key], message.checkpoint)
        elif isinstance(message, HaveBundle):
            if message.shape == WHOLE:
                self._reels.told(key, self._peers[key], message)
        else:
            self._fresh_intake.heard(key, message)

    def _ask_for_lacking(self, key: PeerKey, item: Item) -> None:
        """Let a peer be asked for what a checkpoint of its that waits here lacks.

        It has adopted that, and so has it; nobody tells of pushes that are final.
        """
        if item.number <= self._known.head.number or not self.holds(item.id):
            return
        lacking = self._lacking | self._known.lacking.keys() | self._intake.lacking.entries
        items = [Item(entry) for entry in sorted(lacking - {item.id})]
        self._do(self._spreading.lacks(key, items, self._loop.time()))

    def _take_sent(self, key: PeerKey, message: SentPush, payload: bytes) -> None:
        """Take what a peer sent along with the news of it, unless it is of no use."""
        item = Item(message.push)
        if not self._spreading.sent(key, item, self._loop.time()):
            self._do(self._spreading.told(key, item, self._loop.time()))
            return
        data, pack = payload[: message.push_size], payload[message.push_size :]
        self._held.add(key, len(payload), self._peers[key].make_room)
        self._intake.put(key, Arrived(item.id, data, pack))
        self._set_timer()

    @property
    def awaits_date(self) -> bool:
        """Whether a checkpoint is here that waits for its date: it may follow the one adopted."""
        return self._intake.awaits_date

    @property
    def peers(self) -> int:
        """How many conversations there are."""
        return len(self._peers)

    @property
    def agrees_with(self) -> str:
        """URL of a mirror that was called and has nothing new; empty if anything is on its way."""
        if self._spreading.is_asking:
            return ""
        names = [self._peers[key].name for key in self._heads.agreeing() if key in self._peers]
        return min(names, default="")

    @property
    def doubts_until(self) -> float:
        """When what peers say may count again, on the loop's clock; endless where it counts now."""
        return self._heads.doubts_until

    def lacking(self) -> LackingFigures | None:
        """Return what is missing of objects, None while nothing is."""
        lacking, now = self._intake.lacking, self._loop.time()
        lacking.settle(self._known.lacking, self._spreading.is_offered)

        def until(entry: PushId) -> float | None:
            again = self._spreading.asks_again(entry)
            return None if again is None else max(0.0, again - now)

        return lacking.figures(self.served, until)

    def heard_of_mirror(self) -> None:
        """Take note of a mirror that may have what is missing here."""
        self._do(self._spreading.heard_news(self._loop.time()))

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

    # -- reels

    @property
    def carried(self) -> Carried:
        """The repository."""
        return self.served.carried

    def say_reel(self, reel: StoredReel) -> None:
        """Tell everybody of a reel that was made here; who lacks it builds it."""
        manifest = reel.manifest
        name = ReelName(manifest.start, manifest.end)
        for key in self._heads:
            self._peers[key].tell(HaveBundle(name, reel.id, manifest.pack_size, ALL))

    # -- freshness

    def say_fresh(self, line: FreshLine) -> None:
        """Tell everybody of a statement of freshness that was made here."""
        self.fresh = line
        for key in self._heads:
            self._peers[key].tell(line)

    async def _take_fresh(self, line: FreshLine) -> None:
        """Take note of a statement that a peer passed on, and pass it on if it counts."""
        held = self.fresh
        # One from the future was taken while the clock was ahead, and counts for nothing.
        is_held = held is not None and held.time <= time.time() + MAX_AHEAD
        if held is not None and is_held and line.time < held.time + LEAST_APART:
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
        done, after = await self._intake.adopt(previous, made)
        self._go_on(before, after, ())
        if done is not None and (done.faults or done.refuted):
            said = [*done.faults.values(), *done.refuted.values()]
            raise CheckpointError(f"what was signed here does not hold: {said[0]}")
        return done is not None

    async def look_again(self) -> None:
        """Find out what others put into the log: the depot, a command, another process."""
        before = self._known
        after = await self._intake.look()
        self._go_on(before, after, ())

    def _go_on(self, before: LogSummary, after: LogSummary, told: Iterable[Item]) -> None:
        """Take note that the log stands elsewhere, and tell everybody what is new."""
        now = self._loop.time()
        self.summary = after
        if self._has_turned_private(after):
            self._part_with_all(after)
        if (before.head, before.policy) != (after.head, after.policy):
            is_new_policy = before.policy != after.policy
            self._do(self._spreading.moved(now, is_new_policy=is_new_policy))
        for item in dict.fromkeys((*told, *map(Item, after.opened_since(before)))):
            self._do(self._spreading.took(item, now))
        if before.head != after.head:
            self._do(self._spreading.took(after.head, now))
            self._reels.look()
        self._heads.look()
        if before != after:
            self._moved()
        self.on_change()

    # -- turning private

    def _has_turned_private(self, summary: LogSummary) -> bool:
        """Tell whether the log makes a repository private that was opened as a public one."""
        return summary.private_by is not None and not self.served.is_private

    def _part_with_all(self, after: LogSummary) -> None:
        """Tell everybody that the repository is private, and nothing after that.

        Nobody proved that it may read. Those who may call again, and those who talked in the clear
        know now that they cannot.
        """
        assert after.private_by is not None
        for key, peer in list(self._peers.items()):
            self._tell(key, peer, Item(after.private_by))
            peer.make_room(OPENED_ANEW)
            self.left(key)

    # -- what the machine wants done

    def _do(self, effects: Iterable[spreading.Effect]) -> None:
        for effect in effects:
            peer = self._peers.get(effect.peer)
            if peer is None:
                continue
            if isinstance(effect, Tell):
                self._tell(effect.peer, peer, effect.item)
            elif isinstance(effect, Invite):
                peer.tell(SendPushes(MAX_SENT_BYTES))
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
                self._tasks.start(self._fetch(effect.peer, peer, effect.item))
            else:
                self._tasks.start(self._fetch_log(effect.peer, peer, effect.item))
        self._set_timer()
        self.on_change()

    def _tell(self, key: PeerKey, peer: LivePeer, item: Item) -> None:
        """Tell of something; what is small goes along with it to those who want and read that."""
        most = 0 if peer.is_behind else self._may_send.get(key, 0)
        whole = self.served.content.push_packs.whole(item.id) if most and not item.number else None
        if whole is None or len(whole[0]) + len(whole[1]) > most:
            peer.tell(_news(item))
        else:
            push, pack = whole
            peer.tell(SentPush(item.id, len(push), len(pack)), push + pack)

    def _set_timer(self) -> None:
        """See to it that the time is noticed: not anew for each line that somebody says."""
        if self._timer is None and self._spreading.is_asking:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self._spreading.tick(self._loop.time()))

    async def _fetch(self, key: PeerKey, peer: LivePeer, item: Item) -> None:
        if self._must_wait(item.id):
            return
        try:
            await self._fetcher.fetch(key, peer, item)
        except GitTorrentError as error:
            self._note_failure(key, item.id, error)

    def _must_wait(self, entry: PushId) -> bool:
        """Tell whether there is no room for an entry now; it is asked for again later then."""
        if not self.space.short():
            return False
        self._do(self._spreading.postponed(entry, self._loop.time()))
        return True

    async def _fetch_log(self, key: PeerKey, peer: LivePeer, item: Item) -> None:
        if self._must_wait(item.id):
            return
        try:
            await self._fetcher.fetch_log(key, peer, item)
        except GitTorrentError as error:
            self._note_failure(key, item.id, error)
        else:
            if self.holds(item.id):
                self._do(self._spreading.kept(item.id, self._loop.time()))
            elif item.id not in self._intake:
                self._do(self._spreading.failed(key, item.id, self._loop.time()))

    def _note_failure(self, key: PeerKey, entry: PushId, error: GitTorrentError) -> None:
        _log.info(
            "not-fetched",
            "{repository}: {entry} did not come: {reason}",
            repository=self.served.info.name,
            entry=entry,
            reason=error,
        )
        self._do(self._spreading.failed(key, entry, self._loop.time()))

    # -- what became of what came

    def taken(self, batch: Batch, done: TakenIn, after: LogSummary) -> None:
        """Take note of a batch that was judged, and of the log after it."""
        self._go_on(self._known, after, done.new)
        self._settle(batch, done)

    def not_taken(self, batch: Batch) -> None:
        """Let what could not be taken in be asked for again later."""
        for entry in batch:
            self._do(self._spreading.postponed(entry, self._loop.time()))

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

    def _settle(self, batch: Batch, done: TakenIn) -> None:
        """Let the machine know what became of each entry."""
        now = self._loop.time()
        incomplete = {each.id for each in done.incomplete}
        for entry, (key, _) in batch.items():
            if entry in done.faults or entry in done.refuted:
                reason = done.faults.get(entry) or done.refuted.get(entry, "")
                self._do(self._spreading.failed(key, entry, now))
                self._do(self._spreading.lied(key, f"{entry} does not hold: {reason}", now))
            elif entry in incomplete:
                if key in self._peers:
                    self._intake.lacking.note_asked(self._peers[key].name)
                self._do(self._spreading.incomplete(key, entry, now))
            elif (entry in done.refused or entry in done.without_policy) and (
                head := self._log_to_ask_for(key, entry)
            ):
                self._tasks.start(self._fetch_log(key, self._peers[key], head))
            elif entry in done.refused:
                again = done.refused[entry]
                self._do(self._spreading.refused(entry, now, again=again))
            else:
                self._do(self._spreading.kept(entry, now))
        self._lacking = done.lacking or frozenset(x for x in self._lacking if not self.holds(x))
        if done.lacking:
            for key in dict.fromkeys(key for key, _ in batch.values()):
                items = [Item(entry) for entry in sorted(done.lacking)]
                self._do(self._spreading.lacks(key, items, now))


def _news(item: Item) -> HaveCheckpoint | HavePush:
    return HaveCheckpoint(item.id, item.number) if item.number else HavePush(item.id)
