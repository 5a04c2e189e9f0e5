"""Unmodified git gets from a node what git said to others before it, and always what is right."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.repository.carried import Carried
from gittorrent.signing.keys import Signer
from gittorrent.store.processes import AnswerFigures
from gittorrent.wire import pktline
from gittorrent.wire.limits import MAX_QUESTION, SMALL_QUESTION
from support import bulk, gitcmd, nodes
from support.nodes import LOOPBACK, Served, call, fetch, request
from support.programs import GITS, PATIENCE, Person, processes, serve, somebody, wait_until

pytestmark = pytest.mark.git_in_turn

RESULT = "application/x-git-upload-pack-request"

WAYS = ["git", "http"]
SHAPES = [
    ("--depth=1",),
    ("--filter=blob:none",),
    (),
    ("--bare", "--depth=1", "--branch=v1"),
    ("--mirror",),
]


@pytest.fixture
def node(project: Carried, tmp_path: Path) -> Iterator[Served]:
    """A node that has answered nothing yet."""
    with nodes.serving(project, home=nodes.make_home(tmp_path / "node")) as served:
        yield served


def figures(served: Served) -> AnswerFigures:
    return served.node.git_processes.answers.figures


def url_of(served: Served, way: str) -> str:
    return f"{getattr(served, way)}/project.git"


def described(clone: Path) -> tuple[object, ...]:
    """Return what a clone has: refs, objects, and where its history is cut off."""
    objects = gitcmd.text(clone, "rev-list", "--all", "--objects", "--missing=print")
    git_dir = Path(gitcmd.text(clone, "rev-parse", "--absolute-git-dir"))
    shallow = git_dir / "shallow"
    return (
        gitcmd.refs(clone),
        sorted(objects.splitlines()),
        shallow.read_text() if shallow.exists() else "",
    )


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(shape) or "full")
def test_who_asks_the_same_gets_the_same(
    node: Served, tmp_path: Path, git: str, way: str, shape: tuple[str, ...]
) -> None:
    person = somebody(tmp_path / "p", git)
    url = url_of(node, way)
    # Everything is kept when it is asked for a second time.
    person.git("clone", *shape, url, "once").ok()
    person.git("clone", *shape, url, "first").ok()
    before = figures(node)
    person.git("clone", "--progress", *shape, url, "second").ok()
    after = figures(node)
    assert after.misses == before.misses
    assert after.hits > before.hits
    # Version 0 asks git itself.
    person.git("-c", "protocol.version=0", "clone", *shape, url, "plain").ok()
    assert figures(node) == after
    found = [described(person.root / name) for name in ("first", "second", "plain")]
    assert found[0] == found[1] == found[2]
    gitcmd.git(person.root / "second", "fsck", "--strict")


@pytest.mark.parametrize("way", WAYS)
def test_a_crowd_asks_git_once(large: Carried, tmp_path: Path, way: str) -> None:
    with nodes.serving(large, home=nodes.make_home(tmp_path / "node")) as served:
        people = [somebody(tmp_path / f"p{n}") for n in range(6)]
        url = url_of(served, way)
        with ThreadPoolExecutor(len(people)) as pool:
            for done in pool.map(lambda one: one.git("clone", "--depth=1", url, "c"), people):
                done.ok()
        assert figures(served).misses == 3  # what git can do, refs, and the pack
        assert len({str(described(each.root / "c")) for each in people}) == 1


@pytest.mark.parametrize("way", WAYS)
def test_everything_is_kept_when_it_is_asked_for_again(
    node: Served, person: Person, way: str
) -> None:
    misses = []
    for name in ("a", "b", "c"):
        person.git("clone", "--bare", url_of(node, way), name).ok()
        misses.append(figures(node).misses)
    assert misses == [2, 3, 3]  # what git can do and refs; and then the pack


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", WAYS)
def test_a_push_is_seen_at_once(tmp_path: Path, owner_key: Signer, git: str, way: str) -> None:
    carried = nodes.publish(bulk.make_small(tmp_path / "o.git"), owner_key, "project")
    person = somebody(tmp_path / "p", git)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "node")) as served:
        url = url_of(served, way)
        for number in range(3):
            for name in ("a", "b"):
                person.git("clone", "--depth=1", url, f"{name}{number}").ok()
                head = gitcmd.text(carried.layout.git_dir, "rev-parse", "refs/heads/main")
                assert gitcmd.text(person.root / f"{name}{number}", "rev-parse", "HEAD") == head
            nodes.add_commit(carried.layout.git_dir, "refs/heads/main", "f", b"%d" % number)
            nodes.publish(carried.layout.git_dir, owner_key, None)


def test_a_branch_that_stays_keeps_its_answer(tmp_path: Path, owner_key: Signer) -> None:
    carried = nodes.publish(bulk.make_small(tmp_path / "o.git"), owner_key, "project")
    person = somebody(tmp_path / "p")
    words = ("clone", "--bare", "--depth=1", "--no-tags")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "node")) as served:
        person.git(*words, url_of(served, "git"), "a").ok()
        before = figures(served)
        nodes.add_commit(carried.layout.git_dir, "refs/heads/other", "f", b"other")
        nodes.publish(carried.layout.git_dir, owner_key, None)
        person.git(*words, url_of(served, "git"), "b").ok()
        # Refs are listed anew; the pack of the branch that stayed, most of it all, is not made so.
        assert 0 < figures(served).bytes - before.bytes < before.bytes / 4
        nodes.add_commit(carried.layout.git_dir, "refs/heads/main", "f", b"main")
        nodes.publish(carried.layout.git_dir, owner_key, None)
        person.git(*words, url_of(served, "git"), "c").ok()
        assert figures(served).misses > before.misses + 2


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("way", WAYS)
def test_what_follows_a_clone_goes_on(
    node: Served, project: Carried, tmp_path: Path, git: str, way: str
) -> None:
    person = somebody(tmp_path / "p", git)
    url = url_of(node, way)
    for name in ("a", "b"):
        person.git("clone", "--depth=1", url, name).ok()
        clone = person.root / name
        person.git("fetch", "--deepen=3", cwd=clone).ok()
        assert gitcmd.text(clone, "rev-list", "--count", "HEAD") == "4"
        person.git("fetch", "--unshallow", cwd=clone).ok()
        all_of_it = gitcmd.text(project.layout.git_dir, "rev-list", "--count", "refs/heads/main")
        assert gitcmd.text(clone, "rev-list", "--count", "HEAD") == all_of_it
        gitcmd.git(clone, "fsck", "--strict")
        person.git("clone", "--filter=blob:none", "--no-checkout", url, f"{name}-partial").ok()
        person.git("checkout", "-q", "HEAD", cwd=person.root / f"{name}-partial").ok()
        person.git("log", "-p", "-3", cwd=person.root / f"{name}-partial").ok()


@pytest.mark.parametrize("way", WAYS)
def test_sha256(tmp_path: Path, owner_key: Signer, person: Person, way: str) -> None:
    made = nodes.make_repository(tmp_path / "o.git", object_format="sha256")
    carried = nodes.publish(made, owner_key, "project")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "node")) as served:
        for name in ("a", "b"):
            person.git("clone", "--depth=1", url_of(served, way), name).ok()
            gitcmd.git(person.root / name, "fsck", "--strict")
        assert figures(served).hits == 3


def test_limits_on_sending_hold(project: Carried, tmp_path: Path, person: Person) -> None:
    options = replace(LOOPBACK, up_limit=50_000_000)
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(project, home=home, options=options) as served:
        for way in WAYS:
            for name in ("a", "b"):
                person.git("clone", url_of(served, way), f"{way}-{name}").ok()
                person.git("fetch", "--depth=1", cwd=person.root / f"{way}-{name}").ok()


def test_without_room_git_answers_each(project: Carried, tmp_path: Path, person: Person) -> None:
    options = replace(LOOPBACK, git_answers=0)
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(project, home=home, options=options) as served:
        for way in WAYS:
            person.git("clone", "--depth=1", url_of(served, way), way).ok()
        assert figures(served) == AnswerFigures()


def test_what_turns_private_is_answered_no_more(
    tmp_path: Path, owner_key: Signer, person: Person
) -> None:
    carried = nodes.publish(bulk.make_small(tmp_path / "o.git"), owner_key, "project")
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "node")) as served:
        for way in WAYS:
            person.git("clone", "--depth=1", url_of(served, way), way).ok()
        nodes.change_policy(carried, owner_key, private=True)
        before = figures(served)
        for way in WAYS:
            done = person.git("clone", "--depth=1", url_of(served, way), f"{way}-2")
            assert done.status != 0
        assert figures(served) == before


def head_of(project: Carried) -> str:
    return gitcmd.text(project.layout.git_dir, "rev-parse", "refs/heads/main")


def fetch_of(*lines: str) -> bytes:
    words = ("no-progress", *lines, "done")
    body = b"".join(pktline.encode(word.encode()) for word in words)
    return pktline.encode(b"command=fetch") + b"0001" + body + b"0000"


def ask(served: Served, way: str, asked: bytes) -> bytes:
    """Ask upload-pack something and return the answer; over git:// what it can do comes first."""
    if way == "http":
        headers = {"Content_Type": RESULT, "Git_Protocol": "version=2"}
        return fetch(served.http_address, "POST", "/project.git/git-upload-pack", asked, **headers)[
            1
        ]
    hello = request("git-upload-pack", b"/project.git", b"version=2")
    answer = call(served.git_address, hello + asked + b"0000")
    return answer.partition(b"0000")[2]


def pack_in(answer: bytes) -> bytes:
    """Return the pack in an answer; what git says to show that it is alive is left out."""
    pack = b""
    while answer:
        size = pktline.parse_length(answer[:4])
        if isinstance(size, int) and answer[4:5] == b"\x01":
            pack += answer[5 : 4 + size]
        answer = answer[4 + (size if isinstance(size, int) else 0) :]
    assert pack.startswith(b"PACK")
    return pack


@pytest.mark.parametrize("way", WAYS)
def test_refusals_are_git_s_own_and_not_kept(node: Served, way: str) -> None:
    for _ in range(2):
        said = ask(node, way, fetch_of(f"want {'1' * 40}", "deepen 1"))
        assert b"ERR upload-pack: not our ref" in said
    assert b"filter 'sparse:oid' not supported" in ask(
        node, way, fetch_of("filter sparse:oid=main:x", f"want {'1' * 40}")
    )
    assert figures(node).kept <= 1  # what git can do, at most


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [SMALL_QUESTION, MAX_QUESTION])
def test_long_requests_are_answered_too(
    node: Served, project: Carried, way: str, size: int
) -> None:
    line = f"want {head_of(project)}"
    said = ask(node, way, fetch_of(*[line] * (size // len(line)), "deepen 1"))
    assert b"shallow-info" in said
    # What fits is a question, and the same as one without all the repetitions.
    before = figures(node)
    assert pack_in(ask(node, way, fetch_of(line, "deepen 1"))) == pack_in(said)
    assert (figures(node).misses == before.misses) == (size == SMALL_QUESTION)


def test_requests_may_come_in_pieces(node: Served, project: Carried) -> None:
    asked = fetch_of(f"want {head_of(project)}", "deepen 1")
    whole = ask(node, "git", asked)
    with socket.create_connection(node.git_address, timeout=PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = request("git-upload-pack", b"/project.git", b"version=2")
        for byte in hello + asked + asked + b"0000":
            sock.sendall(bytes([byte]))
        said = b""
        while more := sock.recv(65536):
            said += more
    assert said.endswith(whole + whole)


@pytest.mark.parametrize("bad", [b"GET / HTTP/1.1\r\n\r\n", b"0003", b"fff9", b"0014command=l"])
def test_what_is_no_request_ends_the_connection(node: Served, bad: bytes) -> None:
    hello = request("git-upload-pack", b"/project.git", b"version=2")
    assert call(node.git_address, hello + bad, end=True).startswith(b"000eversion 2\n")


def test_who_is_silent_has_no_turn(project: Carried, tmp_path: Path, person: Person) -> None:
    options = replace(LOOPBACK, git_processes=1)
    home = nodes.make_home(tmp_path / "node")
    with nodes.serving(project, home=home, options=options) as served:
        with socket.create_connection(served.git_address, timeout=PATIENCE) as sock:
            sock.sendall(request("git-upload-pack", b"/project.git", b"version=2"))
            assert sock.recv(65536).startswith(b"000eversion 2\n")
            person.git("clone", url_of(served, "git"), "c").ok()


def files_below(home: Path) -> set[Path]:
    """Return the files of a node's views, without what processes leave to find each other."""
    return {path for path in (home / "views").rglob("*") if path.is_file()}


def test_killed_while_git_answers_it_leaves_nothing(tmp_path: Path, large: Carried) -> None:
    operator, reader = somebody(tmp_path / "operator"), somebody(tmp_path / "reader")
    head = head_of(large)
    with serve(operator, large.layout.git_dir) as daemon:
        host, _, port = daemon.git.removeprefix("git://").rpartition(":")
        reader.git("ls-remote", f"{daemon.git}/project.git").ok()
        before = files_below(operator.node)
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as sock:
            sock.sendall(request("git-upload-pack", b"/project.git", b"version=2"))
            sock.sendall(fetch_of(f"want {head}", "deepen 50"))
            said = b""
            while b"packfile" not in said:
                said += sock.recv(65536)
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.running.wait()
        wait_until(lambda: not upload_packs(operator.node), "git ends with the node")
        assert files_below(operator.node) == before
    with serve(operator, large.layout.git_dir) as daemon:
        for name in ("a", "b"):
            reader.git("clone", "--bare", f"{daemon.git}/project.git", name).ok()
            assert gitcmd.text(reader.root / name, "rev-parse", "refs/heads/main") == head
        wait_until(
            lambda: "answers given again" in operator.gittorrent("status").ok().out,
            "status says so",
        )


def upload_packs(home: Path) -> list[str]:
    return [words for _, _, words in processes() if "upload-pack" in words and str(home) in words]
