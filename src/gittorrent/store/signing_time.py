"""The time by which this machine's keepers date what they sign: `gittorrent.push.signing_clock`,
with the clocks of the machine and a file that all its processes go by. What is held back until some
time goes by it, too: a clock that leaps ahead must not let go what cannot be had again.

Rules: a reading counts as long as the machine was not started anew, and the newest in the file
counts for all, so that what the operator says in one process is heard by the node.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from gittorrent.durable import boot_id, file_state, write_atomically
from gittorrent.push.signing_clock import Reading, SigningClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_PROCESS = secrets.token_hex(16)


def run_of_machine() -> str:
    """Return what names this run of the machine; of this process where that has no name."""
    return boot_id() or _PROCESS


def steady_seconds() -> float:
    """Return the seconds of a clock that nobody sets, which goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Clocks(Struct, frozen=True):
    """The clocks of a machine.

    Args:
        time: seconds since 1970.
        steady: seconds that nobody sets.
        boot: names the run of the machine in which ``steady`` means anything.
    """

    time: Callable[[], float] = time.time
    steady: Callable[[], float] = steady_seconds
    boot: Callable[[], str] = run_of_machine

    def read(self) -> Reading:
        """Read both."""
        return Reading(self.time(), self.steady())


class SigningTime:
    """What keepers of this machine sign by; may be used from any thread.

    Args:
        path: the file.
        clocks: of the machine.
    """

    def __init__(self, path: Path, clocks: Clocks = Clocks()) -> None:  # noqa: B008 (frozen)
        self._path = path
        self._clocks = clocks
        self._lock = threading.Lock()
        self._clock = SigningClock()
        self._seen: object = None

    def now(self) -> float:
        """Return the time to sign by, in seconds since 1970."""
        with self._lock:
            return self._renewed().time(self._clocks.read())

    def ahead(self) -> float:
        """Return by how many seconds the clock is ahead of what it can be; 0.0 if it is not."""
        with self._lock:
            return self._renewed().ahead(self._clocks.read())

    def wants_others(self) -> bool:
        """Tell whether mirrors are to be asked what time it is."""
        with self._lock:
            return self._renewed().wants_others(self._clocks.read())

    def heard(self, times: Sequence[float]) -> bool:
        """Take note of what mirrors say the time is; tells whether another reading is believed.

        Args:
            times: what each says, in seconds since 1970; none where there is nobody to ask.
        """
        with self._lock:
            is_other = self._renewed().heard(self._clocks.read(), times)
            if is_other:
                self._keep()
            return is_other

    def confirm(self) -> None:
        """Take the operator's word that the clock is right."""
        with self._lock:
            self._clock.confirm(self._clocks.read())
            self._keep()

    def _renewed(self) -> SigningClock:
        """Return the clock by what the file says now."""
        seen = file_state(self._path)
        if seen != self._seen:
            self._seen = seen
            self._clock.believed = self._read()
        return self._clock

    def _read(self) -> Reading | None:
        """Return the reading in the file; None if it is of another run of the machine."""
        try:
            found = json.loads(self._path.read_bytes())
            boot, reading = found["boot"], Reading(float(found["time"]), float(found["steady"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # another version's, or none: then mirrors are asked, and it is replaced
        return reading if boot == self._clocks.boot() else None

    def _keep(self) -> None:
        believed = self._clock.believed
        if believed is None:
            return
        words = {"boot": self._clocks.boot(), "time": believed.time, "steady": believed.steady}
        write_atomically(self._path, json.dumps(words).encode("ascii"))
        self._seen = file_state(self._path)
