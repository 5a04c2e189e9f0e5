"""Clones that are led to a node which is not there: git's own ways to a server, all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import bulk, gitcmd
from support.plain_servers import WebServer, git_over_http
from support.programs import GITS, Done, Person, somebody

WHY = "no node that serves CI runs on this machine; going to "


@pytest.fixture(params=GITS)
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Person:
    return somebody(tmp_path / "runner", str(request.param))


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    made = bulk.make_small(tmp_path / "upstreams" / "x" / "project.git")
    gitcmd.git(made, "config", "uploadpack.allowFilter", "true")
    gitcmd.git(made, "config", "http.receivepack", "true")
    return made


@pytest.fixture
def server(upstream: Path) -> Iterator[WebServer]:
    with git_over_http(upstream.parents[1]) as found:
        yield found


@pytest.fixture
def url(runner: Person, server: WebServer) -> str:
    """The server's own URL, as pipelines have it."""
    runner.gittorrent("ci", "setup", "--for", server.base).ok()
    return f"{server.base}/x/project.git"


def head(path: Path) -> str:
    return gitcmd.text(path, "rev-parse", "HEAD")


def count(path: Path) -> int:
    return int(gitcmd.text(path, "rev-list", "--count", "HEAD"))


def clone(runner: Person, url: str, *words: str) -> Done:
    return runner.git("clone", *words, url, "copy")


def test_clone_goes_to_the_server(runner: Person, url: str, upstream: Path) -> None:
    done = clone(runner, url).ok()
    copy = runner.root / "copy"
    assert head(copy) == head(upstream)
    assert done.err.count(WHY + url) == 1
    assert gitcmd.text(copy, "config", "remote.origin.url") == url


@pytest.mark.parametrize(
    "words",
    [("--depth=1",), ("--depth=1", "--filter=blob:none"), ("--depth=2", "--no-single-branch")],
)
def test_shapes_are_the_servers(
    runner: Person, url: str, upstream: Path, words: tuple[str, ...]
) -> None:
    clone(runner, url, *words).ok()
    copy = runner.root / "copy"
    assert head(copy) == head(upstream)
    assert runner.git("status", "--short", cwd=copy).ok().out == ""
    runner.git("fetch", "--unshallow", cwd=copy).ok()
    assert count(copy) == count(upstream)


def test_blobs_come_when_they_are_looked_at(runner: Person, url: str, upstream: Path) -> None:
    clone(runner, url, "--filter=blob:none", "--no-checkout").ok()
    copy = runner.root / "copy"
    runner.git("checkout", "-q", "HEAD", cwd=copy).ok()
    assert runner.git("status", "--short", cwd=copy).ok().out == ""


@pytest.mark.parametrize("version", ["0", "1"])
def test_older_protocols_are_passed_on(
    runner: Person, url: str, upstream: Path, version: str
) -> None:
    done = clone(runner, url, "-c", f"protocol.version={version}").ok()
    assert head(runner.root / "copy") == head(upstream)
    assert WHY not in done.err  # no node could do anything about it


def test_listing_is_the_servers(runner: Person, url: str, upstream: Path) -> None:
    done = runner.git("ls-remote", url, "HEAD").ok()
    assert done.out == f"{head(upstream)}\tHEAD\n"
    assert WHY not in done.err


def test_pushes_go_to_the_server(runner: Person, url: str, upstream: Path) -> None:
    clone(runner, url).ok()
    copy = runner.root / "copy"
    runner.git("commit", "--allow-empty", "-qm", "new", cwd=copy).ok()
    runner.git("push", "origin", "HEAD", cwd=copy).ok()
    assert head(upstream) == head(copy)
    runner.git("commit", "--amend", "--allow-empty", "-qm", "newer", cwd=copy).ok()
    runner.git("push", "origin", "HEAD", cwd=copy).failed(1, "rejected")
    runner.git("push", "--force", "origin", "HEAD", cwd=copy).ok()
    assert head(upstream) == head(copy)


def test_what_the_node_is_not_asked_for_goes_to_the_server(runner: Person, url: str) -> None:
    """A path that might be read in two ways is no reason for a job to fail that did not before."""
    odd = url.replace("/x/project", "//x/project").replace("://", "://me:s3cret@")
    done = runner.git("clone", "-q", f"gittorrent::ci+{odd}", "copy").ok()
    shown = url.replace("/x/project", "//x/project")
    assert f"can be read in more than one way; going to {shown} itself\n" in done.err


PROGRAMS = {
    "ci+a/x:y": "git-remote-a/x",
    "ci+ext:/x": "ext:/x",
    "ci+ext::./x": "x",
    "ci+ext:x:/y": "ext:x:/y",
}
"""What a hostile submodule could be called, and what would be run then."""


@pytest.mark.parametrize("led", PROGRAMS)
def test_nothing_of_a_repository_is_run_as_its_helper(runner: Person, url: str, led: str) -> None:
    """Git lets submodules be led here, since theirs are on the servers as well."""
    hostile, marker = runner.root / "hostile", runner.root / "was-run"
    runner.git("init", "-q", str(hostile)).ok()
    program = hostile / PROGRAMS[led]
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    program.chmod(0o755)
    where = f"gittorrent::{led}"
    (hostile / ".gitmodules").write_text(f'[submodule "s"]\npath = s\nurl = "{where}"\n')
    gitcmd.git(hostile, "add", "-A")
    gitcmd.git(hostile, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},s")
    runner.git("commit", "-qm", "hostile", cwd=hostile).ok()
    done = runner.git("clone", "-q", "--recurse-submodules", str(hostile), "copy")
    assert done.status != 0
    assert not marker.exists()
    assert "write https://HOST/PATH" in done.err


def test_submodules_lead_to_ci_servers_alone(runner: Person, url: str) -> None:
    """The setup allows no more of .gitmodules than git's user did before."""
    made = runner.root / "made"
    runner.git("init", "-q", str(made)).ok()
    where = "gittorrent://127.0.0.1:1/x.git"
    (made / ".gitmodules").write_text(f'[submodule "s"]\npath = s\nurl = "{where}"\n')
    gitcmd.git(made, "add", "-A")
    gitcmd.git(made, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},s")
    runner.git("commit", "-qm", "made", cwd=made).ok()
    words = ("clone", "-q", "--recurse-submodules", str(made))
    refusal = "allows those of CI servers alone"
    done = runner.git(*words, "copy")
    assert refusal in done.err
    done = runner.git("-c", "protocol.gittorrent.allow=always", *words, "again")
    assert refusal not in done.err
    assert "127.0.0.1:1" in done.err  # nobody is there
    done = runner.git("ls-remote", where)
    assert refusal not in done.err
    runner.gittorrent("ci", "undo").ok()
    assert "transport 'gittorrent' not allowed" in runner.git(*words, "without").err


def test_submodules_are_led_there_too(runner: Person, url: str, upstream: Path) -> None:
    tree = runner.root / "tree"
    runner.git("init", "-q", tree).ok()
    runner.git("submodule", "add", url, "sub", cwd=tree).ok()
    runner.git("commit", "-qm", "with a submodule", cwd=tree).ok()
    bare = upstream.parent / "super.git"
    runner.git("clone", "-q", "--bare", tree, bare).ok()
    other = url.replace("project.git", "super.git")
    clone(runner, other).ok()
    done = runner.git("submodule", "update", "--init", cwd=runner.root / "copy").ok()
    assert head(runner.root / "copy" / "sub") == head(upstream)
    assert done.err.count(WHY) == 1


def test_a_server_that_is_not_there_is_an_error(runner: Person, url: str) -> None:
    runner.git("clone", f"{url}-gone", "copy").failed(128, "not found")


@pytest.mark.parametrize("way", ["header", "url", "helper", "none"])
def test_credentials_are_those_of_git(
    runner: Person, url: str, server: WebServer, upstream: Path, way: str
) -> None:
    server.password = "secret"
    words: list[str] = []
    if way == "header":
        # As actions/checkout does it, for the URL that pipelines have.
        said = "AUTHORIZATION: Basic bWU6c2VjcmV0"
        words = ["-c", f"http.{server.base}/.extraheader={said}"]
    elif way == "helper":
        helper = "!f() { echo username=me; echo password=secret; }; f"
        words = ["-c", f"credential.helper={helper}"]
    elif way == "url":
        runner.gittorrent("ci", "setup", "--for", server.base, "--user", "me").ok()
        url = url.replace("http://", "http://me:secret@")
    done = runner.git(*words, "clone", url, "copy")
    if way == "none":
        done.failed(128)
        return
    done.ok()
    assert head(runner.root / "copy") == head(upstream)
    assert "secret" not in done.err
    if way == "url":
        assert WHY in done.err
