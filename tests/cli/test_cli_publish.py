"""What ``gittorrent publish`` says and refuses, as owners meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import gitcmd, nodes, packings
from support.programs import Person, somebody


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return nodes.make_repository(tmp_path / "project.git")


def test_publish_and_log_say_what_became_of_refs(owner: Person, origin: Path) -> None:
    done = owner.gittorrent("publish", origin, "--new-key").ok()
    assert "published project: 3 refs created, " in done.out
    assert "  created  refs/heads/main\n" in done.out
    old = gitcmd.text(origin, "rev-parse", "main")
    gitcmd.git(origin, "update-ref", "refs/heads/main", "main~1")
    gitcmd.git(origin, "update-ref", "-d", "refs/tags/v1")
    nodes.add_commit(origin, "refs/heads/topic", "more", b"more\n")
    done = owner.gittorrent("publish", origin).ok()
    assert "published project: 1 ref rewound, 1 deleted, 1 moved, " in done.out
    new = gitcmd.text(origin, "rev-parse", "main")
    assert f"  rewound  refs/heads/main  {old[:10]}...{new[:10]}\n" in done.out
    assert "  deleted  refs/tags/v1  was " in done.out
    shown = owner.gittorrent("log", origin).ok().out
    assert f"  {old[:10]} -> {new[:10]} refs/heads/main (rewound)\n" in shown
    assert shown.count("(rewound)") == 1
    changes = json.loads(owner.gittorrent("log", origin, "--json").ok().out)[0]["changes"]
    assert [(each["ref"], each["change"]) for each in changes] == [
        ("refs/heads/main", "rewound"),
        ("refs/heads/topic", "moved"),
        ("refs/tags/v1", "deleted"),
    ]
    nodes.add_commit(origin, "refs/heads/main", "again", b"again\n")
    done = owner.gittorrent("publish", origin, "--json").ok()
    (change,) = json.loads(done.out)["changes"]
    assert (change["ref"], change["change"], change["old"]) == ("refs/heads/main", "moved", new)


def test_a_log_is_shown_where_objects_are_lost(owner: Person, origin: Path) -> None:
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    lost = nodes.add_commit(origin, "refs/heads/main", "lost", b"lost\n")
    nodes.add_commit(origin, "refs/heads/main", "more", b"more\n")
    owner.gittorrent("publish", origin).ok()
    packings.loose(origin)
    (origin / "objects" / lost[:2] / lost[2:]).unlink()
    done = owner.gittorrent("log", origin).ok()
    assert "refs/heads/main" in done.out
    assert "rewound" not in done.out
    assert "cannot tell which pushes rewound refs" in done.err
