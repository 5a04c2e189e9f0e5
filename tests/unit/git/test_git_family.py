"""A process and all it started: whoever ends one ends the others."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from gittorrent.git import family
from support.programs import PATIENCE, wait_until


def is_at_work(pid: int) -> bool:
    """Whether a process is there; one that ended and that nobody waited for is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("times", [1, 2])
def test_what_it_started_ends_when_the_start_is_cancelled(tmp_path: Path, times: int) -> None:
    """The process is there at once, and has started another, before the start is over."""
    note = tmp_path / "pid"
    script = f"sleep 3600 & echo $! >{note}.new; mv {note}.new {note}; wait"

    async def scenario() -> None:
        with open(os.devnull, "r+b") as nothing:
            words, before = ["sh", "-c", script], family.members(os.getpid())
            starting = asyncio.ensure_future(
                family.start(words, nothing.fileno(), nothing.fileno(), os.environ)
            )
            while family.members(os.getpid()) == before:
                await asyncio.sleep(0)
            limit = time.monotonic() + PATIENCE
            while not note.exists():  # the loop stands still meanwhile
                assert time.monotonic() < limit
                time.sleep(0.01)
            for _ in range(times):
                starting.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await starting

    asyncio.run(scenario())
    wait_until(lambda: not is_at_work(int(note.read_text())), "it is gone")
