"""What ten thousand idle mirrors cost the machine that carries them: memory, time, descriptors.

Contestants: one node that follows all of them, and git daemon with a ``git fetch`` of each an hour,
as cron and grokmirror's like do it; and the same with one of each a minute, after which news are
here as late as a minute. Twenty of the mirrors are of repositories that are asked every minute by
the first rival; the node keeps conversations about as many as it keeps open (256), and asks the
sources of the others for their lists. Nothing is pushed meanwhile.

The mirrors' source is another node (another git daemon) on the same machine, whose costs do not
count. More of the mirrors than the node keeps open are published one by one; the others are copies
of one of them under ids of their own, which serve and are followed alike, but whose logs could not
be opened. Nobody opens them: real ones take all the room there is, and come first.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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
from measure import run
from msgspec.structs import replace
from scene import program, staged

from gittorrent.ids import RepositoryId
from gittorrent.node.look_schedule import FIRST_LOOKS_A_SECOND
from gittorrent.node.open_repositories import MOST_OPEN
from gittorrent.repository.carried import MIRROR, ORIGIN, Carried, object_format_of
from gittorrent.repository.publish import Publisher
from gittorrent.repository.signed_entries import Author
from gittorrent.signing.keys import make_ssh_key
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scene import Scene

    from gittorrent.signing.keys import Signer

ACTIVE = 20
"""Repositories that the rival asks every minute."""

IDLE = 10_000
"""Those that it asks once an hour."""

SETTLE_SECONDS = 60.0
"""Time for the node to open logs and conversations, besides its first looks at all mirrors."""

QUIET_SECONDS = 120.0
"""Time over which processor time is counted."""

SAMPLE = 50
"""Fetches of the rival that are measured; the others cost the same."""

_MEMORY, _EACH, _CPU = "MiB", "KiB each", "CPU s a minute"
_FILES, _START = "descriptors", "s to start"
_AUTHOR = Author(b"A U Thor <author@example.org>")


class _Farm:
    """Origins and mirrors of them, each in a home of its own.

    Args:
        scene: of the benchmark.
        real: repositories that are published one by one.
        copies: further ones under ids of their own.
    """

    def __init__(self, scene: Scene, real: int, copies: int) -> None:
        self.origins, self.mirrors = scene.room(), scene.room()
        self._scene = scene
        for home in (self.origins, self.mirrors):
            (home / "repositories").mkdir(parents=True, mode=0o700)
        key = make_ssh_key(scene.root / "key", "bench")
        self._rows: list[CarriedRow] = []
        seed = self._seed()
        say(f"publishing {real} repositories")
        names = [f"a{number:05}" for number in range(real)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of it is git's work
            published = list(pool.map(lambda name: self._publish(seed, name, key), names))
        for carried in published:
            self._note(carried)
        say(f"copying {copies} more")
        for number in range(copies):
            self._copy(published[0], f"b{number:05}")
        self._record(self.origins, self._rows)

    def _seed(self) -> Path:
        path = self._scene.room()
        self._scene.git("init", "-q", "--bare", path)
        tree = self._scene.git("-C", path, "hash-object", "-t", "tree", "-w", "/dev/null")
        commit = self._scene.git("-C", path, "commit-tree", "-m", "one", tree)
        head = self._scene.git("-C", path, "symbolic-ref", "HEAD")
        self._scene.git("-C", path, "update-ref", head, commit)
        return path

    def _publish(self, seed: Path, name: str, key: Signer) -> Carried:
        path = self.origins / "repositories" / f"{name}.git"
        shutil.copytree(seed, path)
        carried = Carried(path, object_format_of(path))
        Publisher(carried, key, _AUTHOR).publish(name)
        return carried

    def _copy(self, model: Carried, name: str) -> None:
        path = self.origins / "repositories" / f"{name}.git"
        shutil.copytree(model.layout.git_dir, path, copy_function=os.link)
        info = model.info
        letters = "abcdefghijklmnopqrstuvwxyz234567"
        repository = RepositoryId("".join(secrets.choice(letters) for _ in range(51)) + "a")
        logs = path / "gittorrent" / "logs"
        (logs / info.repository_id).rename(logs / repository)
        carried = Carried(path, model.object_format)
        carried.set_info(replace(info, repository_id=repository, name=name))
        self._note(Carried(path, model.object_format))

    def _note(self, carried: Carried) -> None:
        info = carried.info
        path = str(carried.layout.git_dir)
        self._rows.append(CarriedRow(info.name, info.repository_id, path, ORIGIN))

    def _record(self, home: Path, rows: list[CarriedRow]) -> None:
        database = Database(home / "node.sqlite")
        statement = "INSERT INTO repositories VALUES (?, ?, ?, ?, ?)"
        database.write(
            (statement, (r.name, r.repository_id, r.path, r.role, r.source)) for r in rows
        )
        database.close()

    def mirror(self, port: int) -> None:
        """Make a mirror of each, of the node at a port."""
        say(f"mirroring {len(self._rows)}")
        rows = []
        now = int(time.time())
        checks = []
        for row in self._rows:
            path = self.mirrors / "repositories" / f"{row.name}.git"
            shutil.copytree(row.path, path, copy_function=os.link)
            source = f"gittorrent://{row.repository_id}@127.0.0.1:{port}/{row.name}.git"
            carried = Carried(path, object_format_of(path))
            carried.set_info(replace(carried.info, role=MIRROR, source=source))
            rows.append(CarriedRow(row.name, row.repository_id, str(path), MIRROR, source))
            checks.append((row.repository_id, source, carried.log_store.head(), now))
        self._record(self.mirrors, rows)
        database = Database(self.mirrors / "node.sqlite")
        statement = (
            "INSERT INTO checks (repository_id, succeeded, source, head, whole)"
            " VALUES (?, ?, ?, ?, ?)"
        )
        database.write((statement, (i, when, url, head, when)) for i, url, head, when in checks)
        database.close()


@contextlib.contextmanager
def _node(scene: Scene, home: Path) -> Iterator[tuple[int, int, float]]:
    """Run a node that follows what its home carries; yields pid, port, and seconds to start."""
    words = [*program(), "serve", "--json", "--no-announce", "--git", "127.0.0.1:0"]
    begun = time.monotonic()
    with (scene.root / "node.log").open("ab") as log:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=log, env=scene.with_home(home)
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            said = (scene.root / "node.log").read_text(errors="replace")[-2000:]
            raise BenchError(f"the node did not start:\n{said}")
        port = int(json.loads(line)["listening"][0].rpartition(":")[2])
        yield process.pid, port, time.monotonic() - begun
    finally:
        process.terminate()
        process.wait(60)


def _memory(pid: int) -> float:
    """Return MiB that a process has to itself."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    lines = [line.split() for line in text.splitlines() if line.startswith("Private_")]
    return sum(int(line[1]) for line in lines) / 1024


def _cpu(pid: int) -> float:
    """Return CPU seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _ours(scene: Scene, farm: _Farm, count: int, quiet: float, settle: float) -> Contestant:
    """Measure the node that carries nothing, and the one that carries all."""
    empty = scene.room()
    empty.mkdir(mode=0o700)
    with _node(scene, empty) as (pid, _, _):
        time.sleep(3.0)
        base = _memory(pid)
    with _node(scene, farm.mirrors) as (pid, _, started):
        time.sleep(settle)
        before, begun = _cpu(pid), time.monotonic()
        time.sleep(quiet)
        used = 60 * (_cpu(pid) - before) / (time.monotonic() - begun)
        memory = _memory(pid)
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Contestant(
        "node",
        (
            Figure(_MEMORY, (memory,), 0),
            Figure(_EACH, (1024 * (memory - base) / count,), 1),
            Figure(_CPU, (used,), 2),
            Figure(_FILES, (float(files),), 0),
            Figure(_START, (started,), 1),
        ),
    )


def _theirs(scene: Scene, farm: _Farm, count: int) -> tuple[Contestant, Contestant]:
    """Measure git daemon, and a sample of the fetches that cron begins: now and then, and often."""
    repositories = sorted((farm.origins / "repositories").iterdir())
    targets = sorted((farm.mirrors / "repositories").iterdir())
    with scene.daemon(repositories[0]) as server:
        used = 0.0
        for source, target in list(zip(repositories, targets, strict=True))[:SAMPLE]:
            url = f"git://127.0.0.1:{server.git}/{source.name}"
            words: list[str | Path] = [
                "git",
                "-C",
                target,
                "fetch",
                "-q",
                url,
                "+refs/heads/*:refs/bench/*",
            ]
            run(words, scene.environ)
            used += run(words, scene.environ).cpu
        memory = _memory(server.meter.pid)
        files = len(list(Path(f"/proc/{server.meter.pid}/fd").iterdir()))
    each = used / min(SAMPLE, count)

    def rival(name: str, fetches: float) -> Contestant:
        return Contestant(
            name,
            (
                Figure(_MEMORY, (memory,), 0),
                Figure(_EACH, (0.0,), 1),
                Figure(_CPU, (fetches * each,), 2),
                Figure(_FILES, (float(files),), 0),
                Figure(_START, (0.0,), 1),
            ),
        )

    return (
        rival("git daemon, git fetch by cron", ACTIVE + (count - ACTIVE) / 60),
        rival("git daemon, git fetch of each a minute", count),
    )


def measure(arguments: Arguments) -> Report:
    """Carry them in both ways."""
    idle = 1000 if arguments.quick else IDLE
    real = MOST_OPEN + ACTIVE
    count = ACTIVE + idle
    quiet = 30.0 if arguments.quick else QUIET_SECONDS
    settle = SETTLE_SECONDS + count / FIRST_LOOKS_A_SECOND
    with staged(arguments.work) as scene:
        farm = _Farm(scene, real, count - real)
        with _node(scene, farm.origins) as (_, port, _):
            farm.mirror(port)
            say("carrying them")
            ours = _ours(scene, farm, count, quiet, settle)
        seldom, often = _theirs(scene, farm, count)
    method = (
        f"{count} mirrors, {ACTIVE} of which the rival asks every minute, the others once an hour;"
        f" {real} were published,",
        "the others are copies under ids of their own, which serve and are followed and cannot be"
        " opened;",
        f"CPU over {quiet:.0f} s, {settle:.0f} s after the start. For the rival {SAMPLE} fetches"
        " are measured;",
        "their servers' CPU does not count. Memory is private; 'each' is without an empty node's.",
    )
    compared = _comparisons(ours, seldom, often)
    return Report("idle repositories", method, (ours, seldom, often), compared)


def _comparisons(ours: Contestant, seldom: Contestant, often: Contestant) -> tuple[Comparison, ...]:
    return (
        ratio("node / git fetch of each a minute", _CPU, ours, often, 1.0),
        ratio("node / git fetch by cron", _CPU, ours, seldom),
    )


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=1, quick_runs=1), measure)
