"""Which key `publish` signs with: named, remembered, or one of the user's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import bulk, gitcmd
from support.programs import Person, somebody

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return somebody(tmp_path / "owner")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return bulk.make_small(tmp_path / "project.git")


def make_key(path: Path, passphrase: str = "") -> Path:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)]
    subprocess.run(words, check=True)
    return path


def set_default_key(person: Person, key: Path) -> None:
    person.git("config", "--global", "gpg.format", "ssh").ok()
    person.git("config", "--global", "user.signingKey", key).ok()


def commit(repository: Path, text: str) -> None:
    tree = gitcmd.text(repository, "rev-parse", "HEAD^{tree}")
    made = gitcmd.text(repository, "commit-tree", tree, "-p", "HEAD", "-m", text)
    gitcmd.git(repository, "update-ref", "HEAD", made)


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_relative_key_is_found_from_another_directory(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    make_key(tmp_path / "here")
    set_default_key(owner, make_key(tmp_path / "default"))
    owner.gittorrent("publish", origin, "--key", "here", "--wait", cwd=tmp_path).ok()
    commit(origin, "one more")
    done = owner.gittorrent("publish", origin, "--wait", cwd=owner.root).ok()
    assert "1 ref moved" in done.out
    assert gitcmd.text(origin, "config", "gittorrent.signingKey") == str(tmp_path / "here")


def test_another_key_is_refused_before_anything_is_made(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    right, wrong = make_key(tmp_path / "right"), make_key(tmp_path / "wrong")
    owner.gittorrent("publish", origin, "--key", right, "--wait").ok()
    commit(origin, "one more")
    before = snapshot(origin)
    done = owner.gittorrent("publish", origin, "--key", wrong)
    done.failed(2, f"{origin} is published with ssh:SHA256:", f"({right})", f"use --key {right}")
    assert snapshot(origin) == before


def test_one_of_the_users_keys_is_found_where_none_is_remembered(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    """As in a repository that an older version published."""
    owner.gittorrent("publish", origin, "--new-key", "--wait").ok()
    gitcmd.git(origin, "config", "--unset", "gittorrent.signingKey")
    set_default_key(owner, make_key(tmp_path / "default"))
    commit(origin, "one more")
    owner.gittorrent("publish", origin, "--wait").ok()
    own = owner.node / "keys" / "publish"
    assert gitcmd.text(origin, "config", "gittorrent.signingKey") == str(own)
    own.unlink()
    gitcmd.git(origin, "config", "--unset", "gittorrent.signingKey")
    owner.gittorrent("publish", origin).failed(2, "is published with ssh:", "use --key to name")


def test_a_key_that_moved_is_named_and_never_replaced(
    owner: Person, origin: Path, tmp_path: Path
) -> None:
    key = make_key(tmp_path / "key")
    owner.gittorrent("publish", origin, "--key", key, "--wait").ok()
    moved = key.rename(tmp_path / "moved")
    done = owner.gittorrent("publish", origin, "--new-key")
    done.failed(7, "is published with ssh:SHA256:", f"there is no key file {key}", "use --key")
    assert not (owner.node / "keys").exists()
    owner.gittorrent("publish", origin, "--key", moved).ok()
    owner.gittorrent("publish", origin).ok()


@pytest.fixture
def agent() -> Iterator[str]:
    """An ssh-agent of our own, on a socket with a short path."""
    folder = tempfile.mkdtemp(prefix="gta-", dir="/tmp")
    words = ["ssh-agent", "-D", "-a", f"{folder}/s"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # printed once it listens
        yield f"{folder}/s"
        process.terminate()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="ssh-agent is not here")
def test_a_key_of_the_agent_is_remembered_by_its_public_line(
    owner: Person, origin: Path, tmp_path: Path, agent: str
) -> None:
    key = make_key(tmp_path / "key")
    variables = {"SSH_AUTH_SOCK": agent}
    holder = Person(owner.root, variables=variables)
    holder.run("ssh-add", "-q", key).ok()
    line = key.with_name("key.pub").read_text().strip()
    key.unlink()
    holder.gittorrent("publish", origin, "--key", line, "--wait").ok()
    commit(origin, "one more")
    holder.gittorrent("publish", origin, "--wait").ok()
    shown = json.loads(owner.gittorrent("log", "--json", origin).ok().out)
    assert len({entry["signer"] for entry in shown if entry.get("signer")}) == 1
    commit(origin, "and one")
    owner.gittorrent("publish", origin).failed(7, "ssh-agent")


def test_without_a_key_nothing_is_made(owner: Person, tmp_path: Path) -> None:
    """Or another clone of that name could not be published instead."""
    for place in ("one", "two"):
        origin = bulk.make_small(tmp_path / f"{place}.git")
        owner.git("clone", "-q", origin, tmp_path / place / "project").ok()
    one, two = tmp_path / "one" / "project", tmp_path / "two" / "project"
    before = snapshot(one)
    owner.gittorrent("publish", one).failed(7, "no signing key", "--new-key")
    assert snapshot(one) == before
    assert not list((owner.node / "repositories").glob("*"))
    owner.gittorrent("publish", two, "--new-key", "--wait").ok()
