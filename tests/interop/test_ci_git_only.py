"""``gittorrent ci setup --git-only``: jobs' gits go to the node, other programs as before."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import gitcmd, objects
from support.ci_machines import LARGE, Machine, a_machine, has_built, set_up
from support.programs import Done


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with a_machine(tmp_path, "node") as made:
        set_up(made, "--git-only")
        yield made


@pytest.mark.parametrize("runner", ["github, in a home", "gitlab, token in URL", "docker, RUN"])
def test_jobs_are_answered_by_the_node(machine: Machine, runner: str) -> None:
    has_built(runner, machine.job("password", name="first"))
    machine.server.begin_again()
    has_built(runner, machine.job("password", name="second"))
    assert machine.server.sent < LARGE // 5


def test_a_git_that_is_given_a_url_goes_to_the_server(machine: Machine) -> None:
    """As that of Jenkins is in an empty workspace."""
    for name in ("first", "second"):
        machine.server.begin_again()
        has_built("jenkins", machine.job(name=name))
        assert machine.server.sent > LARGE


@functools.cache
def cargo() -> Path | None:
    """Return where cargo itself is, rather than what chooses one by the user's home."""
    if shutil.which("rustc") is None:
        return None
    words = ["rustc", "--print", "sysroot"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    found = Path(said.strip()) / "bin" / "cargo"
    return found if said and found.is_file() else None


@pytest.mark.skipif(cargo() is None, reason="cargo missing")
def test_cargo_takes_what_it_needs_from_the_server(machine: Machine) -> None:
    """Cargo reads git's configuration, and has a git of its own."""
    commit_crate(machine.upstream)
    crate = machine.person.root / "crate"
    (crate / "src").mkdir(parents=True)
    (crate / "src" / "lib.rs").touch()
    dependency = f'project = {{ git = "{machine.url}" }}'
    (crate / "Cargo.toml").write_text(f"{manifest('mine')}[dependencies]\n{dependency}\n")
    assert fetched(machine, crate).status == 0
    assert "project" in (crate / "Cargo.lock").read_text()
    (crate / "Cargo.lock").unlink()
    set_up(machine)
    again = fetched(machine, crate)
    assert again.status != 0, "or it needs no such option any more"


def manifest(name: str) -> str:
    return f'[package]\nname = "{name}"\nversion = "1.0.0"\n'


def commit_crate(git_dir: Path) -> None:
    """Commit a crate without dependencies."""
    source = objects.write_tree(
        git_dir, {"lib.rs": ("100644", objects.write_object(git_dir, "blob", b""))}
    )
    described = objects.write_object(git_dir, "blob", manifest("project").encode())
    entries = {"Cargo.toml": ("100644", described), "src": ("40000", source)}
    commit = objects.write_commit(git_dir, objects.write_tree(git_dir, entries), [], "crate")
    gitcmd.git(git_dir, "update-ref", "refs/heads/main", commit)


def fetched(machine: Machine, crate: Path) -> Done:
    """Let cargo fetch what a crate depends on, with a cache of its own."""
    cache = machine.person.root / "cargo"
    shutil.rmtree(cache, ignore_errors=True)
    found = cargo()
    assert found is not None
    own = (f"CARGO_HOME={cache}", f"RUSTC={found.with_name('rustc')}")
    return machine.person.run("env", *own, found, "fetch", cwd=crate)
