"""What a caller can make git do: filters, bodies, processes that nobody needs any more."""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.node.http_body import MAX_BODY
from gittorrent.repository.carried import Carried
from gittorrent.wire import pktline
from support import gitcmd, nodes
from support.nodes import Served, call, fetch, request
from support.programs import GITS, PATIENCE, processes, somebody, wait_until

REQUEST = "application/x-git-upload-pack-request"
FETCH = "/project.git/git-upload-pack"


def head_of(project: Carried) -> str:
    return gitcmd.text(project.layout.git_dir, "rev-parse", "refs/heads/main")


def fetch_command(project: Carried, *lines: str) -> bytes:
    """Return a fetch of protocol version 2."""
    words = [f"want {head_of(project)}", *lines, "done"]
    body = b"".join(pktline.encode(word.encode()) for word in words)
    return pktline.encode(b"command=fetch") + b"0001" + body + b"0000"


@pytest.mark.parametrize("git", GITS)
@pytest.mark.parametrize("version", ["0", "2"])
@pytest.mark.parametrize("transport", ["git", "http"])
@pytest.mark.parametrize(
    ("chosen", "refused"),
    [
        ("blob:none", False),
        ("blob:limit=1k", False),
        ("tree:0", False),
        ("tree:9", True),
        ("combine:tree:0+blob:none", True),
        ("object:type=commit", True),
        ("sparse:oid=main:src", True),
    ],
)
def test_filters(
    project_node: Served,
    tmp_path: Path,
    git: str,
    version: str,
    transport: str,
    chosen: str,
    refused: bool,
) -> None:
    person = somebody(tmp_path / "p", git)
    url = f"{getattr(project_node, transport)}/project.git"
    done = person.git(
        "-c", f"protocol.version={version}", "clone", "--bare", f"--filter={chosen}", url, "c"
    )
    assert (done.status != 0) == refused, done.err


def test_the_repository_cannot_allow_more(project: Carried, tmp_path: Path) -> None:
    copy = nodes.copy_as_mirror(project, tmp_path / "m.git", "git://example.org/x")
    for name in ("combine", "sparse:oid", "object:type"):
        gitcmd.git(copy.layout.git_dir, "config", f"uploadpackfilter.{name}.allow", "true")
    with nodes.serving(copy, home=nodes.make_home(tmp_path / "h")) as served:
        body = fetch_command(project, "filter combine:tree:0+blob:none")
        _, answer = fetch(
            served.http_address, "POST", FETCH, body, Content_Type=REQUEST,
            Git_Protocol="version=2",
        )  # fmt: skip
    assert b"ERR filter 'combine' not supported" in answer


def post(served: Served, body: bytes, encoding: str) -> tuple[int, bytes]:
    response, answer = fetch(
        served.http_address, "POST", FETCH, body, Content_Type=REQUEST, Git_Protocol="version=2",
        Content_Encoding=encoding,
    )  # fmt: skip
    return response.status, answer


def test_bodies_are_counted_when_inflated(project_node: Served, project: Carried) -> None:
    line = pktline.encode(b"server-option=" + b"x" * 60000)
    body = pktline.encode(b"command=fetch") + line * (MAX_BODY // len(line) + 1)
    packed = gzip.compress(body)
    assert len(packed) < 200_000
    status, answer = post(project_node, packed, "gzip")
    assert (status, answer[4:8]) == (200, b"ERR ")
    assert b"32 MiB" in answer
    status, answer = post(project_node, gzip.compress(fetch_command(project)), "gzip")
    assert b"PACK" in answer


@pytest.mark.parametrize("cut", [False, True])
def test_bodies_that_are_not_what_they_say(
    project_node: Served, project: Carried, cut: bool
) -> None:
    body = gzip.compress(fetch_command(project))[:-4] if cut else b"0000 this is no gzip"
    status, answer = post(project_node, body, "gzip")
    assert b"PACK" in answer or (status, answer[4:8]) == (200, b"ERR ")


def test_other_encodings_are_refused(project_node: Served, project: Carried) -> None:
    status, _ = post(project_node, zlib.compress(fetch_command(project)), "deflate")
    assert status == 415


@pytest.fixture
def narrow(large: Carried, tmp_path: Path) -> Iterator[Served]:
    """A node that lets git work for one caller at a time."""
    options = replace(nodes.LOOPBACK, git_processes=1)
    with nodes.serving(large, home=nodes.make_home(tmp_path / "h"), options=options) as served:
        yield served


def git_processes(home: Path) -> list[str]:
    """Return the git processes that serve callers of a node."""
    place = str(home)
    return [words for _, _, words in processes() if "upload-pack" in words and place in words]


def greedy(served: Served, large: Carried) -> socket.socket:
    """Ask for everything and read nothing of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(served.git_address)
    head = gitcmd.text(large.layout.git_dir, "rev-parse", "refs/heads/main")
    sock.sendall(request("git-upload-pack", b"/project.git"))
    sock.sendall(pktline.encode(f"want {head} ofs-delta\n".encode()) + b"00000009done\n")
    return sock


def test_git_ends_with_its_caller_and_the_next_is_served(
    narrow: Served, large: Carried, tmp_path: Path
) -> None:
    with greedy(narrow, large):
        wait_until(lambda: len(git_processes(tmp_path)) == 1, "git works for the first")
        waiting = socket.create_connection(narrow.git_address, timeout=PATIENCE)
        waiting.sendall(request("git-upload-pack", b"/project.git", b"version=2"))
        wait_until(lambda: narrow.node.git_processes.turns.waiting == 1, "the second waits")
        assert len(git_processes(tmp_path)) == 1
    with waiting:
        assert waiting.recv(100).startswith(b"000eversion 2\n")
    wait_until(lambda: not git_processes(tmp_path), "git ends with its callers")


def test_who_gives_up_waiting_is_forgotten(narrow: Served, large: Carried, tmp_path: Path) -> None:
    with greedy(narrow, large):
        wait_until(lambda: len(git_processes(tmp_path)) == 1, "git works for the first")
        with socket.create_connection(narrow.git_address, timeout=PATIENCE) as waiting:
            waiting.sendall(request("git-upload-pack", b"/project.git", b"version=2"))
            wait_until(lambda: narrow.node.git_processes.turns.waiting == 1, "the second waits")
        wait_until(lambda: narrow.node.git_processes.turns.waiting == 0, "it is forgotten")


@pytest.mark.parametrize("version", ["0", "2"])
@pytest.mark.parametrize("git", GITS)
def test_who_waits_in_vain_is_told(large: Carried, tmp_path: Path, git: str, version: str) -> None:
    options = replace(nodes.LOOPBACK, git_processes=1, git_wait=0.0)
    person = somebody(tmp_path / "p", git)
    with (
        nodes.serving(large, home=nodes.make_home(tmp_path / "h"), options=options) as served,
        greedy(served, large),
    ):
        wait_until(lambda: len(git_processes(tmp_path)) == 1, "git works for the first")
        for base in (served.git, served.http):
            done = person.git("-c", f"protocol.version={version}", "ls-remote", f"{base}/project")
            assert "remote error: busy: git works for others" in done.err


def test_memory_of_git_is_bounded(large: Carried, tmp_path: Path) -> None:
    """With hardly any memory git fails, says so to its caller, and the node goes on."""
    options = replace(nodes.LOOPBACK, git_memory=64 << 10)
    with nodes.serving(large, home=nodes.make_home(tmp_path / "h"), options=options) as served:
        person = somebody(tmp_path / "p")
        assert person.git("clone", "--bare", f"{served.git}/project.git", "c").status != 0
        assert call(served.git_address, request("mirror-list", b"/project.git"))
