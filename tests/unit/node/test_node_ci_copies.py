"""A copy of one depth has a commit's history only if it has all of it that the depth says."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from gittorrent.node.ci_copies import WANTED, BadAnswerError, Copy
from gittorrent.wire.upload_requests import UploadRequest
from support import bulk, gitcmd


def answered(upstream: Path, request: UploadRequest) -> io.BytesIO:
    answer = io.BytesIO()
    Copy(upstream).serve(request, answer.write)
    answer.seek(0)
    return answer


def oid(upstream: Path, name: str) -> bytes:
    return gitcmd.text(upstream, "rev-parse", name).encode()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_where_a_newer_commit_was_cut_off_more_is_asked_for(depth: int, tmp_path: Path) -> None:
    upstream = bulk.make_small(tmp_path / "upstream.git")
    older, newer, tag = (oid(upstream, name) for name in ("HEAD~1", "HEAD", "v1"))
    shape = (b"deepen %d" % depth,)
    copy = Copy(tmp_path / "copy.git", shape)
    first = UploadRequest((older,), shape=shape)
    copy.make(answered(upstream, first), {WANTED + older: older})
    copy.require_all(first, is_connected=True)
    for want in (newer, tag):
        asked = copy.request_for([want])
        copy.take(answered(upstream, asked), {WANTED + want: want})
        assert copy.unheld([want]) == []
    lacking = [older] if depth > 1 else []
    assert copy.unheld([older, newer, tag]) == lacking
    if lacking:
        asked = copy.request_for(lacking)
        copy.take(answered(upstream, asked), {WANTED + older: older})
    assert copy.unheld([older, newer, tag]) == []
    wanted = answered(upstream, first).getvalue()
    given = answered(copy.directory, first).getvalue()
    cuts = [
        line for line in (wanted, given) if b"shallow " + oid(upstream, f"HEAD~{depth}") in line
    ]
    assert len(cuts) == 2


def test_a_server_that_has_less_is_asked_again(tmp_path: Path) -> None:
    upstream = bulk.make_small(tmp_path / "upstream.git")
    (upstream / "shallow").write_bytes(oid(upstream, "HEAD~1") + b"\n")
    head = oid(upstream, "HEAD")
    for depth, is_enough in ((2, True), (3, False)):
        request = UploadRequest((head,), shape=(b"deepen %d" % depth,))
        copy = Copy(tmp_path / f"copy{depth}.git", request.shape)
        copy.make(answered(upstream, request), {WANTED + head: head})
        if is_enough:
            copy.require_all(request, is_connected=True)
        else:
            with pytest.raises(BadAnswerError, match="too near"):
                copy.require_all(request, is_connected=True)
