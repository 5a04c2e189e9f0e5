"""Publishing one commit, of a repository as it is and with 100,000 refs, against ``git push``.

The repository is published first; then a commit is made on its main branch and published, several
times. The rival pushes the same commit with stock git into a bare copy that has the same refs. Then
branches are added until there are 100,000, and all that is done once more.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from frame import (
    Arguments,
    BenchError,
    Comparison,
    Contestant,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import Usage, contestant_of, run
from scene import Published, Scene, staged

REFS = 100_000
"""Refs with which publishing must still be quick."""

QUICK_REFS = 5_000

MANY_LIMIT = 1.0
"""Seconds to publish one commit of a repository with so many refs."""

PLAIN_LIMIT = 0.3
"""Seconds to publish one commit of the repository as it is."""


@dataclass(slots=True)
class Contest:
    """The runs of both with one number of refs.

    Args:
        scene: they are made in.
        published: the repository.
        home: of the node that it is published from.
        target: a bare copy with the same refs.
        publishing: what ``gittorrent publish`` used.
        pushing: what ``git push`` used.
    """

    scene: Scene
    published: Published
    home: Path
    target: Path
    publishing: list[Usage] = field(default_factory=list)
    pushing: list[Usage] = field(default_factory=list)

    def commit(self, number: int) -> None:
        """Make a commit, publish it and push it."""
        origin = self.published.path
        self.scene.commit(origin, f"change {number}\n")
        self.publishing.append(self.scene.publish(origin, self.home)[1])
        branch = self.scene.git("-C", origin, "symbolic-ref", "HEAD")
        words: list[str | Path] = ["git", "-C", origin, "push", "-q", self.target, branch]
        self.pushing.append(run(words, self.scene.environ))
        if self._tip(origin) != self._tip(self.target):
            raise BenchError("the push did not arrive")

    def contestants(self, what: str) -> tuple[Contestant, Contestant]:
        """Return both, ours first."""
        return (
            contestant_of(f"gittorrent publish, {what}", self.publishing),
            contestant_of(f"git push, {what}", self.pushing),
        )

    def _tip(self, repository: Path) -> str:
        return self.scene.git("-C", repository, "rev-parse", "HEAD")


def measure(arguments: Arguments) -> Report:
    """Publish and push commits, before and after branches were added."""
    refs = QUICK_REFS if arguments.quick else REFS
    with staged(arguments.work) as scene:
        say("copying and publishing the repository")
        origin, home = scene.copy_bare(arguments.repository), scene.room()
        published, _ = scene.publish(origin, home, "--wait")
        count = len(scene.git("-C", origin, "for-each-ref", "--format=1").splitlines())
        plain = _contest(scene, published, home, arguments.runs)
        say(f"adding branches up to {refs} and publishing them")
        _add_branches(scene, origin, refs - count)
        _, adding = scene.publish(origin, home, "--wait")
        many = _contest(scene, published, home, arguments.runs)
    ours, theirs = plain.contestants(f"{count} refs")
    ours_many, theirs_many = many.contestants(f"{refs} refs")
    added = contestant_of(f"gittorrent publish, {refs - count} branches added", [adding])
    method = (
        f"The repository has {count} refs, and {refs} after branches at its commits were added.",
        "Each publication is of one commit that changes one file; it signs a push, a checkpoint",
        "and a manifest. The push goes to a bare repository of the same file system.",
    )
    comparisons = (
        Comparison(
            f"publish one commit, {count} refs: wall", ours.median("wall s"), PLAIN_LIMIT, " s"
        ),
        Comparison(
            f"publish one commit, {refs} refs: wall", ours_many.median("wall s"), MANY_LIMIT, " s"
        ),
        ratio(f"publish / push, {count} refs", "wall s", ours, theirs),
        ratio(f"publish / push, {refs} refs", "wall s", ours_many, theirs_many),
    )
    return Report(
        "publish refs", method, (ours, theirs, ours_many, theirs_many, added), comparisons
    )


def _contest(scene: Scene, published: Published, home: Path, runs: int) -> Contest:
    target = scene.room()
    scene.git("clone", "-q", "--mirror", "--no-local", f"file://{published.path}", target)
    contest = Contest(scene, published, home, target)
    for number in range(runs):
        say(f"commit {number + 1} of {runs}")
        contest.commit(number)
    return contest


def _add_branches(scene: Scene, repository: Path, count: int) -> None:
    """Make branches at the repository's commits, again from the first where there are too few."""
    commits = scene.git("-C", repository, "rev-list", f"--max-count={count}", "--all").split()
    lines = [
        f"create refs/heads/many/{n // 1000}/{n} {commits[n % len(commits)]}\n"
        for n in range(count)
    ]
    words: list[str | Path] = ["git", "-C", repository, "update-ref", "--stdin"]
    subprocess.run(words, input="".join(lines).encode(), env=scene.environ, check=True)
    scene.git("-C", repository, "pack-refs", "--all")


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=5, quick_runs=2), measure)
