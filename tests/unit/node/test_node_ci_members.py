"""Which other runners there are: only those that prove it, whatever is heard on the network."""

from __future__ import annotations

import pytest

from gittorrent.node.ci_members import (
    GONE_SECONDS,
    KNOWN_SECONDS,
    MAX_FOUND,
    MAX_OF_ADDRESS,
    MOST_GONE_SECONDS,
    Member,
    Members,
)
from gittorrent.wire.ci_labels import VALID_SECONDS, RunnerLabel
from gittorrent.wire.urls import UrlError

NOW = 1_900_000_000
NAME, OTHER = "01" * 20, "02" * 20
START = "0a" * 16


def label(host: str = "10.0.0.1", port: int = 8417, at: int = NOW) -> RunnerLabel:
    return RunnerLabel(host, port, at)


def many(count: int) -> list[RunnerLabel]:
    return [label(f"10.0.{n >> 8}.{n & 255}") for n in range(1, count + 1)]


def heard(*labels: RunnerLabel) -> tuple[Members, list[Member]]:
    members = Members(())
    for each in labels:
        members.hear(each)
    return members, members.all()


def test_who_was_heard_of_counts_once_it_has_proved_itself() -> None:
    members, (found,) = heard(label())
    assert members.due(0.0, found=True) == [found]
    assert members.there == {}
    assert members.at(found.url) is None
    members.proved(found, NAME, START, 10.0)
    assert members.there == {NAME: found}
    assert members.at("http://10.0.0.1:8417") is found
    assert found.start == START
    assert members.url_of(NAME) == found.url


def test_who_is_gone_leaves_in_bounded_time() -> None:
    members, (found,) = heard(label())
    members.proved(found, NAME, START, 10.0)
    assert members.due(10.0 + KNOWN_SECONDS, found=True) == [found]
    members.failed(found, 71.0)
    assert members.there == {}
    assert members.due(71.0 + GONE_SECONDS - 1, found=True) == []
    # It is asked less and less, and forgotten with its name.
    for _ in range(20):
        members.failed(found, 100.0)
    assert found.until == 100.0 + MOST_GONE_SECONDS
    members.expire(NOW + VALID_SECONDS - 1)
    assert members.all() == [found]
    members.expire(NOW + VALID_SECONDS)
    assert members.all() == []


def test_a_new_name_has_one_that_failed_looked_at_again() -> None:
    members, (found,) = heard(label())
    members.failed(found, 5.0)
    members.hear(label(at=NOW))  # the same, repeated
    assert members.due(6.0, found=True) == []
    members.hear(label(at=NOW + 1))
    assert members.due(6.0, found=True) == [found]


def test_one_that_is_there_outlives_its_name_while_it_answers() -> None:
    members, (found,) = heard(label())
    members.proved(found, NAME, START, 0.0)
    members.expire(NOW + 2 * VALID_SECONDS)
    assert members.all() == [found]


def test_a_flood_displaces_nobody_who_proved_itself() -> None:
    members, found = heard(*many(MAX_FOUND))
    for number, each in enumerate(found):
        members.proved(each, f"{number:040x}", START, 0.0)
    for newer in many(10 * MAX_FOUND)[MAX_FOUND:]:
        members.hear(newer)
    assert members.all() == found


def test_one_that_failed_makes_room() -> None:
    members, found = heard(*many(MAX_FOUND))
    members.failed(found[3], 0.0)
    members.failed(found[7], 0.0)
    members.failed(found[7], 0.0)
    members.hear(label("10.9.9.9"))
    assert found[7] not in members.all()
    assert found[3] in members.all()
    assert len(members.all()) == MAX_FOUND
    assert members.all()[-1].host == "10.9.9.9"


def test_an_address_has_few_places() -> None:
    members, found = heard(*(label(port=8000 + n) for n in range(10)))
    assert len(found) == MAX_OF_ADDRESS
    members.failed(found[0], 0.0)
    members.hear(label(port=9000))
    assert [each.url for each in members.all()] == ["http://10.0.0.1:8001", "http://10.0.0.1:9000"]


@pytest.mark.parametrize(
    "wrong",
    [label("127.0.0.1"), label("::1"), label("224.0.0.1"), label("0.0.0.0"), label(port=22)],
)
def test_nobody_is_led_to_what_is_no_runner(wrong: RunnerLabel) -> None:
    members = Members(())
    with pytest.raises(UrlError):
        members.hear(wrong)
    assert members.all() == []


def test_what_the_operator_named_stays_what_it_is() -> None:
    members = Members(["http://10.0.0.1:8417/"])
    members.hear(label())
    (given,) = members.all()
    assert not given.host
    assert members.at(given.url) is None
    for _ in range(9):
        members.failed(given, 0.0)
    assert given.until == GONE_SECONDS


def test_of_two_ways_to_one_node_the_named_one_is_taken() -> None:
    members = Members(["http://runner.example.org:8417"])
    members.hear(label())
    given, found = members.all()
    for each in (given, found):
        members.proved(each, NAME, START, 0.0)
    assert members.there == {NAME: given}


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1", "203.1.2.3"])
def test_private_and_public_addresses_are_asked(host: str) -> None:
    _, (found,) = heard(label(host, 80))
    assert found.url == (f"http://[{host}]" if ":" in host else f"http://{host}")


def test_who_was_started_anew_has_to_prove_itself_at_once() -> None:
    members, (found,) = heard(label())
    members.proved(found, NAME, START, 10.0)
    members.started_anew(found)
    assert members.there == {}
    assert members.at(found.url) is None
    assert members.due(10.0, found=True) == [found]
    assert found.failures == 0
