"""What was opened for the local network is closed, however often whoever does it is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from gittorrent.discovery.lan import close


class Network:
    """Closes when it is let, and fails if it is told to."""

    def __init__(self) -> None:
        self.may_close = asyncio.Event()
        self.is_closed = False
        self.failure: Exception | None = None

    async def async_close(self) -> None:
        await self.may_close.wait()
        if self.failure is not None:
            raise self.failure
        self.is_closed = True


async def steps(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("cancellations", [0, 1, 3])
def test_cancellations_wait(cancellations: int) -> None:
    async def work() -> None:
        network = Network()
        closing = asyncio.create_task(close(network))
        for _ in range(cancellations):
            await steps()
            closing.cancel()
        await steps()
        assert not closing.done()
        network.may_close.set()
        await asyncio.wait([closing])
        assert network.is_closed
        assert closing.cancelled() is (cancellations > 0)

    asyncio.run(work())


def test_failures_are_told() -> None:
    async def work() -> None:
        network = Network()
        network.failure = OSError("no such device")
        network.may_close.set()
        with pytest.raises(OSError, match="no such device"):
            await close(network)

    asyncio.run(work())
