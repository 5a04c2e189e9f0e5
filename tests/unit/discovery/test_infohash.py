"""The key of a repository in the DHT."""

from __future__ import annotations

from hashlib import sha256

from gittorrent.discovery.infohash import infohash
from gittorrent.ids import RepositoryId

REPOSITORY = RepositoryId("a" * 52)


def test_is_what_the_protocol_page_says() -> None:
    assert infohash(REPOSITORY) == sha256(b"gittorrent dht 1\n" + b"a" * 52).digest()[:20]
    assert infohash(REPOSITORY).hex() == "abc732e389b0d8a13da0d04854e26730eef15729"


def test_differs_for_each_repository() -> None:
    assert infohash(REPOSITORY) != infohash(RepositoryId("b" * 52))
