"""Which annotated tags may come along with an answer, and how they name it."""

from __future__ import annotations

from gittorrent.wire.followed_tags import INCLUDE_TAG, annotated, followed, with_tags
from gittorrent.wire.pktline import encode
from gittorrent.wire.upload_requests import UploadRequest

COMMIT, ONE, TWO = (digit * 40 for digit in (b"1", b"a", b"b"))
TAGS = {ONE: COMMIT, TWO: COMMIT}
URL = "https://git.example.org/x"


def request(*wants: bytes, switches: tuple[bytes, ...] = (INCLUDE_TAG,)) -> UploadRequest:
    return UploadRequest(wants, shape=(b"deepen 1",), switches=switches)


def test_annotated_tags_are_those_that_are_peeled() -> None:
    lines = (
        COMMIT + b" HEAD symref-target:refs/heads/main\n",
        COMMIT + b" refs/tags/light\n",
        ONE + b" refs/tags/one peeled:" + COMMIT + b"\n",
        TWO + b" refs/tags/two symref-target:refs/tags/three peeled:" + COMMIT,
        ONE + b" refs/other/one peeled:" + COMMIT + b"\n",
        TWO + b" refs/tags/bad peeled:123\n",
    )
    assert annotated([*map(encode, lines), b"0000"]) == TAGS


def test_those_that_are_wanted_come_anyway() -> None:
    assert followed(TAGS, request(COMMIT)) == TAGS
    assert followed(TAGS, request(ONE)) == {TWO: COMMIT}
    assert followed(TAGS, request(COMMIT, switches=())) == {}


def test_answers_are_named_by_them() -> None:
    plain = request(COMMIT)
    names = [
        with_tags(tags, plain).digest(URL) for tags in ({}, {ONE: COMMIT}, {TWO: COMMIT}, TAGS)
    ]
    assert len(set(names)) == len(names)
    assert names[0] == plain.digest(URL)
    swapped = dict(reversed(TAGS.items()))
    assert with_tags(swapped, plain) == with_tags(TAGS, plain)
    # No server hears of it.
    assert with_tags(TAGS, plain).encode() == plain.encode()
    whole = request(COMMIT, ONE, TWO)
    assert with_tags(TAGS, whole) == whole
