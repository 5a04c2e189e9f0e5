"""``core.sharedRepository``: several users publish one repository, whatever their umasks are."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gittorrent.git.refs import read_refs
from gittorrent.git.runner import Git
from gittorrent.ids import SHA1
from gittorrent.repository.carried import Carried
from gittorrent.repository.housekeeping import tidy_up
from gittorrent.repository.shared import shared_directory_mode
from gittorrent.signing.keys import Signer
from support import gitcmd, nodes
from support.programs import GITS
from support.users import UnixUser, as_root, installed_for_all, open_folder, unix_users

SETTINGS = ["umask", "false", "group", "true", "1", "all", "world", "2", "0640", "0660", "0666"]
GROUP = 4711


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    try:
        yield request.param
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Return the modes of a folder and of all in it."""
    return {
        str(path): stat.S_IMODE(path.lstat().st_mode) for path in [folder, *folder.rglob("*")]
    }  # fmt: skip


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_rule_for_directories_is_gits(
    tmp_path: Path, umask: int, setting: str, git: str
) -> None:
    shared = "--shared=" + setting
    subprocess.run(
        [git, "init", "-q", "--bare", "--template=", shared, "r.git"], cwd=tmp_path, check=True
    )
    (tmp_path / "plain").mkdir()
    plain = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    made = stat.S_IMODE((tmp_path / "r.git" / "objects").stat().st_mode)
    assert shared_directory_mode(setting, plain) == made


@pytest.mark.parametrize("setting", ["umask", "group", "all", "0640"])
def test_files_are_as_open_as_gits(
    tmp_path: Path, umask: int, setting: str, owner_key: Signer
) -> None:
    git_dir = tmp_path / "project.git"
    words = ["init", "-q", "--bare", "--template=", "--initial-branch=main", f"--shared={setting}"]
    gitcmd.git(tmp_path, *words, str(git_dir))
    nodes.add_commit(git_dir, "refs/heads/main", "first", b"first\n")
    carried = nodes.publish(git_dir, owner_key, "project")
    nodes.add_commit(git_dir, "refs/heads/main", "second", b"second\n")
    nodes.publish(git_dir, owner_key, None)
    tidy_up(carried)
    folder, file = (git_dir / name for name in ("objects", "config"))
    gits = {True: stat.S_IMODE(folder.stat().st_mode), False: stat.S_IMODE(file.stat().st_mode)}
    for name, mode in modes(carried.layout.own).items():
        assert mode == gits[Path(name).is_dir()], name
    pack_mode = gits[False] & 0o444
    packs = list((git_dir / "objects" / "pack").glob("pack-*"))
    assert {path.suffix for path in packs} >= {".pack", ".idx", ".rev", ".keep"}
    for path in packs:
        wanted = gits[False] if path.suffix == ".keep" else pack_mode
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_a_repository_that_is_shared_later(tmp_path: Path, owner_key: Signer) -> None:
    before = os.umask(0o077)
    try:
        carried = nodes.publish(nodes.make_repository(tmp_path / "p.git"), owner_key, "project")
        assert stat.S_IMODE(carried.layout.lock.stat().st_mode) == 0o600
        gitcmd.git(carried.layout.git_dir, "config", "core.sharedRepository", "group")
        nodes.publish(carried.layout.git_dir, owner_key, None)
    finally:
        os.umask(before)
    for name, mode in modes(carried.layout.own).items():
        assert mode == (0o2770 if Path(name).is_dir() else 0o660), name


@pytest.fixture
def place() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture
def users(place: Path) -> list[UnixUser]:
    path = os.pathsep.join(dict.fromkeys(str(Path(git).parent) for git in GITS))
    if shutil.which("ssh-keygen", path=f"{path}:{os.defpath}") is None:
        pytest.skip("ssh-keygen missing")
    return unix_users(
        place,
        GROUP,
        PATH=f"{path}:{os.defpath}",
        GIT_CONFIG_NOSYSTEM="1",
        TMPDIR=str(place),
    )


@as_root
def test_two_users_publish_one_repository(place: Path, users: list[UnixUser]) -> None:
    python = installed_for_all(place)
    key = place / "key"
    nodes.signer(place)
    os.chown(key, 0, GROUP)
    key.chmod(0o640)
    bare = place / "project.git"
    first, second = users
    words = ["init", "-q", "--bare", "--initial-branch=main", "--shared=group"]
    first.run("git", *words, bare, cwd=place).ok()
    for number, user in enumerate([first, second, first, second]):
        user.run("git", "config", "--global", "user.name", user.name, cwd=place).ok()
        user.run("git", "config", "--global", "user.email", "u@example.org", cwd=place).ok()
        user.run("git", "config", "--global", "safe.directory", "*", cwd=place).ok()
        clone = user.home / f"clone-{number}"
        user.run("git", "clone", "-q", bare, clone, cwd=place).ok()
        (clone / f"file-{number}").write_text("content\n" * 100)
        os.chown(clone / f"file-{number}", pwd.getpwnam(user.name).pw_uid, GROUP)
        user.run("git", "add", ".", cwd=clone).ok()
        user.run("git", "commit", "-qm", "x", cwd=clone).ok()
        user.run("git", "push", "-q", "origin", "HEAD:main", cwd=clone).ok()
        program: list[str | Path] = [python, "-P", "-m", "gittorrent"]
        user.run(*program, "publish", bare, "--key", key, "--wait", cwd=place).ok()
        user.run(*program, "tidy", bare, cwd=place).ok()
    for user in users:
        user.run(python, "-P", "-m", "gittorrent", "verify", bare, cwd=place).ok()
    owners = {path.lstat().st_uid for path in (bare / "gittorrent").rglob("*")}
    assert owners == {pwd.getpwnam(user.name).pw_uid for user in users}
    assert len(Carried(bare, SHA1).log()) == 5


@as_root
def test_what_other_users_push_is_published(place: Path, users: list[UnixUser]) -> None:
    python = installed_for_all(place)
    nodes.signer(place)
    os.chown(place / "key", 0, GROUP)
    (place / "key").chmod(0o640)
    bare = place / "project.git"
    first, second = users
    words = ["init", "-q", "--bare", "--initial-branch=main", "--shared=group"]
    first.run("git", *words, bare, cwd=place).ok()
    for user in users:
        user.run("git", "config", "--global", "user.name", user.name, cwd=place).ok()
        user.run("git", "config", "--global", "user.email", "u@example.org", cwd=place).ok()
        user.run("git", "config", "--global", "safe.directory", "*", cwd=place).ok()
    publish: list[str | Path] = ["publish", bare, "--key", place / "key"]
    publish += ["--install-hook", "--wait"]
    done = first.run(python, "-P", "-m", "gittorrent", *publish, cwd=place).ok()
    assert "what is pushed from now on is published" in done.err
    for number, user in enumerate([second, first, second]):
        clone = user.home / f"clone-{number}"
        user.run("git", "clone", "-q", bare, clone, cwd=place).ok()
        user.run("git", "commit", "-q", "--allow-empty", "-m", "x", cwd=clone).ok()
        said = user.run("git", "push", "origin", "HEAD:main", cwd=clone).ok().err
        assert "remote: published project: 1 ref" in said
    assert Carried(bare, SHA1).log().refs == read_refs(Git(bare), "refs/heads")
    # The second one never had a node, and does not get one by pushing.
    assert not (second.home / ".local" / "share" / "gittorrent").exists()
