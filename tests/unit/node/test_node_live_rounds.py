"""What a round of live conversations costs while nothing happens: counted, not timed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gittorrent.ids import Oid, RefName
from gittorrent.node.bringing import Bringing
from gittorrent.node.catalogue import Catalogue, Served
from gittorrent.node.due_times import AT_ONCE
from gittorrent.node.live import Live
from gittorrent.node.log_watch import LogWatch, Seen, Watched, watched
from gittorrent.node.mirror_announcer import MirrorAnnouncer
from gittorrent.node.services import Reachable
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.store.home import Home
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.off_loop import SerialExecutor, SlowError, Threads
from support import nodes
from support.programs import PATIENCE

T = TypeVar("T")

ROUNDS = 5


class CountingThreads(Threads):
    """Counts the jobs that threads were given."""

    jobs = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Count, and have it done."""
        self.jobs += 1
        super().submit(job)


class CountingCatalogue(Catalogue):
    """Counts how often everything that is served was gone through."""

    walks = 0

    def __iter__(self) -> Iterator[Served]:
        self.walks += 1
        return super().__iter__()


@pytest.fixture
def some(carried: Carried, tmp_path: Path) -> list[Carried]:
    """Four mirrors, whose reels have been what they are for long."""
    found = []
    for number in range(4):
        copy = nodes.copy_as_mirror(carried, tmp_path / f"{number}.git", "")
        copy.set_info(copy.info.renamed(f"mirror{number}"))
        os.utime(copy.layout.reels, (1e9, 1e9))
        found.append(copy)
    return found


def play(
    some: list[Carried],
    home: Path,
    work: Callable[[Live, CountingCatalogue, CountingThreads], Coroutine[Any, Any, None]],
    most_open: int = 256,
) -> None:
    """Run the live conversations of a node that knows nobody."""

    async def run() -> None:
        threads = CountingThreads()
        catalogue = CountingCatalogue(some, threads=threads)
        place = Home(home)
        bringing = Bringing(None, place)
        live = Live(catalogue, None, place, "node", Limits(), bringing, most_open=most_open)
        try:
            async with asyncio.timeout(PATIENCE):
                await live.look()
                await live.look()
                await work(live, catalogue, threads)
        finally:
            await live.stop()

    asyncio.run(run())


async def jobs_of_rounds(live: Live, threads: CountingThreads) -> list[int]:
    """Return how many jobs each of some rounds was."""
    found = []
    for _ in range(ROUNDS):
        before = threads.jobs
        await live.look()
        found.append(threads.jobs - before)
    return found


def test_a_round_is_one_job_whatever_is_open(some: list[Carried], tmp_path: Path) -> None:
    async def work(live: Live, catalogue: CountingCatalogue, threads: CountingThreads) -> None:
        assert all(live.of(served) for served in catalogue)
        # Once in a while keys are looked for, perhaps in one of these rounds.
        assert min(await jobs_of_rounds(live, threads)) == 1

    play(some, tmp_path / "home", work)


def test_a_round_looks_at_none_of_which_nothing_is_due(some: list[Carried], tmp_path: Path) -> None:
    async def work(live: Live, catalogue: CountingCatalogue, threads: CountingThreads) -> None:
        assert all(live.of(served) for served in catalogue)
        while live.next_due <= asyncio.get_running_loop().time():
            await live.look()  # until each was looked at, and its keeper's key looked for
        assert live.next_due > asyncio.get_running_loop().time()
        (served, *_) = catalogue
        repository = live.of(served)
        assert repository is not None
        repository.on_change()
        assert live.next_due == AT_ONCE

    play(some, tmp_path / "home", work)


def test_those_that_are_not_open_cost_one_job_more(some: list[Carried], tmp_path: Path) -> None:
    async def work(live: Live, catalogue: CountingCatalogue, threads: CountingThreads) -> None:
        assert sum(live.of(served) is not None for served in catalogue) == 1
        assert min(await jobs_of_rounds(live, threads)) == 2

    play(some, tmp_path / "home", work, most_open=1)


def test_what_is_carried_is_gone_through_when_it_or_what_is_paused_has_changed(
    some: list[Carried], tmp_path: Path
) -> None:
    async def work(live: Live, catalogue: CountingCatalogue, threads: CountingThreads) -> None:
        before = catalogue.walks
        await jobs_of_rounds(live, threads)
        assert catalogue.walks == before
        catalogue.add(some[-1])
        await live.look()
        assert catalogue.walks == before + 1
        (served,) = [each for each in catalogue if each.carried is some[-1]]
        assert live.of(served) is not None
        paused = {served.info.repository_id}
        live.is_paused = paused.__contains__
        live.note_paused()
        await live.look()
        assert live.of(served) is None
        paused.clear()
        live.note_paused()
        await live.look()
        assert live.of(served) is not None

    play(some[:-1], tmp_path / "home", work)


def test_what_another_process_did_to_a_log_is_noticed(
    some: list[Carried], tmp_path: Path, key: Signer
) -> None:
    own = some[2]

    async def work(live: Live, catalogue: CountingCatalogue, _threads: CountingThreads) -> None:
        (served,) = [each for each in catalogue if each.carried is own]
        repository = live.of(served)
        assert repository is not None
        assert repository.summary is not None
        assert not repository.summary.has_news
        new = Oid(nodes.add_commit(own.layout.git_dir, "refs/elsewhere", "pushed", b"pushed\n"))
        nodes.push_on(own, key, {RefName(b"refs/heads/pushed"): new})
        await live.look()
        assert repository.summary.has_news

    play(some, tmp_path / "home", work)


def test_a_repository_that_is_moved_disturbs_nobody(some: list[Carried], tmp_path: Path) -> None:
    async def work(live: Live, catalogue: CountingCatalogue, threads: CountingThreads) -> None:
        del catalogue, threads
        place = some[0].layout.git_dir
        away = place.with_name("away.git")
        place.rename(away)
        await live.look()
        away.rename(place)
        await live.look()

    play(some, tmp_path / "home", work)


def test_a_keeper_that_is_named_meanwhile_begins(
    some: list[Carried], tmp_path: Path, key: Signer
) -> None:
    own = some[1]

    async def work(live: Live, _catalogue: CountingCatalogue, _threads: CountingThreads) -> None:
        assert not live.keeping()
        own.remember_keeper(key.spec)
        await live.look()
        while not live.keeping():
            await asyncio.sleep(0)

    play(some, tmp_path / "home", work)


class Hanging(SerialExecutor):
    """Never done in time; counts how often it was asked."""

    asked = 0

    async def __call__(self, work: Callable[[], T]) -> T:
        """Give up."""
        Hanging.asked += 1
        raise SlowError("a disk did not answer")


class HangingThreads(Threads):
    """Threads whose executors hang."""

    def executor(self, wait_seconds: float = 0.0) -> SerialExecutor:
        """Return one that hangs."""
        return Hanging(self, wait_seconds)


def test_where_a_disk_hangs_each_is_looked_at_by_itself_for_a_while(some: list[Carried]) -> None:
    async def run() -> None:
        files = [(watched(served), None) for served in Catalogue(some)]
        expected = await LogWatch(Threads()).changed(files)
        assert [at for at, _ in expected] == list(range(len(some)))
        assert all(seen.is_settled for _, seen in expected)
        watch = LogWatch(HangingThreads())
        before = Hanging.asked
        for _ in range(ROUNDS):
            assert await watch.changed(files) == expected
        assert Hanging.asked == before + 1

    asyncio.run(run())


def files(own: Carried, seen: Seen | None = None) -> list[tuple[Watched, Seen | None]]:
    """Return what is to be looked at of one repository, and what was seen of it before."""
    return [(watched(served), seen) for served in Catalogue([own])]


def test_what_has_not_changed_is_not_told_of(some: list[Carried]) -> None:
    own = some[0]

    async def run() -> None:
        watch = LogWatch(Threads())
        ((_, seen),) = await watch.changed(files(own))
        assert await watch.changed(files(own, seen)) == []
        (own.layout.git_dir / "config").write_bytes(b"")
        ((_, other),) = await watch.changed(files(own, seen))
        assert (other.log, other.config != seen.config) == (seen.log, True)

    asyncio.run(run())


def test_reels_that_came_just_now_are_looked_at_again(some: list[Carried]) -> None:
    own = some[0]
    ahead = 4e9  # in 2096, so that no test is too slow
    os.utime(own.layout.reels, (ahead, ahead))

    async def run() -> None:
        ((_, seen),) = await LogWatch(Threads()).changed(files(own))
        assert not seen.is_settled
        assert await LogWatch(Threads()).changed(files(own, seen)) == [(0, seen)]

    asyncio.run(run())


def test_announcing_goes_through_what_is_carried_when_it_has_changed(some: list[Carried]) -> None:
    async def run() -> None:
        catalogue = CountingCatalogue(some[:2])
        announcer = MirrorAnnouncer(catalogue, Reachable(None, is_given=False))
        await announcer.announce_due()
        before = catalogue.walks
        for _ in range(ROUNDS):
            await announcer.announce_due()
        assert catalogue.walks == before
        catalogue.add(some[2])
        await announcer.announce_due()
        assert catalogue.walks == before + 1

    asyncio.run(run())


def test_what_ends_while_the_node_stops_is_ended(some: list[Carried], tmp_path: Path) -> None:
    """Whoever ends a repository is cancelled then, and nobody else knows it any more."""

    async def work(live: Live, catalogue: CountingCatalogue, threads: CountingThreads) -> None:
        del threads
        (served, *_) = catalogue
        repository = live.of(served)
        assert repository is not None
        (place,) = [each for each in live._live if live._live[each].repository is repository]
        may_end, began = asyncio.Event(), asyncio.Event()

        async def call() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                began.set()
                await may_end.wait()  # a goodbye that takes its time

        live._live[place].reel_builder._tasks.start(call())
        await asyncio.sleep(0)
        ending = asyncio.ensure_future(live._end(place))
        await began.wait()
        ending.cancel()
        await asyncio.wait([ending])
        may_end.set()
        await live.stop()
        assert not len(repository._tasks)

    play(some, tmp_path / "home", work)
