"""What is done again and again while it is killed: publishing, mirroring, cloning, seeding, swarms.

Every scenario makes people of its own below its root, kills their programs at random, examines
what is left each time, and ends in peace: the last run succeeds, its result equals the origin, and
no litter is left that does not go away by itself.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gittorrent.repository.carried import Carried
from support import gitcmd, killing
from support.copying import copy_tree
from support.killing import Mortal
from support.nodes import Served
from support.ports import free_port
from support.programs import Daemon, Person, Running, serve, somebody, wait_until
from support.publishing import carried as open_repository


@dataclass
class Stage:
    """What all scenarios need.

    Args:
        source: bare repository to publish; nobody changes it.
        origin: it, published; nobody changes it either.
        key: file of the key to sign with.
        served: a node that serves ``origin``.
        draw: where randomness comes from.
        root: empty directory to work in.
        kills: how many kills a scenario gets.
    """

    source: Path
    origin: Carried
    key: Path
    served: Served
    draw: random.Random
    root: Path
    kills: int

    @property
    def url(self) -> str:
        place = self.served.git.removeprefix("git://")
        return f"gittorrent://{self.origin.info.repository_id}@{place}/project.git"

    def mortal(self, name: str) -> Mortal:
        return Mortal(somebody(self.root / name), self.draw)

    def older(self, target: Path) -> Path:
        """Copy the source with its branch ``main`` some commits back."""
        copy_tree(self.source, target)
        history = gitcmd.text(target, "rev-list", "--first-parent", "refs/heads/main").split()
        gitcmd.git(target, "update-ref", "refs/heads/main", history[len(history) // 3])
        return target


def _finish(mortal: Mortal, *repositories: Path, rooms: bool = True) -> Callable[[], None]:
    """Let all litter grow old; the function returned fails if any of it is still there.

    Temporary rooms go when another is made, which not every last run has to do (``rooms``).
    """
    before = killing.stale_files(mortal.person, *repositories)
    killing.grow_old(before)
    if not rooms:
        before -= {path for path in before if mortal.person.root / "tmp" in path.parents}

    def check() -> None:
        killing.wait_for_background(mortal.person)
        left = before & killing.stale_files(mortal.person, *repositories)
        assert not left, sorted(map(str, left))

    return check


# --- one person ----------------------------------------------------------------------------------


def publish_bare(stage: Stage) -> Iterator[str]:
    """A bare repository is published in place, first as a whole and then with what is new."""
    mortal, draw = stage.mortal("owner"), stage.draw
    person = mortal.person
    repository = stage.older(person.root / "project.git")
    words: list[str | Path] = [
        "gittorrent",
        "publish",
        repository,
        "--name",
        "project",
        "--key",
        stage.key,
        "--wait",
    ]
    later = [*words[:3], *words[5:]]
    tip = gitcmd.text(stage.source, "rev-parse", "refs/heads/main")
    rehearsal = Mortal(somebody(stage.root / "rehearsal"), draw)
    twin = stage.older(rehearsal.person.root / "project.git")
    at = words.index(repository)
    rehearsal.rehearsed("publish first", *words[:at], twin, *words[at + 1 :])
    gitcmd.git(twin, "update-ref", "refs/heads/main", tip)
    rehearsal.rehearsed("publish next", *words[:at], twin, *later[at + 1 :])
    mortal.steps, mortal.seconds = rehearsal.steps, rehearsal.seconds
    for name in ("publish first", "publish next"):
        for _ in range(stage.kills):
            done = open_repository(repository).is_carried
            yield mortal.run(name, *(later if done else words)).place
            killing.clear_git_locks(repository)
            killing.examine(person, repository)
        check = _finish(mortal, repository, rooms=False)
        done = open_repository(repository).is_carried
        person.run(*(later if done else words)).ok()
        check()
        gitcmd.git(repository, "update-ref", "refs/heads/main", tip)
    _assert_published(stage, person, repository)


def publish_clone(stage: Stage) -> Iterator[str]:
    """A clone with a work tree is published through a bare copy."""
    mortal = stage.mortal("owner")
    person = mortal.person
    twin = Mortal(somebody(stage.root / "rehearsal"), stage.draw)
    for one in (person, twin.person):
        one.git("clone", "-q", stage.source, "project").ok()
    words: list[str | Path] = ["gittorrent", "publish", "project", "--key", stage.key, "--wait"]
    twin.rehearsed("publish clone", *words)
    mortal.steps, mortal.seconds = twin.steps, twin.seconds
    copy = person.node / "repositories" / "project.git"
    for _ in range(stage.kills):
        yield mortal.run("publish clone", *words).place
        for git_dir in (copy, person.root / "project" / ".git"):
            killing.clear_git_locks(git_dir)
        killing.examine(person, copy, person.root / "project" / ".git")
    check = _finish(mortal, copy, rooms=False)
    person.run(*words).ok()
    check()
    killing.examine(person, copy, settled=True)
    assert len(list((person.node / "repositories").iterdir())) == 1


def _assert_published(stage: Stage, owner: Person, repository: Path) -> None:
    killing.wait_for_background(owner)
    killing.examine(owner, repository, settled=True)
    published = open_repository(repository)
    assert published.log().refs == published.published_refs()
    with serve(owner, repository) as daemon:
        reader = somebody(stage.root / "reader")
        reader.git("clone", "-q", "--mirror", daemon.url(), "c").ok()
    killing.assert_equal(reader.root / "c", published)


def tidy(stage: Stage) -> Iterator[str]:
    """Housekeeping of a repository with packs and loose objects, its bitmap out of date."""
    mortal = stage.mortal("owner")
    person = mortal.person
    repository = person.root / "project.git"
    copy_tree(stage.origin.layout.git_dir, repository)
    words: list[str | Path] = ["gittorrent", "tidy", repository]
    mortal.rehearsed("tidy", *words)
    for number in range(stage.kills):
        data = f"{number}".encode()
        gitcmd.git(repository, "hash-object", "-w", "--stdin", stdin=data)
        yield mortal.run("tidy", *words).place
        killing.examine(person, repository)
    check = _finish(mortal, repository, rooms=False)
    person.run(*words).ok()
    check()
    _assert_published(stage, person, repository)


def mirror(stage: Stage) -> Iterator[str]:
    """A mirror is made, and made again from the origin's next push."""
    mortal = stage.mortal("mirror")
    person = mortal.person
    words = ["gittorrent", "mirror", stage.url, "--once"]
    twin = Mortal(somebody(stage.root / "rehearsal"), stage.draw)
    twin.rehearsed("mirror", *words)
    mortal.steps, mortal.seconds = twin.steps, twin.seconds
    repositories = person.node / "repositories"
    for _ in range(stage.kills):
        yield mortal.run("mirror", *words).place
        made = list(repositories.iterdir()) if repositories.is_dir() else []
        killing.examine(person, *made)
    check = _finish(mortal, *repositories.glob("*"), rooms=False)
    person.run(*words).ok()
    check()
    assert [path.name for path in repositories.iterdir()] == ["project.git"]
    killing.assert_equal(repositories / "project.git", stage.origin)
    killing.examine(person, repositories / "project.git", settled=True)
    assert not person.partial


def clone(stage: Stage) -> Iterator[str]:
    """Clones and fetches that are killed; the parts are kept, the last one is whole."""
    mortal, draw = stage.mortal("cloner"), stage.draw
    person = mortal.person
    target = person.root / "c"
    words = ["git", "clone", "-q", "--mirror", stage.url, "c"]
    twin = Mortal(somebody(stage.root / "rehearsal"), draw)
    twin.rehearsed("clone", *words)
    mortal.steps, mortal.seconds = twin.steps, twin.seconds
    for _ in range(stage.kills):
        if killing.is_repository(target) and draw.randrange(2):
            gitcmd.git(target, "symbolic-ref", "HEAD", "refs/heads/main")
            spec = ("+refs/*:refs/*",)
            yield mortal.run("clone", "git", "fetch", "-q", stage.url, *spec, cwd=target).place
        else:
            killing.remove(target)
            yield mortal.run("clone", *words).place
        killing.clear_git_locks(target)
        killing.examine(person, target)
    check = _finish(mortal)
    killing.remove(target)
    person.run(*words).ok()
    check()
    killing.assert_equal(target, stage.origin)
    assert not person.partial


def seed(stage: Stage) -> Iterator[str]:
    """A clone by stock git becomes a seed: its reels are built from objects."""
    mortal = stage.mortal("seed")
    person = mortal.person
    twin = Mortal(somebody(stage.root / "rehearsal"), stage.draw)
    for one in (person, twin.person):
        one.git("clone", "-q", "--mirror", f"{stage.served.git}/project.git", "c").ok()
    words = ["gittorrent", "seed", "c", stage.url, "--for", "0"]
    twin.rehearsed("seed", *words)
    mortal.steps, mortal.seconds = twin.steps, twin.seconds
    target = person.root / "c"
    for _ in range(stage.kills):
        yield mortal.run("seed", *words).place
        killing.examine(person, target)
    check = _finish(mortal, target, rooms=False)
    person.run(*words).ok()
    check()
    killing.examine(person, target)
    for reel in stage.origin.reels.all():
        built = open_repository(target).reels.get(reel.id)
        assert built is not None
        assert built.pack.read_bytes() == reel.pack.read_bytes()


def background(stage: Stage) -> Iterator[str]:
    """What goes on in the background after a publication or a fetch is killed there."""
    mortal, draw = stage.mortal("owner"), stage.draw
    person = mortal.person
    repository = stage.older(person.root / "project.git")
    words: list[str | Path] = [
        "gittorrent",
        "publish",
        repository,
        "--name",
        "project",
        "--key",
        stage.key,
    ]
    for number in range(stage.kills):
        if number % 2:
            killing.remove(person.root / "c")
            person.git("clone", "-q", "-c", "gittorrent.seedTime=30", stage.url, "c").ok()
        else:
            person.run(*(words if not number else [*words[:3], *words[5:]])).ok()
        wait = draw.uniform(0, 1.5)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not killing.background_of(person), "it is over", wait)
        for pid in killing.background_of(person):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        yield f"background after {wait:.3f} s"
        killing.wait_for_background(person)
        killing.examine(person, repository, person.root / "c" / ".git")
        data = f"{number}".encode()
        gitcmd.git(repository, "hash-object", "-w", "--stdin", stdin=data)
    check = _finish(mortal, repository, rooms=False)
    person.gittorrent("tidy", repository).ok()
    person.gittorrent("status").ok()  # removes what killed processes said of themselves
    check()
    killing.examine(person, repository)


def shared(stage: Stage) -> Iterator[str]:
    """Two clones of one person share the parts; either is killed, and the other goes on."""
    mortal, draw = stage.mortal("cloner"), stage.draw
    person = mortal.person
    twin = Mortal(somebody(stage.root / "rehearsal"), draw)
    twin.rehearsed("clone", "git", "clone", "-q", "--mirror", stage.url, "c")
    mortal.steps, mortal.seconds = twin.steps, twin.seconds
    names = ("a", "b")
    for _ in range(stage.kills):
        for name in names:
            killing.remove(person.root / name)
        calm = person.start("git", "clone", "-q", "--mirror", stage.url, names[0])
        words = ["git", "clone", "-q", "--mirror", stage.url, names[1]]
        try:
            yield mortal.run("clone", *words).place
            assert calm.wait() == 0, calm.err
        finally:
            calm.stop()
        killing.assert_equal(person.root / names[0], stage.origin)
        killing.examine(person, person.root / names[1])
    check = _finish(mortal)
    killing.remove(person.root / "b")
    person.git("clone", "-q", "--mirror", stage.url, "b").ok()
    check()
    killing.assert_equal(person.root / "b", stage.origin)
    assert not person.partial


# --- many ----------------------------------------------------------------------------------------


def swarm(stage: Stage) -> Iterator[str]:
    """Four clone at once; one is killed again and again, and the node comes and goes."""
    owner = somebody(stage.root / "owner")
    port = free_port()
    url = f"gittorrent://{stage.origin.info.repository_id}@127.0.0.1:{port}/project.git"
    words = ["git", "clone", "-q", "--mirror", url, "c"]
    people = [stage.mortal(f"cloner{number}") for number in range(4)]
    running: dict[int, Running] = {}
    with _Origin(stage, owner, port) as origin:
        people[0].rehearsed("clone", *words)
        for mortal in people:
            mortal.steps, mortal.seconds = people[0].steps, people[0].seconds
        killing.remove(people[0].person.root / "c")
        try:
            for number, mortal in enumerate(people[1:], 1):
                running[number] = mortal.person.start(*words)
            for _ in range(stage.kills):
                if stage.draw.randrange(3):
                    yield people[0].run("clone", *words).place
                    killing.remove(people[0].person.root / "c")
                else:
                    origin.bounce()
                    yield "the node was killed and came back"
                killing.examine(owner, stage.origin.layout.git_dir)
            for number, mortal in enumerate(people):
                if number in running and running[number].wait() == 0:
                    continue  # the others had no other source while the node was away
                killing.remove(mortal.person.root / "c")
                mortal.person.run(*words).ok()
        finally:
            for one in running.values():
                one.stop()
    for mortal in people:
        killing.assert_equal(mortal.person.root / "c", stage.origin)
        killing.examine(mortal.person)


class _Origin:
    """A node on one port that can be killed and started again."""

    def __init__(self, stage: Stage, owner: Person, port: int) -> None:
        self._stage = stage
        self._owner = owner
        self._words = ["--git", f"127.0.0.1:{port}", "--up-limit", "6M"]
        self._stack = contextlib.ExitStack()
        self._daemon: Daemon | None = None

    def __enter__(self) -> _Origin:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def bounce(self) -> None:
        """Kill the node and start it again."""
        assert self._daemon is not None
        os.kill(self._daemon.pid, signal.SIGKILL)
        self._stack.close()
        self._start()

    def _start(self) -> None:
        git_dir = self._stage.origin.layout.git_dir
        self._daemon = self._stack.enter_context(serve(self._owner, git_dir, *self._words))


SCENARIOS: dict[str, Callable[[Stage], Iterator[str]]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (
        publish_bare, publish_clone, tidy, mirror, clone, seed, background, shared, swarm,
    )
}  # fmt: skip
