"""What counts of what is found: where strangers may send us, and how much of one's word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from gittorrent.discovery.ports import MAX_PER_ANSWER, Place, Way
from gittorrent.ids import RepositoryId
from gittorrent.transfer import finding
from gittorrent.transfer.finding import Finder, Shares, judged
from gittorrent.transfer.reaching import Source
from gittorrent.wire.urls import AddressClass, UrlError

REPOSITORY = RepositoryId("a" * 52)
PUBLIC = "93.184.216.34"


def place(address: str, way: Way = Way.DHT, port: int = 9418) -> Place:
    return Place(address, port, way)


class Answers:
    """A way to look mirrors up that has its answers ready, and then may hang."""

    def __init__(self, *answers: Sequence[Place], hangs: bool = False) -> None:
        self._answers = answers
        self._hangs = hangs
        self.was_closed = False

    async def find(self, repository: RepositoryId) -> AsyncGenerator[Sequence[Place], None]:
        assert repository == REPOSITORY
        try:
            for answer in self._answers:
                yield answer
            if self._hangs:
                await asyncio.get_running_loop().create_future()
        finally:
            self.was_closed = True


async def everything(finder: Finder) -> list[Source]:
    found = []
    try:
        while more := await finder.more():
            found += more
    finally:
        await finder.close()
    return found


def found(*lookups: Answers) -> list[Source]:
    finder = Finder(REPOSITORY, lookups, lambda _text: None)
    return asyncio.run(everything(finder))


@pytest.mark.parametrize(
    ("address", "way"),
    [
        (PUBLIC, Way.DHT),
        ("2606:2800:220:1::1", Way.DHT),
        (PUBLIC, Way.LAN),
        ("192.168.1.20", Way.LAN),
        ("fd00::1", Way.LAN),
    ],
)
def test_where_a_way_may_send_us(address: str, way: Way) -> None:
    source = judged(place(address, way), REPOSITORY)
    assert source.endpoint is not None
    assert source.endpoint.scheme == "git"
    assert source.endpoint.path == f"/{REPOSITORY}"
    assert source.way is way
    assert source.is_found
    assert source.trusted is (AddressClass.PUBLIC if way is Way.DHT else AddressClass.PRIVATE)


@pytest.mark.parametrize("way", [Way.DHT, Way.LAN])
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "224.0.0.251",
        "255.255.255.255",
        "192.0.2.1",
        "fe80::1%eth0",
        "localhost",
        "example.org",
        "127.1",
        "1.2.3.4/",
        "",
    ],
)
def test_where_no_way_may_send_us(address: str, way: Way) -> None:
    with pytest.raises(UrlError):
        judged(place(address, way), REPOSITORY)


@pytest.mark.parametrize("address", ["192.168.1.1", "10.0.0.1", "169.254.169.254", "fd00::1"])
def test_the_dht_may_not_send_us_into_private_networks(address: str) -> None:
    with pytest.raises(UrlError, match="may not send us"):
        judged(place(address), REPOSITORY)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 53, 1023, 65536, -1])
def test_ports_of_other_services_are_not_asked(port: int) -> None:
    with pytest.raises(UrlError):
        judged(place(PUBLIC, port=port), REPOSITORY)


@pytest.mark.parametrize("port", [80, 443, 1024, 9418, 65535])
def test_other_ports_are(port: int) -> None:
    assert judged(place(PUBLIC, port=port), REPOSITORY).endpoint is not None


@pytest.mark.parametrize("way", [Way.NAMED, Way.POLICY, Way.NODE])
def test_a_way_that_finds_nobody_is_refused(way: Way) -> None:
    """A node of this machine says in which way it found somebody."""
    with pytest.raises(UrlError):
        judged(place(PUBLIC, way), REPOSITORY)


def numbered(first: int, count: int, way: Way = Way.DHT) -> list[Place]:
    return [place(f"11.{first}.{number // 200}.{number % 200 + 1}", way) for number in range(count)]


def test_one_answer_of_many_counts_for_little() -> None:
    liar, honest = numbered(1, 500), numbered(2, 2)
    urls = [source.url for source in found(Answers(liar, honest))]
    assert len(urls) == MAX_PER_ANSWER + 2
    assert {f"git://{each.address}/{REPOSITORY}" for each in honest} <= set(urls)


def test_one_way_takes_no_place_of_another() -> None:
    flood = Answers(*(numbered(number, 50) for number in range(1, 20)))
    lan = numbered(200, 3, Way.LAN)
    sources = found(flood, Answers(lan))
    assert sum(source.way is Way.DHT for source in sources) == finding.MAX_PER_WAY
    assert sum(source.way is Way.LAN for source in sources) == 3


def test_one_address_counts_twice_at_most_whatever_its_ports() -> None:
    ports = [[place(PUBLIC, port=port)] for port in range(2000, 2050)]
    assert len(found(Answers(*ports))) == finding.MAX_PER_GROUP
    network = [[place(f"2606:2800:220:1::{number:x}")] for number in range(1, 50)]
    assert len(found(Answers(*network))) == finding.MAX_PER_GROUP


def test_what_is_found_again_and_again_is_one() -> None:
    assert len(found(Answers(*[numbered(1, 1)] * 50))) == 1


def test_an_endless_answer_ends_the_look_up() -> None:
    flood = Answers(*[numbered(1, 600)] * 3, hangs=True)
    assert len(found(flood)) <= finding.MAX_PER_WAY
    assert flood.was_closed


def test_ways_are_asked_side_by_side_and_given_up_when_nobody_needs_them() -> None:
    silent, other = Answers(hangs=True), Answers(numbered(1, 1), hangs=True)

    async def work() -> None:
        finder = Finder(REPOSITORY, [silent, other], lambda _text: None)
        assert not finder.is_done
        assert len(await finder.more()) == 1
        assert not finder.is_done
        await finder.close()

    asyncio.run(work())
    assert silent.was_closed
    assert other.was_closed


def test_nothing_to_ask_is_nothing_found() -> None:
    assert found() == []
    assert found(Answers()) == []


def test_what_does_not_count_is_said_to_who_wants_all() -> None:
    said: list[str] = []

    async def work() -> None:
        finder = Finder(REPOSITORY, [Answers([place("127.0.0.1")])], said.append)
        assert await everything(finder) == []

    asyncio.run(work())
    assert len(said) == 1
    assert "127.0.0.1" in said[0]


def test_a_mistake_of_ours_is_not_swallowed() -> None:
    class Broken:
        async def find(self, repository: RepositoryId) -> AsyncGenerator[Sequence[Place], None]:
            if repository:
                raise RuntimeError("ours")
            yield []

    with pytest.raises(RuntimeError, match="ours"):
        asyncio.run(everything(Finder(REPOSITORY, [Broken()], pytest.fail)))


def test_shares_pick_at_random() -> None:
    sources = [judged(each, REPOSITORY) for each in numbered(1, 50)]
    shares = Shares(lambda many, _count: list(many)[::-1])
    assert shares.admit(sources) == sources[::-1][:MAX_PER_ANSWER]
