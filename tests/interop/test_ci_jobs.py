"""Jobs of CI systems get the right commit: what their runners have git do, on each road."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import gitcmd
from support.ci_jobs import RUNNERS
from support.ci_machines import Machine, a_machine, has_built, has_nothing
from support.programs import GITS

SECRET = "s3cret-of-the-job"
ROADS = [("git", GITS[0]), ("no node", GITS[0]), *(("node", git) for git in GITS)]

every_runner = pytest.mark.parametrize("runner", RUNNERS)
every_road = pytest.mark.parametrize(
    ("road", "git"), ROADS, ids=[f"{road}-{number}" for number, (road, _) in enumerate(ROADS)]
)


@every_road
@every_runner
def test_jobs_build_what_was_pushed(tmp_path: Path, runner: str, road: str, git: str) -> None:
    with a_machine(tmp_path, road, git) as machine:
        has_built(runner, machine.job())
        gitcmd.git(machine.upstream, "update-ref", "refs/heads/main", "refs/heads/main~1")
        machine.moves("other")
        has_built(runner, machine.job())


@every_road
@every_runner
def test_jobs_say_their_password_to_the_server(
    tmp_path: Path, runner: str, road: str, git: str
) -> None:
    with a_machine(tmp_path, road, git) as machine:
        machine.server.password = SECRET
        has_nothing(runner, machine.job("", "none"))
        has_built(runner, machine.job(SECRET))
        has_nothing(runner, machine.job("wrong", "wrong"))
        forget_stored(machine)
        has_nothing(runner, machine.job("", "none again"))


def forget_stored(machine: Machine) -> None:
    """Let the user have no password stored, as before the job."""
    (machine.person.root / "home" / "stored").unlink(missing_ok=True)
