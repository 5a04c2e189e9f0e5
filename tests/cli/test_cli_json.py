"""Whatever finds something out or changes something can be read by programs: it has --json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from gittorrent.cli.main import COMMANDS, gittorrent
from gittorrent.ids import RepositoryId
from gittorrent.repository.carried import MIRROR
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import Database
from gittorrent.store.following import FollowTable, WantedRow
from gittorrent.store.home import Home
from gittorrent.store.tracks import Track, TrackTable
from gittorrent.transfer.location import parse_location
from support.programs import Person, serve, somebody

WITHOUT = {
    "clone": "takes git's options, and says what git says",
    "gtp clone": "the same",
    "completion": "prints a script",
    "shell": "speaks git's protocol",
    "tidy": "is started in the background, and says nothing",
}
"""Commands that print no JSON, and why."""

REPOSITORY = RepositoryId("0123456789abcdef" * 4)
URL = "gittorrent://origin.example.org/project.git"


def commands(
    group: click.Group = gittorrent, name: str = ""
) -> Iterator[tuple[str, click.Command]]:
    """Yield the names of all commands with what they are."""
    with click.Context(group) as context:
        for word in COMMANDS if group is gittorrent else group.list_commands(context):
            found = group.get_command(context, word)
            assert found is not None
            full = f"{name} {word}".strip()
            if isinstance(found, click.Group):
                yield from commands(found, full)
            else:
                yield full, found


def test_every_command_prints_json() -> None:
    lacking = {
        name
        for name, command in commands()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert lacking == set(WITHOUT)


@pytest.fixture
def operator(tmp_path: Path) -> Person:
    return somebody(tmp_path / "operator")


def said(person: Person, *words: str) -> Any:
    return json.loads(person.gittorrent(*words, "--json").ok().out)


def test_tokens_are_revoked_all_or_none(operator: Person) -> None:
    for name in ("alice", "bob"):
        operator.gittorrent("token", "new", name).ok()
    operator.gittorrent("token", "revoke", "alice", "carol").failed(
        2, "there is no token carol; none is revoked"
    )
    assert [each["name"] for each in said(operator, "token", "list")] == ["alice", "bob"]
    gone = said(operator, "token", "revoke", "alice", "bob", "alice")
    assert gone == [{"name": name, "repository_id": ""} for name in ("alice", "bob")]
    assert said(operator, "token", "list") == []


def test_a_configuration_is_written_and_gone_by(operator: Person) -> None:
    path = operator.node / "node.toml"
    assert said(operator, "init-node") == {"path": str(path)}
    operator.gittorrent("init-node", "--print", "--json").failed(2)
    path.write_text('[listen]\ngit = "127.0.0.1:0"\n')
    with serve(operator):
        assert said(operator, "reload") == {"reloaded": True}


def test_mirrors_are_paused_and_removed(operator: Person, tmp_path: Path) -> None:
    with_home = Home(operator.node)
    operator.gittorrent("status").ok()
    place = with_home.repositories / "project.git"
    operator.git("init", "-q", "--bare", str(place)).ok()
    database = Database(with_home.database)
    database.carry(CarriedRow("project", REPOSITORY, str(place), MIRROR, URL))
    database.remember_url(parse_location(URL).url, REPOSITORY, 1)
    FollowTable(database).want(WantedRow(URL, "other"), 1)
    TrackTable(database).put(Track("upstream", "https://git.example.org/upstream.git", 60))
    database.close()
    both = {"name": "project", "repository_id": REPOSITORY}
    assert said(operator, "pause", "project") == {**both, "paused": True}
    assert said(operator, "resume", "project") == {**both, "paused": False}
    alone = {"name": "upstream", "repository_id": None}
    assert said(operator, "pause", "upstream") == {**alone, "paused": True}
    nothing = {"name": None, "repository_id": None, "path": None, "url": None, "deleted": False}
    assert said(operator, "remove", "upstream") == {**nothing, "name": "upstream"}
    assert said(operator, "remove", URL) == {**nothing, "url": URL}
    gone = {**both, "path": str(place), "url": None, "deleted": False}
    assert said(operator, "remove", "project", "--keep", "--yes") == gone
    forgotten = {"url": parse_location(URL).url, "repository_id": REPOSITORY}
    assert said(operator, "forget", URL) == forgotten
