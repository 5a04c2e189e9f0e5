"""The keeper of one repository: what it signs, when it does not, and what a restart finds."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from gittorrent.ids import Oid, RefName
from gittorrent.node.catalogue import Catalogue
from gittorrent.node.keeper import Keeper
from gittorrent.node.keeper_clock import KeeperClock
from gittorrent.node.live_repository import LiveRepository
from gittorrent.repository.carried import Carried
from gittorrent.repository.freshness import read_fresh
from gittorrent.repository.kept_log import KeptLog
from gittorrent.signing.keys import Signer
from gittorrent.store.signing_time import Clocks, SigningTime
from gittorrent.transfer.location import parse_location
from gittorrent.transfer.reaching import Source, named
from gittorrent.wire.messages import FreshLine, HaveCheckpoint
from support import nodes
from support.live_peers import Peer, nothing
from support.programs import PATIENCE

FORTY_DAYS = 40 * 86400.0

BRANCH = RefName(b"refs/heads/pushed")


@pytest.fixture
def own(carried: Carried, tmp_path: Path) -> Carried:
    """A copy that a test may change."""
    return nodes.copy_as_mirror(carried, tmp_path / "own.git", "")


def push(own: Carried, key: Signer) -> Oid:
    """Put a push into a log that no checkpoint has taken."""
    new = Oid(nodes.add_commit(own.layout.git_dir, "refs/elsewhere", "pushed", b"pushed\n"))
    nodes.push_on(own, key, {BRANCH: new})
    return new


def play(
    own: Carried,
    work: Callable[[LiveRepository, Keeper], Coroutine[Any, Any, None]],
    known: int = 0,
    failures: Sequence[Exception] = (),
    clock: SigningTime | None = None,
    said: Callable[[], float | None] = lambda: None,
) -> None:
    """Run a keeper that knows so many mirrors, once it did not fail to count them.

    ``said`` tells what time it is at the one mirror that it can ask.
    """
    to_come = iter(failures)

    async def count() -> int:
        if (failure := next(to_come, None)) is not None:
            raise failure
        return known

    async def sources() -> Sequence[Source]:
        return [named(parse_location("git://mirror.example.org/x").require_endpoint())]

    async def ask(_source: Source) -> float | None:
        return said()

    signing = clock or SigningTime(own.layout.git_dir / "clock")

    async def run() -> None:
        catalogue = Catalogue([own])
        (served,) = catalogue
        executor = catalogue.threads.executor()
        live = LiveRepository(served, KeptLog(own), executor, nothing, lambda: keeper.look())
        keeper = Keeper(live, count, sources, KeeperClock(signing, ask))
        await live.begin()
        try:
            async with asyncio.timeout(PATIENCE):
                await work(live, keeper)
        finally:
            await keeper.stop()
            await live.stop()

    asyncio.run(run())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0)


def is_final(own: Carried, value: Oid) -> bool:
    return own.log().final_refs.get(BRANCH) == value


def test_a_push_becomes_final_and_peers_are_told(own: Carried, key: Signer) -> None:
    own.remember_keeper(key.spec)
    value = push(own, key)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        peer = Peer()
        live.heard(live.joined(peer, is_called=False), HaveCheckpoint(live.head().id, 1))
        before = live.head()
        keeper.look()
        await until(lambda: live.head() != before)
        head = live.head()
        assert head.number == before.number + 1
        assert HaveCheckpoint(head.id, head.number) in peer.told

    play(own, work)
    assert is_final(own, value)


def test_a_machine_that_has_too_little_for_a_moment_signs_later(own: Carried, key: Signer) -> None:
    """Starting a process or opening a file fails where there are too many."""
    own.remember_keeper(key.spec)
    value = push(own, key)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        before = live.head()
        keeper.look()
        await until(lambda: live.head() != before)

    too_many = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    play(own, work, failures=[too_many])
    assert is_final(own, value)


def test_mirrors_that_were_called_are_heard_before(own: Carried, key: Signer) -> None:
    own.remember_keeper(key.spec)
    value = push(own, key)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        mirror = live.joined(Peer(), is_called=True)
        head = live.head()
        keeper.look()
        await until(lambda: keeper.figures() is not None)
        assert live.head() == head
        live.heard(mirror, HaveCheckpoint(head.id, head.number))
        await until(lambda: live.head() != head)

    play(own, work, known=1)
    assert is_final(own, value)


def test_the_keeper_says_that_a_checkpoint_is_its_newest(own: Carried, key: Signer) -> None:
    own.remember_keeper(key.spec)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        peer, head = Peer(), live.head()
        live.heard(live.joined(peer, is_called=False), HaveCheckpoint(head.id, head.number))
        keeper.look()
        await until(lambda: any(isinstance(said, FreshLine) for said in peer.told))
        assert live.head() == head

    play(own, work)
    fresh = read_fresh(own.layout, own.info.repository_id)
    assert fresh is not None
    assert fresh.checkpoint == own.log().head


def test_who_has_no_key_or_another_one_signs_nothing(
    own: Carried, key: Signer, tmp_path: Path
) -> None:
    value = push(own, key)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        head = live.head()
        await keeper._look()
        assert keeper.figures() is None
        assert live.head() == head

    play(own, work)
    (tmp_path / "other").mkdir()
    own.remember_keeper(nodes.signer(tmp_path / "other").spec)
    play(own, work)
    assert not is_final(own, value)


def test_what_was_recorded_before_a_restart_is_signed(own: Carried, key: Signer) -> None:
    """It may have been signed and seen, so nothing else may stand in its place."""
    value = push(own, key)
    draft = own.log().ledger.proposal(tagger=b"K <k@example.org>", time=nodes.AUTHOR.now)
    own.layout.draft(own.info.repository_id).write_bytes(draft.text())
    own.remember_keeper(key.spec)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        before = live.head()
        keeper.look()
        await until(lambda: live.head() != before)

    play(own, work)
    log = own.log()
    assert is_final(own, value)
    assert log.head is not None
    assert log.checkpoint(log.head).checkpoint == draft


def test_a_damaged_draft_ends_nothing_but_keeping(own: Carried, key: Signer) -> None:
    value = push(own, key)
    own.layout.draft(own.info.repository_id).write_bytes(b"no checkpoint\n")
    own.remember_keeper(key.spec)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        await keeper._look()
        assert keeper.figures() is None
        await keeper._look()

    play(own, work)
    assert not is_final(own, value)


def test_a_key_that_is_gone_is_found_out_before_anything_is_seen(
    own: Carried, key: Signer, tmp_path: Path
) -> None:
    own.remember_keeper(str(tmp_path / "no key"))
    value = push(own, key)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        await keeper._look()
        assert keeper.figures() is None

    play(own, work)
    assert not is_final(own, value)


def test_a_look_at_what_is_kept_elsewhere_begins_nothing(own: Carried) -> None:
    async def work(_live: LiveRepository, keeper: Keeper) -> None:
        keeper.look()
        await keeper._look()
        before = asyncio.all_tasks()
        keeper.look()
        assert asyncio.all_tasks() <= before

    play(own, work)


def test_a_key_that_is_named_now_is_looked_for_at_once(own: Carried, key: Signer) -> None:
    async def work(_live: LiveRepository, keeper: Keeper) -> None:
        await keeper._look()
        assert not keeper.is_keeping
        own.remember_keeper(key.spec)
        await keeper._look()
        assert not keeper.is_keeping
        keeper.note_config()
        await until(lambda: keeper.is_keeping)

    play(own, work)


class Machine:
    """A machine whose clock is ``off`` by some seconds."""

    def __init__(self, path: Path) -> None:
        self.off = 0.0
        self.begun = time.time()
        self.signing = SigningTime(path, Clocks(lambda: time.time() + self.off, time.monotonic))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "clock")


def test_a_clock_that_leaps_ahead_dates_nothing(
    own: Carried, key: Signer, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on signing, by the time that has passed, and says that the clock is ahead."""
    own.remember_keeper(key.spec)
    machine.signing.heard([])
    machine.off = FORTY_DAYS
    value = push(own, key)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        before = live.head()
        keeper.look()
        await until(lambda: live.head() != before and live.fresh is not None)
        figures = keeper.figures()
        assert figures is not None
        assert abs(figures.clock_ahead - FORTY_DAYS) < PATIENCE
        assert "ahead of what it can be" in figures.words

    play(own, work, clock=machine.signing)
    assert is_final(own, value)
    fresh = read_fresh(own.layout, own.info.repository_id)
    assert fresh is not None
    for dated in (own.log().ledger.adopted.time, fresh.time):
        assert dated <= machine.begun + 2 * PATIENCE
    assert "gittorrent keeper clock --right" in caplog.text


def test_a_clock_that_is_set_right_is_believed_when_mirrors_agree(
    own: Carried, key: Signer, machine: Machine
) -> None:
    """As on a machine without a battery, or one that was resumed from a snapshot."""
    own.remember_keeper(key.spec)
    machine.signing.heard([])
    machine.off = FORTY_DAYS
    push(own, key)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        before = live.head()
        keeper.look()
        await until(lambda: live.head() != before)

    play(own, work, clock=machine.signing, said=lambda: time.time() + FORTY_DAYS)
    assert own.log().ledger.adopted.time >= int(machine.begun + FORTY_DAYS)
    assert not machine.signing.wants_others()


def test_a_machine_that_starts_with_a_wrong_clock_hears_so_before_it_signs(
    own: Carried, key: Signer, machine: Machine
) -> None:
    own.remember_keeper(key.spec)
    machine.off = FORTY_DAYS
    push(own, key)

    async def work(live: LiveRepository, keeper: Keeper) -> None:
        before = live.head()
        keeper.look()
        await until(lambda: live.head() != before)

    play(own, work, clock=machine.signing, said=time.time)
    assert own.log().ledger.adopted.time <= machine.begun + 2 * PATIENCE
