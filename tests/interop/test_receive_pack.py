"""The words of a depot, heard by an unmodified git over a pipe."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import depots
from support.gitcmd import ENVIRONMENT, git, init, refs, text
from support.programs import GITS


@dataclass(frozen=True)
class Pusher:
    """A work tree, and the git that it is pushed with."""

    work: Path
    depot: Path
    key: Path
    program: str

    def push(self, receive: Path, *words: str, signed: bool = True) -> tuple[int, str]:
        """Run ``git push`` and return its status and what it said."""
        settings = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.key}"]
        done = subprocess.run(
            [
                self.program, *settings, "push", *(["--signed"] if signed else []),
                f"--receive-pack={receive}", str(self.depot), *words,
            ],
            cwd=self.work, env=ENVIRONMENT, capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr.decode()


@pytest.fixture(params=GITS)
def pusher(request: pytest.FixtureRequest, tmp_path: Path) -> Pusher:
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    git(work, "commit", "-q", "--allow-empty", "-m", "one")
    depot = init(tmp_path / "depot.git")
    return Pusher(work, depot, Path(f"{key}.pub"), str(request.param))


def test_create_update_delete(pusher: Pusher, tmp_path: Path) -> None:
    receive = depots.program(tmp_path)
    refspecs = ("main", "main:refs/heads/topic", "main:refs/tags/v1")
    status, said = pusher.push(receive, "--progress", *refspecs)
    assert status == 0, said
    assert "remote: accepted as push eeee" in said
    first = text(pusher.work, "rev-parse", "HEAD")
    names = (b"refs/heads/main", b"refs/heads/topic", b"refs/tags/v1")
    assert refs(pusher.depot) == dict.fromkeys(names, first)
    git(pusher.work, "commit", "-q", "--allow-empty", "-m", "two")
    status, said = pusher.push(receive, "--atomic", "-o", "atomic", "main", ":topic")
    assert status == 0, said
    assert refs(pusher.depot)[b"refs/heads/main"] == text(pusher.work, "rev-parse", "HEAD")
    assert b"refs/heads/topic" not in refs(pusher.depot)
    status, said = pusher.push(receive, ":refs/tags/v1")  # no pack at all
    assert status == 0, said
    status, said = pusher.push(receive, "main")
    assert (status, "Everything up-to-date" in said) == (0, True)


def test_unsigned(pusher: Pusher, tmp_path: Path) -> None:
    receive = depots.program(tmp_path)
    status, said = pusher.push(receive, "main", signed=False)
    assert status == 1
    assert "! [remote rejected] main -> main (not signed" in said
    assert "git push --signed)" in said
    assert "remote:   git config gpg.format ssh" in said
    assert refs(pusher.depot) == {}
    # What is larger than any buffer along the way is still told.
    (pusher.work / "large").write_bytes(b"".join(bytes([n % 251]) * 97 for n in range(60_000)))
    git(pusher.work, "add", "large")
    git(pusher.work, "commit", "-q", "-m", "large")
    status, said = pusher.push(receive, "main", signed=False)
    assert (status, "(not signed" in said) == (1, True)


def test_signed_if_asked(pusher: Pusher, tmp_path: Path) -> None:
    receive = depots.program(tmp_path)
    status, said = pusher.push(receive, "--signed=if-asked", "main", signed=False)
    assert (status, set(refs(pusher.depot))) == (0, {b"refs/heads/main"}), said


def test_atomic_is_said_in_what_is_signed(pusher: Pusher, tmp_path: Path) -> None:
    receive = depots.program(tmp_path)
    status, said = pusher.push(receive, "--atomic", "main", "main:topic")
    assert status == 1
    assert "git push --signed --atomic -o atomic" in said
    assert refs(pusher.depot) == {}


def test_dry_run(pusher: Pusher, tmp_path: Path) -> None:
    receive = depots.program(tmp_path)
    for signed in (True, False):
        status, said = pusher.push(receive, "--dry-run", "main", signed=signed)
        assert (status, "[new branch]" in said) == (0, True)
    assert refs(pusher.depot) == {}


def test_refused_refs(pusher: Pusher, tmp_path: Path) -> None:
    receive = depots.program(tmp_path, refuse={"refs/heads/main": "not\x1b here"})
    status, said = pusher.push(receive, "main")
    assert status == 1
    assert "! [remote rejected] main -> main (not\\x1b here; do something)" in said


def test_progress_and_quiet(pusher: Pusher, tmp_path: Path) -> None:
    receive = depots.program(tmp_path)
    _, said = pusher.push(receive, "--progress", "main")
    assert "remote: indexed" in said
    git(pusher.work, "commit", "-q", "--allow-empty", "-m", "two")
    status, said = pusher.push(receive, "--quiet", "main")
    assert (status, said) == (0, "")


def test_protocol_version_1_and_2(pusher: Pusher, tmp_path: Path) -> None:
    receive = depots.program(tmp_path)
    for version in ("1", "2"):
        git(pusher.work, "config", "protocol.version", version)
        git(pusher.work, "commit", "-q", "--allow-empty", "-m", version)
        status, said = pusher.push(receive, "main")
        assert status == 0, said


def test_another_object_format(pusher: Pusher, tmp_path: Path) -> None:
    receive = depots.program(tmp_path, "sha256")
    status, said = pusher.push(receive, "main")
    assert status != 0
    assert "hash algorithm" in said or "sha256" in said
