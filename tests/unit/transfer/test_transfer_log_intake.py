"""A log is verified as it comes: what does not hold ends it, and little is held until then."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.errors import IdentityError, TrustError
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1, PushId, RepositoryId
from gittorrent.push.chain import WINDOW
from gittorrent.push.fresh import MAX_AHEAD
from gittorrent.push.log import VerifiedLog
from gittorrent.push.object import PushKind
from gittorrent.repository.layout import Layout
from gittorrent.repository.logstore import LogStore
from gittorrent.transfer.git_mirror import ConversationContext
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.log_intake import DatedAheadError, LogIntake
from gittorrent.transfer.mirror import LogEntry, NotThereError
from gittorrent.transfer.opening import open_mirror
from gittorrent.transfer.partial_content import PartialContent
from gittorrent.transfer.questions import BATCH_BYTES, ENTRY_BYTES, HELD_BYTES
from gittorrent.wire.messages import FetchLog
from support.logs import KEEPER, MAIN, Numbered, Writer, oid, push_id, signed
from support.signing import TestSigner
from support.starving import JUNK_ENTRIES, JUNK_ID, Manner, Starver, Step, junk_of

URL = "git://m.example/x"


NOW = 1_700_000_000


@pytest.fixture
def writer() -> Writer:
    writer = Writer()
    for number in range(1, 3):
        writer.publish({MAIN: oid(number)})
    return writer


@pytest.fixture
def store(tmp_path: Path, writer: Writer) -> LogStore:
    return LogStore(Layout(tmp_path), SHA1, writer.repository)


def intake(
    log: VerifiedLog, store: LogStore, repository: RepositoryId, now: int = NOW, **most: int
) -> LogIntake:
    return LogIntake(log, store, Git(Path("/nowhere")), URL, repository, lambda: now, **most)


def entries(writer: Writer) -> list[LogEntry]:
    return [(push, entry.encode()) for push, entry in writer.pushes]


def ids(writer: Writer) -> list[PushId]:
    return [push for push, _ in writer.pushes]


def take(log_intake: LogIntake, *batches: Sequence[LogEntry]) -> None:
    async def work() -> None:
        for batch in batches:
            await log_intake.admit(batch)

    asyncio.run(work())


def settle(log_intake: LogIntake, latest: PushId, *, short: bool = False) -> None:
    asyncio.run(log_intake.settle(latest, short=short))


def test_batches_make_the_log(writer: Writer, store: LogStore) -> None:
    log = VerifiedLog(SHA1, Numbered())
    log_intake = intake(log, store, writer.repository)
    found = entries(writer)
    take(log_intake, found[:1], found[1:3], found[3:])
    assert not log.number, "before all is here"
    settle(log_intake, writer.head)
    assert (log.head, log.entries) == (writer.head, ids(writer))
    assert [store.push(push).encode() for push in log.entries] == [data for _, data in found]
    assert store.entries() == [], "stored, and not committed"


def test_who_has_no_objects_believes_the_keeper_until_they_are_here(
    writer: Writer, store: LogStore
) -> None:
    log = VerifiedLog(SHA1)
    log_intake = intake(log, store, writer.repository)
    take(log_intake, entries(writer))
    settle(log_intake, writer.head)
    assert log.refs == {MAIN: oid(2)}
    assert log.followed
    log.judge_again(Numbered())
    assert not log.followed


def test_a_clone_is_content_with_checkpoints(writer: Writer, store: LogStore) -> None:
    log = VerifiedLog(SHA1)
    log_intake = intake(log, store, writer.repository)
    kinds = dict(writer.pushes)
    found = [e for e in entries(writer) if kinds[e[0]].kind is not PushKind.CERTIFICATE]
    take(log_intake, found)
    settle(log_intake, writer.head, short=True)
    assert (log.head, log.refs) == (writer.head, {MAIN: oid(2)})


def test_what_held_before_a_false_entry_is_kept_and_nothing_after(
    writer: Writer, store: LogStore
) -> None:
    log = VerifiedLog(SHA1)
    found = entries(writer)
    wrong = [found[0], found[1], (JUNK_ID, found[2][1]), found[3]]
    with pytest.raises(TrustError, match="under the name"):
        take(intake(log, store, writer.repository), wrong)
    assert log.entries == [found[0][0], found[1][0]]
    assert store.push_file(found[3][0]) is None


def test_another_repository(writer: Writer, store: LogStore) -> None:
    with pytest.raises(IdentityError):
        take(intake(VerifiedLog(SHA1), store, RepositoryId("b" * 52)), entries(writer))


def test_entries_without_their_policy(writer: Writer, store: LogStore) -> None:
    with pytest.raises(TrustError):
        take(intake(VerifiedLog(SHA1), store, writer.repository), entries(writer)[2:])


def test_a_checkpoint_that_is_announced_has_to_come(writer: Writer, store: LogStore) -> None:
    log_intake = intake(VerifiedLog(SHA1), store, writer.repository)
    take(log_intake, entries(writer)[:-1])
    with pytest.raises(TrustError, match=f"announced checkpoint {writer.head}"):
        settle(log_intake, writer.head, short=True)


def test_a_policy_alone_is_no_log(writer: Writer, store: LogStore) -> None:
    log_intake = intake(VerifiedLog(SHA1), store, writer.repository)
    take(log_intake, entries(writer)[:1])
    with pytest.raises(TrustError, match="without a checkpoint"):
        settle(log_intake, writer.pushes[0][0], short=True)


def test_a_log_that_was_a_clones_begins_where_that_began(writer: Writer, store: LogStore) -> None:
    writer.time += WINDOW + 2
    writer.publish({MAIN: oid(3)})
    writer.time += WINDOW + 2
    late = writer.publish({MAIN: oid(4)})
    sent = [each for each in entries(writer) if each[0] != writer.state.ids[0]]
    log = VerifiedLog(SHA1)
    log_intake = intake(log, store, writer.repository)
    take(log_intake, sent)
    settle(log_intake, late)
    assert (log.head, log.refs) == (late, {MAIN: oid(4)})


def test_of_a_log_that_was_a_clones_no_pushes_are_asked_for(
    writer: Writer, store: LogStore
) -> None:
    kinds = dict(writer.pushes)
    sent = [each for each in entries(writer) if kinds[each[0]].kind is not PushKind.CERTIFICATE]
    log = VerifiedLog(SHA1)
    log_intake = intake(log, store, writer.repository)
    take(log_intake, sent)
    settle(log_intake, writer.head)
    assert (log.head, log.refs) == (writer.head, {MAIN: oid(2)})


@pytest.mark.parametrize("withheld", ["a checkpoint", "a push"])
def test_a_log_that_does_not_continue_ours(writer: Writer, store: LogStore, withheld: str) -> None:
    log = writer.log()
    before = log.head
    if withheld == "a checkpoint":
        writer.publish({MAIN: oid(5)})
    writer.publish({MAIN: oid(6)})
    log_intake = intake(log, store, writer.repository)
    take(log_intake, entries(writer)[-2:] if withheld == "a checkpoint" else entries(writer)[-1:])
    with pytest.raises(TrustError, match=f"does not continue .* {before}") as caught:
        settle(log_intake, writer.head)
    assert "withholds pushes" in caught.value.hint
    assert log.head == before


def test_a_checkpoint_that_does_not_follow_is_named(writer: Writer, store: LogStore) -> None:
    log = writer.log()
    writer.push({MAIN: oid(5)})
    writer.time += 1
    proposal = writer.state.ledger.proposal(tagger=KEEPER, time=writer.time)
    false = signed(PushKind.CHECKPOINT, replace(proposal, state="ab" * 32).text(), writer.signer)
    log_intake = intake(log, store, writer.repository)
    take(log_intake, [*entries(writer)[-1:], (push_id(false), false.encode())])
    with pytest.raises(TrustError, match="does not hold"):
        settle(log_intake, push_id(false))
    assert log.head == writer.head


def test_two_checkpoints_in_one_place_stop_the_log_and_the_mirror_is_not_blamed(
    writer: Writer, store: LogStore
) -> None:
    log = writer.log()
    before = log.head
    checkpoints = [writer.checkpoint() for _ in range(2)]
    sent = [(push_id(push), push.encode()) for push in checkpoints]
    log_intake = intake(log, store, writer.repository)
    take(log_intake, sent)
    settle(log_intake, sent[0][0])
    assert log.head == before
    assert log.ledger.stopped


def test_a_mirror_that_is_behind_takes_us_nowhere(writer: Writer, store: LogStore) -> None:
    """It does not know our newest checkpoint, and so sends all that it has."""
    log = writer.log()
    log_intake = intake(log, store, writer.repository)
    take(log_intake, entries(writer)[:4])
    settle(log_intake, log.ids[1])
    assert log.head == writer.head


def test_a_checkpoint_dated_ahead_of_our_clock_does_not_count(
    writer: Writer, store: LogStore
) -> None:
    late = writer.time - MAX_AHEAD
    take(intake(VerifiedLog(SHA1), store, writer.repository, now=late), entries(writer))
    log = VerifiedLog(SHA1)
    early = intake(log, store, writer.repository, now=late - 1)
    take(early, entries(writer))
    with pytest.raises(DatedAheadError, match="ahead of this machine's clock"):
        settle(early, writer.head)
    assert writer.head not in log


def test_pushes_that_a_checkpoint_dated_ahead_takes_are_shown(
    writer: Writer, store: LogStore
) -> None:
    log, before, now = writer.log(), writer.head, writer.time
    writer.time += 40 * 86400
    wrong = writer.publish({MAIN: oid(3)})
    more = writer.push({MAIN: oid(4)})
    log_intake = intake(log, store, writer.repository, now=now)
    take(log_intake, entries(writer)[len(log.entries) :])
    with pytest.raises(DatedAheadError):
        settle(log_intake, wrong)
    assert log.head == before
    assert log.refs == {MAIN: oid(3)}
    assert more not in log, "it comes with its checkpoint: nobody would ask for its objects"


def test_what_the_chain_goes_on_without_is_taken_whatever_its_date(
    writer: Writer, store: LogStore
) -> None:
    """The roots name another keeper from before; what was pushed meanwhile counts for it."""
    log, good, right = writer.log(), writer.head, writer.time
    writer.time += 40 * 86400
    wrong = writer.publish({MAIN: oid(3)})
    late = writer.push({MAIN: oid(4)})
    other = TestSigner(9)
    cure = writer.state.policy.policy.next_version(good, keeper=other.key)
    writer.append(signed(PushKind.POLICY, cure.text(), writer.signer))
    writer.time = right + 60
    head = writer.append(writer.checkpoint(other))
    assert writer.state.refs == {MAIN: oid(4)}
    log_intake = intake(log, store, writer.repository, now=right + 60)
    take(log_intake, entries(writer)[len(log.entries) :])
    settle(log_intake, head)
    assert (log.head, log.refs) == (head, {MAIN: oid(4)})
    assert {wrong, late} <= set(log.ids) | set(log.entries)
    assert not log.lacking


def test_a_log_has_so_many_bytes_at_most(writer: Writer, store: LogStore) -> None:
    """Though each entry holds: whoever owns the repository could sign any number."""
    found = entries(writer)
    size = sum(len(data) for _, data in found)
    take(intake(VerifiedLog(SHA1, Numbered()), store, writer.repository, most=size), found)
    log_intake = intake(VerifiedLog(SHA1, Numbered()), store, writer.repository, most=size - 1)
    take(log_intake, found[:-1])
    with pytest.raises(TrustError, match="a log of more than"):
        take(log_intake, found[-1:])


def test_of_what_is_dated_ahead_so_much_is_held_at_most(writer: Writer, store: LogStore) -> None:
    found = entries(writer)
    ahead = [entry for _, entry in writer.pushes if entry.kind is PushKind.CHECKPOINT]
    size = sum(len(entry.text) for _, entry in writer.pushes)
    log = VerifiedLog(SHA1, Numbered())
    take(intake(log, store, writer.repository, 0, most_ahead=size), found)
    log = VerifiedLog(SHA1, Numbered())
    with pytest.raises(DatedAheadError):
        take(intake(log, store, writer.repository, 0, most_ahead=len(ahead[0].text)), found)


@pytest.mark.parametrize(("scheme", "deflates"), [("git", False), ("git", True), ("http", False)])
def test_a_log_of_junk_costs_an_entry(
    writer: Writer, store: LogStore, scheme: str, deflates: bool
) -> None:
    """A deflated one is a bomb: 16 entries of 8 MiB in 128 KiB."""
    size = 8 << 20
    log = writer.log()
    junk = junk_of(writer, size)
    starver = Starver(writer, Step.JUNK, Manner.SILENT, scheme, junk=junk, deflates=deflates)

    sent = []

    async def work() -> None:
        exchange = ConversationContext("tester", PartialContent(), Limits())
        async with starver.open():
            mirror = await open_mirror(starver.endpoint, exchange)
            if deflates:
                starver.made()
                tracemalloc.reset_peak()
            try:
                log_intake = intake(log, store, writer.repository)
                question = FetchLog(JUNK_ID, writer.head)
                await mirror.fetch_log(question, log.__contains__, log_intake.admit)
            finally:
                sent.append(starver.sent)  # what comes after this is read to say goodbye
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
    assert sent[0] <= 4 * len(starver.junk)
    assert log.head == writer.head


def test_a_bomb_is_inflated_as_it_is_verified(writer: Writer) -> None:
    """However long verifying takes, what comes out of a stream waits deflated."""
    size = BATCH_BYTES
    starver = Starver(writer, Step.JUNK, Manner.SILENT, "git", junk=b"x" * size, deflates=True)
    held: list[int] = []

    async def work() -> None:
        async with starver.open():
            mirror = await open_mirror(
                starver.endpoint, ConversationContext("t", PartialContent(), Limits())
            )

            async def admit(batch: Sequence[LogEntry]) -> None:
                before = -1
                while (now := tracemalloc.get_traced_memory()[0]) != before:
                    before = now
                    for _ in range(100):
                        await asyncio.sleep(0)
                held.append(now)

            try:
                await mirror.fetch_log(FetchLog(JUNK_ID), lambda _push: False, admit)
            finally:
                await mirror.close()

    starver.made()
    tracemalloc.start()
    try:
        asyncio.run(work())
    finally:
        tracemalloc.stop()
    assert len(held) >= 3
    assert max(held) < 2 * HELD_BYTES < JUNK_ENTRIES * size


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
                await mirror.fetch_log(FetchLog(JUNK_ID), lambda _push: False, admit)
            finally:
                await mirror.close()

    with pytest.raises(NotThereError, match="enough"):
        asyncio.run(work())
    assert all(BATCH_BYTES <= batch <= 5 * BATCH_BYTES for batch in batches)
