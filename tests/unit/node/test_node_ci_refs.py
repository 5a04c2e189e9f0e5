"""What upstreams say to CI jobs: heard from other runners only where the operator says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest

from gittorrent.git.ci_upstream import UpstreamFailedError
from gittorrent.node.ci_asking import RefusedError
from gittorrent.node.ci_options import CiConfig
from gittorrent.node.ci_refs import CiRefs, Proof
from gittorrent.wire.ci_fleet import Listed
from gittorrent.wire.upload_requests import list_request

T = TypeVar("T")

BASE = "http://127.0.0.1:1/"
"""Nobody listens there."""

URL = f"{BASE}x/project.git"
ALL = list_request(b"refs/heads/", b"refs/tags/")
OID = b"1" * 40
REFS = b"0043" + OID + b" refs/heads/main-of-us\n" + b"0000"
SAID = b"\n000eversion 2\n0000"


async def working(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


class Others:
    """Other runners, who know what an upstream says."""

    def __init__(self, known: bool = True) -> None:
        self.asked: list[bytes] = []
        self._known = known

    async def is_own(self, url: str) -> bool:
        return False

    async def refs(self, url: str, request: bytes) -> Listed | None:
        assert url == URL
        self.asked.append(request)
        return Listed(SAID, REFS) if self._known else None


def refs_with(others: Others, *, share: bool) -> CiRefs:
    made = CiRefs(CiConfig(allow=(BASE,), share_refs=share), working)
    made.fleet = others
    return made


def test_the_fleet_is_believed_where_the_operator_says_so() -> None:
    async def scene() -> None:
        others = Others()
        refs = refs_with(others, share=True)
        proof = await refs.prove(URL, "")
        assert proof.said == SAID
        assert await refs.prove(URL, "") is proof  # it was asked a moment ago
        assert await refs.listing(proof, ALL) == REFS
        assert others.asked == [list_request(b"HEAD"), ALL]
        assert refs.refs_of(proof) == {b"refs/heads/main-of-us": OID}
        # Of a part of them nobody knows what else there is.
        await refs.listing(proof, list_request(b"refs/heads/x"))
        assert refs.refs_of(proof) == {b"refs/heads/main-of-us": OID}

    asyncio.run(scene())


def test_it_is_not_asked_otherwise() -> None:
    async def scene() -> None:
        others = Others()
        with pytest.raises(UpstreamFailedError):
            await refs_with(others, share=False).prove(URL, "")
        assert others.asked == []

    asyncio.run(scene())


def test_who_asks_for_others_asks_the_upstream() -> None:
    """Else two that take each other for the one who asks would wait for each other."""

    async def scene() -> None:
        others = Others()
        refs = refs_with(others, share=True)
        with pytest.raises(UpstreamFailedError):
            await refs.for_others(URL, ALL)
        with pytest.raises(RefusedError, match="not allowed"):
            await refs.for_others("http://127.0.0.2/x", ALL)
        assert others.asked == []

    asyncio.run(scene())


def test_what_the_fleet_does_not_say_the_upstream_is_asked() -> None:
    async def scene() -> None:
        others = Others(known=False)
        with pytest.raises(UpstreamFailedError):
            await refs_with(others, share=True).prove(URL, "")
        assert others.asked

    asyncio.run(scene())


def test_lists_for_callers_with_a_name_are_the_upstreams() -> None:
    async def scene() -> None:
        others = Others()
        refs = refs_with(others, share=True)
        proof = Proof(URL, "Basic x", 0.0, frozenset((OID,)))
        with pytest.raises(RefusedError, match="not public"):
            await refs.listing(proof, ALL)
        with pytest.raises(UpstreamFailedError):
            await refs.prove(URL, "Basic x")
        assert others.asked == []
        assert not refs.refs_of(proof)

    asyncio.run(scene())
