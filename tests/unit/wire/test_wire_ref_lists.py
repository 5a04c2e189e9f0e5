"""Lists of refs for several callers: each reads what a server of git's would have sent to it."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from gittorrent.wire.ci_fleet import Listed
from gittorrent.wire.pktline import encode
from gittorrent.wire.ref_lists import MAX_JOINT_PREFIXES, RefRequest
from gittorrent.wire.upload_requests import list_request
from support import bulk, gitcmd
from support.programs import GITS

WORDS = (b"peel", b"symrefs", b"unborn")
OID = b"1" * 40
END = b"0000"

PREFIXES = (
    b"HEAD", b"H", b"r", b"refs/", b"refs/heads/", b"refs/heads/m", b"refs/heads/main",
    b"refs/tags/", b"refs/tags/v1", b"v1", b"refs/v1", b"refs/remotes/v1/HEAD",
    b"refs/pull/", b"refs/pull/1/head",
)  # fmt: skip


def request(*prefixes: bytes, words: Sequence[bytes] = WORDS) -> RefRequest:
    return RefRequest(tuple(sorted(words)), tuple(sorted(set(prefixes))))


def packets(git: str, upstream: Path, asked: RefRequest) -> list[bytes]:
    """Return what a server of git's answers."""
    done = subprocess.run(
        [git, "upload-pack", "--stateless-rpc", upstream],
        input=asked.encode(),
        env={"GIT_PROTOCOL": "version=2", "PATH": "/usr/bin"},
        capture_output=True,
        check=True,
    )
    return list(Listed(b"", done.stdout).packets())


@pytest.mark.parametrize("git", GITS)
def test_what_is_picked_is_what_the_server_would_say(git: str, tmp_path: Path) -> None:
    upstream = bulk.make_small(tmp_path / "upstream.git")
    for name in ("pull/1/head", "pull/12/head", "heads/main2", "tags/v10", "v1"):
        gitcmd.git(upstream, "update-ref", f"refs/{name}", "HEAD")
    said = {each: packets(git, upstream, request(each)) for each in PREFIXES}
    generator = random.Random(7)
    for _ in range(40):
        one, two = (
            request(
                *generator.sample(PREFIXES, generator.randint(1, 4)),
                words=generator.sample(WORDS, generator.randint(0, 3)),
            )
            for _ in range(2)
        )
        joined = one.joined(two)
        assert joined is not None
        answer = packets(git, upstream, joined)
        for each in (one, two):
            assert joined.covers(each)
            assert joined.pick(each, answer) == b"".join(packets(git, upstream, each))
    everything = request()
    for prefix, found in said.items():
        picked = everything.pick(request(prefix), packets(git, upstream, everything))
        assert picked == b"".join(found)


@pytest.mark.parametrize("git", GITS)
def test_branches_that_are_not_there_yet_are_picked_as_such(git: str, tmp_path: Path) -> None:
    upstream = tmp_path / "empty.git"
    gitcmd.text(tmp_path, "init", "-q", "--bare", "-b", "main", str(upstream))
    joined = request(b"HEAD", b"refs/heads/")
    answer = packets(git, upstream, joined)
    assert b"unborn HEAD symref-target:refs/heads/main\n" in b"".join(answer)
    for each in (request(b"HEAD"), request(b"refs/heads/"), request(b"HEAD", words=(b"symrefs",))):
        assert joined.pick(each, answer) == b"".join(packets(git, upstream, each))


def test_what_a_server_sends_besides_is_not_picked() -> None:
    sent = [encode(OID + b" refs/heads/main\n"), encode(OID + b" refs/other\n"), END]
    asked = request(b"HEAD", b"refs/heads/")
    assert asked.pick(request(b"refs/heads/"), sent) == sent[0] + END
    # It is what was asked for that git sees as it came.
    assert asked.pick(asked, sent) == b"".join(sent)


@pytest.mark.parametrize(
    "line",
    [
        b"ERR no\n", b"\n", OID + b"\n", OID + b" \n", OID + b" refs/heads/x\0y\n",
        OID + b" a\nb\n", OID + b" refs/heads/x new:1\n", b"1" * 64 + b" refs/heads/x\n",
        b"born HEAD\n",
    ],
)  # fmt: skip
def test_nothing_is_picked_where_a_line_is_not_understood(line: bytes) -> None:
    good = encode(OID + b" refs/heads/main\n")
    asked, less = request(b"HEAD", b"refs/heads/"), request(b"refs/heads/")
    assert asked.pick(less, [good, END]) == good + END
    assert asked.pick(less, [good, encode(line), END]) is None


@pytest.mark.parametrize(
    "sent", [[], [encode(OID + b" HEAD\n")], [b"0001", END], [END, END], [b"0002"]]
)
def test_nothing_is_picked_from_what_ends_elsewhere(sent: list[bytes]) -> None:
    assert request(b"HEAD", b"refs/heads/").pick(request(b"HEAD"), sent) is None


def test_what_is_asked_for_together() -> None:
    usual = request(b"HEAD", b"refs/heads/", b"refs/tags/")
    joined = usual.joined(request(b"refs/heads/x", b"refs/tags/x", b"x", words=(b"peel",)))
    assert joined == request(b"HEAD", b"refs/heads/", b"refs/tags/", b"x")
    assert not usual.covers(request(b"refs/pull/"))
    assert not request(b"HEAD", words=()).covers(request(b"HEAD"))
    assert usual.has_all([b"refs/heads/", b"refs/tags/"])
    assert not request(b"refs/heads/x").has_all([b"refs/heads/"])


def test_what_is_asked_for_alone() -> None:
    usual, everything = request(b"HEAD", b"refs/heads/"), request()
    assert usual.joined(everything) is None
    assert everything.joined(usual) is None
    assert everything.joined(everything) == everything
    assert not usual.covers(everything)
    many = request(*(b"refs/heads/%d/" % each for each in range(MAX_JOINT_PREFIXES)))
    assert usual.joined(many) == usual
    assert request(b"HEAD").joined(many) is None
    assert many.joined(many) == many


def test_a_request_is_read_as_it_is_written() -> None:
    for each in (request(), request(b"HEAD", b"refs/heads/"), request(b"HEAD", words=())):
        assert RefRequest.parse(each.encode()) == each
    assert request(b"HEAD", words=()).encode() == list_request(b"HEAD")
    assert request(b"HEAD").without_peel == request(b"HEAD", words=WORDS[1:])
    tricky = request(b"0008peel", b"peel", words=(b"symrefs",))
    assert tricky.without_peel == tricky
