"""What users are told of repositories and homes that are another user's; only root can try."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import nodes
from support.programs import GITS, Done
from support.users import UnixUser, as_root, installed_for_all, readable_folder, unix_users

pytestmark = as_root


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with readable_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def python(place: Path) -> Path:
    return installed_for_all(place)


@pytest.fixture(scope="module")
def users(place: Path) -> list[UnixUser]:
    path = os.pathsep.join(dict.fromkeys(str(Path(git).parent) for git in GITS))
    variables = {"PATH": f"{path}:{os.defpath}", "GIT_CONFIG_NOSYSTEM": "1", "TMPDIR": str(place)}
    return unix_users(place, 4711, **variables)


@pytest.fixture(scope="module")
def bare(place: Path, python: Path, users: list[UnixUser]) -> Path:
    """A repository that the first user published."""
    owner = users[0]
    git_dir = nodes.make_repository(place / "project.git")
    for path in (git_dir, *git_dir.rglob("*")):
        os.chown(path, pwd.getpwnam(owner.name).pw_uid, 4711)
    command: list[str | Path] = [
        "-P",
        "-m",
        "gittorrent",
        "publish",
        git_dir,
        "--new-key",
        "--wait",
        "-q",
    ]
    owner.run("git", "config", "--global", "user.name", "x", cwd=place).ok()
    owner.run("git", "config", "--global", "user.email", "x@example.org", cwd=place).ok()
    open_to_read = UnixUser(owner.name, owner.group, owner.home, 0o022, owner.variables)
    open_to_read.run(python, *command, cwd=place).ok()
    return git_dir


def other(python: Path, users: list[UnixUser], bare: Path, *words: str | Path) -> Done:
    """Let the second user run a command."""
    return users[1].run(python, "-P", "-m", "gittorrent", *words, cwd=bare.parent)


@pytest.mark.parametrize("command", ["publish", "tidy", "verify", "log"])
def test_who_does_not_trust_the_owner(
    python: Path, users: list[UnixUser], bare: Path, command: str
) -> None:
    users[1].run("git", "config", "--global", "--unset-all", "safe.directory", cwd=bare.parent)
    done = other(python, users, bare, command, bare)
    done.failed(2, "dubious ownership", f"--add safe.directory {bare}")


@pytest.fixture
def trusting(users: list[UnixUser], bare: Path) -> None:
    words = ["config", "--global", "safe.directory", "*"]
    users[1].run("git", *words, cwd=bare.parent).ok()


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize(
    ("words", "file"),
    [(["publish", "--new-key"], "lock"), (["tidy"], "housekeeping.lock")],
)
def test_who_may_not_write(
    python: Path, users: list[UnixUser], bare: Path, words: list[str], file: str
) -> None:
    key = bare.parent / "key"
    if words[0] == "publish":
        made = users[0].home / ".local" / "share" / "gittorrent" / "keys" / "publish"
        key.write_bytes(made.read_bytes())
        key.chmod(0o600)
        os.chown(key, pwd.getpwnam(users[1].name).pw_uid, 4711)
        words = ["publish", "--key", str(key)]
    owner, me = users[0].name, users[1].name
    done = other(python, users, bare, *words, bare)
    done.failed(
        7,
        f"cannot write to {bare / 'gittorrent' / file}: it belongs to user {owner}",
        f"runs as user {me}",
        f"run this as user {owner}",
    )


@pytest.mark.usefixtures("trusting")
def test_who_may_read_may_look(python: Path, users: list[UnixUser], bare: Path) -> None:
    for command in ("verify", "log"):
        other(python, users, bare, command, bare).ok()


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("command", ["publish", "tidy", "verify", "log", "serve", "seed"])
def test_who_may_not_read(python: Path, users: list[UnixUser], bare: Path, command: str) -> None:
    (bare / "objects").chmod(0o700)
    try:
        done = other(python, users, bare, command, bare)
    finally:
        (bare / "objects").chmod(0o755)
    said = f"cannot read {bare / 'objects'}: it belongs to user {users[0].name} (mode 0700)"
    done.failed(2, said, f"run this as user {users[0].name}")


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["serve"],
        ["mirror", "git://127.0.0.1:1/x.git"],
        ["forget", "git://127.0.0.1:1/x.git"],
        ["publish", "--new-key"],
    ],
)
def test_a_home_that_is_read_only(
    python: Path, users: list[UnixUser], bare: Path, words: list[str]
) -> None:
    home = users[1].home / ".local" / "share" / "gittorrent"
    other(python, users, bare, "status").ok()
    home.chmod(0o500)
    try:
        done = other(python, users, bare, *words)
    finally:
        home.chmod(0o700)
    done.failed(7, f"cannot write to {home}", "(mode 0500)", f"chmod u+rwX {home}")
