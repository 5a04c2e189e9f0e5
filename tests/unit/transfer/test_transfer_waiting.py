"""Every wait for a mirror has an end: each step starved, over git:// and HTTP, in each manner."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest

from gittorrent.errors import ProtocolError, UnreachableError
from gittorrent.ids import ManifestId, PushId
from gittorrent.transfer.client_timeouts import Allowance, ClientTimeouts
from gittorrent.transfer.dialling import CannotConnectError, connect
from gittorrent.transfer.git_mirror import ConversationContext
from gittorrent.transfer.git_transport import GitTransport
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.looking_up import Found, look_up
from gittorrent.transfer.mirror import LogEntry, Mirror
from gittorrent.transfer.opening import ask_list, open_mirror
from gittorrent.transfer.partial_content import PartialContent
from gittorrent.wire.messages import FetchLog
from gittorrent.wire.notify import Notify
from gittorrent.wire.reelname import ReelName
from gittorrent.wire.urls import Endpoint
from support.logs import MAIN, Writer, oid
from support.starving import MANIFEST, QUICK, Manner, Starver, Step

ENOUGH = 120.0
"""Seconds after which a wait counts as endless; each lasts less than one."""

SLOW = (Manner.SILENT, Manner.TRICKLE)
HTTP_ONLY = (Manner.SLOW_HEAD, Manner.ENDLESS_HEAD, Manner.ENDLESS)


@pytest.fixture
def writer() -> Writer:
    writer = Writer()
    for number in range(1, 4):
        writer.publish({MAIN: oid(number)})
    return writer


def is_held(push: PushId) -> bool:
    return False


def exchange() -> ConversationContext:
    return ConversationContext("tester", PartialContent(), Limits(), client_timeouts=QUICK)


async def ask(mirror: Mirror, step: Step, writer: Writer) -> None:
    """Ask what a mirror starves its callers at."""
    taken: list[object] = []

    async def admit(entries: Sequence[LogEntry]) -> None:
        taken.extend(entries)

    if step in (Step.LOG, Step.ENTRY):
        await mirror.fetch_log(FetchLog(writer.head), is_held, admit)
    elif step is Step.OFFERS:
        await mirror.offers(ReelName(None, writer.head), taken.append)
    else:
        await mirror.fetch_manifest(ManifestId(MANIFEST), 60_000)


CASES = [
    (step, manner, scheme)
    for step in Step
    for scheme in ("git", "http")
    for manner in (*SLOW, *(HTTP_ONLY if scheme == "http" else ()))
    if step not in (Step.NEVER, Step.JUNK, Step.PARTS)
    and (step not in (Step.READY, Step.NOTICE) or scheme == "git")
]


@pytest.mark.parametrize(("step", "manner", "scheme"), CASES)
def test_a_starved_step_ends(writer: Writer, step: Step, manner: Manner, scheme: str) -> None:
    async def work() -> None:
        async with Starver(writer, step, manner, scheme).open() as starver:
            if step is Step.LIST:
                await ask_list(starver.endpoint, client_timeouts=QUICK)
                return
            if step is Step.NOTICE:
                notice = Notify("git://127.0.0.1:1/x", writer.head, 600)
                await GitTransport().send_notice(
                    starver.endpoint, lambda _own: notice, None, None, client_timeouts=QUICK
                )
                return
            mirror = await open_mirror(starver.endpoint, exchange())
            try:
                await ask(mirror, step, writer)
            finally:
                await mirror.close()

    async def bounded() -> None:
        async with asyncio.timeout(ENOUGH):
            await work()

    with pytest.raises((UnreachableError, ProtocolError)):
        asyncio.run(bounded())


@pytest.mark.parametrize("manner", SLOW)
def test_a_deflated_log_that_starves_us_ends(writer: Writer, manner: Manner) -> None:
    async def work() -> None:
        async with Starver(writer, Step.ENTRY, manner, "git", deflates=True).open() as starver:
            mirror = await open_mirror(starver.endpoint, exchange())
            try:
                async with asyncio.timeout(ENOUGH):
                    await ask(mirror, Step.ENTRY, writer)
            finally:
                await mirror.close()

    with pytest.raises(UnreachableError):
        asyncio.run(work())


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize(("scheme", "deflates"), [("git", False), ("git", True), ("http", False)])
def test_who_does_not_starve_us_is_heard(
    writer: Writer, scheme: str, deflates: bool, short: bool
) -> None:
    got: list[tuple[str, bytes]] = []

    async def admit(entries: Sequence[LogEntry]) -> None:
        got.extend((push, bytes(data)) for push, data in entries)

    async def work() -> None:
        async with Starver(
            writer, Step.NEVER, Manner.SILENT, scheme, deflates=deflates
        ).open() as mirror:
            found, _ = await ask_list(mirror.endpoint)
            assert found.latest == writer.head
            patient = ConversationContext("tester", PartialContent(), Limits())
            opened = await open_mirror(mirror.endpoint, patient)
            await opened.fetch_log(FetchLog(writer.head, short=short), is_held, admit)
            await opened.close()

    asyncio.run(work())
    assert got == [(push, entry.encode()) for push, entry in writer.pushes]


def test_a_host_that_accepts_nothing_is_given_up() -> None:
    """A listener with a full backlog: what a firewall that drops packets looks like."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        client_timeouts = ClientTimeouts(connect=0.3)

        async def work() -> None:
            async with asyncio.timeout(ENOUGH):
                await connect(
                    Endpoint("git", "127.0.0.1", port, "/x"), client_timeouts=client_timeouts
                )

        with pytest.raises(CannotConnectError, match="no answer"):
            asyncio.run(work())


def test_a_name_that_no_host_can_have() -> None:
    with pytest.raises(OSError, match="no host can have that name"):
        asyncio.run(look_up("x" * 64, 1, 5.0))


def test_a_name_server_that_says_nothing_keeps_nobody() -> None:
    """Neither who asked, nor the end of the loop: its thread is left alone."""
    released, asked = threading.Event(), threading.Event()

    def resolve(host: str, port: int) -> list[Found]:
        asked.set()
        released.wait()
        raise OSError(f"nobody wants {host}:{port} any more")

    with pytest.raises(TimeoutError, match="no name server answered"):
        asyncio.run(look_up("slow.example", 1, 0.1, resolve))
    assert asked.is_set()
    released.set()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "203.0.113.7"])
def test_for_an_address_no_resolver_is_asked_and_no_thread_begun(address: str) -> None:
    def resolve(host: str, port: int) -> list[Found]:
        raise AssertionError(f"{host}:{port} was looked up")

    found = asyncio.run(look_up(address, 9418, 5.0, resolve))
    assert [each[4][:2] for each in found] == [(address, 9418)]


# --- the rule -------------------------------------------------------------------------------------

RULE = ClientTimeouts(answer=20.0, least_rate=1000.0)


def test_silence_ends_and_bytes_buy_time() -> None:
    allowance = Allowance(RULE, 100.0)
    assert allowance.left(119.0) == 1.0
    allowance.paid(2000, 119.0)
    assert allowance.left(119.0) == 3.0
    assert allowance.left(122.0) == 0.0


def test_time_is_not_saved_up() -> None:
    allowance = Allowance(RULE, 0.0)
    allowance.paid(1 << 30, 1.0)
    assert allowance.left(1.0) == 20.0


def test_a_slow_line_that_flows_may_take_its_time() -> None:
    allowance = Allowance(RULE, 0.0)
    for second in range(1, 3600):
        allowance.paid(1100, float(second))
        assert allowance.left(float(second)) > 15.0


def test_a_trickle_ends_soon() -> None:
    allowance = Allowance(RULE, 0.0)
    second = 0
    while allowance.left(float(second)):
        second += 1
        allowance.paid(1, float(second))
    assert second <= 21


def test_whoever_takes_little_gets_little() -> None:
    assert RULE.at_rate(None) is RULE
    assert RULE.at_rate(1 << 20) is RULE
    assert RULE.at_rate(400).least_rate == 100.0


def test_what_may_come_otherwise_is_waited_for_less_long() -> None:
    usual = ClientTimeouts()
    hasty = usual.impatient(None)
    assert (hasty.nothing, hasty.starved) == (usual.answer, usual.rivals)
    assert hasty.least_parts == usual.least_parts
    assert usual.impatient(1 << 20) == hasty
    slow = usual.impatient(1000)
    assert slow.least_parts == 1000 / 4 * slow.nothing, "a quarter of what the client allows itself"
