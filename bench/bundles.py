"""What bundles spare a server: stock git's clones over HTTP and git://, with and without bundles.

The same node serves the same clone with git's own settings, with ``transfer.bundleURI``, and, as
programs before git 2.40 have to, with ``--bundle-uri``; the last one by the system's git as well,
where that is another one. The node keeps no answers of git's here, which spare it more. What it
makes when it is first asked is made before. What it uses while nobody asks is told apart, since the
machine may take long over a clone, which is longest with bundles: it is in all other figures.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from frame import (
    Arguments,
    Contestant,
    Figure,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import run
from scene import Scene, Server, ready_node, remove, staged

SYSTEM_GIT = Path("/usr/bin/git")
"""Where another version of git often is."""

IDLE_SECONDS = 20.0
"""How long the node is watched while nobody asks."""


@dataclass
class Course:
    """One way to clone, and what it cost."""

    name: str
    words: list[str | Path]
    server_cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)

    def clone(self, scene: Scene, server: Server) -> None:
        """Clone once."""
        target, before = scene.room(), server.meter.cpu()
        used = run([*self.words, target], scene.environ)
        self.server_cpu.append(server.meter.cpu() - before)
        self.wall.append(used.wall)
        self.client_cpu.append(used.cpu)
        remove(target)

    def result(self) -> Contestant:
        """Return the figures."""
        return Contestant(
            self.name,
            (
                Figure("server CPU s", tuple(self.server_cpu), 3),
                Figure("wall s", tuple(self.wall)),
                Figure("client CPU s", tuple(self.client_cpu)),
            ),
        )


def measure(arguments: Arguments) -> Report:
    """Clone by turns."""
    with staged(arguments.work) as scene:
        say("copying and publishing the repository")
        home = scene.room()
        published, _ = scene.publish(scene.copy_bare(arguments.repository), home, "--wait")
        (home / "node.toml").write_text("[limits]\ngit-answers = 0\n", encoding="ascii")
        with ready_node(scene, published, home) as server:
            idle = _idle(server)
            web = f"http://127.0.0.1:{server.http}/{published.name}.git"
            courses = [
                *_courses("HTTP", web, f"{web}/bundle-list"),
                *_courses(
                    "git://",
                    f"git://127.0.0.1:{server.git}/{published.name}.git",
                    f"{web}/bundle-list",
                ),
            ]
            for number in range(arguments.runs):
                say(f"run {number + 1} of {arguments.runs}")
                for course in courses:
                    course.clone(scene, server)
    results = tuple(course.result() for course in courses)
    half = len(results) // 2
    compared = [
        ratio(f"{one.name} to {first.name}", metric, one, first)
        for first, others in ((results[0], results[1:half]), (results[half], results[half + 1 :]))
        for one in others
        for metric in ("server CPU s", "wall s", "client CPU s")
    ]
    method = (
        "Clones by turns, over loopback.",
        f"The node used {idle:.4f} CPU s a second while nobody asked, which is in all figures.",
    )
    return Report("bundles", method, results, tuple(compared))


def _idle(server: Server) -> float:
    """Return the CPU seconds a second that the node uses while nobody asks."""
    before = server.meter.cpu()
    time.sleep(IDLE_SECONDS)
    return (server.meter.cpu() - before) / IDLE_SECONDS


def _courses(scheme: str, url: str, listed: str) -> list[Course]:
    """Return the ways to clone from a URL, the one without bundles first."""
    clone: list[str | Path] = ["clone", "-q", "--bare"]
    told: list[str | Path] = ["git", "-c", "transfer.bundleURI=true", *clone, url]
    found = [
        Course(f"{scheme}, stock git", ["git", *clone, url]),
        Course(f"{scheme}, transfer.bundleURI", told),
        Course(f"{scheme}, --bundle-uri", ["git", *clone, f"--bundle-uri={listed}", url]),
    ]
    if SYSTEM_GIT.exists() and Path(shutil.which("git") or "git").resolve() != SYSTEM_GIT.resolve():
        words = [SYSTEM_GIT, *clone, f"--bundle-uri={listed}", url]
        found.append(Course(f"{scheme}, --bundle-uri, the system's git", words))
    return found


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
