"""Which files git cannot use: those that a power cut breaks, and none that git itself writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gittorrent.git.broken_files import broken_files, broken_loose_refs, is_doubtful
from support import gitcmd, nodes


@pytest.fixture(params=["sha1", "sha256"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    git_dir = nodes.make_repository(tmp_path / "project.git", object_format=str(request.param))
    gitcmd.git(git_dir, "pack-refs", "--all")
    return git_dir


def named(git_dir: Path) -> list[str]:
    return [str(each).removeprefix(f"{git_dir}/") for each in broken_files(git_dir)]


def test_what_git_writes_is_right(place: Path) -> None:
    assert named(place) == []
    gitcmd.git(place, "config", "remote.origin.url", "two\nlines # and ; more \\")
    gitcmd.git(place, "update-ref", "refs/heads/main", "refs/heads/main~1")
    gitcmd.git(place, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    assert named(place) == []
    assert not is_doubtful(place / "config")
    assert broken_loose_refs(place) == []
    gitcmd.git(place, "update-ref", "--no-deref", "HEAD", "refs/heads/main")
    assert named(place) == []


@pytest.mark.parametrize("name", ["HEAD", "packed-refs", "config", "shallow"])
def test_what_a_power_cut_leaves_is_named(place: Path, name: str) -> None:
    (place / name).write_bytes(b"")
    assert named(place) == [f"{name} is empty"]
    (place / name).write_bytes(bytes(100))
    assert named(place) == [f"{name} has NUL bytes in it"]
    assert broken_files(place)[0].hint


@pytest.mark.parametrize("cut", [1, 20, 90, -1])
def test_a_file_of_refs_that_is_cut_off(place: Path, cut: int) -> None:
    packed = place / "packed-refs"
    packed.write_bytes(packed.read_bytes()[:cut])
    assert named(place) == ["packed-refs is damaged or cut off"]
    assert named(place.parent) == []


def test_what_is_missing(place: Path) -> None:
    (place / "HEAD").unlink()
    gitcmd.git(place.parent, "init", "-q", "--bare", "other.git")
    (place / "refs" / "heads").rmdir()
    (place / "refs" / "tags").rmdir()
    for each in (place / "refs").iterdir():
        each.rmdir()
    (place / "refs").rmdir()
    assert named(place) == ["HEAD is missing", "refs is missing"]


def test_tables_of_refs(tmp_path: Path) -> None:
    git_dir = tmp_path / "project.git"
    folder = git_dir / "reftable"
    for path in (git_dir / "objects", git_dir / "refs", folder):
        path.mkdir(parents=True)
    (git_dir / "HEAD").write_text("ref: refs/heads/.invalid\n")
    assert named(git_dir) == ["reftable/tables.list is missing"]
    (folder / "one.ref").write_bytes(b"REFT and so on")
    (folder / "tables.list").write_text("one.ref\n")
    assert named(git_dir) == []
    (folder / "tables.list").write_text("")
    assert named(git_dir) == ["reftable/tables.list is empty"]
    (folder / "tables.list").write_text("one.ref\ntwo.ref\n")
    said = "reftable/tables.list names two.ref, which is missing or damaged"
    assert named(git_dir) == [said]
    (folder / "two.ref").write_bytes(bytes(50))
    assert named(git_dir) == [said]


def test_single_refs(place: Path) -> None:
    broken = {"empty": b"", "nuls": bytes(41), "short": b"abcdef\n", "nowhere": b"ref: refs/heads/"}
    for name, content in broken.items():
        (place / "refs" / "heads" / name).write_bytes(content)
    (place / "refs" / "heads" / "main.lock").write_bytes(b"")
    assert {each.name for each in broken_loose_refs(place)} == set(broken)


def test_settings_that_git_has_to_read(place: Path) -> None:
    config = place / "config"
    config.write_bytes(config.read_bytes()[:-1])
    assert is_doubtful(config)
    config.write_bytes(b"zz zz\n")
    assert is_doubtful(config)
