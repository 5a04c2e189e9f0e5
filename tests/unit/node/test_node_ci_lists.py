"""Lists of refs: few are begun, each is newer than the question, and each caller gets its own."""

from __future__ import annotations

import asyncio

import pytest

from gittorrent.git.ci_upstream import MayNotReadError, UpstreamFailedError
from gittorrent.node.ci_lists import Close, RefLists
from gittorrent.wire.ci_fleet import Listed
from gittorrent.wire.pktline import encode
from gittorrent.wire.ref_lists import RefRequest

URL = "https://git.example.org/x"
NAMES = (b"refs/heads/main", b"refs/heads/other", b"refs/tags/v1", b"refs/pull/1/head")


def request(*prefixes: bytes) -> RefRequest:
    return RefRequest((), prefixes)


def answer(number: int, asked: RefRequest) -> bytes:
    """Return what is said the ``number``-th time."""
    lines = [
        encode(b"%040d %b\n" % (number, name))
        for name in NAMES
        if not asked.prefixes or name.startswith(asked.prefixes)
    ]
    return b"".join(lines) + b"0000"


class Upstream:
    """Answers when it is told to; others may join until it ``reads``."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.answers = asyncio.Event()
        self.asked: list[RefRequest] = []
        self.cancelled = 0
        self.errors: dict[RefRequest, Exception] = {}
        self.odd: set[RefRequest] = set()

    async def ask(self, url: str, close: Close) -> Listed:
        assert url == URL
        try:
            await self.reads.wait()
            asked = close()
            self.asked.append(asked)
            number = len(self.asked)
            await self.answers.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if asked in self.errors:
            raise self.errors[asked]
        said = answer(number, asked)
        return Listed(b"", encode(b"odd\n") + said if asked in self.odd else said)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


HEADS, TAGS, PULLS = (request(each) for each in (b"refs/heads/", b"refs/tags/", b"refs/pull/"))
ALL = request()


def test_all_who_ask_before_it_leaves_share_one() -> None:
    async def scene() -> None:
        upstream = Upstream()
        lists = RefLists(upstream.ask, 3600)
        tasks = [asyncio.ensure_future(lists.listing(URL, each)) for each in (HEADS, TAGS)]
        await settle()
        tasks.append(asyncio.ensure_future(lists.listing(URL, request(b"refs/heads/main"))))
        await settle()
        upstream.reads.set()
        upstream.answers.set()
        heads, tags, main = await asyncio.gather(*tasks)
        assert upstream.asked == [request(b"refs/heads/", b"refs/tags/")]
        assert (heads.refs, tags.refs) == (answer(1, HEADS), answer(1, TAGS))
        assert main.refs == answer(1, request(b"refs/heads/main"))

    asyncio.run(scene())


def test_who_asks_after_it_has_left_gets_a_newer_one() -> None:
    async def scene() -> None:
        upstream = Upstream()
        lists = RefLists(upstream.ask)
        upstream.reads.set()
        first = asyncio.ensure_future(lists.listing(URL, HEADS))
        await settle()
        assert upstream.asked == [HEADS]
        later = [asyncio.ensure_future(lists.listing(URL, each)) for each in (HEADS, TAGS)]
        await settle()
        assert len(upstream.asked) == 1  # one at a time
        upstream.answers.set()
        assert (await first).refs == answer(1, HEADS)
        assert [each.refs for each in await asyncio.gather(*later)] == [
            answer(2, HEADS),
            answer(2, TAGS),
        ]
        assert len(upstream.asked) == 2

    asyncio.run(scene())


def test_the_next_one_waits_for_the_pause() -> None:
    async def scene() -> None:
        upstream = Upstream()
        upstream.reads.set()
        upstream.answers.set()
        lists = RefLists(upstream.ask, 3600)
        await lists.listing(URL, HEADS)
        waiting = [asyncio.ensure_future(lists.listing(URL, each)) for each in (TAGS, HEADS)]
        await settle()
        assert upstream.asked == [HEADS]  # an hour is not over
        await lists.stop()
        assert all(each.cancelled() for each in waiting)

    asyncio.run(scene())


def test_who_asks_for_all_refs_is_waited_for_by_nobody() -> None:
    async def scene() -> None:
        upstream = Upstream()
        lists = RefLists(upstream.ask, 3600)
        tasks = [asyncio.ensure_future(lists.listing(URL, each)) for each in (ALL, HEADS, ALL)]
        await settle()
        upstream.reads.set()
        upstream.answers.set()
        await asyncio.gather(*tasks)
        assert sorted(upstream.asked, key=repr) == sorted((ALL, HEADS), key=repr)

    asyncio.run(scene())


@pytest.mark.parametrize("is_odd", [False, True])
def test_who_gets_nothing_of_a_joint_one_asks_alone(is_odd: bool) -> None:
    """It was too long for the others, or they could not tell their part."""

    async def scene() -> None:
        upstream = Upstream()
        joint = request(b"refs/heads/", b"refs/pull/")
        if is_odd:
            upstream.odd.add(joint)
        else:
            upstream.errors[joint] = UpstreamFailedError("too much")
        lists = RefLists(upstream.ask)
        heads, pulls = (asyncio.ensure_future(lists.listing(URL, each)) for each in (HEADS, PULLS))
        await settle()
        upstream.reads.set()
        upstream.answers.set()
        for task, asked in ((heads, HEADS), (pulls, PULLS)):
            assert (await task).refs in (answer(2, asked), answer(3, asked))
        assert upstream.asked[0] == joint
        assert set(upstream.asked[1:]) == {HEADS, PULLS}

    asyncio.run(scene())


@pytest.mark.parametrize("error", [UpstreamFailedError("no"), MayNotReadError("no")])
def test_a_failure_is_everybodys_who_asked_for_the_same(error: Exception) -> None:
    async def scene() -> None:
        upstream = Upstream()
        upstream.errors[HEADS] = error
        lists = RefLists(upstream.ask)
        tasks = [asyncio.ensure_future(lists.listing(URL, HEADS)) for _ in range(2)]
        await settle()
        upstream.reads.set()
        upstream.answers.set()
        for task in tasks:
            with pytest.raises(type(error)):
                await task
        assert upstream.asked == [HEADS]

    asyncio.run(scene())


def test_whom_an_upstream_does_not_let_read_asks_no_second_time() -> None:
    async def scene() -> None:
        upstream = Upstream()
        upstream.errors[request(b"refs/heads/", b"refs/tags/")] = MayNotReadError("who?")
        lists = RefLists(upstream.ask)
        tasks = [asyncio.ensure_future(lists.listing(URL, each)) for each in (HEADS, TAGS)]
        await settle()
        upstream.reads.set()
        upstream.answers.set()
        for task in tasks:
            with pytest.raises(MayNotReadError):
                await task
        assert len(upstream.asked) == 1

    asyncio.run(scene())


def test_it_goes_on_while_anybody_waits() -> None:
    async def scene() -> None:
        upstream = Upstream()
        lists = RefLists(upstream.ask)
        first, second = (asyncio.ensure_future(lists.listing(URL, HEADS)) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        assert upstream.cancelled == 0
        second.cancel()
        await settle()
        assert upstream.cancelled == 1
        again = asyncio.ensure_future(lists.listing(URL, HEADS))
        await settle()
        upstream.reads.set()
        upstream.answers.set()
        assert (await again).refs == answer(1, HEADS)

    asyncio.run(scene())


def test_any_word_will_do_for_who_may_read() -> None:
    async def scene() -> None:
        upstream = Upstream()
        upstream.reads.set()
        lists = RefLists(upstream.ask, 3600)
        listing = asyncio.ensure_future(lists.listing(URL, HEADS))
        await settle()
        word = asyncio.ensure_future(lists.anything(URL, TAGS))
        await settle()
        upstream.answers.set()
        await asyncio.gather(listing, word)
        assert upstream.asked == [HEADS]
        # Nothing is under way: it asks at once, and nobody's list waits for a pause after it.
        await lists.anything(URL, TAGS)
        assert upstream.asked == [HEADS, TAGS]

    asyncio.run(scene())


def test_a_list_waits_for_no_pause_after_a_word() -> None:
    async def scene() -> None:
        upstream = Upstream()
        upstream.reads.set()
        upstream.answers.set()
        lists = RefLists(upstream.ask, 3600)
        await lists.anything(URL, request(b"HEAD"))
        assert (await lists.listing(URL, HEADS)).refs == answer(2, HEADS)

    asyncio.run(scene())
