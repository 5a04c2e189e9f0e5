"""What a node does while nothing happens: counted, not timed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gittorrent.node.catalogue import Catalogue
from gittorrent.node.local_clones import KeepOptions, LocalCloneService
from gittorrent.node.rounds import EARLIEST, until_round
from gittorrent.store.home import Home
from gittorrent.store.processes import ConversationFigures, NodeProcess
from gittorrent.store.snapshot import Snapshot, look_at_snapshots
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.off_loop import Threads
from gittorrent.transfer.slot_queue import SlotQueue
from support.programs import PATIENCE


@given(st.floats(0, 1e6), st.floats(0, 0.7))
def test_what_is_done_in_rounds_is_done_at_the_same_moment(now: float, later: float) -> None:
    first = now + until_round(now, 1.0)
    assert first - now + 1e-6 >= EARLIEST
    assert first - now <= 1 + EARLIEST + 1e-6
    # Whoever began to wait at another moment of the same second waits for the same, or the next.
    apart = (now + later + until_round(now + later, 1.0) - first) % 1.0
    assert min(apart, 1 - apart) == pytest.approx(0, abs=1e-3)


@given(st.floats(0, 1e6))
def test_longer_rounds_begin_with_shorter_ones(now: float) -> None:
    apart = (now + until_round(now, 2.0) - now - until_round(now, 1.0)) % 1.0
    assert min(apart, 1 - apart) == pytest.approx(0, abs=1e-3)


class CountingThreads(Threads):
    """Counts the jobs that threads were given."""

    jobs = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Count, and have it done."""
        self.jobs += 1
        super().submit(job)


def test_an_empty_cache_is_looked_at_once(tmp_path: Path) -> None:
    async def run() -> int:
        threads = CountingThreads()
        catalogue = Catalogue([], threads=threads)
        service = LocalCloneService(
            Home(tmp_path), None, catalogue, KeepOptions(), Limits(), SlotQueue()
        )
        await service.sweep()
        before = threads.jobs
        for _ in range(5):
            await service.sweep()
        return threads.jobs - before

    assert asyncio.run(asyncio.wait_for(run(), PATIENCE)) == 0


def test_what_is_the_same_as_before_is_no_news(tmp_path: Path) -> None:
    snapshot = Snapshot(tmp_path, "node")
    described = NodeProcess(listening=["git://0.0.0.0:9418"])
    assert snapshot.has_news(described)
    snapshot.write(described)
    assert not snapshot.has_news(NodeProcess(listening=["git://0.0.0.0:9418"]))
    assert snapshot.has_news(NodeProcess(listening=["git://0.0.0.0:9418"], callers=1))
    (written,) = look_at_snapshots(tmp_path)
    assert isinstance(written, NodeProcess)
    assert written.listening == described.listening


def test_a_conversation_in_which_nothing_moves_is_no_news(tmp_path: Path) -> None:
    snapshot = Snapshot(tmp_path, "node")

    def described(seconds: float, sent: int, rate: int) -> NodeProcess:
        talk = ConversationFigures("198.51.100.7", "x", seconds, sent, 10, rate, 1, 0, choked=False)
        return NodeProcess(listening=[], conversations=[talk])

    snapshot.write(described(1.0, 1000, 500))
    assert not snapshot.has_news(described(2.0, 1000, 250))
    assert snapshot.has_news(described(2.0, 1001, 250))
