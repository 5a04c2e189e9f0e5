"""Unmodified git pushes into a carried repository: what is let in, and what is refused and how."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gittorrent.repository.carried import open_carried
from gittorrent.trust.policy import Grant, Rule
from gittorrent.trust.refpattern import RefPattern
from gittorrent.trust.sshkey import parse_key_line
from support import depots
from support.gitcmd import ENVIRONMENT, git, refs, text
from support.programs import GITS
from support.publishing import builder, grow, publish

pytestmark = pytest.mark.git_in_turn


@dataclass(frozen=True)
class Pusher:
    """Somebody with a clone and a key, who pushes to a published repository next to it."""

    work: Path
    depot: Path
    key: Path
    receive: Path
    program: str

    def push(self, *words: str, signed: bool = True, **extra: str) -> tuple[int, str]:
        """Run ``git push`` and return its status and what it said."""
        settings = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.key}"]
        done = subprocess.run(
            [
                self.program, *settings, "push", *(["--signed"] if signed else []),
                f"--receive-pack={self.receive}", str(self.depot), *words,
            ],
            cwd=self.work, env=ENVIRONMENT | extra, capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr.decode()

    def commit(self, name: str) -> str:
        """Make a commit with a file and return its id."""
        (self.work / name).write_text(f"{name}\n" * 50)
        git(self.work, "add", name)
        git(self.work, "commit", "-q", "-m", name)
        return text(self.work, "rev-parse", "HEAD")

    def shown(self) -> dict[str, str]:
        """Return the refs that the log of the depot shows."""
        log = open_carried(self.depot).log()
        return {ref.decode(): oid for ref, oid in log.refs.items()}


def made_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return Path(f"{path}.pub")


def rule(key: Path, pattern: str, grant: Grant = Grant.PLAIN) -> Rule:
    return Rule(RefPattern(pattern.encode()), parse_key_line(key.read_text()).key, grant)


@pytest.fixture(params=GITS)
def pusher(request: pytest.FixtureRequest, tmp_path: Path) -> Pusher:
    depot = tmp_path / "project.git"
    grow(builder(depot), 5)
    publish(depot, name="project")
    key = made_key(tmp_path / "id")
    depots.let_in(
        depot, rule(key, "refs/heads/main"), rule(key, "refs/heads/*", Grant.CREATE),
        rule(key, "refs/heads/wip/*", Grant.FORCE),
    )  # fmt: skip
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(depot), str(work))
    return Pusher(work, depot, key, depots.carried_program(tmp_path), str(request.param))


def test_accepted(pusher: Pusher) -> None:
    new = pusher.commit("a")
    status, said = pusher.push("--progress", "main", "main:refs/heads/topic")
    assert status == 0, said
    assert "remote: accepted as push " in said
    assert pusher.shown()["refs/heads/main"] == pusher.shown()["refs/heads/topic"] == new
    assert refs(pusher.depot)[b"refs/heads/main"] == new  # an origin follows
    git(pusher.depot, "fsck", "--strict")
    depots.keep(pusher.depot)
    log = open_carried(pusher.depot).log()
    assert not log.unfinal
    assert log.refs[b"refs/heads/topic"] == new  # type: ignore[index]
    again = pusher.commit("b")
    status, said = pusher.push("main", ":topic")
    assert status == 1
    assert "topic (the policy does not let this key do that" in said
    assert "main (not changed, since other refs of the same push are refused)" in said
    assert pusher.push("main")[0] == 0
    assert pusher.shown()["refs/heads/main"] == again


def test_push_after_push_without_keeper(pusher: Pusher) -> None:
    ids = []
    for name in ("a", "b", "c"):
        ids.append(pusher.commit(name))
        assert pusher.push("main")[0] == 0
    log = open_carried(pusher.depot).log()
    assert [push.certificate.nonce.count for push in log.unfinal] == [1, 2, 3]
    assert pusher.shown()["refs/heads/main"] == ids[-1]


def test_force_and_deletion(pusher: Pusher) -> None:
    first = pusher.commit("a")
    assert pusher.push("main:refs/heads/wip/x")[0] == 0
    git(pusher.work, "commit", "-q", "--amend", "-m", "other")
    assert pusher.push("+main:refs/heads/wip/x")[0] == 0
    assert pusher.shown()["refs/heads/wip/x"] != first
    assert pusher.push(":refs/heads/wip/x")[0] == 0
    assert "refs/heads/wip/x" not in pusher.shown()


def test_unsigned(pusher: Pusher) -> None:
    pusher.commit("a")
    status, said = pusher.push("main", signed=False)
    assert (status, "(not signed" in said, "git push --signed" in said) == (1, True, True)


def test_unknown_key(pusher: Pusher, tmp_path: Path) -> None:
    pusher.commit("a")
    stranger = replace(pusher, key=made_key(tmp_path / "other"))
    status, said = stranger.push("main")
    assert status == 1
    assert "may not push to project" in said
    assert "gittorrent policy add" in said
    nothing_happened(pusher)


def nothing_happened(pusher: Pusher) -> None:
    log = open_carried(pusher.depot).log()
    assert not log.unfinal
    layout = open_carried(pusher.depot).layout
    assert not list(layout.uploads.glob("*"))
    assert not list(layout.incoming.glob("*"))


def test_not_allowed_here(pusher: Pusher) -> None:
    pusher.commit("a")
    status, said = pusher.push("main:refs/tags/v1")
    assert (status, "the policy does not let this key do that" in said) == (1, True)
    mine = (
        "it may create refs/heads/main and move them forward, may create refs/heads/*, may do"
        " everything to refs/heads/wip/*, rewinding and deleting included"
    )
    assert mine in said
    nothing_happened(pusher)


def test_what_is_not_there_cannot_be_deleted(pusher: Pusher) -> None:
    status, said = pusher.push(":refs/heads/wip/x")
    assert (status, "there is no refs/heads/wip/x that could be deleted" in said) == (1, True)
    nothing_happened(pusher)


def test_not_a_fast_forward(pusher: Pusher) -> None:
    git(pusher.work, "reset", "-q", "--hard", "HEAD~1")
    pusher.commit("a")
    status, said = pusher.push("+main")
    assert (status, "not a fast-forward" in said, "fetch and merge" in said) == (1, True, True)
    nothing_happened(pusher)


def test_wrong_repository(pusher: Pusher, tmp_path: Path) -> None:
    pusher.commit("a")
    (tmp_path / "somewhere").symlink_to(pusher.depot)
    status, said = replace(pusher, depot=tmp_path / "somewhere").push("main")
    assert (status, "/somewhere, which does not name this repository" in said) == (1, True)
    nothing_happened(pusher)


def test_a_mirror_under_another_name_is_pushed_to_by_the_id(pusher: Pusher, tmp_path: Path) -> None:
    """As the refusal of what was pushed under that name says."""
    new = pusher.commit("a")
    place = tmp_path / str(open_carried(pusher.depot).info.repository_id)
    place.symlink_to(pusher.depot)
    status, said = replace(pusher, depot=place).push("--progress", "main")
    assert (status, "accepted as push" in said) == (0, True), said
    assert text(pusher.depot, "rev-parse", "refs/heads/main") == new


def test_atomic(pusher: Pusher) -> None:
    pusher.commit("a")
    status, said = pusher.push("--atomic", "main", "main:refs/heads/b")
    assert (status, "-o atomic" in said) == (1, True)
    nothing_happened(pusher)
    assert pusher.push("--atomic", "-o", "atomic", "main", "main:refs/heads/b")[0] == 0


def test_objects_that_no_ref_shows_cannot_be_named(pusher: Pusher, tmp_path: Path) -> None:
    """Who knows the id of a commit that lies here unpublished cannot publish it unsent."""
    hidden = pusher.commit("hidden")
    git(pusher.depot, "fetch", "-q", str(pusher.work), "main:refs/private/x")
    before = pusher.shown()
    folder = sending_nothing(tmp_path / "programs", pusher.program)
    status, said = pusher.push("main", GIT_EXEC_PATH=str(folder))
    assert (status, "objects are missing" in said) == (1, True), said
    assert pusher.shown() == before
    nothing_happened(pusher)
    assert pusher.push("main")[0] == 0, "who has it and sends it may"
    assert pusher.shown()["refs/heads/main"] == hidden


def sending_nothing(folder: Path, program: str) -> Path:
    """Make a git for clients that sends an empty pack, as if the other end had everything."""
    folder.mkdir()
    made = folder / "git"
    made.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = pack-objects ] || exec "{program}" "$@"\n'
        "cat >/dev/null\n"
        f'exec "{program}" pack-objects -q --stdout </dev/null\n'
    )
    made.chmod(0o755)
    return folder


def test_objects_that_break_rules(pusher: Pusher) -> None:
    tree = text(pusher.work, "rev-parse", "HEAD^{tree}")
    parent = text(pusher.work, "rev-parse", "HEAD")
    content = f"tree {tree}\nparent {parent}\nauthor x 1\ncommitter x 1\n\nbroken\n".encode()
    broken = text(
        pusher.work, "hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=content
    )
    git(pusher.work, "update-ref", "refs/heads/main", broken)
    status, said = pusher.push("main")
    assert (status, "fsck" in said) == (1, True)
    nothing_happened(pusher)
