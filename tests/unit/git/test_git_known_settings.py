"""What is known of settings holds until a file that says them is another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git.known_settings import KNOWN, MOST, KnownSettings, states_of
from gittorrent.git.repository import list_config, read_config, set_config
from gittorrent.git.runner import Git
from support import gitcmd


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that git is started with."""
    commands: list[tuple[str, ...]] = []
    attempt = Git.attempt

    def noted(git: Git, *words: str, stdin: bytes | None = None) -> object:
        commands.append(words)
        return attempt(git, *words, stdin=stdin)

    monkeypatch.setattr(Git, "attempt", noted)
    return commands


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return gitcmd.init(tmp_path / "r.git")


def test_the_repository_s_own_are_read_once(
    repository: Path, started: list[tuple[str, ...]]
) -> None:
    first = read_config(repository, isolated=True)
    assert read_config(repository, isolated=True) == first
    assert started == [("config", "--null", "--list")]


def test_what_anybody_writes_is_seen(repository: Path) -> None:
    read_config(repository, isolated=True)
    gitcmd.git(repository, "config", "some.key", "of git's")
    assert read_config(repository, isolated=True)["some.key"] == "of git's"
    set_config(Git(repository), {"some.key": "ours"})
    assert read_config(repository, isolated=True)["some.key"] == "ours"
    with (repository / "config").open("a") as file:
        file.write("[some]\nkey = by hand\n")
    assert read_config(repository, isolated=True)["some.key"] == "by hand"
    gitcmd.git(repository, "config", "extensions.worktreeConfig", "true")
    read_config(repository, isolated=True)
    gitcmd.git(repository, "config", "--worktree", "some.key", "of the work tree")
    assert read_config(repository, isolated=True)["some.key"] == "of the work tree"


def test_a_linked_work_tree_sees_what_all_share(repository: Path, tmp_path: Path) -> None:
    tree = gitcmd.text(repository, "mktree")
    tip = gitcmd.text(repository, "commit-tree", tree, "-m", "one")
    gitcmd.git(repository, "worktree", "add", "-q", "--detach", tmp_path / "linked", tip)
    own = repository / "worktrees" / "linked"
    read_config(own, isolated=True)
    gitcmd.git(repository, "config", "some.key", "new")
    assert read_config(own, isolated=True)["some.key"] == "new"


def test_included_files_are_read_each_time(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("[some]\nkey = one\n")
    gitcmd.git(repository, "config", "include.path", other)
    assert read_config(repository, isolated=True)["some.key"] == "one"
    other.write_text("[some]\nkey = two\n")
    assert read_config(repository, isolated=True)["some.key"] == "two"


def test_the_user_s_count_for_a_moment_only(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: list[tuple[str, ...]],
) -> None:
    settings = tmp_path / ".gitconfig"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    for value in ("one", "two"):
        settings.write_text(f"[some]\nkey = {value}\n")
        assert read_config(repository)["some.key"] == value
    started.clear()
    with KNOWN.for_a_moment():
        for _ in range(3):
            assert read_config(repository)["some.key"] == "two"
        assert len(started) == 1
        gitcmd.git(repository, "config", "some.key", "own")
        assert read_config(repository)["some.key"] == "own"
    settings.write_text("[other]\nkey = three\n")
    assert read_config(repository)["other.key"] == "three"
    with KNOWN.for_a_moment():
        assert read_config(repository)["other.key"] == "three"


def test_settings_that_git_is_given_are_others(repository: Path) -> None:
    git = Git(repository)
    list_config(git)
    assert ("some.key", "x") in list_config(git.with_config("some.key=x"))
    assert ("some.key", "x") not in list_config(git)


def test_few_are_kept_and_nobody_changes_them(tmp_path: Path) -> None:
    known = KnownSettings()
    gits = [Git(tmp_path / str(number)) for number in range(MOST + 1)]
    for git in gits:
        states = states_of(git, git.directory)
        known.note(git, states, [("a.b", str(git.directory))])
    assert known.of(gits[0], states_of(gits[0], gits[0].directory)) is None
    found = known.of(gits[-1], states_of(gits[-1], gits[-1].directory))
    assert found is not None
    found.clear()
    assert known.of(gits[-1], states_of(gits[-1], gits[-1].directory)) == [
        ("a.b", str(gits[-1].directory))
    ]
