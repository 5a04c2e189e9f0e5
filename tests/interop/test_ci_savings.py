"""What a CI node spares the server, and what it gives nobody."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import gitcmd
from support.ci_jobs import PASSING_BY, RUNNERS
from support.ci_machines import LARGE, Machine, a_machine, a_node, has_built, has_nothing, set_up
from support.programs import GITS, serve, wait_until
from support.users import as_root, installed_for_all, open_folder, unix_users

SECRET = "s3cret-of-the-job"
LED = [name for name in RUNNERS if name not in PASSING_BY]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with a_machine(tmp_path, "node") as made:
        yield made


@pytest.mark.parametrize("runner", LED)
def test_the_same_job_again_costs_the_server_a_list(machine: Machine, runner: str) -> None:
    has_built(runner, machine.job(name="first"))
    assert machine.server.sent > LARGE
    machine.server.begin_again()
    has_built(runner, machine.job(name="second"))
    assert machine.server.sent < LARGE // 5


@pytest.mark.parametrize("runner", ["github", "github, whole"])
def test_many_jobs_at_once_cost_the_server_one_copy(machine: Machine, runner: str) -> None:
    jobs = [machine.job(name=f"work{number}") for number in range(8)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(lambda job: has_built(runner, job), jobs))
    assert machine.server.sent < 2 * LARGE


@pytest.mark.parametrize("runner", ["github", "github, whole"])
def test_a_commit_later_costs_the_server_the_difference(machine: Machine, runner: str) -> None:
    has_built(runner, machine.job(name="first"))
    machine.moves("more")
    machine.server.begin_again()
    for name in ("second", "third"):
        has_built(runner, machine.job(name=name))
    assert machine.server.sent < LARGE


PARTLY = ["github", "github, blobless", "gitlab"]
"""Runners that ask for a part of the past, or of what is in it, in work trees that stay."""


@pytest.mark.parametrize(
    ("runner", "password"),
    [
        *((runner, "") for runner in PARTLY),
        # Of files alone nothing shows that whoever asks may have them.
        *((runner, SECRET) for runner in PARTLY if "blobless" not in runner),
    ],
)
def test_jobs_in_work_trees_from_before_cost_the_server_the_difference(
    machine: Machine, runner: str, password: str
) -> None:
    machine.server.password = password
    trees = ("first", "second", "third")
    for name in trees:
        has_built(runner, machine.job(password, name))
    wait_until(lambda: machine.copies() == 1, "there is a copy")
    for news in ("more", "still more"):
        machine.moves(news, LARGE)
        machine.server.begin_again()
        for name in trees:
            has_built(runner, machine.job(password, name))
        assert LARGE < machine.server.sent < 2 * LARGE


@pytest.mark.parametrize("runner", PARTLY)
def test_work_trees_from_before_there_was_a_node(tmp_path: Path, runner: str) -> None:
    """None of them would ever ask for what a copy can be made of."""
    with a_machine(tmp_path, "no node") as machine:
        trees = ("first", "second", "third")
        for name in trees:
            has_built(runner, machine.job(name=name))
        with a_node(machine):
            machine.moves("more", LARGE)
            has_built(runner, machine.job(name="first"))
            wait_until(lambda: machine.copies() == 1, "there is a copy")
            machine.server.begin_again()
            for name in trees[1:]:
                has_built(runner, machine.job(name=name))
            assert machine.server.sent < LARGE


@pytest.mark.parametrize("runner", ["github", "jenkins"])
def test_a_password_that_no_longer_counts_gets_nothing(machine: Machine, runner: str) -> None:
    machine.server.password = SECRET
    has_built(runner, machine.job(SECRET, name="first"))
    machine.server.password = "another"
    has_nothing(runner, machine.job(SECRET, name="second"))


def test_a_node_that_is_killed_fails_no_job(tmp_path: Path) -> None:
    with a_machine(tmp_path, "no node") as machine, a_node(machine) as node:
        has_built("github", machine.job(name="first"))
        node.running.signal_group(signal.SIGKILL)
        node.running.wait()
        has_built("github", machine.job(name="second"))


def test_a_node_that_is_killed_while_it_is_asked_fails_no_job(tmp_path: Path) -> None:
    with a_machine(tmp_path, "no node") as machine, a_node(machine) as node:
        jobs = [machine.job(name=f"work{number}") for number in range(4)]
        with ThreadPoolExecutor(len(jobs)) as pool:
            done = [pool.submit(has_built, "github, whole", job) for job in jobs]
            wait_until(lambda: bool(machine.server.requests), "somebody asks")
            node.running.signal_group(signal.SIGKILL)
            for each in done:
                each.result()


def test_undoing_leaves_the_settings_as_they_were(tmp_path: Path) -> None:
    with a_machine(tmp_path, "git") as machine:
        settings = machine.person.root / "home" / ".gitconfig"
        machine.person.git("config", "--global", "user.name", "Somebody").ok()
        before = settings.read_bytes()
        set_up(machine)
        assert machine.person.git("ls-remote", machine.url, "HEAD").ok()
        machine.person.gittorrent("ci", "undo").ok()
        assert settings.read_bytes() == before
        has_built("github", machine.job())


def test_branches_that_went_away_are_gone_for_jobs(machine: Machine) -> None:
    gitcmd.git(machine.upstream, "update-ref", "refs/heads/release", "refs/heads/main")
    url = machine.url
    machine.person.git("clone", "-q", url, "first").ok()
    gitcmd.git(machine.upstream, "update-ref", "-d", "refs/heads/release")
    machine.person.git("-C", "first", "fetch", "-q", "--prune").ok()
    machine.person.git("clone", "-q", url, "second").ok()
    for name in ("first", "second"):
        shown = machine.person.git("-C", name, "branch", "-r").ok().out
        assert "release" not in shown


def test_a_server_that_is_not_allowed_is_asked_by_jobs_alone(machine: Machine) -> None:
    base = machine.server.base.replace("localhost", "127.0.0.1")
    machine.person.gittorrent("ci", "setup", "--for", f"{base}/").ok()
    said = machine.person.git("clone", f"{base}/team/project.git", "copy").ok()
    assert f"going to {base}/team/project.git itself" in said.err


@as_root
def test_jobs_of_another_user_share_the_node(tmp_path: Path) -> None:
    with open_folder() as place, a_machine(tmp_path, "git") as machine:
        python = installed_for_all(place)
        socket = place / "run" / "ci.sock"
        socket.parent.mkdir(mode=0o755)
        bin_ = place / "bin"
        bin_.mkdir(mode=0o755)
        helper = bin_ / "git-remote-gittorrent"
        program = "import sys; from gittorrent.helper.start import main; sys.exit(main())"
        helper.write_text(f"#!{python} -P\n{program}\n")
        helper.chmod(0o755)
        path = os.pathsep.join((str(bin_), str(Path(GITS[0]).parent), os.defpath))
        variables = {"PATH": path, "GIT_CONFIG_SYSTEM": str(place / "gitconfig")}
        users = unix_users(place, 4711, **variables)
        base = f"{machine.server.base}/"
        words = ("ci", "setup", "--for", base, "--socket", socket, "--file", place / "gitconfig")
        machine.person.gittorrent(*words).ok()
        (place / "gitconfig").chmod(0o644)
        machine.person.node.mkdir(exist_ok=True)
        (machine.person.node / "node.toml").write_text(
            f'[ci]\nallow = ["{base}"]\nsocket = "{socket}"\nsocket-mode = "all"\n'
        )
        with serve(machine.person, "--no-announce"):
            for number, user in enumerate(users):
                said = user.run("git", "clone", machine.url, user.home / "copy", cwd=place).ok()
                assert "itself" not in said.err
                if number == 0:
                    machine.server.begin_again()
        assert machine.server.sent < LARGE // 5
