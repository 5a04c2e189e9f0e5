"""Many conversations on one connection, read at any pace and cut anywhere; a seed replays it.

``GITTORRENT_MUX_SEEDS=FROM-TO`` runs others than the usual ones.
"""

from __future__ import annotations

import os
import random

import pytest

from gittorrent.wire.limits import STREAM_WINDOW
from gittorrent.wire.mux import Arrived, Closed, Mux, Opened
from gittorrent.wire.session import Role

STEPS = 400
SLOW = 3
"""Every such conversation is read by nobody until the end."""


def seeds() -> range:
    """Return the seeds to run."""
    first, _, last = os.environ.get("GITTORRENT_MUX_SEEDS", "0-19").partition("-")
    return range(int(first), int(last or first) + 1)


class End:
    """One end: what it said in each conversation, what it heard, and what it read of that."""

    def __init__(self, role: Role, draw: random.Random) -> None:
        self.mux = Mux(role, 0.0)
        self.wire = b""
        self.said: dict[int, bytes] = {}
        self.heard: dict[int, bytes] = {}
        self.read: dict[int, int] = {}
        self.over: set[int] = set()
        self.ended: set[int] = set()
        self._draw = draw

    def open(self) -> None:
        number = self.mux.open(b"/repository")
        self.said[number], self.heard[number], self.read[number] = b"", b"", 0

    def say(self) -> None:
        number = self._draw.choice(sorted(self.said))
        if number not in self.over | self.ended:
            data = self._draw.randbytes(self._draw.choice((1, 100, 5000, 90000)))
            self.said[number] += data
            self.mux.send(number, data)

    def close(self) -> None:
        number = self._draw.choice(sorted(self.said))
        if self._draw.random() < 0.05 and self.mux.unsent(number) == 0:
            self.over.add(number)
            self.mux.close(number)

    def hear(self, other: End, most: int) -> None:
        """Hear some of what the other end sends."""
        other.wire += other.mux.output(self._draw.choice((1, 2000, 200000)))
        data, other.wire = other.wire[:most], other.wire[most:]
        for event in self.mux.received(data):
            if isinstance(event, Opened):
                number = event.number
                self.said[number], self.heard[number], self.read[number] = b"", b"", 0
            elif isinstance(event, Arrived):
                self.heard[event.number] += event.data
                assert len(self.heard[event.number]) - self.read[event.number] <= STREAM_WINDOW
            elif isinstance(event, Closed):
                self.ended.add(event.number)

    def take(self, *, all_of_it: bool = False) -> None:
        """Read some of what was heard."""
        for number, heard in self.heard.items():
            unread = len(heard) - self.read[number]
            if unread and (all_of_it or number % SLOW):
                count = unread if all_of_it else self._draw.randrange(unread + 1)
                self.read[number] += count
                if count:
                    self.mux.read(number, count)


@pytest.mark.parametrize("seed", seeds())
def test_history(seed: int) -> None:
    draw = random.Random(seed)
    caller, answerer = End(Role.CALLER, draw), End(Role.ANSWERER, draw)
    both = ((caller, answerer), (answerer, caller))
    caller.hear(answerer, 1 << 20)
    for _ in range(1 + seed % 12):
        caller.open()
    answerer.hear(caller, 1 << 20)
    for _ in range(STEPS):
        one, other = draw.choice(both)
        draw.choice((one.say, one.close, one.take))() if one.said else None
        one.hear(other, draw.choice((1, 3000, 1 << 20)))
    for _ in range(10_000):  # then everything is read
        if all(not one.mux.unsent(n) and not one.wire for one, _ in both for n in one.said):
            break
        for one, other in both:
            one.hear(other, 1 << 20)
            one.take(all_of_it=True)
    for one, other in both:
        for number, said in one.said.items():
            heard = other.heard.get(number, b"")
            is_whole = number in one.ended | other.over  # what it did not hear was on its way
            assert heard == said if not is_whole else said.startswith(heard), (seed, number)
