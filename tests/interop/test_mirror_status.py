"""How mirrors keep up, as ``gittorrent status`` knows it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

from gittorrent.ids import PushId
from gittorrent.repository.carried import Carried
from gittorrent.store.database import Database
from support.programs import Person, serve, wait_until


def status_of(person: Person) -> dict[str, Any]:
    (row,) = json.loads(person.gittorrent("status", "--json").ok().out)["repositories"]
    assert isinstance(row, dict)
    return row


def test_what_is_known_of_a_mirror(project: Carried, people: Callable[[str], Person]) -> None:
    owner, follower = people("owner"), people("follower")
    with serve(owner, project.layout.git_dir) as origin:
        url = origin.url()
        follower.gittorrent("mirror", url, "--once").ok()
        first = status_of(follower)["check"]
        assert first["checked"] == first["succeeded"] > 0
        assert first["source"] == f"{origin.git}/project.git"
        assert (first["failed"], first["error"], first["behind"]) == (None, "", 0)
    follower.gittorrent("mirror", url, "--once").failed(3)
    second = status_of(follower)["check"]
    assert second["succeeded"] == first["succeeded"]
    assert second["checked"] == second["failed"] >= first["succeeded"]
    assert second["failures"] == 1
    assert "connection refused" in second["error"]
    assert second["error"] in follower.gittorrent("status").ok().out


def test_pushes_that_were_seen_and_did_not_come(
    project: Carried, people: Callable[[str], Person]
) -> None:
    owner, follower = people("owner"), people("follower")
    with serve(owner, project.layout.git_dir) as origin:
        follower.gittorrent("mirror", origin.url(), "--once").ok()
    database = Database(follower.node / "node.sqlite")
    try:
        length = len(project.log_store.ids()) + 2
        database.saw_head(project.info.repository_id, PushId("e" * 40), length, 1)
    finally:
        database.close()
    assert status_of(follower)["check"]["behind"] == 2
    assert "; 2 checkpoints behind" in follower.gittorrent("status").ok().out


def processes_of(person: Person, kind: str) -> list[dict[str, Any]]:
    found = json.loads(person.gittorrent("status", "--json").ok().out)["processes"]
    return [process for process in found if process["kind"] == kind]


def test_a_mirror_that_has_nothing_to_do_is_seen(
    project: Carried, people: Callable[[str], Person]
) -> None:
    owner, follower = people("owner"), people("follower")
    with serve(owner, project.layout.git_dir) as origin:
        words = ["gittorrent", "mirror", origin.url(), "--interval", "600"]
        running = follower.start(*words)
        try:

            def waits() -> bool:
                return any(each["next_check"] for each in processes_of(follower, "mirror"))

            wait_until(waits, "it says when it looks again")
            (process,) = processes_of(follower, "mirror")
            said = follower.gittorrent("status").ok().out
            running.process.send_signal(signal.SIGTERM)
            assert running.wait() == 0
        finally:
            running.stop()
    assert process["pid"] == running.process.pid
    assert process["repository_id"] == project.info.repository_id
    assert (process["name"], process["checking"]) == ("project", False)
    assert f"mirror {running.process.pid} of project: looks for news again in " in said
    assert processes_of(follower, "mirror") == [], "it took its file away"


def test_a_seed_that_nobody_asks_is_seen(project: Carried, people: Callable[[str], Person]) -> None:
    owner, person = people("owner"), people("person")
    with serve(owner, project.layout.git_dir) as origin:
        person.git("clone", "-q", origin.url(), "c").ok()
        running = person.start("gittorrent", "seed", "c", origin.url(), "--port", "0")
        try:
            wait_until(lambda: processes_of(person, "seed") != [], "it says what it has")
            (process,) = processes_of(person, "seed")
            said = person.gittorrent("status").ok().out
            running.process.send_signal(signal.SIGTERM)
            assert running.wait() == 0
        finally:
            running.stop()
    assert process["repository_id"] == project.info.repository_id
    assert process["reels"] > 0
    assert f"seed {running.process.pid} of project at port {process['port']}, from " in said
    assert processes_of(person, "seed") == []
