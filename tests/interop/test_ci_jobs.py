"""Jobs of CI systems get the right commit: what their runners have git do, with git alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import gitcmd, nodes
from support.ci_jobs import RUNNERS, Job
from support.plain_servers import WebServer, git_over_http
from support.programs import Person, somebody

SECRET = "s3cret-of-the-job"


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

    def moves(self, name: str) -> None:
        """Commit something upstream; a pipeline for it begins."""
        commit = nodes.add_commit(self.upstream, "refs/heads/main", name, name.encode() * 100)
        gitcmd.git(self.upstream, "update-ref", "refs/pipelines/7", commit)


@contextlib.contextmanager
def a_machine(root: Path, git: str = "git") -> Iterator[Machine]:
    """Run the server that knows nothing of us, under a name of its own, beside a machine."""
    upstream = nodes.make_repository(root / "upstreams" / "team" / "project.git", 50_000)
    for name in ("allowFilter", "allowAnySHA1InWant"):
        gitcmd.git(upstream, "config", f"uploadpack.{name}", "true")
    gitcmd.git(upstream, "update-ref", "refs/pipelines/7", "refs/heads/main")
    with git_over_http(root / "upstreams") as server:
        server.base = server.base.replace("127.0.0.1", "localhost")
        yield Machine(somebody(root / "machine", git), server, upstream)


def has_built(runner: str, job: Job) -> None:
    """Fail unless a job ends well and has its commit."""
    said = RUNNERS[runner](job).ok()
    assert said.out.strip().splitlines()[-1] == job.commit, said


def has_nothing(runner: str, job: Job) -> None:
    """Fail unless a job fails and has not got its commit."""
    assert RUNNERS[runner](job).status != 0
    for place in job.person.root.glob("**/objects"):
        assert job.person.git("--git-dir", place.parent, "cat-file", "-e", job.commit).status != 0


@pytest.mark.parametrize("runner", RUNNERS)
def test_jobs_build_what_was_pushed(tmp_path: Path, runner: str) -> None:
    with a_machine(tmp_path) as machine:
        has_built(runner, machine.job())
        gitcmd.git(machine.upstream, "update-ref", "refs/heads/main", "refs/heads/main~1")
        machine.moves("other")
        has_built(runner, machine.job())


@pytest.mark.parametrize("runner", RUNNERS)
def test_jobs_say_their_password_to_the_server(tmp_path: Path, runner: str) -> None:
    with a_machine(tmp_path) as machine:
        machine.server.password = SECRET
        has_nothing(runner, machine.job("wrong", "wrong"))
        has_nothing(runner, machine.job("", "none"))
        has_built(runner, machine.job(SECRET))
