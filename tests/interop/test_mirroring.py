"""Clones that take parts from several mirrors, some of which die, stall or lie."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.node.options import Options
from gittorrent.repository.carried import Carried
from gittorrent.store.home import Home
from gittorrent.transfer.repository_content import RepositoryContent
from gittorrent.wire import pktline
from support import bulk, gitcmd, hostile, nodes
from support.nodes import Served, list_mirrors
from support.programs import Person, serve, wait_until

First = tuple[Served, Home]
"""The mirror a clone begins with, and the home of its node."""


@contextmanager
def beginning(root: Path, carried: Carried, rate: int) -> Iterator[First]:
    home = nodes.make_home(root / "first")
    options = Options(git=(("127.0.0.1", 0),), up_limit=rate, announce=False)
    with nodes.serving(carried, home=home, options=options) as served:
        yield served, home


@pytest.fixture
def first(tmp_path: Path, large: Carried) -> Iterator[First]:
    """A mirror slow enough that others are asked, fast enough to do it all."""
    with beginning(tmp_path, large, 4 << 20) as begun:
        yield begun


@pytest.fixture
def slow_first(tmp_path: Path, large: Carried) -> Iterator[First]:
    """A mirror so slow that the others do most of it."""
    with beginning(tmp_path, large, 3 << 19) as begun:
        yield begun


def url_of(served: Served) -> str:
    return f"gittorrent://{served.git.removeprefix('git://')}/project.git"


def assert_whole(clone: Path, carried: Carried) -> None:
    assert gitcmd.refs(clone) == bulk.published(gitcmd.refs(carried.layout.git_dir))
    gitcmd.git(clone, "fsck", "--strict")


def shares(said: str) -> dict[str, int]:
    """Return how many parts came from whom, by the progress output."""
    line = next(line for line in said.splitlines() if line.startswith("Parts: "))
    return {url: int(n) for n, url in re.findall(r"(\d+) from (\S+?)(?:,|$)", line)}


def clone_with(person: Person, first: First, large: Carried, *urls: str) -> str:
    served, home = first
    list_mirrors(home, large, *urls)
    done = person.git("clone", "-v", "--progress", "--mirror", url_of(served), "c").ok()
    assert_whole(person.root / "c", large)
    assert not person.partial
    return done.err


# --- many ----------------------------------------------------------------------------------------


def test_parts_come_from_all(
    slow_first: First, large: Carried, tmp_path: Path, person: Person
) -> None:
    with ExitStack() as stack:
        urls = []
        for number in range(3):
            options = replace(nodes.LOOPBACK, up_limit=1 << 20)
            home = nodes.make_home(tmp_path / f"h{number}")
            served = stack.enter_context(nodes.serving(large, home=home, options=options))
            base = served.http if number == 2 else served.git
            urls.append(f"{base}/project.git")
        said = clone_with(person, slow_first, large, *urls)
    found = shares(said)
    assert set(found) >= set(urls)
    assert f"{slow_first[0].git}/project.git" in found
    assert sum(found.values()) == len(large.reels.all()[0].manifest.parts)


def test_mirror_command_announces_and_helps(
    large: Carried, tmp_path: Path, people: Callable[[str], Person]
) -> None:
    """The way users do it: two mirrors made by 'gittorrent mirror', served, and found."""
    owner, reader = people("owner"), people("reader")
    with serve(owner, large.layout.git_dir, "--up-limit", "2M") as origin, ExitStack() as stack:
        mirrors = []
        mirror = owner
        for name in ("m1", "m2"):
            mirror = people(name)
            said = mirror.gittorrent("mirror", origin.url(), "--once", "--json").ok()
            assert str(large.info.repository_id) in said.out
            assert mirror.gittorrent("mirror", origin.url(), "--once", "-q").ok().err == ""
            mirrors.append(stack.enter_context(serve(mirror, "--up-limit", "2M")))

        def listed() -> set[str]:
            return set(
                re.findall(r"git://\S+", reader.gittorrent("mirrors", origin.url()).ok().out)
            )

        wanted = {f"{mirror.git}/project.git" for mirror in mirrors}
        wait_until(lambda: wanted <= listed(), "both mirrors are listed")
        done = reader.git("clone", "--progress", "--mirror", origin.url(), "c").ok()
        assert wanted <= set(shares(done.err))
    assert_whole(reader.root / "c", large)
    mirror_dir = mirror.node / "repositories" / "project.git"
    assert bulk.published(gitcmd.refs(mirror_dir)) == bulk.published(
        gitcmd.refs(large.layout.git_dir)
    )
    assert "all is well" in mirror.gittorrent("verify", mirror_dir).ok().out


# --- dying and stalling --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_mirror_dies_or_stalls_on_the_way(
    slow_first: First,
    large: Carried,
    people: Callable[[str], Person],
    number: signal.Signals,
) -> None:
    served, home = slow_first
    reader, victim = people("reader"), people("victim")
    with serve(victim, large.layout.git_dir, "--up-limit", "1M") as mirror:
        url = f"{mirror.git}/project.git"
        list_mirrors(home, large, url)
        words = ["git", "clone", "--progress", "--mirror", url_of(served), "c"]
        running = reader.start(*words)
        try:
            # Both are at work once a few parts are here; the victim then has parts under way.
            wait_until(lambda: any(f"({n}/" in running.err for n in range(2, 9)), "parts come")
            os.kill(mirror.pid, number)
            assert running.wait() == 0, running.err
            said = running.err
        finally:
            running.stop()
            os.kill(mirror.pid, signal.SIGCONT)
    assert_whole(reader.root / "c", large)
    if number == signal.SIGKILL:
        assert f"{url} is out:" in said


def test_only_mirror_dies_and_comes_back(large: Carried, people: Callable[[str], Person]) -> None:
    """With nobody left the clone ends with an error, its parts are kept, and a retry goes on."""
    reader = people("reader")
    with serve(people("victim"), large.layout.git_dir, "--up-limit", "1M") as mirror:
        url = mirror.url("project", str(large.info.repository_id))
        running = reader.start("gittorrent", "clone", url, "c", "--progress")
        try:
            wait_until(
                lambda: re.search(r"\((?:[3-9]|\d\d)/", running.err) is not None, "parts come"
            )
            os.kill(mirror.pid, signal.SIGKILL)
            assert running.wait() == 3, running.err
            assert "verified parts are kept" in running.err
            assert not (reader.root / "c").exists()
        finally:
            running.stop()
    assert len(reader.partial) == 1
    with serve(people("again"), large.layout.git_dir) as mirror:
        url = mirror.url("project", str(large.info.repository_id))
        done = reader.git("clone", "--progress", "--mirror", url, "c").ok()
    manifest = large.reels.all()[0].manifest
    assert received(done.err) <= manifest.pack_size - 2 * manifest.part_size
    assert_whole(reader.root / "c", large)
    assert not reader.partial


def received(said: str) -> float:
    """Return the bytes of parts that came in a run, by the last line of progress."""
    found = re.findall(r"100% \(\d+/\d+\), ([\d.]+) (bytes|KiB|MiB)\b", said)
    number, unit = found[-1]
    return float(number) * {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20}[unit]


# --- lying ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (hostile.LacksEverything, False),  # may never be asked often enough to be called a liar
        (hostile.WrongBytes, True),
        (hostile.ClosesMidPart, True),
        (hostile.HugeManifest, False),
        (hostile.FalseOffers, False),
    ],
)
def test_lying_mirror_costs_time_only(
    first: First,
    large: Carried,
    tmp_path: Path,
    person: Person,
    content: type[RepositoryContent],
    named: bool,
) -> None:
    copy = nodes.copy_as_mirror(large, tmp_path / "copy.git", "gittorrent://elsewhere/p.git")
    with hostile.lying(copy, nodes.make_home(tmp_path / "h"), content) as liar:
        url = f"{liar.git}/project.git"
        if named:
            said = clone_until_named(person, first, large, url)
        else:
            said = clone_with(person, first, large, url)
    if content is not hostile.FalseOffers:  # its parts are good, so it may give some
        assert set(shares(said)) == {f"{first[0].git}/project.git"}


def clone_until_named(person: Person, first: First, large: Carried, url: str) -> str:
    """Clone from a mirror that goes fast once a liar was called one."""
    served, home = first
    limits = served.node.limits
    limits.set_rates(64 << 10, None, None)
    list_mirrors(home, large, url)
    running = person.start("git", "clone", "-v", "--progress", "--mirror", url_of(served), "c")
    try:
        found = re.compile(rf"gittorrent: {re.escape(url)} is out: .+")
        wait_until(lambda: bool(found.search(running.err)), f"{url} is called a liar")
        served.loop.call_soon_threadsafe(limits.set_rates, None, None, None)
        assert running.wait() == 0, running.err
    finally:
        running.stop()
    assert_whole(person.root / "c", large)
    return running.err


@pytest.mark.parametrize("content", [hostile.HugeManifest, hostile.FalseOffers, hostile.WrongBytes])
def test_lying_first_mirror(
    large: Carried, tmp_path: Path, person: Person, content: type[RepositoryContent]
) -> None:
    """Even the mirror one begins with can only be of no use."""
    copy = nodes.copy_as_mirror(large, tmp_path / "copy.git", "gittorrent://elsewhere/p.git")
    home = nodes.make_home(tmp_path / "h")
    with (
        nodes.serving(large, home=nodes.make_home(tmp_path / "honest")) as honest,
        hostile.lying(copy, home, content) as liar,
    ):
        list_mirrors(home, large, f"{honest.git}/project.git")
        person.git("clone", "--progress", "--mirror", url_of(liar), "c").ok()
    assert_whole(person.root / "c", large)


def test_mirror_of_another_repository(
    first: First,
    large: Carried,
    project: Carried,
    tmp_path: Path,
    person: Person,
) -> None:
    """A mirror under the right path with another repository's pushes and reels."""
    with nodes.serving(project, home=nodes.make_home(tmp_path / "h")) as other:
        said = clone_with(person, first, large, f"{other.git}/project.git")
    assert set(shares(said)) == {f"{first[0].git}/project.git"}


def _nonsense(_request: bytes, sock: socket.socket) -> None:
    sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 100)


def _endless_line(_request: bytes, sock: socket.socket) -> None:
    while True:
        sock.sendall(b"ffff" + b"x" * 65531)


def _endless_mirrors(_request: bytes, sock: socket.socket) -> None:
    line = pktline.encode(b"try git://127.0.0.1:1/%s 60 current\n" % (b"x" * 500))
    while True:
        sock.sendall(line * 100)


def _huge_manifest(request: bytes, sock: socket.socket) -> None:
    """Announce more bytes for a manifest than any may have, and begin to send them."""
    if not request.startswith(b"mirror-sync"):
        return
    lines = [b"mirror-sync ready 1 " + b"ab" * 20, b"have checkpoint " + b"cd" * 20 + b" 1"]
    sock.sendall(b"".join(pktline.encode(line + b"\n") for line in lines))
    sock.recv(65536)
    sock.sendall(pktline.encode(b"receive manifest %s %d\n" % (b"ab" * 32, 1 << 40)))
    while True:
        sock.sendall(b"y" * 65536)


@pytest.mark.parametrize("answer", [_nonsense, _endless_line, _endless_mirrors, _huge_manifest])
def test_mirror_that_breaks_the_protocol(
    first: First,
    large: Carried,
    person: Person,
    answer: Callable[[bytes, socket.socket], None],
) -> None:
    with hostile.raw_server(answer) as place:
        url = f"git://{place}/project.git"
        said = clone_with(person, first, large, url)
        assert url in said
        bootstrap = person.gittorrent("clone", f"gittorrent://{place}/project.git", "d")
        bootstrap.failed(bootstrap.status, place.partition(":")[0])
        assert bootstrap.status in (3, 5, 6, 8), bootstrap


def test_damaged_mirror_on_disk(
    first: First, large: Carried, tmp_path: Path, people: Callable[[str], Person]
) -> None:
    """A mirror whose disk flipped a bit in one part: that part comes from somebody else."""
    copy = nodes.copy_as_mirror(large, tmp_path / "copy.git", "gittorrent://elsewhere/p.git")
    stored = copy.reels.all()[0]
    hostile.spoil(stored.pack, 5 * stored.manifest.part_size + 17)
    reader, alone = people("reader"), people("alone")
    with nodes.serving(copy, home=nodes.make_home(tmp_path / "h")) as mirror:
        done = alone.gittorrent("clone", url_of(mirror), "c")
        done.failed(3, "a reel was offered and not given", "verified parts are kept")
        clone_with(reader, first, large, f"{mirror.git}/project.git")
    found = reader.gittorrent("verify", copy.layout.git_dir)
    assert found.status == 1
    total = len(stored.manifest.parts)
    assert f"part 6 of {total} is damaged" in found.err


# --- what was left by others ---------------------------------------------------------------------


def assert_followed(mirror: Path, carried: Carried) -> None:
    refs = bulk.published(gitcmd.refs(mirror))
    assert refs == bulk.published(gitcmd.refs(carried.layout.git_dir))
    gitcmd.git(mirror, "fsck", "--strict")


def repositories(person: Person) -> list[str]:
    return sorted(path.name for path in (person.node / "repositories").iterdir())


def test_a_mirror_is_found_again_without_the_database(project_node: Served, person: Person) -> None:
    person.gittorrent("mirror", url_of(project_node), "--once").ok()
    for path in person.node.glob("node.sqlite*"):
        path.unlink()
    said = person.gittorrent("mirror", url_of(project_node), "--once").ok()
    assert "is up to date" in said.out
    assert repositories(person) == ["project.git"]
    assert "project" in person.gittorrent("status").ok().out


def test_a_mirror_that_is_gone_is_made_again(project_node: Served, person: Person) -> None:
    """Killed between giving it its name and recording it, in either order; or deleted by hand."""
    person.gittorrent("mirror", url_of(project_node), "--once").ok()
    made = person.node / "repositories" / "project.git"
    made.rename(person.root / "elsewhere")
    person.gittorrent("mirror", url_of(project_node), "--once").ok()
    assert repositories(person) == ["project.git"]


def test_a_new_mirror_gives_way_to_whatever_is_there(
    project_node: Served, project: Carried, person: Person
) -> None:
    suffix = project.info.repository_id[:8]
    folder = person.node / "repositories"
    for name in ("project.git", f"project-{suffix}.git"):
        (folder / name).mkdir(parents=True)
        (folder / name / "precious").write_text("mine")
    person.gittorrent("mirror", url_of(project_node), "--once").ok()
    assert repositories(person) == [
        f"project-{suffix}-2.git", f"project-{suffix}.git", "project.git"
    ]  # fmt: skip
    assert len(list(folder.glob("*/precious"))) == 2
    assert_followed(folder / f"project-{suffix}-2.git", project)


def test_two_that_mirror_the_same_make_one(large: Carried, tmp_path: Path, person: Person) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "h")) as served:
        words = ["gittorrent", "mirror", url_of(served), "--once"]
        both = [person.start(*words) for _ in range(2)]
        try:
            for running in both:
                assert running.wait() == 0, running.err
        finally:
            for running in both:
                running.stop()
    assert repositories(person) == ["project.git"]
    assert_followed(person.node / "repositories" / "project.git", large)


@pytest.fixture
def work(person: Person, project: Carried) -> Path:
    """A clone with a work tree and a key to sign with."""
    person.git("clone", "-q", project.layout.git_dir, "work").ok()
    return person.root / "work"


def test_publishing_goes_on_with_a_bare_copy_that_was_begun(person: Person, work: Path) -> None:
    copy = person.node / "repositories" / "work.git"
    (copy / "objects").mkdir(parents=True)
    person.gittorrent("publish", work, "--new-repository", "--new-key", "--wait").ok()
    assert repositories(person) == ["work.git"]


def test_a_bare_copy_is_remembered_before_anything_is_published(person: Person, work: Path) -> None:
    """Else whoever went on after a crash would take it for somebody else's of the same name."""
    key = work.parent / "locked"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(key)]
    subprocess.run(make, check=True)
    # The key is there, but nobody is asked for its passphrase when something is to be signed.
    person.gittorrent("publish", work, "--new-repository", "--key", key).failed(7, "passphrase")
    copy = person.node / "repositories" / "work.git"
    assert gitcmd.text(work, "config", "gittorrent.copy") == str(copy)
    person.gittorrent("publish", work, "--new-repository", "--new-key", "--wait").ok()
