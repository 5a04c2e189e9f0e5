"""What a node passes on of what downloaders say of themselves."""

from __future__ import annotations

import asyncio

import pytest

from gittorrent.ids import ManifestId, PushId, RepositoryId
from gittorrent.node.swarming import Participant, Swarms
from gittorrent.shapes import HISTORY, WHOLE, Shape
from gittorrent.wire.messages import ALL, HaveBundle, Message, Try
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorState
from gittorrent.wire.reelname import ReelName
from gittorrent.wire.session import MessageReceived

REPOSITORY = RepositoryId("a" * 52)


def takes_part(swarms: Swarms, address: str) -> tuple[Participant, list[Message]]:
    said: list[Message] = []
    participant = swarms.enter(REPOSITORY, "project", address)
    participant.begin(said.append)
    return participant, said


def listens(participant: Participant, url: str, state: MirrorState = MirrorState.PARTIAL) -> None:
    participant.on_message(MessageReceived(Try(MirrorEntry(url, 60, state)), None))


def told(said: list[Message]) -> list[str]:
    return [message.entry.url for message in said if isinstance(message, Try)]


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("198.51.100.7", "git://198.51.100.8:9418/x"),
        ("198.51.100.7", "git://127.0.0.1:9418/x"),
        ("198.51.100.7", "git://victim.example.org:80/x"),
        ("198.51.100.7", "http://169.254.169.254/x"),
        ("198.51.100.7", "git://198.51.100.7.example.org/x"),
        ("198.51.100.7", "git://198.51.100.7@198.51.100.8/x"),
        ("2001:db8::1", "git://[2001:db8::2]/x"),
    ],
)
def test_a_caller_may_tell_only_of_its_own_address(address: str, url: str) -> None:
    """Or a node would send all its downloaders to whomever somebody names."""
    swarms = Swarms()
    liar, said = takes_part(swarms, address)
    other, heard = takes_part(swarms, "198.51.100.9")
    listens(other, "git://198.51.100.9:1/x")
    listens(liar, url)
    late, heard_late = takes_part(swarms, "198.51.100.10")
    listens(late, "git://198.51.100.10:1/x")
    assert told(heard_late) == ["git://198.51.100.9:1/x"]
    assert url not in told(heard)
    assert told(said) == [], "nor is it told of others for that"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("198.51.100.7", "git://198.51.100.7:4711/x"),
        ("2001:db8::1", "git://[2001:0db8:0::1]:4711/x"),
    ],
)
def test_where_a_caller_listens_is_passed_on(address: str, url: str) -> None:
    swarms = Swarms()
    caller, _ = takes_part(swarms, address)
    listens(caller, url)
    other, heard = takes_part(swarms, "198.51.100.9")
    listens(other, "git://198.51.100.9:1/x")
    assert len(told(heard)) == 1
    caller.leave()
    late, heard_late = takes_part(swarms, "198.51.100.10")
    listens(late, "git://198.51.100.10:1/x")
    assert told(heard_late) == ["git://198.51.100.9:1/x"], "who left is not told of"


def test_where_peer_exchange_is_off_nobody_is_told_of_anybody() -> None:
    swarms = Swarms(introduces=False)
    first, said = takes_part(swarms, "93.184.216.34")
    second, answered = takes_part(swarms, "93.184.216.35")
    listens(first, "git://93.184.216.34:1234/x")
    listens(second, "git://93.184.216.35:1234/x")
    assert told(said) == told(answered) == []


def test_what_is_stale_is_not_passed_on() -> None:
    swarms = Swarms()
    caller, _ = takes_part(swarms, "198.51.100.7")
    listens(caller, "git://198.51.100.7:1/x", MirrorState.STALE)
    other, heard = takes_part(swarms, "198.51.100.9")
    listens(other, "git://198.51.100.9:1/x")
    assert told(heard) == []


@pytest.mark.parametrize(
    ("shape", "parts", "is_cut"),
    [(WHOLE, 50, False), (HISTORY, 50, True), (HISTORY, 4, True), (HISTORY, 3, False)],
)
def test_of_other_shapes_the_second_is_shown_some_parts(
    shape: Shape, parts: int, is_cut: bool
) -> None:
    offer = HaveBundle(ReelName(None, PushId("b" * 40)), ManifestId("c" * 64), 1, ALL, shape)

    async def shown() -> HaveBundle:
        swarms = Swarms()
        first, _ = takes_part(swarms, "198.51.100.7")
        second, _ = takes_part(swarms, "198.51.100.8")
        assert first.show(offer, parts) == offer
        found = second.show(offer, parts)
        for participant in (first, second):
            participant.leave()
        return found

    assert (asyncio.run(shown()) != offer) is is_cut


def test_whoever_is_alone_is_looked_at_once() -> None:
    """Or each clone that indexes what it has would wake its node four times a second."""
    offer = HaveBundle(ReelName(None, PushId("b" * 40)), ManifestId("c" * 64), 1, ALL, HISTORY)

    async def run() -> None:
        swarms = Swarms()
        first, _ = takes_part(swarms, "198.51.100.7")
        first.show(offer, 50)
        now = asyncio.get_running_loop().time()
        assert first.look(now), "it may say where it listens"
        listens(first, "git://198.51.100.7:1/x")
        assert not first.look(now)
        second, _ = takes_part(swarms, "198.51.100.8")
        second.show(offer, 50)
        assert first.look(now)
        second.leave()
        assert not first.look(now)
        first.leave()

    asyncio.run(run())


@pytest.mark.parametrize("introduces", [True, False])
def test_whoever_nobody_is_told_of_is_no_reason_to_show_others_less(introduces: bool) -> None:
    offer = HaveBundle(ReelName(None, PushId("b" * 40)), ManifestId("c" * 64), 1, ALL, HISTORY)

    async def run() -> HaveBundle:
        swarms = Swarms(introduces=introduces)
        first, _ = takes_part(swarms, "198.51.100.7")
        first.show(offer, 50)
        listens(first, "git://198.51.100.7:1/x")
        first.on_message(MessageReceived(offer, None))  # it has everything by now
        second, _ = takes_part(swarms, "198.51.100.8")
        found = second.show(offer, 50)
        for participant in (first, second):
            participant.leave()
        return found

    assert (asyncio.run(run()) == offer) is not introduces
