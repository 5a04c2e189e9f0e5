"""Versions of a policy reach mirrors and clones, with a checkpoint or before one."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import bulk
from support.programs import Person, serve, wait_until

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not here")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("owner", "alice", "bob"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]
        subprocess.run([*words, str(folder / name)], check=True)
    return folder


def shown(person: Person, where: Path | str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        person.gittorrent("policy", "show", where, "--json").ok().out
    )
    return found


@pytest.mark.parametrize("transport", ["git", "http"])
def test_a_version_that_no_checkpoint_names_yet_reaches_the_keeper(
    people: Callable[[str], Person], keys: Path, tmp_path: Path, transport: str
) -> None:
    """The roots publish here, the keeper is there: it must learn of the version that names it."""
    owner, node = people("owner"), people("node")
    origin = bulk.make_small(tmp_path / "project.git")
    owner.gittorrent("publish", origin, "--key", keys / "owner", "--wait").ok()
    with serve(owner, origin) as daemon:
        url = daemon.url() if transport == "git" else f"{daemon.http}/project.git"
        node.gittorrent("mirror", url, "--once").ok()
        draft = json.loads(node.gittorrent("keeper", "here", "project", "--json").ok().out)
        said = owner.gittorrent("policy", "sign", draft["draft"], "-r", origin, "--json").ok()
        assert json.loads(said.out)["checkpoint"] is None
        node.gittorrent("policy", "remove", "--draft", "-r", "project").ok()
        node.gittorrent("mirror", url, "--once").ok()
        found = shown(node, "project")
        assert (found["version"], found["keeper"]) == (2, draft["keeper"])


def test_clones_show_and_sign(people: Callable[[str], Person], keys: Path, tmp_path: Path) -> None:
    owner, alice = people("owner"), people("alice")
    origin = bulk.make_small(tmp_path / "project.git")
    owner.gittorrent("publish", origin, "--key", keys / "owner", "--wait").ok()
    words = ("policy", "add", keys / "alice.pub", keys / "bob.pub", "--root", "-r", origin)
    owner.gittorrent(*words).ok()
    with serve(owner, origin) as daemon:
        alice.git("clone", "-q", daemon.url(), "work").ok()
    work = alice.root / "work"
    assert shown(alice, work)["version"] == 2
    owner.gittorrent("policy", "add", "--mirror", "git://m.example.org/p.git", "-r", origin).ok()
    sent = tmp_path / "draft"
    shutil.copy(origin / "gittorrent" / "policy-draft", sent)
    said = alice.gittorrent("policy", "diff", sent, cwd=work).ok().out
    assert "added: mirror git://m.example.org/p.git" in said
    done = alice.gittorrent("policy", "sign", sent, "--key", keys / "alice", cwd=work).ok()
    assert "enough roots signed" in done.out
    assert "where the repository is published or mirrored" in done.out
    assert shown(alice, work)["version"] == 2
    assert (
        "published as version 3" in owner.gittorrent("policy", "sign", sent, "-r", origin).ok().out
    )
    done = alice.gittorrent("keeper", "here", cwd=work)
    done.failed(2, "is a clone")
    log = json.loads(alice.gittorrent("log", "--json", cwd=work).ok().out)
    assert {entry["kind"] for entry in log} == {"policy", "checkpoint"}


def test_a_fetch_that_finds_no_new_commits_brings_the_policy(
    people: Callable[[str], Person], keys: Path, tmp_path: Path
) -> None:
    """Git asks for no objects then; a root in a clone has to be able to sign the next version."""
    owner, alice = people("owner"), people("alice")
    origin = bulk.make_small(tmp_path / "project.git")
    owner.gittorrent("publish", origin, "--key", keys / "owner", "--wait").ok()
    with serve(owner, origin) as daemon:
        alice.git("clone", "-q", daemon.url(), "work").ok()
        work, plain = alice.root / "work", alice.root / "plain"
        owner.gittorrent("policy", "add", keys / "alice.pub", "--root", "-r", origin).ok()
        alice.git("init", "-q", plain).ok()
        alice.git("ls-remote", daemon.url(), cwd=plain).ok()
        assert not (plain / ".git" / "gittorrent" / "logs").exists()
        assert shown(alice, work)["version"] == 1
        alice.git("fetch", "-q", cwd=work).ok()
    assert shown(alice, work)["version"] == 2
    owner.gittorrent("policy", "add", keys / "bob.pub", "refs/heads/*", "-r", origin).ok()
    draft = origin / "gittorrent" / "policy-draft"
    alice.gittorrent("policy", "sign", draft, "--key", keys / "alice", cwd=work).ok()


def test_refs_whose_commits_are_not_here_are_not_taken_into_the_log_of_a_clone(
    people: Callable[[str], Person], keys: Path, tmp_path: Path
) -> None:
    owner, alice = people("owner"), people("alice")
    origin = bulk.make_small(tmp_path / "project.git")
    owner.gittorrent("publish", origin, "--key", keys / "owner", "--wait").ok()
    with serve(owner, origin) as daemon:
        alice.git("clone", "-q", daemon.url(), "work").ok()
        work = alice.root / "work"
        before = alice.gittorrent("log", "--json", cwd=work).ok().out
        words = ("commit-tree", "-p", "main", "-m", "new", "main^{tree}")
        new = owner.git(*words, cwd=origin).ok().out.strip()
        owner.git("update-ref", "refs/heads/main", new, cwd=origin).ok()
        owner.gittorrent("publish", origin, "--wait").ok()
        alice.git("ls-remote", "origin", cwd=work).ok()
        assert alice.gittorrent("log", "--json", cwd=work).ok().out == before
        alice.git("fetch", "-q", cwd=work).ok()
        assert alice.gittorrent("log", "--json", cwd=work).ok().out != before


def test_a_node_that_was_named_keeper_makes_pushes_final(
    people: Callable[[str], Person], keys: Path, tmp_path: Path
) -> None:
    owner, alice = people("owner"), people("alice")
    origin = bulk.make_small(tmp_path / "project.git")
    owner.gittorrent("publish", origin, "--key", keys / "owner", "--wait").ok()
    owner.gittorrent("policy", "add", keys / "alice.pub", "refs/heads/*", "-r", origin).ok()
    owner.gittorrent("keeper", "here", origin, "--root-key", keys / "owner").ok()
    with serve(owner, origin) as daemon:
        alice.git("clone", "-q", f"{daemon.http}/project.git", "work").ok()
        work = alice.root / "work"
        alice.git("commit", "-q", "--allow-empty", "-m", "by Alice", cwd=work).ok()
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={keys / 'alice'}")
        alice.git(*signing, "push", "--signed", "origin", "HEAD:refs/heads/new", cwd=work).ok()

        def is_final() -> bool:
            log = json.loads(owner.gittorrent("log", origin, "--json").ok().out)
            pushes = [entry for entry in log if entry["kind"] == "certificate"]
            assert pushes[0]["changes"][0]["ref"] == "refs/heads/new"
            return bool(pushes[0]["final"])

        wait_until(is_final, "the keeper signs")
    newest = json.loads(owner.gittorrent("log", origin, "--json").ok().out)[0]
    said = json.loads(owner.gittorrent("keeper", "show", origin, "--json").ok().out)
    assert newest["kind"] == "checkpoint"
    assert newest["signer"] == said["keeper"] == shown(owner, origin)["keeper"]
    assert (said["is_here"], said["waiting"]) == (True, 0)
