"""Machines that are network namespaces joined by a bridge, each with two addresses.

One is private, one public; they exist there only, and multicast is real.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Self

from support.programs import PATIENCE, Done, Person

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import netns

obstacle = netns.obstacle


class Machine:
    """One machine of the network.

    Args:
        node: its namespace, and its private address.
        number: of its public address.
    """

    def __init__(self, node: netns.Node, number: int) -> None:
        self.node = node
        self.private = node.address
        self.public = f"11.77.0.{number}"

    def run(self, person: Person, *words: str | Path) -> Done:
        """Let somebody run a program here."""
        with self.node.entered():
            return person.run(*words)

    @contextlib.contextmanager
    def also_at(self, address: str) -> Iterator[None]:
        """Give the machine's card another address for a while."""
        card = ("ip", "-n", self.node.namespace, "addr")
        subprocess.run([*card, "add", f"{address}/24", "dev", "eth0"], check=True)
        try:
            yield
        finally:
            subprocess.run([*card, "del", f"{address}/24", "dev", "eth0"], check=True)


@contextlib.contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """Make some machines."""
    with netns.built(count) as network:
        made = [Machine(node, number + 1) for number, node in enumerate(network.nodes)]
        for machine in made:
            network.configure(
                machine.node,
                f"addr add {machine.public}/16 dev eth0",
                "route add 224.0.0.0/4 dev eth0",
            )
        yield made


class Loop:
    """An event loop in a thread that is on one machine."""

    def __init__(self, machine: Machine) -> None:
        self.loop = asyncio.new_event_loop()
        with machine.node.entered():
            self._thread = threading.Thread(target=self.loop.run_forever)
            self._thread.start()

    def do(self, work: Callable[[], Awaitable[object]]) -> object:
        async def call() -> object:
            return await work()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(3 * PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
