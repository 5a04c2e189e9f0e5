"""The first mirror of 50,000 refs, and one more push to it, against ``git clone --mirror``.

The refs are branches at commits of the repository's history, packed at the origin. We mirror from
a node, the rival clones from ``git daemon``, both from nothing. Then one branch in a hundred
moves, and each copy is brought up to date.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from frame import (
    Arguments,
    BenchError,
    Report,
    parse_arguments,
    ratio,
    run_benchmark,
    say,
)
from measure import Usage, contestant_of, run
from scene import Published, Scene, program, remove, staged

REFS = 50_000
"""Branches of the repository that is mirrored."""

QUICK_REFS = 5_000

MOVED_EVERY = 100
"""Of so many branches one is moved by the push that follows."""

LIMIT = 1.2
"""Of the wall time of ``git clone --mirror``."""


@dataclass(slots=True)
class Contest:
    """The runs of both so far.

    Args:
        scene: they are made in.
        published: the repository with its many refs.
        ours: URL of it at our node.
        theirs: URL of it at git daemon.
        mirroring: what ``gittorrent mirror`` used.
        cloning: what ``git clone --mirror`` used.
        home: of the last mirror.
        cloned: the last clone.
    """

    scene: Scene
    published: Published
    ours: str
    theirs: str
    mirroring: list[Usage] = field(default_factory=list)
    cloning: list[Usage] = field(default_factory=list)
    home: Path | None = None
    cloned: Path | None = None

    def mirror(self) -> None:
        """Mirror with an empty home; the one before goes."""
        remove(*([] if self.home is None else [self.home]))
        self.home = self.scene.room()
        self.mirroring.append(self.follow())
        self._check(self.home / "repositories" / f"{self.published.name}.git")

    def follow(self) -> Usage:
        """Bring the last mirror up to date."""
        assert self.home is not None
        words = [*program(), "mirror", self.ours, "--once", "--quiet"]
        return run(words, self.scene.with_home(self.home))

    def clone(self) -> None:
        """Clone with stock git; the clone before goes."""
        remove(*([] if self.cloned is None else [self.cloned]))
        self.cloned = self.scene.room()
        words: list[str | Path] = ["git", "clone", "-q", "--mirror", self.theirs, self.cloned]
        self.cloning.append(run(words, self.scene.environ))
        self._check(self.cloned)

    def update(self) -> Usage:
        """Bring the last clone up to date."""
        assert self.cloned is not None
        words: list[str | Path] = ["git", "-C", self.cloned, "fetch", "-q", "--prune"]
        return run(words, self.scene.environ)

    def check_both(self) -> None:
        """Require both to have what is published."""
        assert self.home is not None
        assert self.cloned is not None
        self._check(self.home / "repositories" / f"{self.published.name}.git")
        self._check(self.cloned)

    def _check(self, copy: Path) -> None:
        if _branches(self.scene, copy) != _branches(self.scene, self.published.path):
            raise BenchError(f"the refs of {copy} are not those of the repository")


def measure(arguments: Arguments) -> Report:
    """Mirror and clone by turns, then let both follow a push."""
    refs = QUICK_REFS if arguments.quick else REFS
    with staged(arguments.work) as scene:
        say(f"making {refs} branches")
        copy = scene.copy_bare(arguments.repository)
        _add_branches(scene, copy, refs)
        home = scene.room()
        published, publishing = scene.publish(copy, home, "--wait")
        with scene.node(published, home) as node, scene.daemon(copy) as daemon:
            ours = f"gittorrent://{published.repository_id}@{node.host}/{published.name}.git"
            contest = Contest(scene, published, ours, f"git://{daemon.host}/{copy.name}")
            turns = [("gittorrent mirror", contest.mirror), ("git clone --mirror", contest.clone)]
            for number in range(arguments.runs):
                for name, turn in turns:
                    say(f"run {number + 1} of {arguments.runs}: {name}")
                    turn()
                turns.reverse()
            say("following a push")
            _move_some(scene, copy)
            run([*program(), "publish", copy, "--wait", "--quiet"], scene.with_home(home))
            followed, updated = contest.follow(), contest.update()
            contest.check_both()
    first = contestant_of("gittorrent mirror", contest.mirroring)
    rival = contestant_of("git clone --mirror", contest.cloning)
    later = contestant_of("gittorrent mirror, one push later", [followed])
    update = contestant_of("git fetch --prune, one push later", [updated])
    made = contestant_of("gittorrent publish, the first time", [publishing])
    method = (
        f"{refs} branches at the origin, packed; the push that follows moves one in {MOVED_EVERY}.",
        "The clone is from git daemon, the mirror from a node that serves over git://.",
    )
    comparisons = (
        ratio("mirror / clone", "wall s", first, rival, LIMIT),
        ratio("mirror / clone", "CPU s", first, rival),
        ratio("mirror / fetch, one push later", "wall s", later, update),
    )
    return Report("many refs", method, (first, rival, later, update, made), comparisons)


def _add_branches(scene: Scene, repository: Path, count: int) -> None:
    """Make branches at the repository's commits, again from the first where there are too few."""
    commits = scene.git("-C", repository, "rev-list", f"--max-count={count}", "--all").split()
    lines = [f"create {_name(n)} {commits[n % len(commits)]}\n" for n in range(count)]
    _update(scene, repository, lines)
    scene.git("-C", repository, "pack-refs", "--all")


def _move_some(scene: Scene, repository: Path) -> None:
    """Let some branches change places with their neighbours."""
    refs = dict(line.split()[::-1] for line in _branches(scene, repository).splitlines())
    names = sorted(name for name in refs if name.startswith("refs/heads/many/"))
    lines = [
        f"update {one} {refs[other]}\n"
        for one, other in zip(names[::MOVED_EVERY], names[1::MOVED_EVERY], strict=False)
    ]
    _update(scene, repository, lines)


def _name(number: int) -> str:
    return f"refs/heads/many/{number // 1000}/{number}"


def _update(scene: Scene, repository: Path, lines: list[str]) -> None:
    words: list[str | Path] = ["git", "-C", repository, "update-ref", "--stdin"]
    subprocess.run(words, input="".join(lines).encode(), env=scene.environ, check=True)


def _branches(scene: Scene, repository: Path) -> str:
    form = "--format=%(objectname) %(refname)"
    return scene.git("-C", repository, "for-each-ref", form, "refs/heads", "refs/tags")


if __name__ == "__main__":
    assert __doc__ is not None
    run_benchmark(parse_arguments(__doc__.splitlines()[0], runs=3, quick_runs=1), measure)
