"""Nodes that carry one repository together: an origin that is the keeper, and mirrors of it.

Tracks their homes and processes, all on loopback or each at an address of its own. A contributor
pushes with stock git, signed with an SSH key that the policy lets in.

Rules: what counts is what lies on disk, where stock git would find it; it is looked at, never
asked for. Must not know who is compared with whom.
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from frame import BenchError
from measure import run
from scene import LOOPBACK, Scene, program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

START_SECONDS = 60.0
"""Time that nodes get to know each other."""

PUSH_SECONDS = 30.0
"""Time that a push gets to be seen everywhere."""

LOOK_SECONDS = 0.001
"""Between looks."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of one push, in seconds since ``git push`` was started.

    Args:
        returned: when it ended.
        seen: when each node's refs had it, the pusher's own left out.
        final: when a checkpoint that took it was adopted there; 0 where nothing like it exists.
    """

    returned: float
    seen: tuple[float, ...]
    final: float = 0.0


@dataclass
class Depot:
    """One node: its home, the repository it carries, and where it listens."""

    home: Path
    repository: Path
    urls: dict[str, str]
    process: subprocess.Popen[bytes]

    def has(self, value: bytes) -> bool:
        """Tell whether a branch has a value here, as git keeps refs."""
        for path in (self.repository / "packed-refs", self.repository / "refs/heads/main"):
            try:
                if value in path.read_bytes():
                    return True
            except FileNotFoundError:
                continue
        return False

    def is_final(self, push: bytes) -> bool:
        """Tell whether a checkpoint after a push is in the log."""
        log = next((self.repository / "gittorrent" / "logs").glob("*/log"))
        _, found, after = log.read_bytes().partition(push)
        return bool(found) and b" checkpoint " in after


@dataclass
class Cloud:
    """An origin and its mirrors, and a contributor's work tree."""

    scene: Scene
    work: Path
    key: Path
    depots: list[Depot] = field(default_factory=list)

    def push(self, target: int, transport: str = "http") -> Pushed:
        """Commit and push, and watch until all nodes have it and it is final.

        Args:
            target: number of the node to push to; 0 is the origin.
            transport: ``http`` or ``git``.
        """
        value = commit(self.scene, self.work)
        words = push_command(self, target, transport)
        others = [depot for depot in self.depots if depot is not self.depots[target]]
        nodes = [partial(depot.has, value) for depot in others]
        return watched(words, self.work, self.scene.environ, nodes, self.depots[target].is_final)


def push_command(made: Cloud, target: int, transport: str = "http") -> list[str | Path]:
    """Return the words that push what was committed, signed, to one node."""
    url = f"{made.depots[target].urls[transport]}/project.git"
    words: list[str | Path] = ["git", "-C", made.work, "-c", "gpg.format=ssh", "-c"]
    return [*words, f"user.signingKey={made.key}", "push", "--signed", url, "main"]


def push_to(made: Cloud, target: int) -> None:
    """Push what was committed to one node, and wait for no other."""
    run(push_command(made, target), made.scene.environ)


def commit(scene: Scene, work: Path) -> bytes:
    """Change a file of a work tree; return the id of the new commit."""
    number = int(scene.git("-C", work, "rev-list", "--count", "HEAD"))
    (work / "file").write_text(f"{number}\n")
    scene.git("-C", work, "commit", "-q", "-a", "-m", f"change {number}")
    return scene.git("-C", work, "rev-parse", "HEAD").encode("ascii")


def work_tree(scene: Scene, repository: Path) -> Path:
    """Clone a repository's default branch as ``main``, with one commit more."""
    work, copy = scene.room(), scene.copy_bare(repository)
    scene.git("clone", "-q", "--single-branch", "--no-tags", "--no-local", f"file://{copy}", work)
    scene.git("-C", work, "checkout", "-q", "-B", "main")
    scene.git("-C", work, "remote", "remove", "origin")
    (work / "file").write_text("first\n")
    scene.git("-C", work, "add", "file")
    scene.git("-C", work, "commit", "-q", "-m", "first")
    return work


def watched(
    words: Sequence[str | Path],
    work: Path,
    environ: dict[str, str],
    nodes: Sequence[Callable[[], bool]],
    is_final: Callable[[bytes], bool] | None = None,
) -> Pushed:
    """Run a push and note when it ended and when each node had it.

    Args:
        words: the command.
        work: where it runs.
        environ: of it.
        nodes: tell whether one has it.
        is_final: tells whether a push id is final; None if there is no such thing.
    """
    began = time.monotonic()
    seen: dict[int, float] = {}
    returned = final = 0.0
    said = b""
    with subprocess.Popen(
        words, cwd=work, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        while len(seen) < len(nodes) or not returned or (is_final is not None and not final):
            for number, has_it in enumerate(nodes):
                if number not in seen and has_it():
                    seen[number] = time.monotonic() - began
            if not returned and process.poll() is not None:
                returned = time.monotonic() - began
                said = process.stderr.read()
                if process.returncode:
                    raise BenchError(f"git push failed: {said.decode(errors='replace')}")
            if returned and is_final is not None and not final and is_final(_push_id(said)):
                final = time.monotonic() - began
            if time.monotonic() - began > PUSH_SECONDS:
                raise BenchError(f"a push was not everywhere in {PUSH_SECONDS:.0f} s: {seen}")
            time.sleep(LOOK_SECONDS)
    return Pushed(returned, tuple(seen.values()), final)


def _push_id(said: bytes) -> bytes:
    _, found, rest = said.partition(b"accepted as push ")
    if not found:
        raise BenchError(f"the depot named no push: {said.decode(errors='replace')}")
    return rest[:40]


def cloud(scene: Scene, repository: Path, mirrors: int) -> Iterator[Cloud]:
    """Start an origin with the keeper's key and mirrors of it; yield when all have it.

    Use it with ``contextlib.contextmanager``.
    """
    work = work_tree(scene, repository)
    project = scene.room() / "project.git"
    scene.git("clone", "-q", "--bare", "--single-branch", "--no-local", f"file://{work}", project)
    home, key = scene.room(), scene.room()
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], scene.environ)
    published, _ = scene.publish(project, home, "--wait")
    _gittorrent(scene, home, "policy", "add", f"{key}.pub", "refs/heads/*", "-r", project)
    _gittorrent(scene, home, "keeper", "here", project)
    made = Cloud(scene, work, Path(f"{key}.pub"))
    try:
        made.depots.append(serve(scene, home, project, project))
        source = made.depots[0].urls["git"].removeprefix("git://")
        for _ in range(mirrors):
            place = scene.room()
            url = f"gittorrent://{published.repository_id}@{source}/project.git"
            _gittorrent(scene, place, "mirror", url, "--once")
            copy = next(place.rglob("project.git"))
            made.depots.append(serve(scene, place, copy))
        settle(made)
        yield made
    finally:
        for depot in made.depots:
            stop(depot)


def settle(made: Cloud) -> None:
    """Push until a push is everywhere: then all nodes have called each other."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            made.push(min(1, len(made.depots) - 1))
        except BenchError:
            if time.monotonic() > end:
                raise
        else:
            return


def stop(depot: Depot) -> None:
    """End a node."""
    if depot.process.stdout is not None:
        depot.process.stdout.close()
    depot.process.terminate()
    depot.process.wait()


def serve(scene: Scene, home: Path, repository: Path, *words: str | Path) -> Depot:
    """Start a node that takes pushes over HTTP and git:// and tells its source of itself."""
    listen = f"{LOOPBACK}:0"
    command = [*program(), "serve", "--json", "--lan", "--git", listen, "--http", listen]
    command += ["--git-push", *words]
    with (scene.root / "nodes.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=scene.with_home(home)
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        said = (scene.root / "nodes.log").read_text(errors="replace")[-2000:]
        raise BenchError(f"a node did not start:\n{said}")
    urls = {url.partition(":")[0]: url.rstrip("/") for url in json.loads(line)["listening"]}
    return Depot(home, repository, urls, process)


def _gittorrent(scene: Scene, home: Path, *words: str | Path) -> None:
    run([*program(), *words], scene.with_home(home))
