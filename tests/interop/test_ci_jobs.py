"""Jobs of CI systems get the right commit: what their runners have git do, on each road."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from support import gitcmd
from support.ci_jobs import RUNNERS
from support.ci_machines import Machine, a_machine, has_built, has_nothing
from support.programs import GITS

SECRET = "s3cret-of-the-job"
ROADS = [("no node", GITS[0]), *(("node", git) for git in GITS)]
STOCK = pytest.param("git", GITS[0], marks=pytest.mark.exhaustive, id="git")
"""What is asked of the others is right if it holds for git alone; it needs no proof each time."""

every_runner = pytest.mark.parametrize("runner", RUNNERS)


@pytest.mark.parametrize(
    ("road", "git"),
    [STOCK, *(pytest.param(*each, id=f"{each[0]}-{n}") for n, each in enumerate(ROADS, 1))],
)
@every_runner
def test_jobs_build_what_was_pushed(tmp_path: Path, runner: str, road: str, git: str) -> None:
    with a_machine(tmp_path, road, git) as machine:
        has_built(runner, machine.job())
        gitcmd.git(machine.upstream, "update-ref", "refs/heads/main", "refs/heads/main~1")
        machine.moves("other")
        has_built(runner, machine.job())


@pytest.mark.parametrize("road", [pytest.param("git", marks=pytest.mark.exhaustive), "node"])
@every_runner
def test_jobs_say_their_password_to_the_server(tmp_path: Path, runner: str, road: str) -> None:
    with a_machine(tmp_path, road) as machine:
        machine.server.password = SECRET
        has_nothing(runner, machine.job("", "none"))
        has_built(runner, machine.job(SECRET))
        is_not_left_behind(SECRET, machine)
        has_nothing(runner, machine.job("wrong", "wrong"))
        forget_stored(machine)
        has_nothing(runner, machine.job("", "none again"))


def is_not_left_behind(password: str, machine: Machine) -> None:
    """Fail if a password is in a file of the node, or in what it said."""
    said = base64.b64encode(f"me:{password}".encode()).rstrip(b"=")
    places = (*machine.person.node.rglob("*"), *machine.person.root.glob("*.err"))
    for path in places:
        if path.is_file():
            data = path.read_bytes()
            assert password.encode() not in data, path
            assert said not in data, path


def forget_stored(machine: Machine) -> None:
    """Let the user have no password stored, as before the job."""
    (machine.person.root / "home" / "stored").unlink(missing_ok=True)
