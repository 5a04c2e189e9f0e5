"""Copies of upstreams: made of answers, brought up to date, and served from."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from gittorrent.git.runner import GitError
from gittorrent.node.ci_copies import (
    MAX_CUTS,
    MAX_PACKS,
    WANTED,
    BadAnswerError,
    Copy,
    has_copy,
    pack_in,
    require_whole_pack,
)
from gittorrent.wire.pktline import encode
from gittorrent.wire.upload_requests import UploadRequest
from support import bulk, gitcmd, nodes

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


def test_only_the_past_of_tips_counts_as_what_somebody_has(copy: Copy, upstream: Path) -> None:
    head, parent = tip(upstream), gitcmd.text(upstream, "rev-parse", "HEAD~1").encode()
    tree = gitcmd.text(upstream, "rev-parse", "HEAD^{tree}").encode()
    assert copy.seen_from([head], [head, parent, b"9" * 40]) == [head, parent]
    assert copy.seen_from([parent, b"9" * 40], [head, parent]) == [parent]
    assert copy.seen_from([parent], [head]) == []
    assert copy.seen_from([], [head]) == []
    assert copy.seen_from([head], [tree, parent]) == []
    assert copy.seen_from([head], []) == []


SHALLOW, FILELESS = (b"deepen 3",), (b"filter blob:none",)


def shaped(upstream: Path, directory: Path, shape: tuple[bytes, ...]) -> Copy:
    """Return a copy of a shape, of the upstream's tip."""
    made, head = Copy(directory, shape), tip(upstream)
    refs = {WANTED + head: head}
    made.make(answer(upstream, UploadRequest((head,), shape=shape)), refs)
    return made


def history(served: Copy, wanted: bytes, shape: tuple[bytes, ...], folder: Path) -> str:
    """Return the ids of all that an answer brings."""
    found = io.BytesIO()
    served.serve(UploadRequest((wanted,), shape=shape), found.write)
    found.seek(0)
    Copy(folder).make(found, {})
    return gitcmd.text(folder, "cat-file", "--batch-all-objects", "--batch-check")


@pytest.mark.parametrize("shape", [SHALLOW, FILELESS, (b"deepen 1", b"filter blob:none")])
def test_copies_of_a_shape_give_what_the_upstream_gives(
    upstream: Path, tmp_path: Path, shape: tuple[bytes, ...]
) -> None:
    made = shaped(upstream, tmp_path / "shaped.git", shape)
    for number in range(4):
        nodes.add_commit(upstream, "refs/heads/main", f"file{number}", b"text\n")
    wanted = tip(upstream)
    assert made.unheld([wanted]) == [wanted]
    request = made.request_for([wanted])
    assert request.shape == shape
    assert request.haves
    made.take(answer(upstream, request), {WANTED + wanted: wanted})
    assert not made.unheld([wanted])
    served = history(made, wanted, shape, tmp_path / "served.git")
    assert served == history(Copy(upstream), wanted, shape, tmp_path / "direct.git")


def test_what_is_deep_in_a_shallow_copy_is_not_held(upstream: Path, tmp_path: Path) -> None:
    """It is there with less of its past than was asked for."""
    made = shaped(upstream, tmp_path / "shaped.git", SHALLOW)
    parent = gitcmd.text(upstream, "rev-parse", "HEAD~1").encode()
    assert not made.lacking([parent])
    assert made.unheld([parent]) == [parent]
    made.take(answer(upstream, made.request_for([parent])), {WANTED + parent: parent})
    assert not made.unheld([parent])
    served = history(made, parent, SHALLOW, tmp_path / "served.git")
    assert served == history(Copy(upstream), parent, SHALLOW, tmp_path / "direct.git")


@pytest.mark.parametrize("shape", [SHALLOW, FILELESS])
def test_many_packs_of_a_shape_become_one(
    upstream: Path, tmp_path: Path, shape: tuple[bytes, ...]
) -> None:
    made = shaped(upstream, tmp_path / "shaped.git", shape)
    for number in range(MAX_PACKS):
        new = commit(upstream, f"news {number}")
        made.take(answer(upstream, made.request_for([new])), {WANTED + new: new})
    assert made.tidy()
    assert len(list((tmp_path / "shaped.git" / "objects" / "pack").glob("*.pack"))) == 1
    served = history(made, tip(upstream), shape, tmp_path / "served.git")
    assert served == history(Copy(upstream), tip(upstream), shape, tmp_path / "direct.git")


def test_filters_by_size_have_no_copies() -> None:
    assert has_copy(FILELESS)
    assert has_copy(SHALLOW)
    assert not has_copy((b"filter blob:limit=1k",))
    assert not has_copy((b"deepen 1", b"filter tree:1"))


def test_words_about_cuts_are_read_strictly(upstream: Path, tmp_path: Path) -> None:
    made = shaped(upstream, tmp_path / "shaped.git", SHALLOW)
    said = answer(upstream, UploadRequest((tip(upstream),), shape=SHALLOW)).getvalue()
    wrong = said.replace(b"shallow ", b"shallow x", 2).replace(b"shallow x-info", b"shallow-info")
    with pytest.raises(BadAnswerError, match="in no known words"):
        made.take(
            io.BytesIO(re.sub(rb"shallow x([0-9a-f]{39})[0-9a-f]", rb"shallow x\1", wrong)), {}
        )
    lines = encode(b"shallow " + b"1" * 40) * (MAX_CUTS + 1)
    with pytest.raises(BadAnswerError, match="cuts off more"):
        made.take(io.BytesIO(lines + said), {})


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


def test_only_whole_packs_are_taken_for_answers(upstream: Path) -> None:
    whole = answer(upstream, UploadRequest((tip(upstream),))).getvalue()
    require_whole_pack(io.BytesIO(whole))
    begin = whole.index(b"PACK") + 12
    flipped = whole[:begin] + bytes([whole[begin] ^ 1]) + whole[begin + 1 :]
    with pytest.raises(BadAnswerError, match="checksum"):
        require_whole_pack(io.BytesIO(flipped))
    with pytest.raises(BadAnswerError, match="in the middle"):
        require_whole_pack(io.BytesIO(whole.removesuffix(b"0000")))
    with pytest.raises(BadAnswerError, match="in the middle"):
        require_whole_pack(io.BytesIO(whole[: len(whole) // 2]))
    with pytest.raises(BadAnswerError, match="no more"):
        require_whole_pack(io.BytesIO(encode(b"packfile\n") + encode(b"\3no more\n") + b"0000"))


def test_all_that_was_asked_for_has_to_be_there(copy: Copy, upstream: Path, tmp_path: Path) -> None:
    head = tip(upstream)
    request = UploadRequest((head,))
    copy.require_all(request, is_connected=True)
    with pytest.raises(BadAnswerError, match="did not send 9999"):
        copy.require_all(UploadRequest((b"9" * 40,)), is_connected=True)
    shallow = UploadRequest((head,), shape=(b"deepen 1",))
    cut = Copy(tmp_path / "cut.git", shallow.shape)
    cut.make(answer(upstream, shallow), {WANTED + head: head})
    cut.require_all(shallow, is_connected=True)
    with pytest.raises(BadAnswerError, match="cut off"):
        cut.require_all(request, is_connected=True)
    less = UploadRequest((head,), shape=(b"filter blob:none",))
    partial = Copy(tmp_path / "partial.git", less.shape)
    partial.make(answer(upstream, less), {WANTED + head: head})
    partial.require_all(less, is_connected=True)
    with pytest.raises(GitError):
        Copy(tmp_path / "partial.git").require_all(request, is_connected=True)
