"""A machine that runs CI jobs, the server that they clone from, and the roads between them.

``git`` is git alone, which shows that the tests themselves are right; ``no node`` is a machine that
was set up and whose node does not run; ``node`` has one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import gitcmd, nodes
from support.ci_jobs import RUNNERS, Job
from support.plain_servers import WebServer, git_over_http
from support.programs import Daemon, Person, serve, somebody
from support.repositories import noise

LARGE = 50_000
"""Bytes that do not compress in each copy of the repository."""


@dataclass
class Machine:
    """A runner's machine and the server that its jobs clone from."""

    person: Person
    server: WebServer
    upstream: Path

    def job(self, password: str = "", name: str = "work") -> Job:
        """Return a job that builds what is at the main branch now."""
        commit = gitcmd.text(self.upstream, "rev-parse", "refs/heads/main")
        return Job(self.person, self.url, commit, self.person.root / name, password=password)

    @property
    def url(self) -> str:
        return f"{self.server.base}/team/project.git"

    def copies(self) -> int:
        """Return how many copies of the repository the node has."""
        return len(list((self.person.node / "ci").glob("*/copy*.git/HEAD")))

    def moves(self, name: str, size: int = 0) -> None:
        """Commit something upstream, with bytes that do not compress; a pipeline begins for it."""
        data = name.encode() * 100 + (noise(name, size) if size else b"")
        commit = nodes.add_commit(self.upstream, "refs/heads/main", name, data)
        gitcmd.git(self.upstream, "update-ref", "refs/pipelines/7", commit)


@contextlib.contextmanager
def a_machine(root: Path, road: str, git: str = "git") -> Iterator[Machine]:
    """Run the server that knows nothing of us, under a name of its own, beside a machine."""
    upstream = nodes.make_repository(root / "upstreams" / "team" / "project.git", LARGE)
    for name in ("allowFilter", "allowAnySHA1InWant"):
        gitcmd.git(upstream, "config", f"uploadpack.{name}", "true")
    gitcmd.git(upstream, "update-ref", "refs/pipelines/7", "refs/heads/main")
    with git_over_http(root / "upstreams") as server, contextlib.ExitStack() as stack:
        server.base = server.base.replace("127.0.0.1", "localhost")
        machine = Machine(somebody(root / "machine", git), server, upstream)
        if road != "git":
            set_up(machine)
        if road == "node":
            stack.enter_context(a_node(machine))
        yield machine


def set_up(machine: Machine, *words: str) -> None:
    """Lead the jobs of a machine to its node, with more options."""
    base = f"{machine.server.base}/"
    machine.person.gittorrent("ci", "setup", "--for", base, "--user", "me", *words).ok()


def a_node(machine: Machine) -> contextlib.AbstractContextManager[Daemon]:
    """Run the node of a machine."""
    machine.person.node.mkdir(exist_ok=True)
    table = f'[ci]\nallow = ["{machine.server.base}/"]\n'
    (machine.person.node / "node.toml").write_text(table)
    return serve(machine.person, "--no-announce")


def has_built(runner: str, job: Job) -> None:
    """Fail unless a job ends well and has its commit."""
    said = RUNNERS[runner](job).ok()
    assert said.out.strip().splitlines()[-1] == job.commit, said


def has_nothing(runner: str, job: Job) -> None:
    """Fail unless a job fails and has not got its commit."""
    assert RUNNERS[runner](job).status != 0
    for place in job.folder.parent.glob(f"{job.folder.name}*/**/objects"):
        assert job.person.git("--git-dir", place.parent, "cat-file", "-e", job.commit).status != 0
