"""Jobs whose repositories have files of Git LFS get these from the server, without a rule."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import gitcmd, objects
from support.ci_jobs import RUNNERS
from support.ci_machines import Machine, a_machine, set_up
from support.programs import GITS

pytestmark = [
    pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs missing"),
    pytest.mark.git_in_turn,
]

LARGE = b"large\n" * 1000


def pointer(content: bytes) -> str:
    """Return what git has in place of a large file."""
    oid = hashlib.sha256(content).hexdigest()
    lines = ["version https://git-lfs.github.com/spec/v1", f"oid sha256:{oid}"]
    return "\n".join([*lines, f"size {len(content)}", ""])


@pytest.fixture
def git(request: pytest.FixtureRequest) -> str:
    """The git of the machine, the first one unless a test names others."""
    return getattr(request, "param", GITS[0])


@pytest.fixture
def machine(tmp_path: Path, git: str) -> Iterator[Machine]:
    """A machine with a node and Git LFS, and a server whose repository has a large file."""
    with a_machine(tmp_path, "node", git) as made:
        commit_large(made, LARGE)
        made.person.git("lfs", "install").ok()
        yield made


def commit_large(machine: Machine, content: bytes) -> None:
    """Commit a pointer, and the rule that says what it is; the server has what it points to."""
    git_dir = machine.upstream
    machine.server.large[hashlib.sha256(content).hexdigest()] = content
    rule = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"
    files = {".gitattributes": rule, "large.bin": pointer(content).encode()}
    entries = {
        name: ("100644", objects.write_object(git_dir, "blob", data))
        for name, data in files.items()
    }
    tree = objects.write_tree(git_dir, entries)
    parent = gitcmd.text(git_dir, "rev-parse", "refs/heads/main")
    commit = objects.write_commit(git_dir, tree, [parent], "large")
    gitcmd.git(git_dir, "update-ref", "refs/heads/main", commit)


def endpoints(machine: Machine, folder: Path) -> list[str]:
    """Return where Git LFS would ask for each remote."""
    said = machine.person.git("-C", folder, "lfs", "env").ok().out
    lines = [line for line in said.splitlines() if line.startswith("Endpoint")]
    return [line.partition("=")[2].partition(" ")[0] for line in lines]


@pytest.mark.parametrize("git", GITS, indirect=True)
@pytest.mark.parametrize("words", [(), ("--git-only",)])
def test_a_clone_has_the_files(machine: Machine, words: tuple[str, ...]) -> None:
    set_up(machine, *words)
    said = machine.person.git("clone", machine.url, "c").ok()
    clone = machine.person.root / "c"
    assert "itself" not in said.err, "the node answers"
    assert (clone / "large.bin").read_bytes() == LARGE
    moved = "https://other.example/team/moved.git"
    machine.person.git("-C", clone, "remote", "set-url", "origin", moved).ok()
    assert endpoints(machine, clone) == [f"{moved}/info/lfs"]


@pytest.mark.parametrize("runner", ["github", "gitlab", "gitlab, token in URL", "jenkins"])
def test_so_have_the_work_trees_of_runners(machine: Machine, runner: str) -> None:
    content = LARGE
    for each in ("s3cret-of-the-job", "s3cret-of-the-next"):
        machine.server.password = each
        job = machine.job(each)
        RUNNERS[runner](job).ok()
        assert (job.folder / "large.bin").read_bytes() == content
        content = LARGE + b"more\n"
        commit_large(machine, content)
    assert (job.folder / ".git" / "config").read_text().count("gittorrent-lfs") == 1


def test_without_git_lfs_nothing_is_configured(machine: Machine) -> None:
    machine.person.git("lfs", "uninstall").ok()
    machine.person.git("clone", machine.url, "c").ok()
    assert (machine.person.root / "c" / "large.bin").read_text() == pointer(LARGE)
    assert "lfs" not in (machine.person.root / "c" / ".git" / "config").read_text()


def test_where_no_remote_is_at_the_server_nothing_is_configured(machine: Machine) -> None:
    clone = gitcmd.init(machine.person.root / "empty")
    machine.person.git("-C", clone, "fetch", "-q", machine.url, "main").ok()
    assert "lfs" not in (clone / "config").read_text()
    machine.person.git("-C", clone, "remote", "add", "up.stream", machine.url).ok()
    machine.person.git("-C", clone, "fetch", "-q", machine.url, "main").ok()
    assert endpoints(machine, clone) == [f"{machine.url}/info/lfs"]


def test_settings_that_cannot_be_written_end_no_job(machine: Machine) -> None:
    clone = gitcmd.init(machine.person.root / "empty")
    machine.person.git("-C", clone, "remote", "add", "origin", machine.url).ok()
    (clone / "config.lock").touch()
    said = machine.person.git("-C", clone, "fetch", "origin").ok().err
    assert "'git config --local' failed: error: could not lock config file" in said
