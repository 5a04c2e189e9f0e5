"""How git's configuration says to index."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.errors import UsageError
from gittorrent.repository.index_settings import (
    DEFAULT_MEMORY,
    IndexSettings,
    index_settings,
    read_index_settings,
)
from support import gitcmd


def test_defaults() -> None:
    assert read_index_settings({}) == IndexSettings(False, False, DEFAULT_MEMORY)


@pytest.mark.parametrize(
    ("config", "fsck", "paranoid"),
    [
        ({"transfer.fsckobjects": "true"}, True, False),
        ({"transfer.fsckobjects": "true", "fetch.fsckobjects": "no"}, False, False),
        ({"fetch.fsckobjects": "", "transfer.fsckobjects": "yes"}, False, False),
        ({"fetch.fsckobjects": "0x2"}, True, False),
        ({"transfer.fsckobjects": "-1k"}, True, False),
        ({"gittorrent.paranoid": "Yes"}, True, True),
        ({"gittorrent.paranoid": "1", "fetch.fsckobjects": "false"}, True, True),
        ({"gittorrent.paranoid": "false", "fetch.fsckobjects": "on"}, True, False),
    ],
)
def test_rules(config: dict[str, str], fsck: bool, paranoid: bool) -> None:
    without = {key: value for key, value in config.items() if key != "gittorrent.paranoid"}
    git_checks = read_index_settings(without).fsck
    assert read_index_settings(config) == IndexSettings(fsck, paranoid, git_checks=git_checks)


@pytest.mark.parametrize(("text", "detect"), [("false", False), ("true", True), ("", False)])
def test_detection(text: str, detect: bool) -> None:
    assert read_index_settings({}).detect
    assert read_index_settings({"gittorrent.detectcollisions": text}).detect is detect


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1000", 1000), ("64k", 64 << 10), ("128M", 128 << 20), ("1.5G", 3 << 29)],
)
def test_memory(text: str, size: int) -> None:
    assert read_index_settings({"gittorrent.indexmemory": text}).memory == size


@pytest.mark.parametrize(
    "name", ["gittorrent.paranoid", "fetch.fsckObjects", "transfer.fsckObjects"]
)
def test_what_is_no_boolean_is_not_taken_for_no(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is 'perhaps'"):
        read_index_settings({name.lower(): "perhaps"})


@pytest.mark.parametrize("text", ["", "-1", "1.5.5G", "1T", "much", "1" * 16])
def test_malformed_memory(text: str) -> None:
    with pytest.raises(UsageError, match=r"gittorrent\.indexMemory"):
        read_index_settings({"gittorrent.indexmemory": text})


def test_the_repository_s_own_configuration_counts(tmp_path: Path) -> None:
    git_dir = gitcmd.init(tmp_path / "r.git", "sha1")
    gitcmd.git(git_dir, "config", "gittorrent.indexMemory", "32M")
    gitcmd.git(git_dir, "config", "gittorrent.paranoid", "true")
    assert index_settings(git_dir) == IndexSettings(True, True, 32 << 20)


def test_exceptions_are_read_in_order_and_only_where_rules_count(tmp_path: Path) -> None:
    git_dir = gitcmd.init(tmp_path / "r.git", "sha1")
    lists = [tmp_path / "a", tmp_path / "b"]
    for path in lists:
        path.write_text("")
        gitcmd.git(git_dir, "config", "--add", "fetch.fsck.skipList", str(path))
    for value in ("warn", "ignore"):
        gitcmd.git(git_dir, "config", "--add", "fetch.fsck.badTimezone", value)
    assert index_settings(git_dir).rules is None
    gitcmd.git(git_dir, "config", "fetch.fsckObjects", "true")
    rules = index_settings(git_dir).rules
    assert rules is not None
    assert rules.exceptions == (
        ("badtimezone", "warn"),
        ("badtimezone", "ignore"),
        ("skiplist", str(lists[0])),
        ("skiplist", str(lists[1])),
    )
    assert rules.strict == (
        f"--strict=badtimezone=warn,badtimezone=ignore,skiplist={lists[0]},skiplist={lists[1]}"
    )
