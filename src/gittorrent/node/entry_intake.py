"""Takes in what peers sent of one repository's log, batch by batch.

Tracks what arrived and was not taken in, and from whom. Rules: one batch at a time, all that came
meanwhile is the next one; what was counted when it came is let go when its batch is done, whatever
became of it. Must not know conversations, nor whom to ask.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from gittorrent.disk_space import UNBOUNDED
from gittorrent.errors import GitTorrentError, LocalError, NoRoomError
from gittorrent.event_log import EventLog
from gittorrent.node.bringing import NotBroughtError, wanted_by
from gittorrent.node.lacking import Lacking
from gittorrent.node.log_summary import LogSummary, summary_of
from gittorrent.reel.pack import empty_pack
from gittorrent.repository.arrived_objects import Arrived
from gittorrent.repository.taking_in import TakingIn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from gittorrent.disk_space import Space
    from gittorrent.ids import PushId
    from gittorrent.node.catalogue import Served
    from gittorrent.node.held_bytes import HeldBytes
    from gittorrent.push.spreading import PeerKey
    from gittorrent.repository.kept_log import KeptLog
    from gittorrent.repository.taking_in import TakenIn
    from gittorrent.transfer.off_loop import SerialExecutor

    Bring = Callable[[Served, Sequence[Arrived]], Awaitable[Sequence[Path]]]
    """Brings the objects that some pushes need; returns the packs that came."""

    Batch = Mapping[PushId, tuple[PeerKey, Arrived]]
    """Entries that are taken in together, and who sent each."""

_log = EventLog(__name__)


class Outcomes(Protocol):
    """Who hears what became of batches, in the event loop."""

    def taken(self, batch: Batch, done: TakenIn, after: LogSummary) -> None:
        """Take note of a batch that was judged, and of the log after it."""
        ...

    def not_taken(self, batch: Batch) -> None:
        """Take note that this machine could not take a batch in."""
        ...


class EntryIntake:
    """The entries of one repository that wait to be taken in.

    ``waiting`` are those that were judged, and wait for their date or for what they build on;
    ``awaits_date`` tells whether a checkpoint among them waits for its date; ``lacking`` is what
    came without its objects.

    Args:
        served: the repository.
        kept: its log.
        executor: in which entries are taken in.
        bring: brings the objects that some pushes need.
        held: counts what peers sent.
        outcomes: hears what became of it.
        space: tells whether there is room for it.
    """

    def __init__(
        self,
        served: Served,
        kept: KeptLog,
        executor: SerialExecutor,
        bring: Bring,
        held: HeldBytes,
        outcomes: Outcomes,
        space: Space = UNBOUNDED,
    ) -> None:
        self._space = space
        self._served = served
        self._kept = kept
        self._executor = executor
        self._bring = bring
        self._held = held
        self._outcomes = outcomes
        self._taking = TakingIn(kept, time.time, time.monotonic)
        self._arrived: dict[PushId, tuple[PeerKey, Arrived]] = {}
        self._wake = asyncio.Event()
        self.waiting: frozenset[PushId] = frozenset()
        self.awaits_date = False
        self.lacking = Lacking(time.time)

    def __contains__(self, entry: PushId) -> bool:
        return entry in self._arrived

    def put(self, peer: PeerKey, arrived: Arrived) -> None:
        """Let something be taken in that a peer sent, and that was counted as held of it."""
        if arrived.id in self._arrived:
            self._held.release(peer, arrived.size)
        else:
            self._arrived[arrived.id] = (peer, arrived)
            self._wake.set()

    async def look(self) -> LogSummary:
        """Return what the log is now."""
        return await self._executor(self._look)

    async def adopt(self, previous: PushId, made: Arrived) -> tuple[TakenIn | None, LogSummary]:
        """Take in a checkpoint that was signed here, if it follows the one adopted.

        Returns:
            What became of it, None if the log has gone on meanwhile; and the log after it.
        """
        return await self._executor(lambda: (self._taking.adopt(previous, made), self._look()))

    async def run(self) -> None:
        """Take in what arrives until cancelled."""
        while True:
            await self._wait()
            batch, self._arrived = self._arrived, {}
            try:
                done, after = await self._take(batch)
                self._outcomes.taken(batch, done, after)
            except NoRoomError as error:
                # Said once, of all repositories, by whoever watches the disk.
                _log.debug(
                    "no-room",
                    "{repository}: what is new waits for room: {reason}",
                    repository=self._served.info.name,
                    reason=error,
                )
                self._outcomes.not_taken(batch)
            except GitTorrentError as error:
                _log.error(
                    "not-taken",
                    "cannot take what is new in {repository}: {reason}",
                    repository=self._served.info.name,
                    reason=error,
                )
                self._outcomes.not_taken(batch)
            except Exception:
                # A mistake with one batch must not end all taking in for good.
                _log.exception("failed", "taking in failed")
                self._outcomes.not_taken(batch)
            finally:
                for peer, arrived in batch.values():
                    self._held.release(peer, arrived.size)

    def stop(self) -> None:
        """Let go what arrived and was not taken in; `run` must have ended."""
        for peer, arrived in self._arrived.values():
            self._held.release(peer, arrived.size)
        self._arrived.clear()

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

    async def _take(self, batch: Batch) -> tuple[TakenIn, LogSummary]:
        arrived = [each for _, each in batch.values()]
        done, after = await self._executor(lambda: self._take_in(arrived))
        if done.incomplete:
            await self._complete(done.incomplete, done)
            after = await self.look()
        for item in done.new:
            sent = batch[item.id][1] if item.id in batch else None
            if sent is not None and sent.pack is not None:
                self._served.content.push_packs.add(item.id, sent.pack, sent.data)
        return done, after

    def _take_in(self, arrived: Sequence[Arrived]) -> tuple[TakenIn, LogSummary]:
        self._space.require(self._served.carried.layout.git_dir)
        done = self._taking.take(arrived) if arrived else self._taking.due()
        self._note_waiting()
        return done, self._look()

    def _take_again(self, arrived: Sequence[Arrived], packs: Sequence[Path]) -> TakenIn:
        done = self._taking.take(arrived, packs)
        self._note_waiting()
        return done

    def _note_waiting(self) -> None:
        self.waiting = self._taking.waiting
        self.awaits_date = self._taking.admission.is_date_awaited

    def _look(self) -> LogSummary:
        with self._kept.reading() as log:
            found = summary_of(log, self._taking.without_objects(log))
        if found.private_by is not None and not self._served.is_private:
            self._make_ready(found.private_by)
        return found

    def _make_ready(self, policy: PushId) -> None:
        """Have a policy at hand as what is sent along with the news of it.

        It turns the repository private, and whoever talks in the clear hears nothing after it.
        """
        carried = self._served.carried
        data = carried.log_store.push_file(policy)
        if data is not None:
            nothing = empty_pack(carried.object_format)
            self._served.content.push_packs.add(policy, nothing, data)

    async def _complete(self, missing: Sequence[Arrived], done: TakenIn) -> None:
        """Have the objects brought that did not come with pushes, and take these in then."""
        try:
            packs = await self._bring(self._served, missing)
        except GitTorrentError as error:
            _log.warning(
                "not-fetched",
                "{repository}: the objects of {entry} did not come: {reason}",
                repository=self._served.info.name,
                entry=", ".join(each.id for each in missing[:4]),
                reason=error,
            )
            self._note_lacking(missing, error)
            return
        again = [Arrived(each.id, each.data) for each in missing]
        more = await self._executor(lambda: self._take_again(again, packs))
        done.new += more.new
        done.incomplete = more.incomplete
        done.lacking = more.lacking
        if more.incomplete:
            self._note_lacking(more.incomplete, LocalError("not all of it came"))

    def _note_lacking(self, missing: Sequence[Arrived], error: GitTorrentError) -> None:
        """Take note of what is missing, and who does not give it."""
        absent = set(error.lacking) if isinstance(error, NotBroughtError) else None
        carried = self._served.carried
        wants = {each.id: wanted_by(carried, each) for each in missing}
        self.lacking.note(
            {
                entry: [(w.name, w.oid) for w in found if absent is None or w in absent]
                for entry, found in wants.items()
            },
            error.asked if isinstance(error, NotBroughtError) else (),
            str(error),
        )
