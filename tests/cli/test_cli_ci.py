"""``gittorrent ci``: what is written to git's configuration is taken away to the byte."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support.programs import GITS, Person, somebody

BEFORE = """\
# mine
[user]
\tname = A U Thor ; nobody else
[gittorrent]
\tmaxSize = 4G
[protocol "file"]
\tallow = always
[url "git@example.org:"]
\tinsteadOf = ex:
"""


@pytest.fixture(params=GITS)
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    return somebody(tmp_path / "runner", str(request.param))


@pytest.fixture
def config(runner: Person) -> Path:
    path = runner.root / "home" / ".gitconfig"
    path.parent.mkdir()
    path.write_text(BEFORE)
    return path


SET_UP = ("ci", "setup", "--for", "https://github.com/")


def test_undo_restores_every_byte(runner: Person, config: Path) -> None:
    words = ["--for", "https://git.example.org/team", "--user", "gitlab-ci-token"]
    runner.gittorrent(*SET_UP, *words, "--socket", "/run/gittorrent/ci.sock").ok()
    assert config.read_text() != BEFORE
    runner.gittorrent("ci", "undo").ok()
    assert config.read_text() == BEFORE
    assert "nothing is set up" in runner.gittorrent("ci", "undo").ok().out
    assert config.read_text() == BEFORE


def test_setup_is_the_same_twice(runner: Person, config: Path) -> None:
    runner.gittorrent(*SET_UP).ok()
    once = config.read_text()
    runner.gittorrent(*SET_UP).ok()
    assert config.read_text() == once


def test_what_git_makes_of_urls(runner: Person, config: Path) -> None:
    runner.gittorrent(*SET_UP, "--user", "gitlab-ci-token").ok()
    for url in ("https://github.com/x/y", "https://gitlab-ci-token:t@git.example.org/x"):
        said = runner.git("ls-remote", "--get-url", url).ok().out
        assert said == f"gittorrent::ci+{url}\n"
    status = runner.gittorrent("ci", "status").ok()
    assert "github.com" in status.out
    assert "allow is set below [ci]" in status.err
    shown = json.loads(runner.gittorrent("ci", "status", "--json").ok().out)
    assert "https://github.com/" in shown["prefixes"]
    assert shown["node"] is False
    assert "no node" in shown["reason"]


def test_one_repository_is_led_in_any_form(runner: Person, config: Path) -> None:
    """Jobs write its name with and without the ending."""
    done = runner.gittorrent("ci", "setup", "--for", "https://github.com/x/y.git").ok()
    assert done.out == "git goes to this machine's node for https://github.com/x/y\n"
    for url in ("https://github.com/x/y", "https://github.com/x/y.git", "https://github.com/x/y/"):
        said = runner.git("ls-remote", "--get-url", url).ok().out
        assert said == f"gittorrent::ci+{url}\n"
    runner.gittorrent("ci", "undo").ok()
    assert "github.com" not in config.read_text()
    done = runner.gittorrent("ci", "setup", "--for", "https://github.com/x/y").ok()
    assert "if it is one repository, write https://github.com/x/y.git" in done.err
    for plain in ("https://github.com/x/y/", "https://github.com/x", "https://github.com"):
        assert "one repository" not in runner.gittorrent("ci", "setup", "--for", plain).ok().err


def test_a_url_that_cannot_be_led_is_named(runner: Person) -> None:
    said = runner.gittorrent("ci", "setup", "--for", "git@github.com:")
    assert said.status == 2
    assert "--for git@github.com:: not the URL" in said.err
    assert "write https://HOST/PATH" in said.err


def test_a_setting_that_was_there_stays(runner: Person, config: Path) -> None:
    text = BEFORE + '[protocol "gittorrent"]\n\tallow = user\n'
    config.write_text(text)
    runner.gittorrent(*SET_UP).ok()
    runner.gittorrent("ci", "undo").ok()
    assert config.read_text() == text


def test_what_is_led_elsewhere_stays_there(runner: Person, config: Path) -> None:
    config.write_text(BEFORE + '[url "https://proxy/"]\n\tinsteadOf = https://github.com/\n')
    before = config.read_text()
    runner.gittorrent(*SET_UP).failed(2, "https://proxy/", "already")
    assert config.read_text() == before


def test_another_file(runner: Person, tmp_path: Path) -> None:
    path = tmp_path / "gitconfig"
    runner.gittorrent("ci", "undo", "--file", path).ok()
    assert not path.exists()
    runner.gittorrent(*SET_UP, "--file", path, "--quiet").ok()
    assert "gittorrent::ci+https://github.com/" in path.read_text()
    assert not (runner.root / "home" / ".gitconfig").exists()
    shown = json.loads(runner.gittorrent("ci", "undo", "--file", path, "--json").ok().out)
    assert shown == {"prefixes": ["https://github.com/"], "git_only": []}
    assert path.read_text() == ""


def test_all_users_need_a_socket_that_all_reach(runner: Person, tmp_path: Path) -> None:
    path = tmp_path / "system"
    admin = Person(runner.root, runner.git_program, {"GIT_CONFIG_SYSTEM": str(path)})
    done = admin.gittorrent(*SET_UP, "--system").ok()
    assert "which others do not reach" in done.err
    assert str(runner.node) in done.err
    done = admin.gittorrent(*SET_UP, "--system", "--socket", "/run/gittorrent/ci.sock").ok()
    assert "which others do not reach" not in done.err
    assert "ciSocket = /run/gittorrent/ci.sock" in path.read_text()
    assert "do not reach" not in runner.gittorrent(*SET_UP).ok().err


@pytest.mark.parametrize(
    "words",
    [
        ("--for", "ssh://git@github.com/"),
        ("--for", "https://me:secret@github.com/"),
        ("--for", "https://github.com/", "--user", "a@b"),
        ("--for", "https://github.com/", "--socket", "ci.sock"),
    ],
)
def test_what_cannot_be_led_is_refused(runner: Person, words: tuple[str, ...]) -> None:
    runner.gittorrent("ci", "setup", *words).failed(2)
    assert not (runner.root / "home" / ".gitconfig").exists()


def test_one_repository_is_taken_out_by_a_longer_rule(runner: Person, config: Path) -> None:
    runner.gittorrent(*SET_UP).ok()
    url = "https://github.com/x/y"
    runner.git("config", "--global", f"url.{url}.insteadOf", url).ok()
    assert runner.git("ls-remote", "--get-url", url).ok().out == f"{url}\n"
    runner.gittorrent("ci", "undo").ok()
    assert url in config.read_text()


def led(runner: Person, *words: str) -> bool:
    """Tell whether git goes to the node, by the address that it says it would ask."""
    return runner.git(*words).ok().out.startswith("gittorrent::ci+")


def remote(runner: Person, url: str) -> bool:
    """Tell whether git goes to the node in a repository whose remote has a URL."""
    folder = runner.root / f"repository{len(list(runner.root.glob('repository*')))}"
    runner.git("init", "-q", folder).ok()
    runner.git("-C", folder, "remote", "add", "origin", url).ok()
    return led(runner, "-C", str(folder), "ls-remote", "--get-url", "origin")


def test_git_alone_is_led_where_it_has_such_a_remote(runner: Person, config: Path) -> None:
    words = ["--for", "https://h.example/te*m", "--for", "https://h.example/one/repo.git"]
    done = runner.gittorrent(*SET_UP, *words, "--user", "job", "--git-only").ok()
    assert "github.com/ (git alone, by its remotes)" in done.out
    assert "insteadOf = https" not in config.read_text()
    for url in ("https://github.com/x/y", "https://h.example/te*m/y", "https://job:t@h.org/y/z"):
        assert remote(runner, url), url
        assert not led(runner, "ls-remote", "--get-url", url), url
    for url in ("https://h.example/one/repo", "https://h.example/one/repo.git"):
        assert remote(runner, url), url
    for url in (
        "https://github.org/x/y",
        "https://h.example/team/y",
        "https://h.example/one/other",
    ):
        assert not remote(runner, url), url
    status = runner.gittorrent("ci", "status").ok()
    assert "github.com/ goes to this machine's node (git alone" in status.out
    shown = json.loads(runner.gittorrent("ci", "undo", "--json").ok().out)
    assert len(shown["git_only"]) == len(shown["prefixes"]) == 4
    assert config.read_text() == BEFORE
    assert list(config.parent.iterdir()) == [config]


def test_the_way_to_the_node_is_changed(runner: Person, config: Path) -> None:
    runner.gittorrent(*SET_UP).ok()
    all_are_led = config.read_text()
    runner.gittorrent(*SET_UP, "--git-only").ok()
    git_is_led = config.read_text()
    runner.gittorrent(*SET_UP, "--git-only").ok()
    assert config.read_text() == git_is_led
    assert not led(runner, "ls-remote", "--get-url", "https://github.com/x/y")
    runner.gittorrent(*SET_UP).ok()
    assert config.read_text() == all_are_led
    assert list(config.parent.iterdir()) == [config]


def test_all_users_read_the_rules_for_git(runner: Person, tmp_path: Path) -> None:
    path = tmp_path / "system"
    path.touch(0o644)
    admin = Person(runner.root, runner.git_program, {"GIT_CONFIG_SYSTEM": str(path)})
    before = os.umask(0o077)
    try:
        admin.gittorrent(*SET_UP, "--system", "--git-only", "--socket", "/run/g/ci.sock").ok()
    finally:
        os.umask(before)
    (beside,) = tmp_path.glob("system.*")
    assert beside.stat().st_mode & 0o777 == 0o644


def test_where_cargo_is_its_way_is_said(runner: Person, config: Path, tmp_path: Path) -> None:
    (tmp_path / "cargo").touch(0o755)
    path = f"{tmp_path}:{runner.environ()['PATH']}"
    builder = Person(runner.root, runner.git_program, {"PATH": path})
    assert "(net.git-fetch-with-cli)" in builder.gittorrent(*SET_UP).ok().err
    assert "cargo" not in builder.gittorrent(*SET_UP, "--quiet").ok().err
    assert "cargo" not in builder.gittorrent(*SET_UP, "--git-only").ok().err


def test_undo_in_a_copy_leaves_the_rules_of_the_first(runner: Person, config: Path) -> None:
    """Runners copy a user's configuration to homes of jobs."""
    runner.gittorrent(*SET_UP, "--git-only").ok()
    copy = runner.root / "copy"
    copy.write_text(config.read_text())
    runner.gittorrent("ci", "undo", "--file", copy).ok()
    assert copy.read_text() == BEFORE
    assert remote(runner, "https://github.com/x/y")


def test_rules_for_git_that_are_gone(runner: Person, config: Path) -> None:
    runner.gittorrent(*SET_UP, "--git-only").ok()
    Path(f"{config}.gittorrent-ci").unlink()
    assert "nothing is set up" in runner.gittorrent("ci", "status").ok().out
    runner.gittorrent("ci", "undo").ok()
    assert config.read_text() == BEFORE
