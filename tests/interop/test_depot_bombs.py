"""Packs of a few KiB that stand for gigabytes, pushed to a node by git:// and HTTP."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from msgspec.structs import replace

from gittorrent.git.memory import INDEXING_MEMORY
from gittorrent.ids import SHA1, Oid, RefName
from gittorrent.push.certificate import Certificate, Line
from gittorrent.repository.carried import Carried, open_carried
from gittorrent.trust.policy import Rule
from gittorrent.trust.refpattern import RefPattern
from gittorrent.wire import pktline
from support import depots, nodes
from support.gitcmd import text
from support.inflating import inflating_pack
from support.nodes import LOOPBACK, Served, serving
from support.programs import PATIENCE
from support.publishing import builder, grow, publish
from support.signing import TestSigner

ALICE = TestSigner(2)
NEW = RefName(b"refs/heads/new")
CAPABILITIES = b" report-status object-format=sha1"


@pytest.fixture
def depot(tmp_path: Path) -> Carried:
    git_dir = tmp_path / "project.git"
    grow(builder(git_dir), 3)
    publish(git_dir, name="project")
    depots.let_in(git_dir, Rule(RefPattern(b"refs/heads/*"), ALICE.key))
    return open_carried(git_dir)


def request(depot: Carried, new: Oid) -> bytes:
    """Return the signed commands of a push, without a pack."""
    certificate = Certificate(
        SHA1, b"P Usher <push@example.org>", 1_700_000_000, "+0000",
        b"http://h.example.org/project.git", depot.log().ledger.nonce(), (),
        (Line(None, new, NEW),),
    ).text()  # fmt: skip
    lines = (certificate + ALICE.sign(certificate).data).splitlines(keepends=True)
    packets = [b"push-cert\0" + CAPABILITIES + b"\n", *lines, b"push-cert-end\n"]
    return b"".join(map(pktline.encode, packets)) + b"0000"


def send(served: Served, transport: str, body: bytes) -> bytes:
    """Push as a client that reads no more than it must; return what the node reports."""
    if transport == "http":
        kind = "application/x-git-receive-pack-request"
        path = "/project.git/git-receive-pack"
        return nodes.fetch(served.http_address, "POST", path, body, Content_Type=kind)[1]
    with socket.create_connection(served.git_address, timeout=PATIENCE) as sock:
        sock.sendall(nodes.request("git-receive-pack", b"/project.git"))
        received = b""
        while not received.endswith(b"0000"):
            received += sock.recv(65536)
        sock.sendall(body)
        report = b""
        while more := sock.recv(65536):
            report += more
        return report


@pytest.mark.parametrize("transport", ["git", "http"])
def test_deltas_that_stand_for_more_memory_than_there_may_be(
    depot: Carried, tmp_path: Path, transport: str
) -> None:
    """They are refused in words, nothing of them stays, and the next push is taken."""
    pack = inflating_pack(INDEXING_MEMORY + (64 << 20))
    assert len(pack) < 32 << 10
    home, options = nodes.make_home(tmp_path / "home"), replace(LOOPBACK, git_push=True)
    with serving(depot, home=home, options=options) as served:
        said = send(served, transport, request(depot, Oid("12" * 20)) + pack)
        assert b"too much memory" in said, said
        assert not depot.log().unfinal
        assert not list(depot.layout.uploads.glob("*"))
        main = Oid(text(depot.layout.git_dir, "rev-parse", "refs/heads/main"))
        empty = b"PACK" + (2).to_bytes(4, "big") + bytes(4)
        empty += SHA1.new_hash(empty).digest()
        said = send(served, transport, request(depot, main) + empty)
        assert b"ok refs/heads/new" in said, said
        assert depot.log().refs[NEW] == main
