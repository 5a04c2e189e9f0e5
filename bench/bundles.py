"""What bundles spare a server: stock git's clones over HTTP, with and without bundles.

The same node serves the same clone with git's own settings, with ``transfer.bundleURI``, and, as
programs before git 2.40 have to, with ``--bundle-uri``. A clone that does not ask is measured as
well of what it would be without any bundle being told of, by git:// of the same node.
"""

from __future__ import annotations

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
from scene import Scene, Server, remove, staged


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
        with scene.node(published, home, http=True) as server:
            url = f"http://127.0.0.1:{server.http}/{published.name}.git"
            clone: list[str | Path] = ["clone", "-q", "--bare"]
            plain = Course("stock git", ["git", *clone, url])
            told = Course(
                "transfer.bundleURI", ["git", "-c", "transfer.bundleURI=true", *clone, url]
            )
            named = Course("--bundle-uri", ["git", *clone, f"--bundle-uri={url}/bundle-list", url])
            over_git = f"git://127.0.0.1:{server.git}/{published.name}.git"
            without = Course("stock git, told of none", ["git", *clone, over_git])
            courses = (plain, told, named, without)
            for number in range(arguments.runs):
                say(f"run {number + 1} of {arguments.runs}")
                for course in courses:
                    course.clone(scene, server)
    results = tuple(course.result() for course in courses)
    compared = [
        ratio(f"{one.name} to {results[0].name}", metric, one, results[0])
        for one in results[1:3]
        for metric in ("server CPU s", "wall s", "client CPU s")
    ]
    return Report("bundles", ("Clones by turns, over loopback.",), results, tuple(compared))


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
