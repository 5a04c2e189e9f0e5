"""What a push, a clone's checks and a full replay cost when the log has 10,000 entries.

Two repositories with real commits, one with a short log and one with a long one. A push is made
with stock git at a node that is the keeper; checks are those of ``git ls-remote gittorrent://`` by
somebody who knows nothing of the repository; the replay is ``gittorrent verify``.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from depots import Depot, Pushed, serve, stop, watched
from frame import Comparison, Contestant, Figure, say
from long_log import NAME, long_log_key, write_long_log
from measure import run
from scene import program, remove

from gittorrent.ids import Oid

if TYPE_CHECKING:
    from scene import Scene

SHORT, LONG, QUICK_LONG = 100, 10_000, 1_000
"""Entries of the logs."""

RUNS = 9

GROWTH_LIMIT = 1.2
"""Of the time with a short log; the rest is what two runs of the same differ by."""

CHECK_LIMIT = 1.0
"""Seconds that somebody new takes to check a long log, beyond those for a short one."""


@dataclass
class Grown:
    """A node with a log of some length, and what was measured there."""

    scene: Scene
    entries: int
    key: Path
    depot: Depot
    tip: str
    repository_id: str
    pushes: list[Pushed] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)
    replays: list[float] = field(default_factory=list)

    def push(self) -> None:
        """Push one commit to a branch."""
        work, environ = self.depot.repository.with_name("work"), self.scene.environ
        self.tip = self.scene.git(
            "-C", work, "commit-tree", "-p", self.tip, "-m", "more", f"{self.tip}^{{tree}}"
        )
        words = ["git", "-c", "gpg.format=ssh", "-c", f"user.signingKey={self.key}", "push"]
        words += ["--signed", f"{self.depot.urls['http']}/{NAME}.git"]
        words.append(f"{self.tip}:refs/heads/0")
        self.pushes.append(watched(words, work, environ, (), self.depot.is_final))

    def check(self) -> None:
        """List the refs, as somebody who knows nothing."""
        home = self.scene.room()
        host = self.depot.urls["git"].removeprefix("git://")
        url = f"gittorrent://{self.repository_id}@{host}/{NAME}.git"
        used = run(["git", "ls-remote", url], self.scene.with_home(home))
        self.checks.append(used.wall)
        remove(home)

    def replay(self) -> None:
        """Replay everything."""
        words = [*program(), "verify", self.depot.repository]
        self.replays.append(run(words, self.scene.with_home(self.depot.home)).wall)

    def contestant(self) -> Contestant:
        """Return the figures."""
        return Contestant(
            f"gittorrent, log of {self.entries} entries",
            (
                Figure("push returns s", tuple(p.returned for p in self.pushes)),
                Figure("final s", tuple(p.final for p in self.pushes)),
                Figure("new reader's ls-remote s", tuple(self.checks)),
                Figure("verify s", tuple(self.replays)),
            ),
        )


def growth(scene: Scene, quick: bool) -> tuple[list[Contestant], list[Comparison]]:
    """Measure with both logs by turns."""
    places: list[Grown] = []
    try:
        for entries in (SHORT, QUICK_LONG if quick else LONG):
            say(f"a log of {entries} entries")
            places.append(_grown(scene, entries))
        for number in range(2 if quick else RUNS):
            for place in places:
                place.push()
                place.check()
                if number < 2:
                    place.replay()
    finally:
        for place in places:
            stop(place.depot)
    short, long = (place.contestant() for place in places)
    push = long.median("push returns s") / short.median("push returns s")
    checked = long.median("new reader's ls-remote s") - short.median("new reader's ls-remote s")
    return [short, long], [
        Comparison(f"push returns, {places[1].entries} / {SHORT} entries", push, GROWTH_LIMIT),
        Comparison(
            f"a new reader's check of {places[1].entries} entries", checked, CHECK_LIMIT, " s"
        ),
    ]


def _grown(scene: Scene, entries: int) -> Grown:
    """Make a repository with so many entries and serve it, with the keeper's key."""
    place = scene.room()
    work, project = place / "work", place / f"{NAME}.git"
    scene.git("init", "-q", "--bare", project)
    commits = _commits(scene, project, entries)
    scene.git("clone", "-q", project, work)
    carried = write_long_log(project, entries, [Oid(commit) for commit in commits])
    key = place / "key"
    key.write_bytes(
        long_log_key().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    )
    key.chmod(0o600)
    told = subprocess.run(["ssh-keygen", "-y", "-f", key], stdout=subprocess.PIPE, check=True)
    public = place / "key.pub"
    public.write_bytes(told.stdout)
    carried.remember_key(str(key))
    carried.remember_keeper(str(key))
    home = scene.room()
    with carried.writing():
        log = carried.log()
    for ref, value in log.refs.items():
        scene.git("-C", project, "update-ref", ref.decode(), value)
    depot = serve(scene, home, project, "--no-announce", project)
    tip = log.refs[next(ref for ref in log.refs if ref == b"refs/heads/0")]
    return Grown(scene, entries, public, depot, tip, carried.info.repository_id)


def _commits(scene: Scene, project: Path, count: int) -> list[str]:
    """Make commits on top of each other, quickly."""
    one = "commit refs/heads/main\ncommitter B <b@example.org> {} +0000\ndata 1\nx\n"
    stream = "".join(one.format(number) for number in range(count))
    subprocess.run(
        ["git", "-C", project, "fast-import", "--quiet"],
        input=stream.encode(), env=scene.environ, check=True,
    )  # fmt: skip
    scene.git("-C", project, "symbolic-ref", "HEAD", "refs/heads/main")
    return scene.git("-C", project, "rev-list", "--reverse", "main").split()
