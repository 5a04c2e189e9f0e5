"""Which URLs are given to people, by what nodes say of themselves."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from gittorrent.cli.running_node import ServedAt, served_at
from gittorrent.ids import RepositoryId
from gittorrent.store.home import Home

REPOSITORY = RepositoryId("a" * 52)
HOST = socket.gethostname().lower()


def found(tmp_path: Path, **process: Any) -> ServedAt:
    home = Home(tmp_path)
    home.run.mkdir(parents=True)
    value = {"kind": "node", "url": None, "serves": None, **process}
    (home.run / "node-1-1.json").write_text(json.dumps(value))
    return served_at(home, "project", REPOSITORY)


@pytest.mark.parametrize(
    ("listening", "urls"),
    [
        (["git://127.0.0.1:9418"], ["gittorrent://{id}@127.0.0.1/project.git"]),
        (["http://10.0.0.1:80"], ["gittorrent::http://{id}@10.0.0.1/project.git"]),
        (["git://[::1]:1234"], ["gittorrent://{id}@[::1]:1234/project.git"]),
        (
            ["http://10.0.0.1:8417", "git://10.0.0.1:9419"],
            [
                "gittorrent://{id}@10.0.0.1:9419/project.git",
                "gittorrent::http://{id}@10.0.0.1:8417/project.git",
            ],
        ),
        (
            ["git://0.0.0.0:9419", "git://[::]:9419"],
            [f"gittorrent://{{id}}@{HOST}:9419/project.git"],
        ),
    ],
)
def test_addresses_become_urls(tmp_path: Path, listening: list[str], urls: list[str]) -> None:
    assert found(tmp_path, listening=listening).urls == tuple(
        url.format(id=REPOSITORY) for url in urls
    )


def test_whom_the_addresses_are_for(tmp_path: Path) -> None:
    assert found(tmp_path / "a", listening=["git://127.0.0.1:1", "http://[::1]:2"]).is_here_only
    assert not found(
        tmp_path / "b", listening=["git://127.0.0.1:1", "git://10.0.0.1:2"]
    ).is_here_only
    assert found(tmp_path / "c", listening=[]) == ServedAt((), is_here_only=False)


def test_others_are_passed_over(tmp_path: Path) -> None:
    at = {"listening": ["git://10.0.0.1:1"]}
    assert found(tmp_path / "a", **at, serves=["other"]).urls == ()
    assert found(tmp_path / "b", **at, serves=["project"]).urls != ()
    assert found(tmp_path / "c", **at, kind="download").urls == ()
    assert found(tmp_path / "d", listening=["nonsense://x:1"]).urls == ()


def test_what_the_operator_says_replaces_it(tmp_path: Path) -> None:
    said = found(tmp_path, listening=["git://127.0.0.1:1"], url="https://example.org/git/")
    assert said.urls == (f"gittorrent::https://{REPOSITORY}@example.org/git/project.git",)
    assert not said.is_here_only
