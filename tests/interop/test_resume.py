"""Killing clones and fetches at any moment: what was verified is kept, nothing else is left.

The moments come from a seeded generator; a failure names its seed.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from support import bulk, gitcmd, nodes
from support.copying import copy_tree
from support.nodes import Served
from support.programs import Person, Running, processes, wait_until
from support.repositories import noise

ROUNDS = range(12)
RATE = 4 << 20
"""Bytes per second of the mirror: a clone of eleven megabytes takes some three seconds."""


@pytest.fixture(scope="module")
def node(large: Carried, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = Options(git=(("127.0.0.1", 0),), up_limit=RATE, announce=False)
    home = nodes.make_home(tmp_path_factory.mktemp("node"))
    with nodes.serving(large, home=home, options=options) as served:
        yield served


def url_of(served: Served, carried: Carried) -> str:
    place = served.git.removeprefix("git://")
    return f"gittorrent://{carried.info.repository_id}@{place}/project.git"


def received(said: str) -> float:
    """Return the bytes of parts that came in the last download of a run; 0 if there was none."""
    found = re.findall(r"100% \(\d+/\d+\), ([\d.]+) (bytes|KiB|MiB)\b", said)
    number, unit = found[-1] if found else ("0", "bytes")
    return float(number) * {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20}[unit]


def marked(person: Person) -> int:
    """Return how many parts are marked as verified in the person's partial downloads."""
    found = 0
    for path in person.partial:
        with contextlib.suppress(FileNotFoundError):  # it is about to be made, or gone
            found += (path / "parts").read_bytes().count(1)
    return found


def assert_clean(person: Person, git_dir: Path) -> None:
    assert not person.partial
    assert not list((git_dir / "gittorrent" / "incoming").glob("*"))
    assert not list((git_dir / "objects" / "pack").glob("*.keep"))
    assert not list((git_dir / "objects" / "pack").glob("tmp_*"))


def assert_whole(clone: Path, carried: Carried) -> None:
    origin = gitcmd.refs(carried.layout.git_dir)
    cloned = gitcmd.refs(clone)
    remote = {
        n.replace(b"refs/remotes/origin/", b"refs/heads/"): o
        for n, o in cloned.items()
        if not n.startswith(b"refs/heads/") and not n.endswith(b"/HEAD")
    }
    assert remote == bulk.published(origin)
    gitcmd.git(clone, "fsck", "--strict")


def kill(running: Running, whom: str) -> None:
    helpers = running.helpers()
    if whom in ("git", "both"):
        os.kill(running.pid, signal.SIGKILL)
    if whom in ("helper", "both"):
        for pid in helpers:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(pid, signal.SIGKILL)


def wait_for_moment(person: Person, running: Running, moment: int) -> None:
    """Wait until so many parts are verified, or the clone ends."""
    wait_until(
        lambda: running.process.poll() is not None or marked(person) >= moment,
        f"{moment} parts are verified",
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", ROUNDS)
def test_killed_clone_goes_on(large: Carried, node: Served, person: Person, seed: int) -> None:
    draw = random.Random(seed)
    whom = ("helper", "git", "both")[seed % 3]
    moment = draw.randrange(1, 9)
    url = url_of(node, large)
    clone = person.root / "c"
    running = person.start("git", "clone", "--no-checkout", "--progress", url, "c")
    try:
        wait_for_moment(person, running, moment)
        kill(running, whom)
        running.wait()
        # Whoever is left notices by itself.
        running.wait_all()
    finally:
        running.stop()
    kept = marked(person)
    # None are kept only where the kill came so late that the repository has it all already.
    assert kept >= moment or not person.partial
    if whom != "helper" and clone.exists() and draw.random() < 0.5:
        # Git had no chance to remove the directory: fetching in it goes on.
        again = person.git("fetch", "--progress", "origin", cwd=clone)
        # A clone in the making has a HEAD of its own kind in newer gits.
        gitcmd.git(clone, "symbolic-ref", "HEAD", "refs/heads/main")
    else:
        shutil.rmtree(clone, ignore_errors=True)
        again = person.git("clone", "--no-checkout", "--progress", url, "c")
    again.ok()
    manifest = large.reels.all()[0].manifest
    if kept:
        least = manifest.pack_size - (kept - 1) * manifest.part_size
        assert received(again.err) <= least, f"seed {seed}"
    assert_whole(clone, large)
    assert_clean(person, clone / ".git")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_fetch_goes_on(
    large: Carried, tmp_path: Path, owner_key: Signer, person: Person, seed: int
) -> None:
    """Six new megabytes come by a second reel; the fetch of it is killed three times over."""
    draw = random.Random(seed)
    git_dir = tmp_path / "r.git"
    copy_tree(large.layout.git_dir, git_dir)
    carried = Carried(git_dir, large.object_format)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h1")) as fast:
        person.git("clone", "--no-checkout", url_of(fast, carried), "c").ok()
    clone = person.root / "c"
    before = gitcmd.refs(clone)
    for number in range(40):
        nodes.add_commit(git_dir, "refs/heads/main", "f", noise(f"{seed} {number}", 160_000))
    nodes.publish(git_dir, owner_key, None)
    options = Options(git=(("127.0.0.1", 0),), up_limit=RATE, announce=False)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "h2"), options=options) as node:
        person.git("remote", "set-url", "origin", url_of(node, carried), cwd=clone).ok()
        for moment in draw.sample(range(1, 6), 3):
            least = marked(person) + moment
            running = person.start("git", "fetch", "--progress", cwd=clone)
            try:
                wait_for_moment(person, running, least)
                kill(running, draw.choice(["helper", "git", "both"]))
                running.wait()
                running.wait_all()
            finally:
                running.stop()
            if gitcmd.refs(clone) != before:
                break  # on a busy machine all of it may be there before anybody looks
        else:
            kept = marked(person)
            again = person.git("fetch", "--progress", cwd=clone).ok()
            news = max((reel.manifest for reel in carried.reels.all()), key=lambda m: m.start or "")
            assert received(again.err) <= news.pack_size - (kept - 1) * news.part_size
    assert_whole(clone, carried)
    assert_clean(person, clone / ".git")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_clone_is_quiet_and_clean(
    large: Carried, node: Served, person: Person, number: signal.Signals
) -> None:
    running = person.start("gittorrent", "clone", url_of(node, large), "c", "--progress")
    try:
        wait_for_moment(person, running, 3)
        running.signal_group(number)
        assert running.wait() != 0
        running.wait_all()
        said = running.err
    finally:
        running.stop()
    assert "Traceback" not in said
    assert "Task was destroyed" not in said
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.strip()]
    expected = ("Cloning into", "Receiving parts", "gittorrent: interrupted; ")
    assert all(line.startswith(expected) for line in lines), said
    assert not (person.root / "c").exists()
    assert marked(person) >= 3
    assert not list((person.root / "tmp").iterdir())
    done = person.gittorrent("clone", url_of(node, large), "c", "--progress").ok()
    manifest = large.reels.all()[0].manifest
    assert received(done.err) <= manifest.pack_size - 2 * manifest.part_size


@pytest.mark.parametrize("seed", range(8))
def test_signals_in_a_row_end_it_as_one_does(
    large: Carried, node: Served, person: Person, seed: int
) -> None:
    """Ctrl-C reaches everybody, git passes it on, and people press it more than once."""
    draw = random.Random(seed)
    running = person.start("gittorrent", "clone", url_of(node, large), "c", "--progress")
    try:
        wait_for_moment(person, running, draw.randint(1, 6))
        for _ in range(draw.randint(2, 4)):
            running.signal_group(draw.choice([signal.SIGINT, signal.SIGTERM]))
            select.select([], [], [], draw.choice([0, 0.001, 0.01, 0.05]) * draw.random())
        status = running.wait()
        # Below zero if one came when all was done: shells show the same for it.
        assert (128 - status if status < 0 else status) in {128 + 2, 128 + 15}, running.err
        running.wait_all()
    finally:
        running.stop()
    assert "Traceback" not in running.err
    assert "Task was destroyed" not in running.err
    left = person.root / "c"
    if left.exists():  # git's own removal was cut short by another signal: it is no clone
        person.git("rev-parse", "--git-dir", cwd=left).failed(128, "not a git repository")
    assert not list((person.root / "tmp").iterdir())


def test_interrupted_fetch_leaves_nothing_but_parts(
    large: Carried, node: Served, person: Person
) -> None:
    person.git("init", "-q", "c").ok()
    clone = person.root / "c"
    person.git("remote", "add", "origin", url_of(node, large), cwd=clone).ok()
    running = person.start("git", "fetch", "--progress", "origin", cwd=clone)
    try:
        wait_for_moment(person, running, 3)
        running.signal_group(signal.SIGINT)
        running.wait()
        running.wait_all()
        assert "Traceback" not in running.err
    finally:
        running.stop()
    assert not list((clone / ".git" / "gittorrent" / "incoming").glob("*"))
    assert not gitcmd.refs(clone)
    assert marked(person) >= 3
    person.git("fetch", "-q", "origin", cwd=clone).ok()
    assert_whole(clone, large)
    assert_clean(person, clone / ".git")


@pytest.mark.parametrize("option", ["--depth=1000", "--filter=blob:limit=1m"])
def test_orphan_of_an_ordinary_fetch_ends(
    large: Carried, node: Served, person: Person, option: str
) -> None:
    """A shallow or partial clone is git's own fetch below the helper; that ends too."""
    running = person.start("git", "clone", option, url_of(node, large), "c")

    def fetches() -> bool:
        return any(group == running.pid and "fetch-pack" in line for _, group, line in processes())

    try:
        wait_until(fetches, "git fetch-pack runs")
        kill(running, "git")
        running.wait()
        running.wait_all()
    finally:
        running.stop()


def test_two_clones_at_once_share_the_parts(large: Carried, node: Served, person: Person) -> None:
    url = url_of(node, large)
    both = [person.start("git", "clone", "--progress", "-n", url, name) for name in ("a", "b")]
    try:
        for running in both:
            assert running.wait() == 0, running.err
        total = large.reels.all()[0].manifest.pack_size
        came = sum(received(running.err) for running in both)
    finally:
        for running in both:
            running.stop()
    for name in ("a", "b"):
        assert_whole(person.root / name, large)
        assert_clean(person, person.root / name / ".git")
    # Each adopts what the other has stored; without sharing it would be twice the pack.
    assert came < 1.7 * total


def test_two_fetches_in_one_clone(large: Carried, node: Served, person: Person) -> None:
    """The second waits for the first and finds everything there."""
    person.git("init", "-q", "c").ok()
    clone = person.root / "c"
    person.git("remote", "add", "origin", url_of(node, large), cwd=clone).ok()
    both = [person.start("git", "fetch", "origin", "-q", cwd=clone) for _ in range(2)]
    try:
        statuses = sorted(running.wait() for running in both)
        said = [running.err for running in both]
    finally:
        for running in both:
            running.stop()
    # Git itself may lose the race for a ref's lock; the objects and the log are sound all the same.
    assert statuses[0] == 0, said
    person.git("fetch", "-q", "origin", cwd=clone).ok()
    assert_whole(clone, large)
    assert_clean(person, clone / ".git")


def test_damaged_partial_download(
    large: Carried, node: Served, people: Callable[[str], Person]
) -> None:
    """Parts that rotted on disk are found by their digests and fetched again."""
    person = people("person")
    running = person.start("git", "clone", "-n", "--progress", url_of(node, large), "c")
    try:
        wait_for_moment(person, running, 5)
        kill(running, "both")
        running.wait()
    finally:
        running.stop()
    (partial,) = person.partial
    marks = (partial / "parts").read_bytes()
    with (partial / "pack").open("r+b") as file:
        file.seek(marks.index(1) << 20)
        file.write(b"rotten")
    shutil.rmtree(person.root / "c", ignore_errors=True)
    person.git("clone", "-n", url_of(node, large), "c").ok()
    assert_whole(person.root / "c", large)
    assert_clean(person, person.root / "c" / ".git")
