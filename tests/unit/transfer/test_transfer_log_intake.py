"""A log is verified as it comes: what does not hold ends it, and little is held until then."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from gittorrent.errors import IdentityError, TrustError
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, RepositoryId
from gittorrent.push.log import ConcurrentEntriesError, VerifiedLog
from gittorrent.repository.layout import Layout
from gittorrent.repository.logstore import LogStore
from gittorrent.transfer.git_mirror import ConversationContext
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.log_intake import LogIntake
from gittorrent.transfer.mirror import LogEntry, NotThereError
from gittorrent.transfer.opening import open_mirror
from gittorrent.transfer.partial_content import PartialContent
from gittorrent.transfer.questions import BATCH_BYTES, ENTRY_BYTES
from support.logs import MAIN, Writer, oid, push_id, references
from support.starving import JUNK_ID, Manner, Starver, Step, junk_of

URL = "git://m.example/x"


@pytest.fixture
def writer() -> Writer:
    writer = Writer()
    for number in range(1, 5):
        writer.append(writer.references({MAIN: oid(number)}))
    return writer


@pytest.fixture
def store(tmp_path: Path, writer: Writer) -> LogStore:
    return LogStore(Layout(tmp_path), SHA1, writer.repository)


def intake(log: VerifiedLog, store: LogStore, repository: RepositoryId) -> LogIntake:
    return LogIntake(log, store, Git(Path("/nowhere")), URL, repository)


def entries(writer: Writer) -> list[LogEntry]:
    return [(push, entry.encode()) for push, entry in writer.pushes]


def take(log_intake: LogIntake, *batches: Sequence[LogEntry]) -> None:
    async def work() -> None:
        for batch in batches:
            await log_intake.admit(batch)

    asyncio.run(work())


def test_batches_make_the_log(writer: Writer, store: LogStore) -> None:
    log = VerifiedLog(SHA1)
    found = entries(writer)
    take(intake(log, store, writer.repository), found[:1], found[1:3], found[3:])
    assert log.ids == [push for push, _ in writer.pushes]
    assert [store.push(push).encode() for push in log.ids] == [data for _, data in found]
    assert store.ids() == [], "stored, and not committed"


def test_what_held_before_a_false_entry_is_kept_and_nothing_after(
    writer: Writer, store: LogStore
) -> None:
    log = VerifiedLog(SHA1)
    found = entries(writer)
    wrong = [found[0], found[1], (JUNK_ID, found[2][1]), found[3]]
    with pytest.raises(TrustError, match="under the name"):
        take(intake(log, store, writer.repository), wrong)
    assert log.ids == [found[0][0], found[1][0]]
    assert store.push_file(found[3][0]) is None


def test_another_repository(writer: Writer, store: LogStore) -> None:
    with pytest.raises(IdentityError):
        take(intake(VerifiedLog(SHA1), store, RepositoryId("b" * 52)), entries(writer))


def test_a_log_that_does_not_continue_ours(writer: Writer, store: LogStore) -> None:
    with pytest.raises(TrustError, match="does not continue"):
        take(intake(VerifiedLog(SHA1), store, writer.repository), entries(writer)[2:])


def test_a_log_that_forks_is_told_from_one_that_is_another(writer: Writer, store: LogStore) -> None:
    """The mirror does not know our newest entry, and so sends all that it has."""
    log = writer.log()
    older = writer.pushes[1][0]
    push = references(writer.signer, writer.repository, older, {MAIN: oid(5)})
    sent = [*entries(writer)[:2], (push_id(push), push.encode())]
    with pytest.raises(ConcurrentEntriesError, match=f"forks after {older}"):
        take(intake(log, store, writer.repository), sent[:1], sent[1:])
    assert log.head == writer.head


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_a_log_of_junk_costs_an_entry(writer: Writer, store: LogStore, scheme: str) -> None:
    size = 8 << 20
    log = writer.log()
    starver = Starver(writer, Step.JUNK, Manner.SILENT, scheme, junk=junk_of(writer, size))

    async def work() -> None:
        exchange = ConversationContext("tester", PartialContent(), Limits())
        async with starver.open():
            mirror = await open_mirror(starver.endpoint, exchange)
            try:
                log_intake = intake(log, store, writer.repository)
                await mirror.fetch_log(JUNK_ID, writer.head, log_intake.admit)
            finally:
                await mirror.close()

    tracemalloc.start()
    try:
        with pytest.raises(TrustError, match="under the name"):
            asyncio.run(work())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The entry, its text, what of the next is in the sender's and the kernel's buffers.
    assert peak < 7 * size
    assert starver.sent <= 4 * size
    assert log.head == writer.head


def test_no_more_than_a_few_batches_are_read_ahead(writer: Writer) -> None:
    """However long verifying takes, a mirror that sends ahead waits."""
    size = BATCH_BYTES // 4
    starver = Starver(writer, Step.JUNK, Manner.SILENT, "git", junk=b"x" * size)
    batches: list[int] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()

        async def admit(batch: Sequence[LogEntry]) -> None:
            batches.append(sum(len(data) + ENTRY_BYTES for _, data in batch))
            before = -1
            while starver.sent != before:
                # Until the sender comes to a standstill, or a while has passed.
                before = starver.sent
                await loop.run_in_executor(None, lambda: None)
                for _ in range(100):
                    await asyncio.sleep(0)
            if len(batches) == 3:
                raise NotThereError("enough")

        async with starver.open():
            mirror = await open_mirror(
                starver.endpoint, ConversationContext("t", PartialContent(), Limits())
            )
            try:
                await mirror.fetch_log(JUNK_ID, None, admit)
            finally:
                await mirror.close()

    with pytest.raises(NotThereError, match="enough"):
        asyncio.run(work())
    assert all(BATCH_BYTES <= batch <= 5 * BATCH_BYTES for batch in batches)
