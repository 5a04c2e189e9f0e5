"""``gittorrent gtp`` as a user runs it: with gpg, over TCP, to and from the main protocol."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import gitcmd, gtp
from support.programs import GITS, PATIENCE, wait_until
from support.repositories import Made

pytestmark = [
    pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg missing"),
    pytest.mark.slow,
]
RUN = [sys.executable, "-m", "gittorrent"]


@pytest.fixture(scope="module")
def key() -> Iterator[str]:
    with gtp.gnupg_home() as signer:
        yield signer.user


def environ(home: Path) -> dict[str, str]:
    return {**os.environ, "GITTORRENT_HOME": str(home), "GIT_CONFIG_GLOBAL": os.devnull}


def command(
    home: Path, *words: object, status: int = 0, variables: Mapping[str, str] | None = None
) -> str:
    """Run a command; returns what it printed."""
    done = subprocess.run(
        [*RUN, *map(str, words)],
        capture_output=True,
        text=True,
        env={**environ(home), **(variables or {})},
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@contextmanager
def running(home: Path, *words: object) -> Iterator[dict[str, Any]]:
    """Run a daemon; yields the JSON it prints first."""
    process = subprocess.Popen(
        [*RUN, *map(str, words), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ(home),
        text=True,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_from_metainfo_to_clone_with_a_tracker(
    key: str, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, file, home = copied("pushes").git_dir, tmp_path / "p.gittorrent", tmp_path / "home"
    with running(home, "gtp", "tracker", "--http", "127.0.0.1:0") as tracker:
        (url,) = tracker["listening"]
        words = ("gtp", "metainfo", "create", source, file, "--key", key, "--tracker", url)
        described = "a test\nkey: none of it"
        assert "repo hash" in command(home, *words, "--description", described)
        assert "signed by its key" in command(home, "gtp", "metainfo", "verify", file)
        shown = json.loads(command(home, "gtp", "metainfo", "show", file, "--json"))
        assert shown["profile"] == "rfc"
        assert shown["trackers"] == [url]
        assert [r["signed"] for r in shown["references"]] == [True]
        said = command(home, "gtp", "metainfo", "show", file)
        assert "reference" in said
        assert "\n  key: none of it" in said  # what looks like a line of ours is none
        with running(home, "gtp", "serve", file, source, "--listen", "127.0.0.1:0"):
            clone = tmp_path / "clone.git"
            said = command(home, "gtp", "clone", file, clone, "--bare", "--timeout", 60)
            assert "refs of" in said
    assert gitcmd.refs(clone) == gitcmd.refs(source)


def test_an_interrupted_clone_says_what_is_kept(
    key: str, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, file, home = copied("linear").git_dir, tmp_path / "l.gittorrent", tmp_path / "home"
    command(home, "gtp", "metainfo", "create", source, file, "--key", key)
    clone = tmp_path / "clone.git"
    serve = ("gtp", "serve", file, source, "--listen", "127.0.0.1:0", "--up-limit", "16K")
    with running(home, *serve) as node:
        words = ("gtp", "clone", file, clone, "--bare", "--peer", f"127.0.0.1:{node['port']}")
        process = subprocess.Popen(
            [*RUN, *map(str, words), "--block-size", "4096"],
            stderr=subprocess.PIPE,
            env=environ(home),
            text=True,
        )
        wait_until(lambda: len(list(clone.rglob("blocks/*/*"))) >= 3, "some blocks are here")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert re.search(rf"interrupted; {clone} keeps \d+ of \d+ blocks: run the same", said)


def test_serving_what_the_main_protocol_published_and_publishing_a_clone(
    key: str, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, file, home = copied("merges").git_dir, tmp_path / "m.gittorrent", tmp_path / "home"
    command(home, "publish", source, "--name", "merges", "--new-key")
    command(home, "gtp", "metainfo", "create", source, file, "--key", key)
    clone = tmp_path / "clone.git"
    with running(home, "gtp", "serve", file, source, "--listen", "127.0.0.1:0") as node:
        peer = f"127.0.0.1:{node['port']}"
        command(home, "gtp", "clone", file, clone, "--bare", "--peer", peer, "--timeout", 60)
    names = {n for n in gitcmd.refs(source) if not n.startswith(b"refs/gittorrent/")}
    assert set(gitcmd.refs(clone)) == names
    words = ["publish", clone, "--name", "again", "--new-repository"]
    assert "gittorrent://" in command(home, *words)
    again = tmp_path / "again"
    with running(home, "gtp", "serve", file, clone, "--listen", "127.0.0.1:0") as node:
        peer = f"127.0.0.1:{node['port']}"
        command(home, "gtp", "clone", file, again, "--peer", peer, "--timeout", 60, "-q")
    assert gitcmd.text(again, "status", "--porcelain") == ""


@pytest.mark.parametrize("git", GITS)
def test_objects_are_held_to_the_same_rules_as_everywhere(
    key: str, copied: Callable[[str], Made], tmp_path: Path, git: str
) -> None:
    source, home, file = copied("linear").git_dir, tmp_path / "home", tmp_path / "l.gittorrent"
    main = gitcmd.text(source, "rev-parse", "refs/heads/main")
    tree = gitcmd.text(source, "rev-parse", f"{main}^{{tree}}")
    person = "A <a@example.org> 1312735823 +051800"
    words = f"tree {tree}\nparent {main}\nauthor {person}\ncommitter {person}\n\nodd\n".encode()
    form = ("-t", "commit", "-w", "--stdin", "--literally")
    odd = gitcmd.text(source, "hash-object", *form, stdin=words)
    gitcmd.git(source, "update-ref", "refs/heads/main", odd)
    command(home, "gtp", "metainfo", "create", source, file, "--key", key)
    strict = {
        "GITTORRENT_GIT": git,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "gittorrent.paranoid",
        "GIT_CONFIG_VALUE_0": "true",
    }
    exception = {"GIT_CONFIG_KEY_1": "fetch.fsck.badTimezone", "GIT_CONFIG_VALUE_1": "ignore"}
    with running(home, "gtp", "serve", file, source, "--listen", "127.0.0.1:0") as node:
        peer = f"127.0.0.1:{node['port']}"
        clone = ("gtp", "clone", file, tmp_path / "c.git", "--bare", "--peer", peer)
        said = command(home, *clone, status=5, variables=strict)
        assert "breaks fsck's rules" in said
        assert "dropping" not in said
        assert not gitcmd.refs(tmp_path / "c.git")
        assert list((tmp_path / "c.git").rglob("blocks/*/*"))
        excepted = {**strict, **exception, "GIT_CONFIG_COUNT": "2"}
        command(home, *clone, variables=excepted)
    assert gitcmd.refs(tmp_path / "c.git")[b"refs/heads/main"] == odd


def test_the_dialect_of_2008_and_new_references(
    key: str, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, home = copied("tags").git_dir, tmp_path / "home"
    old, new = tmp_path / "old.gittorrent", tmp_path / "new.gittorrent"
    words = ("gtp", "metainfo", "create", source)
    command(home, *words, old, "--profile", "perl-2008")
    command(home, *words, new, "--key", key)
    assert "cannot be verified" in command(home, "gtp", "metainfo", "verify", old, status=6)
    parent = gitcmd.text(source, "rev-parse", "refs/heads/main")
    child = gitcmd.text(source, "commit-tree", "-p", parent, "-m", "x", f"{parent}^{{tree}}")
    with running(home, "gtp", "serve", old, source, "--listen", "127.0.0.1:0") as node:
        peer = f"127.0.0.1:{node['port']}"
        command(home, "gtp", "clone", old, tmp_path / "a.git", "--bare", "--peer", peer)
    gitcmd.git(source, "update-ref", "refs/heads/main", child)
    serve = ("gtp", "serve", new, source, "--sign", "--key", key, "--listen", "127.0.0.1:0")
    with running(home, *serve) as node:
        peer = f"127.0.0.1:{node['port']}"
        command(home, "gtp", "clone", new, tmp_path / "b.git", "--bare", "--peer", peer)
    assert gitcmd.refs(tmp_path / "a.git")[b"refs/heads/main"] == parent
    assert gitcmd.refs(tmp_path / "b.git")[b"refs/heads/main"] == child


def test_the_only_swarm_that_the_program_of_2008_knows(
    copied: Callable[[str], Made], tmp_path: Path
) -> None:
    """Nobody signs in it and nothing is listed, so both ends need the user's word."""
    source, home, file = copied("tags").git_dir, tmp_path / "home", tmp_path / "a.gittorrent"
    file.write_bytes(b"d10:referenceslee")
    clone, other, allow = tmp_path / "clone.git", tmp_path / "other", "--allow-unverified"
    serve = ("gtp", "serve", file, source, "--listen", "127.0.0.1:0")
    assert "make one with --sign" in command(home, *serve, allow, status=2)
    with running(home, *serve, "--sign", allow) as node:
        peer = f"127.0.0.1:{node['port']}"
        command(home, "gtp", "clone", file, clone, "--bare", "--peer", peer, allow)
    assert gitcmd.refs(clone) == gitcmd.refs(source)
    serve = ("gtp", "serve", file, clone, "--listen", "127.0.0.1:0")
    assert "pass --allow-unverified" in command(home, *serve, status=6)
    with running(home, *serve, allow) as node:
        peer = f"127.0.0.1:{node['port']}"
        command(home, "gtp", "clone", file, other, "--peer", peer, allow)
    assert gitcmd.text(other, "status", "--porcelain") == ""


def test_what_could_not_be_served_leaves_no_reference_behind(
    copied: Callable[[str], Made], tmp_path: Path
) -> None:
    source, home, file = copied("one").git_dir, tmp_path / "home", tmp_path / "a.gittorrent"
    file.write_bytes(b"d10:referenceslee")
    serve = ("gtp", "serve", file, source, "--sign")
    said = command(home, *serve, "--listen", "127.0.0.1:0", status=5)
    assert "signed by nobody" in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        command(home, *serve, "--allow-unverified", "--listen", place, status=7)
    create = ("gtp", "metainfo", "create", source, file / "below", "--profile", "perl-2008")
    assert "cannot write" in command(home, *create, status=2)
    assert not (source / "gittorrent").exists()


def test_mistakes_end_with_their_exit_codes(
    key: str, copied: Callable[[str], Made], tmp_path: Path
) -> None:
    home, file = tmp_path / "home", tmp_path / "x.gittorrent"
    source = copied("one").git_dir
    file.write_bytes(b"not bencoding")
    assert "metainfo: offset 0" in command(home, "gtp", "metainfo", "show", file, status=2)
    command(home, "gtp", "metainfo", "show", tmp_path / "missing", status=2)
    command(home, "gtp", "tracker", status=2)
    command(home, "gtp", "metainfo", "create", source, file, "--key", key)
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("x")
    assert "is not empty" in command(home, "gtp", "clone", file, full, status=2)
    nobody = ("--peer", "127.0.0.1:1", "--timeout", 0.5)
    assert "from 0 peers" in command(home, "gtp", "clone", file, tmp_path / "c", *nobody, status=3)
    other = copied("merges").git_dir
    assert "lacks what" in command(home, "gtp", "serve", file, other, status=3)
    file.write_bytes(b"d10:referenceslee")
    said = command(home, "gtp", "clone", file, tmp_path / "d", status=6)
    assert "--allow-unverified" in said


def test_static_tracker_files(key: str, copied: Callable[[str], Made], tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "x.gittorrent"
    command(home, "gtp", "metainfo", "create", copied("one").git_dir, file, "--key", key)
    answer = tmp_path / "tracker.txt"
    words = ("gtp", "tracker", file, "--static", answer, "--peer", "seed.example.org:9417")
    assert "any web server" in command(home, *words)
    assert b"7:expiresi0e" in answer.read_bytes()
    assert b"16:seed.example.org" in answer.read_bytes()
