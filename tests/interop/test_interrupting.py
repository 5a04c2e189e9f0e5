"""Ctrl-C pressed over and over ends every long command as one does: quietly, leaving nothing."""

from __future__ import annotations

import contextlib
import random
import re
import select
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried
from support import nodes
from support.copying import copy_tree
from support.nodes import Served
from support.programs import GITS, Person, Running, somebody, wait_until


@pytest.fixture(scope="module")
def node(large: Carried, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = Options(git=(("127.0.0.1", 0),), up_limit=1 << 20, announce=False)
    home = nodes.make_home(tmp_path_factory.mktemp("node"))
    with nodes.serving(large, home=home, options=options) as served:
        yield served


def has_said_something(running: Running) -> bool:
    return bool(running.out)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("command", ["mirror", "seed", "serve"])
def test_signals_in_a_row(
    large: Carried, node: Served, person: Person, tmp_path: Path, command: str, seed: int
) -> None:
    draw = random.Random(f"{command} {seed}")
    place = node.git.removeprefix("git://")
    url = f"gittorrent://{large.info.repository_id}@{place}/project.git"
    copy = tmp_path / "copy.git"
    copy_tree(large.layout.git_dir, copy)
    words: dict[str, list[str | Path]] = {
        "mirror": ["mirror", url],
        "seed": ["seed", copy, url, "--port", "0"],
        "serve": ["serve", copy, "--git", "127.0.0.1:0", "--no-announce"],
    }
    running = person.start("gittorrent", *words[command])
    try:
        wait_until(lambda: bool(running.out or person.partial), "it is at work")
        select.select([], [], [], draw.random() * 0.5)
        signals = [draw.choice([signal.SIGINT, signal.SIGTERM]) for _ in range(draw.randint(2, 4))]
        for number in signals:
            running.signal_group(number)
            select.select([], [], [], draw.choice([0, 0.001, 0.01, 0.05]) * draw.random())
        status = running.wait()
        # Below zero if one came when Python was at its end: shells show the same for it.
        told = 128 - status if status < 0 else status
        # SIGTERM is how what serves or follows is ended; Ctrl-C interrupts what follows.
        ends_well = command != "mirror" or signal.SIGTERM in signals
        assert told in ({0, 130, 143} if ends_well else {130, 143})
        running.wait_all()
    finally:
        running.stop()
    for word in ("Traceback", "Task was destroyed", "never retrieved", "Exception ignored"):
        assert word not in running.err
    assert not list((person.root / "tmp").iterdir())


def marked(person: Person) -> int:
    """Return how many parts are marked as verified in the person's partial downloads."""
    found = 0
    for path in person.partial:
        with contextlib.suppress(FileNotFoundError):  # it is about to be made
            found += (path / "parts").read_bytes().count(1)
    return found


@pytest.mark.parametrize("git_program", GITS)
@pytest.mark.parametrize("command", ["git clone", "gittorrent clone", "git fetch", "mirror"])
def test_an_interrupted_download_says_what_is_kept(
    large: Carried, node: Served, tmp_path: Path, command: str, git_program: str
) -> None:
    person = somebody(tmp_path / "person", git_program)
    place = node.git.removeprefix("git://")
    url = f"gittorrent://{large.info.repository_id}@{place}/project.git"
    program, _, word = command.rpartition(" ")
    if word == "fetch":
        person.git("init", "-q", "c").ok()
    where = ["-C", "c"] if word == "fetch" else []
    running = person.start(program or "gittorrent", *where, word, url)
    try:
        wait_until(lambda: marked(person) >= 2, "two parts are verified")
        running.signal_group(signal.SIGINT)
        assert running.wait() != 0
        running.wait_all()
    finally:
        running.stop()
    said = re.search(r"interrupted; (\d+) of (\d+) parts \(.*\) are verified and kept", running.err)
    assert said is not None, running.err
    assert int(said[1]) == marked(person)


def test_an_interrupted_mirror_or_seed_says_what_stays(
    large: Carried, node: Served, person: Person, tmp_path: Path
) -> None:
    place = node.git.removeprefix("git://")
    url = f"gittorrent://{large.info.repository_id}@{place}/project.git"
    copy = tmp_path / "copy.git"
    copy_tree(large.layout.git_dir, copy)
    bare = person.node / "repositories" / "project.git"
    for words, says in (
        (["mirror", url], f"{bare} stays as it is, and 'gittorrent serve' serves it"),
        (["seed", copy, url, "--port", "0"], f"ended; 1 reel stays in {copy}"),
    ):
        running = person.start("gittorrent", *words)
        try:
            wait_until(partial(has_said_something, running), "it is at work")
            running.signal_group(signal.SIGINT)
            running.wait()
            running.wait_all()
        finally:
            running.stop()
        assert says in running.err
