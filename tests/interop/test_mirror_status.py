"""How mirrors keep up, as ``gittorrent status`` knows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from gittorrent.ids import PushId
from gittorrent.repository.carried import Carried
from gittorrent.store.database import Database
from support.programs import Person, serve


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
    assert "; 2 pushes behind" in follower.gittorrent("status").ok().out
