"""What nodes use while a soak lasts: memory, descriptors, threads, children; read from the kernel.

Tracks samples of every node since its last start. Rules: a node's own memory counts, mapped files
do not; growth is the slope of a line through the second half of the samples of one process, fitted
by least squares, and counts only where that half is long enough to tell. Must not know what the
nodes do.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from soak_sites import Site, Sites

SAMPLE_SECONDS = 5.0

MIN_HALF_SECONDS = 240.0
"""Length of half a process's life below which its growth is warming up."""


@dataclass(frozen=True)
class Sample:
    """What a node uses at one moment.

    Args:
        seconds: since the soak began.
        memory: bytes that are its own.
        files: open descriptors.
        threads: of it.
        children: that run.
        zombies: children that ended and were not waited for.
    """

    seconds: float
    memory: int
    files: int
    threads: int
    children: int
    zombies: int


@dataclass
class Watch:
    """Looks at all nodes now and then, in a thread of its own."""

    sites: Sites
    began: float = field(default_factory=time.monotonic)
    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=lambda: defaultdict(list))
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            for site in self.sites.sites:
                self.look(site)

    def look(self, site: Site) -> Sample | None:
        """Look at a site's node now; None where none runs."""
        process, starts = site.process, site.starts
        if process is None:
            return None
        try:
            found = sample(process.pid, time.monotonic() - self.began)
        except (OSError, StopIteration):  # it ended meanwhile
            return None
        self.samples[site.name, starts].append(found)
        return found

    def peak(self) -> int:
        """Return the bytes of the largest node there was."""
        return max((one.memory for found in self.samples.values() for one in found), default=0)

    def growths(self) -> dict[str, float]:
        """Return bytes an hour by which nodes grew that ran long enough, by "site, start"."""
        found = {}
        for (site, start), samples in self.samples.items():
            half = samples[len(samples) // 2 :]
            if half and half[-1].seconds - half[0].seconds >= MIN_HALF_SECONDS:
                found[f"{site}, start {start}"] = 3600 * slope(
                    [one.seconds for one in half], [one.memory for one in half]
                )
        return found


def sample(pid: int, seconds: float) -> Sample:
    """Look at a process.

    Raises:
        OSError: it is gone.
    """
    place = Path("/proc") / str(pid)
    text = (place / "smaps_rollup").read_text()
    private = [line.split() for line in text.splitlines() if line.startswith("Private_")]
    states = [state for _, state in _children(place)]
    return Sample(
        seconds,
        1024 * sum(int(line[1]) for line in private),
        len(list((place / "fd").iterdir())),
        len(list((place / "task").iterdir())),
        sum(state != "Z" for state in states),
        sum(state == "Z" for state in states),
    )


def _children(place: Path) -> Iterator[tuple[int, str]]:
    """Return the children of all threads of a process, and their states."""
    for task in (place / "task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    text = (Path("/proc") / child / "stat").read_text()
                    yield int(child), text.rpartition(") ")[2].split()[0]


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return how much y grows with each x, by least squares; 0.0 for a single point."""
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    below = sum((each - middle_x) ** 2 for each in x)
    above = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return above / below if below else 0.0
