"""Full bare clones by signed indexes, against git from a perfectly packed daemon over loopback.

Three contestants by turns: git, ours, and ours with ``gittorrent.index=signed``, each time into
nothing and with nothing remembered. Client CPU is that of the clone command and all that it waits
for; the check behind a signed index, in a process that outlives the clone, is counted apart, and
waited for before the next one begins.
"""

from __future__ import annotations

import os
import time
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
from measure import Usage, contestant_of, run
from scene import prepare_perfectly, program, remove, staged

if TYPE_CHECKING:
    from scene import Scene

WALL_LIMIT = 0.10
"""Of git clone's wall time."""

CPU_LIMIT = 0.05
"""Of git clone's CPU time."""

SETTING = ("-c", "gittorrent.index=signed")
CHECK_SECONDS = 900.0
"""Time that the check behind a clone may take here, beside whatever else runs."""


def measure(arguments: Arguments) -> Report:
    """Prepare the servers and let all clone by turns."""
    used: dict[str, list[Usage]] = {"git": [], "gittorrent": [], "signed index": []}
    checks: list[float] = []
    with staged(arguments.work) as scene:
        say("copying and publishing the repository")
        copy = scene.copy_bare(arguments.repository)
        home, own = scene.room(), scene.linked_copy(copy)
        scene.git("-C", own, "config", "gittorrent.shapes", "indexes")
        published, _ = scene.publish(own, home, "--wait")
        packed = prepare_perfectly(scene, copy)
        with scene.node(published, home) as node, scene.daemon(packed) as daemon:
            scene.take("parts", f"git://{node.host}/{published.name}.git")
            ours = f"gittorrent://{published.repository_id}@{node.host}/{published.name}.git"
            theirs = f"git://{daemon.host}/{packed.name}"
            for number in range(arguments.runs):
                say(f"run {number + 1} of {arguments.runs}")
                used["git"].append(_clone(scene, theirs)[0])
                used["gittorrent"].append(_clone(scene, ours)[0])
                clone, check = _clone(scene, ours, *SETTING)
                used["signed index"].append(clone)
                checks.append(check)
    found = {name: contestant_of(name, each) for name, each in used.items()}
    behind = Contestant("the check behind it", (Figure("CPU s", tuple(checks)),))
    method = (
        "Client: `git clone --bare` and its children. The rival's repository is packed by",
        "`git repack -adfb`. The check behind a signed index runs in a process of its own.",
    )
    return Report("signed_index", method, (*found.values(), behind), tuple(_compared(found)))


def _compared(found: dict[str, Contestant]) -> list[Comparison]:
    signed, git, own = found["signed index"], found["git"], found["gittorrent"]
    return [
        ratio("signed index / git", "wall s", signed, git, WALL_LIMIT),
        ratio("signed index / git", "CPU s", signed, git, CPU_LIMIT),
        ratio("signed index / gittorrent", "wall s", signed, own, None),
        ratio("signed index / gittorrent", "CPU s", signed, own, None),
    ]


def _clone(scene: Scene, url: str, *options: str) -> tuple[Usage, float]:
    """Clone into nothing, with an empty home; returns what it used, and the CPU of the check."""
    home, target = scene.room(), scene.room()
    words: list[str | Path] = ["git", *options, "clone", "-q", "--bare", url, target]
    used = run(words, scene.with_home(home))
    check = 0.0
    if options:
        check = _check(target)
        run([*program(), "verify", target], scene.with_home(home))
    remove(home, target)
    return used, check


def _check(clone: Path) -> float:
    """Follow the process that checks a clone to its end; returns the CPU seconds it used."""
    unchecked, used = clone / "gittorrent" / "unchecked", 0.0
    began = time.monotonic()
    while any(unchecked.iterdir()):
        used = max(used, _cpu_of_check(clone))
        time.sleep(0.02)
        if time.monotonic() - began > CHECK_SECONDS:
            raise BenchError(f"{clone} is not checked after {CHECK_SECONDS:.0f} s")
    return used


def _cpu_of_check(clone: Path) -> float:
    """Return the CPU seconds that the process with the check of a clone has used so far."""
    wanted = os.fsencode(clone)
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"--pending" in words and wanted in words:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return 0.0


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=5, quick_runs=1), measure)
