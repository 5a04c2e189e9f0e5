"""A node that follows by itself: what it was told of by command and by configuration."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gittorrent.repository.carried import Carried, object_format_of
from support import bulk, gitcmd, nodes
from support.programs import Daemon, Person, Running, serve, wait_until

SOON = "[carry]\nlook-every = 1\n"
"""A configuration by which a source is asked every second."""


@pytest.fixture
def owner(people: Callable[[str], Person]) -> Person:
    return people("owner")


@pytest.fixture
def operator(people: Callable[[str], Person]) -> Person:
    return people("operator")


@pytest.fixture
def project(owner: Person) -> Carried:
    """A small repository that its owner goes on publishing."""
    path = bulk.make_small(owner.root / "project.git")
    owner.gittorrent("publish", path, "--new-key", "--wait").ok()
    return Carried(path, object_format_of(path))


def status(person: Person) -> dict[str, Any]:
    found = json.loads(person.gittorrent("status", "--json").ok().out)
    assert isinstance(found, dict)
    return found


def carried(person: Person) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in status(person)["repositories"]}


def following(person: Person) -> dict[str, Any]:
    (node,) = [each for each in status(person)["processes"] if each["kind"] == "node"]
    return dict(node["following"])


def http_url(origin: Daemon, name: str = "project") -> str:
    return f"{origin.http}/{name}.git"


def publish_more(owner: Person, project: Carried, name: str) -> None:
    """Publish a commit more with the key that the repository was published with."""
    nodes.add_commit(project.layout.git_dir, "refs/heads/main", name, name.encode())
    owner.gittorrent("publish", project.layout.git_dir, "--wait").ok()


def configure(person: Person, text: str) -> None:
    person.node.mkdir(exist_ok=True)
    (person.node / "node.toml").write_text(text)


def assert_follows(person: Person, project: Carried) -> None:
    """Wait until a mirror has the refs that were published last."""
    path = Path(carried(person)["project"]["path"])
    wanted = gitcmd.refs(project.layout.git_dir)[b"refs/heads/main"]
    wait_until(lambda: gitcmd.refs(path)[b"refs/heads/main"] == wanted, "it is up to date")


# -- handed over


def test_a_mirror_is_handed_over_to_the_node_that_runs(
    project: Carried, owner: Person, operator: Person
) -> None:
    with serve(owner, project.layout.git_dir) as origin, serve(operator) as node:
        done = operator.gittorrent("mirror", origin.url()).ok()
        assert f"handed over to the node that runs here (process {node.pid}): " in done.err
        assert "project updated: checkpoint" in done.out
        assert operator.git("ls-remote", f"{node.git}/project.git").ok().out
        again = operator.gittorrent("mirror", origin.url(), "--json").ok()
        assert again.err == ""
        said = json.loads(again.out)
        assert (said["name"], said["changed"]) == ("project", False)
        assert said["source"] == f"{origin.git}/project.git"


def test_what_was_handed_over_is_followed_without_any_conversation(
    project: Carried, owner: Person, operator: Person
) -> None:
    configure(operator, SOON)
    with serve(owner, project.layout.git_dir) as origin, serve(operator):
        operator.gittorrent("mirror", http_url(origin)).ok()
        publish_more(owner, project, "news")
        assert_follows(operator, project)
        publish_more(owner, project, "more news")
        assert_follows(operator, project)


def test_a_source_that_ends_its_conversation_is_looked_at_soon(
    project: Carried, owner: Person, operator: Person
) -> None:
    """While it tells of news it is looked at once an hour; nobody tells of any when it is gone."""
    configure(operator, SOON)

    def check() -> dict[str, Any]:
        return dict(carried(operator)["project"]["check"])

    with serve(operator):
        with serve(owner, project.layout.git_dir) as origin:
            operator.gittorrent("mirror", origin.url()).ok()
            wait_until(lambda: check()["live"], "the origin tells of news")
            assert check()["failed"] is None
        wait_until(lambda: check()["failed"] is not None, "it is looked at")
        wait_until(lambda: not check()["live"], "nobody is said to tell of news")


def test_ctrl_c_leaves_it_to_the_node(large: Carried, owner: Person, operator: Person) -> None:
    with (
        serve(owner, large.layout.git_dir, "--up-limit", "1M") as origin,
        serve(operator) as node,
    ):
        running = operator.start("gittorrent", "mirror", origin.url())
        try:
            wait_until(lambda: "handed over" in running.err, "it was handed over")
            running.process.send_signal(signal.SIGINT)
            assert running.wait() == 130
            assert "left to the node: 'gittorrent status'" in running.err
        finally:
            running.stop()
        wait_until(lambda: bool(following(operator)["coming"]), "the node says what it brings")
        said = operator.gittorrent("status").ok().out
        assert "not here yet; is being brought" in said
        listing = ("ls-remote", f"{node.git}/project.git")
        wait_until(lambda: operator.git(*listing).status == 0, "it is here and served")
        wait_until(lambda: following(operator)["coming"] == [], "the node waits for nothing")


def test_a_node_that_begins_again_goes_on_with_what_it_was_asked_for(
    large: Carried, owner: Person, operator: Person
) -> None:
    with serve(owner, large.layout.git_dir, "--up-limit", "1M") as origin:
        with serve(operator) as node:
            running = operator.start("gittorrent", "mirror", origin.url())
            try:
                wait_until(lambda: "handed over" in running.err, "it was handed over")
                node.running.process.terminate()
                assert running.wait() == 7
                assert "goes on with it once it runs again" in running.err
            finally:
                running.stop()
        with serve(operator):
            wait_until(lambda: "project" in carried(operator), "it is here")


def test_what_cannot_be_had_ends_with_its_own_exit_code_and_is_not_tried_again(
    project: Carried, owner: Person, operator: Person
) -> None:
    with serve(owner, project.layout.git_dir) as origin:
        url = origin.url()
    with serve(operator):
        operator.gittorrent("mirror", url).failed(3, "onnection refused")
        wait_until(lambda: following(operator)["coming"] == [], "it is brought no more")
        with serve(owner, project.layout.git_dir, "--git", "127.0.0.1:0") as again:
            wrong = f"gittorrent://{'a' * 52}@{again.url().removeprefix('gittorrent://')}"
            operator.gittorrent("mirror", wrong).failed(4, "carries repository", "check the URL")
    assert carried(operator) == {}


def test_a_node_of_named_repositories_follows_nothing_else(
    project: Carried, owner: Person, operator: Person
) -> None:
    with serve(owner, project.layout.git_dir) as origin:
        operator.gittorrent("mirror", origin.url(), "--once").ok()
        place = carried(operator)["project"]["path"]
        with serve(operator, place):
            running = operator.start("gittorrent", "mirror", origin.url())
            try:
                wait_until(lambda: "is up to date" in running.err, "it works alone")
                assert "does not follow it: it serves the repositories it was started" in (
                    running.err
                )
                running.process.terminate()
                assert running.wait() == 0
            finally:
                running.stop()


def test_a_mirror_gets_another_name_and_source_by_the_node(
    project: Carried, owner: Person, operator: Person
) -> None:
    with serve(owner, project.layout.git_dir) as origin, serve(operator):
        operator.gittorrent("mirror", origin.url()).ok()
        done = operator.gittorrent("mirror", http_url(origin), "--name", "other").ok()
        assert "project is called other from now on" in done.err
        (row,) = status(operator)["repositories"]
        assert row["name"] == "other"
        assert http_url(origin).removeprefix("http://") in row["source"]


# -- paused, resumed, removed


def test_a_paused_mirror_is_served_and_stays_as_it_is(
    project: Carried, owner: Person, operator: Person
) -> None:
    configure(operator, SOON)
    with serve(owner, project.layout.git_dir) as origin, serve(operator) as node:
        operator.gittorrent("mirror", http_url(origin)).ok()
        said = operator.gittorrent("pause", "project").ok().out
        assert said == "paused project: 'gittorrent resume project' goes on\n"
        wait_until(lambda: following(operator)["paused"] == 1, "the node has seen it")
        assert "paused until 'gittorrent resume'" in operator.gittorrent("status").ok().out
        before = operator.git("ls-remote", f"{node.git}/project.git").ok().out
        publish_more(owner, project, "news")
        assert operator.git("ls-remote", f"{node.git}/project.git").ok().out == before
        operator.gittorrent("resume", "project").ok()
        assert_follows(operator, project)
        wait_until(lambda: following(operator)["paused"] == 0, "none is paused")


def test_mirror_of_a_paused_one_resumes_it(
    project: Carried, owner: Person, operator: Person
) -> None:
    with serve(owner, project.layout.git_dir) as origin, serve(operator):
        operator.gittorrent("mirror", origin.url()).ok()
        operator.gittorrent("pause", "project", "-q").ok()
        operator.gittorrent("mirror", origin.url()).ok()
        assert not carried(operator)["project"]["check"]["paused"]


def test_only_mirrors_can_be_paused(project: Carried, owner: Person) -> None:
    owner.gittorrent("pause", "nothing").failed(2, "no repository that is carried here")
    with serve(owner, project.layout.git_dir):
        owner.gittorrent("pause", project.layout.git_dir).failed(2, "follows nobody")


def test_what_is_brought_can_be_called_off(large: Carried, owner: Person, operator: Person) -> None:
    with serve(owner, large.layout.git_dir, "--up-limit", "256K") as origin, serve(operator):
        running: Running = operator.start("gittorrent", "mirror", origin.url())
        try:
            wait_until(lambda: "handed over" in running.err, "it was handed over")
            operator.gittorrent("remove", origin.url()).ok()
            assert running.wait() == 2
            assert "is not followed any more" in running.err
        finally:
            running.stop()
        wait_until(lambda: following(operator)["coming"] == [], "it is brought no more")


def test_what_is_removed_beside_the_node_does_not_come_back(
    project: Carried, owner: Person, operator: Person
) -> None:
    configure(operator, SOON)
    with serve(owner, project.layout.git_dir) as origin, serve(operator):
        operator.gittorrent("mirror", http_url(origin)).ok()
        operator.gittorrent("remove", "project", "--yes").ok()
        wait_until(lambda: following(operator)["followed"] == 0, "the node follows nothing")
        assert carried(operator) == {}


# -- by the configuration


def test_what_the_configuration_names_is_brought_and_followed(
    project: Carried, owner: Person, operator: Person
) -> None:
    with serve(owner, project.layout.git_dir) as origin:
        entry = f'[[carry.repository]]\nurl = "{http_url(origin)}"\nname = "other"\n'
        configure(operator, SOON + entry)
        with serve(operator):
            wait_until(lambda: "other" in carried(operator), "it is here")
            operator.gittorrent("remove", "other", "--yes").failed(2, "names other", "reload")
            path = Path(carried(operator)["other"]["path"])
            publish_more(owner, project, "news")
            wanted = gitcmd.refs(project.layout.git_dir)[b"refs/heads/main"]
            wait_until(lambda: gitcmd.refs(path)[b"refs/heads/main"] == wanted, "it is up to date")


def test_another_name_in_the_configuration_does_not_wait_for_the_next_look(
    project: Carried, owner: Person, operator: Person
) -> None:
    seldom = '[carry]\nlook-every = "60d"\n'
    with serve(owner, project.layout.git_dir) as origin:
        entry = f'[[carry.repository]]\nurl = "{http_url(origin)}"\n'
        configure(operator, f'{seldom}{entry}name = "other"\n')
        with serve(operator) as node:
            wait_until(lambda: "other" in carried(operator), "it is here")
            wait_until(lambda: following(operator)["followed"] == 1, "it is followed")
            configure(operator, f'{seldom}{entry}name = "third"\n')
            operator.gittorrent("reload").ok()
            wait_until(lambda: "third" in carried(operator), "it has its new name")
            words = ("ls-remote", f"{node.git}/third.git")
            wait_until(lambda: operator.git(*words).status == 0, "it is served under it")


def test_what_the_configuration_names_no_more_stays_as_it_is(
    project: Carried, owner: Person, operator: Person
) -> None:
    with serve(owner, project.layout.git_dir) as origin:
        configure(operator, SOON + f'[[carry.repository]]\nurl = "{http_url(origin)}"\n')
        with serve(operator):
            wait_until(lambda: "project" in carried(operator), "it is here")
            wait_until(lambda: following(operator)["followed"] == 1, "it is followed")
        configure(operator, SOON)
        with serve(operator) as node:
            wait_until(
                lambda: (
                    "names it no more" in node.running.err
                    or "by the configuration no more" in node.running.err
                ),
                "it says so",
            )
            wait_until(lambda: following(operator)["followed"] == 0, "none is followed")
            assert operator.git("ls-remote", f"{node.git}/project.git").ok().out
            assert "does not name it any more" in operator.gittorrent("status").ok().out
            operator.gittorrent("mirror", http_url(origin)).ok()
            wait_until(lambda: following(operator)["followed"] == 1, "it is followed again")
