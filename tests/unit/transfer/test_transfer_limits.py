"""Rate limits: by a clock of the test's own, alone and under a conversation that sends for real."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gittorrent.ids import ManifestId, PushId
from gittorrent.reel.pack import FilePiece
from gittorrent.transfer.content_source import EmptyContentSource, ServedPack
from gittorrent.transfer.conversation import Conversation
from gittorrent.transfer.conversation_roles import ConversationHandlers, Upload
from gittorrent.transfer.limiter import (
    CHUNK,
    RECENT_PEERS,
    Limiter,
    Limits,
    RateError,
    parse_rate,
)
from gittorrent.wire.messages import VERSION, FetchParts, Ready
from gittorrent.wire.reelname import PackShape, ReelName
from gittorrent.wire.session import MessageReceived, Role, Session
from support.programs import PATIENCE

PART = 1 << 16
PARTS = 40


@dataclass
class Clock:
    """A clock that moves when somebody waits."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Paced(Limiter):
    """Lets the clock jump where the real one would sleep."""

    def __init__(self, rate: int | None, clock: Clock, within: Limiter | None = None) -> None:
        super().__init__(rate, clock, within)
        self._test_clock = clock

    def reserve(self, count: int) -> float:
        self._test_clock.now += super().reserve(count)
        return 0.0


def test_a_limit_is_kept_from_the_first_chunk_on() -> None:
    clock = Clock()
    limiter = Limiter(1000, clock)
    waits = []
    for _ in range(5):
        wait = limiter.reserve(500)
        waits.append(wait)
        clock.now += wait
    assert waits == [0.0, 0.5, 0.5, 0.5, 0.5]


def test_time_that_passed_unused_is_not_saved_up() -> None:
    clock = Clock()
    limiter = Limiter(1000, clock)
    clock.now = 100.0
    assert limiter.reserve(1000) == 0.0
    assert limiter.reserve(1) == 1.0


def test_without_a_limit_nothing_waits() -> None:
    limiter = Limiter(None, Clock())
    assert limiter.reserve(1 << 40) == 0.0
    assert limiter.rate is None
    assert limiter.chunk == CHUNK


def test_a_peer_waits_for_its_own_limit_and_for_the_common_one() -> None:
    clock = Clock()
    limits = Limits(up=1000, peer_up=600, clock=clock)
    one, other = limits.sending_to("192.0.2.1"), limits.sending_to("192.0.2.2")
    assert one.rate == 600
    assert one.reserve(600) == 0.0
    assert one.reserve(600) == 1.0  # its own limit
    assert other.reserve(600) == 1.2  # the common one: 1200 bytes went before


def test_a_peer_has_one_limit_whatever_its_connections() -> None:
    """All addresses of a /64 network of IPv6 are one peer, for clones as for nodes."""
    limits = Limits(peer_up=1000, clock=Clock())
    first = limits.sending_to("192.0.2.1")
    assert limits.sending_to("::ffff:192.0.2.1") is first
    assert limits.sending_to("192.0.2.2") is not first
    network = limits.sending_to("2001:db8:1:2::1")
    assert limits.sending_to("2001:db8:1:2:ffff::9") is network
    assert limits.sending_to("2001:db8:1:3::1") is not network
    assert limits.sending_to("") is limits.sending_to("")
    assert limits.up.rate is None


def test_limits_of_peers_that_left_are_forgotten() -> None:
    limits = Limits(peer_up=1000, clock=Clock())
    kept = limits.sending_to("192.0.2.1")
    for number in range(3 * RECENT_PEERS):
        limits.sending_to(f"198.51.{100 + number // 256}.{number % 256}")
    gc.collect()
    assert limits.sending_to("192.0.2.1") is kept
    assert len(limits._peers) == RECENT_PEERS + 1


def test_whoever_comes_back_at_once_has_no_new_allowance() -> None:
    limits = Limits(peer_up=1000, clock=Clock())
    assert limits.sending_to("192.0.2.1").reserve(1000) == 0.0
    gc.collect()
    assert limits.sending_to("192.0.2.1").reserve(1000) == 1.0


def test_without_a_limit_for_peers_only_the_common_one_counts() -> None:
    limits = Limits(up=1000, clock=Clock())
    assert limits.sending_to("192.0.2.1").rate == 1000
    assert limits.sending_to("192.0.2.1").reserve(500) == 0
    assert limits.sending_to("192.0.2.2").reserve(500) == 0.5


def test_another_limit_holds_for_what_is_under_way() -> None:
    limits = Limits(up=1000, clock=Clock())
    sending = limits.sending_to("192.0.2.1")
    assert sending.reserve(1000) == 0
    assert limits.set_rates(100, None, 10)
    assert (sending.rate, limits.up.rate, limits.down.rate) == (10, 100, None)
    # The 1,000 bytes that were let through take ten seconds by now.
    assert sending.reserve(20) == 10
    assert sending.reserve(20) == 10.2
    assert limits.set_rates(None, 50, None)
    assert (sending.rate, limits.down.rate) == (None, 50)
    assert sending.reserve(1 << 30) == 0
    assert not limits.set_rates(None, 50, None)


@pytest.mark.parametrize("text", ["", "0", "-1", "1T", "fast", "1.2.3M", "٣M", "9" * 400])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(RateError):
        parse_rate(text)


@pytest.mark.parametrize(("text", "rate"), [("500K", 512000), ("1.5m", 1572864), ("7", 7)])
def test_rates_are_read(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


class _Whole:
    """The view of a pack that lies on disk as it travels."""

    size = PART * PARTS

    def pieces(self, offset: int, count: int) -> Iterator[FilePiece]:
        yield FilePiece(offset, count)


class _OnePack(EmptyContentSource):
    def __init__(self, path: Path, reel: ReelName) -> None:
        self._pack = ServedPack(reel, path, _Whole(), PART, PARTS)  # type: ignore[arg-type]

    def pack(self, manifest: ManifestId) -> ServedPack | None:
        del manifest
        return self._pack


def _transfer(path: Path, sending: Limiter, taking: Limiter | None) -> int:
    """Send a pack from one conversation to another; returns the bytes that arrived."""
    path.write_bytes(bytes(PART * PARTS))
    reel = ReelName(None, PushId("1" * 40))
    manifest = ManifestId("2" * 64)

    async def work() -> int:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        now = asyncio.get_running_loop().time()
        came = asyncio.Event()
        parts: list[int] = []

        def take(event: MessageReceived) -> None:
            if event.payload is not None:
                parts.append(len(event.payload))
                if len(parts) == PARTS:
                    came.set()

        giver = Conversation(
            ours, Session(Role.ANSWERER, now), Upload(_OnePack(path, reel), sending)
        )
        giver.say(Ready(VERSION, "giver"))
        taker = Conversation(
            theirs,
            Session(Role.CALLER, now),
            Upload(EmptyContentSource(), Limiter(None)),
            ConversationHandlers(take),
            taking,
        )
        shape = PackShape(PART * PARTS, PART)
        taker.say(FetchParts(reel, manifest, 0, PARTS - 1, PARTS), shape)
        running = [asyncio.ensure_future(each.run()) for each in (giver, taker)]
        async with asyncio.timeout(PATIENCE):
            await came.wait()
        taker.end("done")
        await asyncio.gather(*running)
        return sum(parts)

    return asyncio.run(work())


@pytest.mark.parametrize("direction", ["up", "peer up", "down"])
def test_a_conversation_keeps_to_the_limit(tmp_path: Path, direction: str) -> None:
    clock = Clock()
    rate = 100_000
    paced = Paced(rate, clock)
    if direction == "peer up":
        paced = Paced(rate, clock, within=Limiter(10 * rate, clock))
    free = Limiter(None)
    up, down = (free, paced) if direction == "down" else (paced, None)
    sent = _transfer(tmp_path / "pack", up, down)
    assert sent == PART * PARTS
    # Whole but for the last chunk, which is allowed before its time has passed.
    assert sent / rate - paced.chunk / rate <= clock.now + 1e-6
    assert clock.now < 1.05 * sent / rate
