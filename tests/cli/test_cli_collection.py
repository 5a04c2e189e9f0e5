"""``gittorrent collection check``: mistakes are named before they are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.programs import Person, somebody

A, B = "a" * 52, "b" * 52
GOOD = f'[[repository]]\nid = "{A}"\nurls = ["git://h.example.org/x"]\n'


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


def test_a_file_without_mistakes_passes(owner: Person) -> None:
    (owner.root / "collection.toml").write_text(GOOD)
    assert owner.gittorrent("collection", "check").ok().out == "collection.toml: 1 repository\n"
    said = json.loads(owner.gittorrent("collection", "check", owner.root, "--json").ok().out)
    urls = ["git://h.example.org/x"]
    assert said == {
        "repositories": [{"id": A, "urls": urls, "name": None, "priority": 0}],
        "problems": [],
    }


def test_every_mistake_is_named_with_its_line(owner: Person) -> None:
    text = f'{GOOD}nmae = "x"\n[[repository]]\nid = "{B}"\nurls = ["ext::sh"]\n'
    (owner.root / "collection.toml").write_text(text)
    owner.gittorrent("collection", "check").failed(
        1,
        "collection.toml:4: nmae: is not known",
        "collection.toml:7: urls: ",
        "collection.toml has 2 mistakes",
    )


def test_what_is_no_such_file_is_refused(owner: Person) -> None:
    owner.gittorrent("collection", "check").failed(2, "collection.toml")
    (owner.root / "collection.toml").write_text(GOOD + "=======\n")
    owner.gittorrent("collection", "check").failed(1, "collection.toml:4: is neither")
    (owner.root / "collection.toml").write_text(f"\ufeff{GOOD}")
    owner.gittorrent("collection", "check").failed(1, "collection.toml:1:", "byte order mark")
    (owner.root / "empty" / "collection.toml").mkdir(parents=True)
    for place in ("empty", "empty/collection.toml"):
        owner.gittorrent("collection", "check", owner.root / place).failed(2, "there is no file")
