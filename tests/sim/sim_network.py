"""A virtual network on a virtual clock: links with rates, latency, loss and partitions.

For the simulated nodes. Everything that happens is an entry of one queue, ordered by time and then
by when it was planned; so the same seed gives the same run on every machine.

The model: each node has an uplink and a downlink. Payload travels in chunks. An uplink takes turns
between the streams that have something to send, one chunk each, which shares it fairly and never
leaves it idle while one of them can go on; a downlink passes chunks on in the order in which they
come. A stream has a bounded number of chunks under way, so a slow reader holds up its own stream
only. Small messages take their latency and no bandwidth, but stay in the order of their stream. A
lost chunk comes after a retransmission. Across a partition everything waits until it heals.

Must not know: what is being carried, or why.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WINDOW = 3
"""Chunks of one stream under way: what socket buffers and a congestion window hold."""

CHUNKS = 4
"""Chunks that a part is carried in."""

RETRANSMIT_SECONDS = 0.2
"""Least time until something lost is sent again, as with TCP."""


class Clock:
    """The queue of everything still to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self.happened = 0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, when: float, act: Callable[..., None], *args: Any) -> None:
        """Plan a call; a time in the past means now."""
        self.happened += 1
        heapq.heappush(self._queue, (max(when, self.now), self.happened, act, args))

    def run(self, until: float, done: Callable[[], bool]) -> None:
        """Let things happen until ``done()`` or the time is up or nothing is left."""
        queue = self._queue
        while queue and not done():
            if queue[0][0] > until:
                self.now = until
                return
            self.now, _, act, args = heapq.heappop(queue)
            act(*args)


@dataclass(slots=True)
class Partition:
    """Between two times, nodes for which ``side`` differs do not reach each other."""

    begins: float
    heals: float
    side: Callable[[int], bool]

    def cuts(self, now: float, one: int, other: int) -> bool:
        return self.begins <= now < self.heals and self.side(one) != self.side(other)


@dataclass(slots=True)
class Link:
    """The access line of one node: bytes per second each way, seconds to the backbone."""

    number: int
    up: float
    down: float
    latency: float
    loss: float = 0.0
    sent: int = 0
    busy: bool = False
    down_free_at: float = 0.0
    ready: deque[Stream] = field(default_factory=deque)


class Network:
    """Carries messages and chunks between links."""

    def __init__(self, clock: Clock, draw: random.Random) -> None:
        self.clock = clock
        self.partitions: list[Partition] = []
        self._draw = draw

    def delay(self, one: Link, other: Link) -> float:
        """Return the seconds that something sent now takes, bandwidth apart."""
        now = self.clock.now
        delay = one.latency + other.latency
        loss = max(one.loss, other.loss)
        if loss and self._draw.random() < loss:
            delay += RETRANSMIT_SECONDS + 2 * delay
        for partition in self.partitions:
            if partition.cuts(now, one.number, other.number):
                delay += partition.heals - now + RETRANSMIT_SECONDS
        return delay

    def serve(self, link: Link) -> None:
        """Let the uplink send the next chunk if it is idle."""
        while link.ready and not link.busy:
            stream = link.ready.popleft()
            stream.queued = False
            if stream.open and stream.backlog:
                link.busy = True
                size = stream.backlog.popleft()
                stream.under_way += 1
                self.clock.at(self.clock.now + size / link.up, self._left, link, stream, size)

    def _left(self, link: Link, stream: Stream, size: int) -> None:
        """A chunk has left the uplink."""
        link.busy = False
        link.sent += size
        if stream.open:
            stream.chunk_left(size)
        self.serve(link)


class Stream:
    """One direction of a connection.

    ``deliver`` is called at the far end with each message, and with the size of each chunk;
    ``on_sent`` at the near end when the last chunk of a payload has left.
    """

    __slots__ = (
        "_fifo", "_last_arrival", "_network", "_there", "backlog", "deliver", "here", "on_sent",
        "open", "queued", "under_way",
    )  # fmt: skip

    def __init__(
        self, network: Network, here: Link, there: Link, deliver: Callable[[object], None]
    ) -> None:
        self._network = network
        self.here = here
        self._there = there
        self.deliver = deliver
        self.on_sent: Callable[[], None] = lambda: None
        self.open = True
        self.queued = False
        self.under_way = 0
        self.backlog: deque[int] = deque()
        self._fifo: deque[list[object]] = deque()
        self._last_arrival = 0.0

    def send(self, message: object) -> None:
        """Send a small message."""
        self._plan(self._ready, [False, message])

    def send_payload(self, size: int) -> None:
        """Send so many bytes, as chunks that share the uplink with other streams."""
        chunk = max(1, -(-size // CHUNKS))
        while size:
            self.backlog.append(min(chunk, size))
            size -= self.backlog[-1]
        self._queue_up()

    def close(self) -> None:
        """Lose whatever is under way."""
        self.open = False
        self.backlog.clear()
        self._fifo.clear()

    def chunk_left(self, size: int) -> None:
        """The uplink has sent a chunk."""
        self._plan(self._arrived, [False, size])
        if self.backlog:
            self._queue_up()
        else:
            self.on_sent()

    def _queue_up(self) -> None:
        if self.backlog and not self.queued and self.under_way < WINDOW:
            self.queued = True
            self.here.ready.append(self)
            self._network.serve(self.here)

    def _plan(self, then: Callable[[list[object]], None], entry: list[object]) -> None:
        clock = self._network.clock
        arrival = clock.now + self._network.delay(self.here, self._there)
        self._last_arrival = arrival = max(arrival, self._last_arrival)
        self._fifo.append(entry)
        clock.at(arrival, then, entry)

    def _arrived(self, entry: list[object]) -> None:
        """A chunk has come to the downlink of the far end."""
        clock, there = self._network.clock, self._there
        size = entry[1]
        assert isinstance(size, int)
        there.down_free_at = max(clock.now, there.down_free_at) + size / there.down
        clock.at(there.down_free_at, self._ready, entry)

    def _ready(self, entry: list[object]) -> None:
        entry[0] = True
        while self.open and self._fifo and self._fifo[0][0]:
            item = self._fifo.popleft()[1]
            if isinstance(item, int):
                self.under_way -= 1
                self._queue_up()
            self.deliver(item)
