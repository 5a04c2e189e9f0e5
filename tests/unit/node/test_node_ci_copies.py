"""Copies of upstreams: made of answers, brought up to date, and served from."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from gittorrent.git.runner import GitError
from gittorrent.node.ci_copies import MAX_PACKS, BadAnswerError, Copy, pack_in
from gittorrent.wire.pktline import encode
from gittorrent.wire.upload_requests import UploadRequest
from support import bulk, gitcmd

HEAD = b"refs/heads/main"


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    return bulk.make_small(tmp_path / "upstream.git")


def tip(upstream: Path) -> bytes:
    return gitcmd.text(upstream, "rev-parse", "HEAD").encode()


def answer(upstream: Path, request: UploadRequest) -> io.BytesIO:
    found = io.BytesIO()
    Copy(upstream).serve(request, found.write)
    found.seek(0)
    return found


@pytest.fixture
def copy(upstream: Path, tmp_path: Path) -> Copy:
    made, head = Copy(tmp_path / "copy.git"), tip(upstream)
    made.make(answer(upstream, UploadRequest((head,))), {HEAD: head, b"refs/x": b"9" * 40})
    return made


def commit(upstream: Path, text: str) -> bytes:
    words = ["commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", text]
    made = gitcmd.text(upstream, *words)
    gitcmd.git(upstream, "update-ref", "HEAD", made)
    return made.encode()


def test_a_copy_serves_what_it_was_made_of(copy: Copy, upstream: Path, tmp_path: Path) -> None:
    head = tip(upstream)
    assert copy.lacking([head, b"9" * 40]) == [b"9" * 40]
    names = gitcmd.text(tmp_path / "copy.git", "for-each-ref", "--format=%(refname)")
    assert names == HEAD.decode()  # what is not here has no ref
    found = io.BytesIO()
    copy.serve(UploadRequest((head,), shape=(b"deepen 1",)), found.write)
    assert b"shallow " + head in found.getvalue()


def test_news_are_the_difference(copy: Copy, upstream: Path) -> None:
    made = commit(upstream, "news")
    request = copy.request_for([made])
    assert request.haves
    news = answer(upstream, request)
    assert len(news.getvalue()) < 1000
    copy.take(news, {HEAD: made})
    assert not copy.lacking([made])


def test_only_the_past_of_tips_is_reached(copy: Copy, upstream: Path) -> None:
    before, parent = tip(upstream), gitcmd.text(upstream, "rev-parse", "HEAD~1").encode()
    tree = gitcmd.text(upstream, "rev-parse", "HEAD^{tree}").encode()
    assert copy.reaches([before], [parent])
    assert not copy.reaches([parent], [before])
    assert not copy.reaches([before], [tree])
    assert not copy.reaches([before], [b"9" * 40])
    assert not copy.reaches([b"9" * 40], [before])
    assert not copy.reaches([], [before])


def test_many_packs_become_one(copy: Copy, upstream: Path, tmp_path: Path) -> None:
    assert not copy.tidy()
    for number in range(MAX_PACKS):
        made = commit(upstream, f"news {number}")
        copy.take(answer(upstream, copy.request_for([made])), {HEAD: made})
    assert copy.tidy()
    assert len(list((tmp_path / "copy.git" / "objects" / "pack").glob("*.pack"))) == 1
    assert not copy.lacking([tip(upstream)])


def test_what_is_no_pack_is_not_taken(copy: Copy) -> None:
    packets = [encode(b"packfile\n"), encode(b"\2counting\n"), encode(b"\1PACK"), b"0000"]
    assert list(pack_in(io.BytesIO(b"".join(packets)))) == [b"PACK"]
    with pytest.raises(GitError):
        copy.take(io.BytesIO(b"".join(packets)), {})
    stopped = io.BytesIO(encode(b"packfile\n") + encode(b"\3too busy\n") + b"0000")
    with pytest.raises(BadAnswerError, match="too busy"):
        copy.take(stopped, {})
    with pytest.raises(BadAnswerError, match="no pack"):
        list(pack_in(io.BytesIO(encode(b"shallow-info\n") + b"0000")))


def test_a_request_that_cannot_be_served_fails(copy: Copy) -> None:
    with pytest.raises(GitError):
        copy.serve(UploadRequest((b"9" * 40,)), lambda _: None)
