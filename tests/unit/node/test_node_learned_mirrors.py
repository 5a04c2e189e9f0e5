"""Mirrors that others tell of: whose word counts for how much, and how far it leads."""

from __future__ import annotations

import pytest

from gittorrent.node.learned_mirrors import (
    MAX_FROM_ONE,
    MAX_FROM_OTHERS,
    MAX_LEARNED,
    LearnedMirrors,
)
from gittorrent.wire.messages import Try
from gittorrent.wire.mirrorlist import MirrorEntry, MirrorState
from gittorrent.wire.urls import AddressClass


class Mirror:
    """One who tells."""

    def __init__(self, address: str) -> None:
        self.address = address


def tell(number: int, host: str = "192.0.2.1", state: MirrorState = MirrorState.CURRENT) -> Try:
    return Try(MirrorEntry(f"git://{host}:{1000 + number}/r.git", 3600, state))


def test_each_tells_of_its_share() -> None:
    mirrors = LearnedMirrors()
    named, other = mirrors.teller(None), mirrors.teller(AddressClass.PUBLIC)
    for number in range(100):
        other(Mirror("8.8.8.8"), tell(number))
    assert len(mirrors.sources) == MAX_FROM_OTHERS
    for number in range(100, 200):
        named(Mirror("8.8.8.8"), tell(number))
    assert len(mirrors.sources) == MAX_FROM_OTHERS + MAX_FROM_ONE


def test_the_newest_are_remembered() -> None:
    mirrors = LearnedMirrors()
    for first in range(0, 4 * MAX_FROM_ONE, MAX_FROM_ONE):
        teller = mirrors.teller(None)
        for number in range(first, first + MAX_FROM_ONE):
            teller(Mirror("8.8.8.8"), tell(number))
    assert len(mirrors.sources) == MAX_LEARNED
    assert tell(4 * MAX_FROM_ONE - 1).entry.url in mirrors.sources
    assert tell(0).entry.url not in mirrors.sources


@pytest.mark.parametrize(
    ("address", "trusted", "expected"),
    [
        ("8.8.8.8", None, AddressClass.PUBLIC),
        ("10.1.2.3", None, AddressClass.PRIVATE),
        ("127.0.0.1", None, AddressClass.LOOPBACK),
        ("127.0.0.1", AddressClass.PUBLIC, AddressClass.PUBLIC),
        ("8.8.8.8", AddressClass.PRIVATE, AddressClass.PUBLIC),
    ],
)
def test_nobody_sends_us_further_than_it_may(
    address: str, trusted: AddressClass | None, expected: AddressClass
) -> None:
    mirrors = LearnedMirrors()
    mirrors.teller(trusted)(Mirror(address), tell(1))
    (found,) = mirrors.sources.values()
    assert found.trusted is expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", tell(1)),
        ("8.8.8.8", tell(1, state=MirrorState.STALE)),
        ("8.8.8.8", tell(1, state=MirrorState.PARTIAL)),
        ("8.8.8.8", Try(MirrorEntry("git://user@192.0.2.1/r", 3600, MirrorState.CURRENT))),
    ],
)
def test_what_is_of_no_use(address: str, message: Try) -> None:
    mirrors = LearnedMirrors()
    mirrors.teller(None)(Mirror(address), message)
    assert not mirrors.sources
