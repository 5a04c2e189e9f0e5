"""What callers wait for a busy node: latency of mirror-list while a long log is verified.

Contestants: our node while it fetches and verifies a log for a clone of its machine, the same node
with nothing to do, and git daemon with nothing to do, asked what it serves. Each is asked again and
again on new connections; the node for another repository than the one it is busy with.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING

from frame import (
    Arguments,
    BenchError,
    Comparison,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from long_log import NAME, write_long_log
from scene import Published, staged

from gittorrent.store import control_socket
from gittorrent.store.home import Home
from gittorrent.wire import pktline
from gittorrent.wire.control import MAX_LINE, Fetch, No, parse_answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENTRIES = 10_000
"""Entries of the log that is verified."""

IDLE_SECONDS = 5.0
"""Time over which those without work are asked."""

PAUSE_SECONDS = 0.005
"""Time between an answer and the next question: nobody is to be kept busy by being asked."""

WORST_LIMIT = 250.0
"""Milliseconds that no answer is to take: twice what people notice."""

RATIO_LIMIT = 10.0
"""Times that the median may grow while a log is verified."""

_MEDIAN, _TAIL, _WORST = "median ms", "99 of 100 ms", "worst ms"
_ASKED, _SECONDS = "questions", "seconds"


@dataclass(slots=True)
class Course:
    """One server in one situation, and how long its callers waited.

    Args:
        name: is shown.
        port: where it listens.
        hello: the first packet of a connection.
        ends: how the answer ends; None where the server closes.
    """

    name: str
    port: int
    hello: bytes
    ends: bytes | None = None
    figures: dict[str, list[float]] = field(default_factory=dict)

    def run(self, is_over: Callable[[], bool]) -> None:
        """Ask until something is over."""
        waited: list[float] = []
        began = time.perf_counter()
        while not is_over() or len(waited) < 2:
            waited.append(1000 * self._ask())
            time.sleep(PAUSE_SECONDS)
        found = {
            _MEDIAN: median(waited),
            _TAIL: quantiles(waited, n=100)[-1],
            _WORST: max(waited),
            _ASKED: float(len(waited)),
            _SECONDS: time.perf_counter() - began,
        }
        for metric, value in found.items():
            self.figures.setdefault(metric, []).append(value)

    def _ask(self) -> float:
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
            sock.sendall(self.hello)
            heard = b""
            while self.ends is None or self.ends not in heard:
                more = sock.recv(65536)
                if not more:
                    break
                heard += more
        if not heard or heard[4:8] == b"ERR ":
            raise BenchError(f"{self.name}: it was refused: {heard[:200]!r}")
        return time.perf_counter() - began

    def result(self) -> Contestant:
        """Return the figures."""
        digits = {_ASKED: 0, _SECONDS: 1}
        shown = [Figure(m, tuple(v), digits.get(m, 2)) for m, v in self.figures.items()]
        return Contestant(self.name, tuple(shown))


async def _fetch(control: Path, request: Fetch) -> str:
    """Ask a node to fetch something and return why it did not, once it has read the log."""
    sock = control_socket.connect(control)
    if sock is None:
        raise BenchError("the node takes no requests of clones")
    reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE)
    try:
        await reader.readline()
        writer.write(request.encode())
        while line := await reader.readline():
            answer = parse_answer(line)
            if isinstance(answer, No):
                return answer.reason
        raise BenchError("the node has gone")
    finally:
        writer.close()


class Working:
    """A node's work on a log, as long as the block runs; then it has to be over.

    Args:
        control: of the node.
        request: what it is asked for.
    """

    def __init__(self, control: Path, request: Fetch) -> None:
        self._reason = ""
        self._thread = threading.Thread(target=self._run, args=(control, request))
        self._thread.start()

    def is_over(self) -> bool:
        """Tell whether the node is done."""
        return not self._thread.is_alive()

    def check(self) -> None:
        """Make sure that it did what was meant: it verified the log, and found no reel."""
        self._thread.join()
        if "reel" not in self._reason:
            raise BenchError(f"the node did not verify the log: {self._reason}")

    def _run(self, control: Path, request: Fetch) -> None:
        self._reason = asyncio.run(_fetch(control, request))


def measure(arguments: Arguments) -> Report:
    """Ask in each situation by turns."""
    entries = ENTRIES // 5 if arguments.quick else ENTRIES
    with staged(arguments.work) as scene, ExitStack() as stack:
        say(f"writing a log of {entries} entries")
        long = write_long_log(scene.room(), entries)
        info = long.info
        say("copying and publishing the repository")
        copy = scene.copy_bare(arguments.repository)
        home, other_home = scene.room(), scene.room()
        published, _ = scene.publish(scene.linked_copy(copy), home, "--wait")
        node = stack.enter_context(scene.node(published, home))
        source = Published(info.repository_id, NAME, long.layout.git_dir)
        origin = stack.enter_context(scene.node(source, other_home))
        daemon = stack.enter_context(scene.daemon(copy))
        hello = pktline.encode(f"mirror-list /{published.name}.git\0host=127.0.0.1\0".encode())
        other = f"git-upload-pack /{copy.name}\0host=127.0.0.1\0\0version=2\0".encode()
        busy = Course("node, verifying a log", node.git, hello)
        idle = Course("node, idle", node.git, hello)
        rival = Course("git daemon, idle", daemon.git, pktline.encode(other), b"0000")
        head = long.log_store.ids()[-1]
        url = f"gittorrent://{info.repository_id}@127.0.0.1:{origin.git}/{NAME}.git"
        request = Fetch(info.repository_id, head, None, url)
        for number in range(arguments.runs):
            say(f"run {number + 1} of {arguments.runs}")
            for course in (idle, rival):
                until = time.monotonic() + IDLE_SECONDS
                course.run(lambda until=until: time.monotonic() >= until)  # type: ignore[misc]
            working = Working(Home(home).control, request)
            busy.run(working.is_over)
            working.check()
        results = [course.result() for course in (busy, idle, rival)]
    method = (
        f"A log of {entries} entries; a question every {1000 * PAUSE_SECONDS:.0f} ms or later,"
        " each on a connection of its own, from connecting to the last byte.",
    )
    return Report("loop_latency", method, tuple(results), _comparisons(results))


def _comparisons(results: list[Contestant]) -> tuple[Comparison, ...]:
    busy, idle, rival = results
    return (
        Comparison("node, verifying: worst", busy.median(_WORST), WORST_LIMIT, " ms"),
        ratio("node, verifying / idle", _MEDIAN, busy, idle, RATIO_LIMIT),
        ratio("node, verifying / git daemon, idle", _MEDIAN, busy, rival),
        ratio("node, verifying / git daemon, idle", _WORST, busy, rival),
    )


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
