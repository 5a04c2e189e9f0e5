"""Lists of refs that are asked for without peeled tags read as if they had been asked for with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gittorrent.wire.ci_fleet import Listed
from gittorrent.wire.peeled_refs import MAX_KNOWN, PeeledRefs
from gittorrent.wire.pktline import encode
from gittorrent.wire.ref_lists import RefRequest
from gittorrent.wire.upload_requests import parse_list_request
from support import bulk, gitcmd
from support.programs import GITS

ALL = (b"peel", b"symrefs", b"unborn", b"ref-prefix HEAD", b"ref-prefix refs/")


def asked(*words: bytes) -> bytes:
    """Return a request as it is written in here."""
    said = encode(b"command=ls-refs") + encode(b"object-format=sha1") + b"0001"
    return parse_list_request(said + b"".join(map(encode, words)) + b"0000")


def listed(git: str, upstream: Path, request: bytes) -> Listed:
    """Return what a server of git's answers."""
    done = subprocess.run(
        [git, "upload-pack", "--stateless-rpc", upstream],
        input=request,
        env={"GIT_PROTOCOL": "version=2", "PATH": "/usr/bin"},
        capture_output=True,
        check=True,
    )
    return Listed(b"", done.stdout)


@pytest.mark.parametrize("git", GITS)
def test_what_is_completed_is_what_the_server_would_say(git: str, tmp_path: Path) -> None:
    upstream = bulk.make_small(tmp_path / "upstream.git")
    whole, known = asked(*ALL), PeeledRefs()
    shorter = RefRequest.parse(whole).without_peel.encode()
    assert shorter == asked(*ALL[1:])
    full = listed(git, upstream, whole)
    assert b" peeled:" in full.refs
    known.learn(full.packets())
    short = listed(git, upstream, shorter)
    assert len(short.refs) < len(full.refs)
    assert known.complete(short.packets()) == full.refs
    # Branches move and come, tags go: all of that is known without their ids.
    made = gitcmd.text(upstream, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "news")
    gitcmd.git(upstream, "update-ref", "HEAD", made)
    gitcmd.git(upstream, "branch", "new", made)
    gitcmd.git(upstream, "tag", "-d", "v1")
    moved = known.complete(listed(git, upstream, shorter).packets())
    assert moved == listed(git, upstream, whole).refs
    # A tag that nobody has heard of is not.
    gitcmd.git(upstream, "tag", "-a", "-m", "two", "v2", made)
    news = listed(git, upstream, shorter)
    assert known.complete(news.packets()) is None
    # It is enough to ask for it alone.
    assert known.unknown(news.packets()) == [b"refs/tags/v2"]
    known.learn(listed(git, upstream, asked(b"peel", b"ref-prefix refs/tags/v2")).packets())
    assert known.complete(news.packets()) == listed(git, upstream, whole).refs


def test_of_many_objects_those_heard_of_last_are_known() -> None:
    def packets(first: int, count: int) -> list[bytes]:
        return [encode(b"%040x refs/tags/x\n" % each) for each in range(first, first + count)]

    known = PeeledRefs()
    known.learn(packets(0, MAX_KNOWN))
    known.learn(packets(MAX_KNOWN, 2))
    assert known.complete(packets(MAX_KNOWN, 2)) is not None
    assert known.complete(packets(0, 1)) is None


def test_what_is_no_ref_passes_through() -> None:
    known = PeeledRefs()
    packets = [encode(b"unborn HEAD symref-target:refs/heads/main\n"), b"0000"]
    known.learn(packets)
    assert known.complete(packets) == b"".join(packets)


def test_what_becomes_too_long_is_not_known() -> None:
    oid = b"1" * 40
    known = PeeledRefs()
    known.learn([encode(oid + b" refs/tags/x peeled:" + b"2" * 40 + b"\n")])
    assert known.complete([encode(oid + b" refs/tags/" + b"x" * 65_430 + b"\n")]) is None
