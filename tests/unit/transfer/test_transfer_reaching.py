"""Mirrors to turn to: whose URLs are of use, and who answers first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gittorrent.errors import GitTorrentError, UnreachableError
from gittorrent.ids import RepositoryId
from gittorrent.store.carried_rows import CarriedRow
from gittorrent.store.database import (
    MAX_FAILURES,
    MAX_REMEMBERED,
    Database,
    MirrorRow,
    RememberedMirror,
)
from gittorrent.store.home import Home
from gittorrent.store.processes import NodeProcess
from gittorrent.store.snapshot import Snapshot
from gittorrent.transfer.location import LocationError, parse_location
from gittorrent.transfer.reaching import (
    Source,
    first_to_answer,
    known_here,
    learned,
    named_by_policy,
)
from gittorrent.wire.mirrorlist import MirrorState
from gittorrent.wire.urls import AddressClass

ID = RepositoryId("a" * 52)
OTHER = RepositoryId("b" * 52)
PUBLIC = AddressClass.PUBLIC


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def database(home: Home) -> Database:
    return Database(home.database)


def source(name: str) -> Source:
    found = learned(f"git://{name}.example.org/x.git", PUBLIC)
    assert found is not None
    return found


# --- whose URLs are of use -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("git://m.example.org/x.git", "git://m.example.org/x.git"),
        ("https://m.example.org/x.git", "https://m.example.org/x.git"),
        (f"gittorrent://{ID}@m.example.org/x.git", "git://m.example.org/x.git"),
        ("gittorrent://m.example.org:99/x.git", "git://m.example.org:99/x.git"),
        (f"gittorrent::https://{ID}@m.example.org/x.git", "https://m.example.org/x.git"),
        ("ssh://git@m.example.org:22/srv/x.git", "ssh://git@m.example.org:22/srv/x.git"),
        ("ssh://m.example.org/~u/x.git", "ssh://m.example.org/~u/x.git"),
        (f"gittorrent://{OTHER}@m.example.org/x.git", None),
        (f"gittorrent://{ID}", None),
        ("ssh://-oProxyCommand=x/x.git", None),
        ("ssh://-u@m.example.org/x.git", None),
        ("ssh://m.example.org", None),
        ("ssh://m.example.org/a b", None),
        ("ext::sh -c true", None),
        ("file:///etc", None),
        ("git://127.1/x.git", None),
    ],
)
def test_mirrors_that_a_policy_names(url: str, expected: str | None) -> None:
    found = named_by_policy([url], ID, PUBLIC)
    assert [each.url for each in found] == ([] if expected is None else [expected])
    assert all(each.trusted is PUBLIC for each in found), "the owners' word opens no inner network"


def test_locations_without_a_host() -> None:
    location = parse_location(f"gittorrent://{ID}")
    assert (location.endpoint, location.expected) == (None, ID)
    assert location.url == location.pinned_url(ID) == f"gittorrent://{ID}"
    assert parse_location(f"gittorrent://{ID}/") == location
    with pytest.raises(LocationError, match="names a repository and no mirror"):
        location.require_endpoint()
    with pytest.raises(LocationError):
        parse_location(f"gittorrent://{ID}@{ID}")


# --- what this machine knows ---------------------------------------------------------------------


def test_what_is_known_here(database: Database, home: Home) -> None:
    database.remember_mirrors(
        ID,
        [
            RememberedMirror("git://seen.example.org/x.git", PUBLIC),
            RememberedMirror("git://served.example.org/x.git", PUBLIC),
            RememberedMirror("git://10.0.0.7/x.git", None),
            RememberedMirror("ssh://git@m.example.org/x.git", PUBLIC),
        ],
        100,
    )
    database.mirror_served(ID, "git://served.example.org/x.git", 110)
    for number, state in enumerate((MirrorState.CURRENT, MirrorState.PARTIAL)):
        url = f"git://announced{number}.example.org/x.git"
        database.list_mirror(ID, MirrorRow(url, state, "192.0.2.1", 100, 1000, 0))
    database.carry(CarriedRow("my x", ID, "/nowhere", "mirror"))
    database.carry(CarriedRow("other", OTHER, "/elsewhere", "mirror"))
    listening = ["git://0.0.0.0:9418", "http://[::]:80"]
    Snapshot(home.run, "node").write(NodeProcess(listening=listening))
    found = known_here(ID, database, home, 200)
    assert [each.url for each in found] == [
        "git://127.0.0.1/my%20x.git",
        "http://[::1]/my%20x.git",
        "git://served.example.org/x.git",
        *sorted(each.url for each in found[3:6]),
        "git://announced0.example.org/x.git",
    ]
    trusted = {each.url: each.trusted for each in found}
    assert trusted["git://10.0.0.7/x.git"] is None, "the user named it"
    assert trusted["git://seen.example.org/x.git"] is PUBLIC
    assert known_here(RepositoryId("c" * 52), database, home, 200) == []


def test_a_node_is_no_source_for_itself_under_any_name(database: Database, home: Home) -> None:
    """Others list it as a mirror, and tell that to the mirror that is brought up to date."""
    urls = [
        "git://me.example.org/x.git",
        "git://127.0.0.1:9999/x.git",
        "git://me.example.org:99/x.git",
        "https://me.example.org/a/x.git",
        "https://me.example.org/b/x.git",
    ]
    database.remember_mirrors(ID, [RememberedMirror(url, PUBLIC) for url in urls], 100)
    listening = ["git://127.0.0.1:9999"]
    node = Snapshot(home.run, "node")
    node.write(NodeProcess(listening=listening, url="git://ME.example.org"))
    other = Snapshot(home.run, "node")
    other.write(NodeProcess(listening=["http://0.0.0.0:80"], url="https://me.example.org/a/"))
    found = known_here(ID, database, home, 200, own_node=False)
    assert {each.url for each in found} == {urls[2], urls[4]}


def test_what_fails_goes_and_what_the_user_named_stays(database: Database) -> None:
    named, told = "git://named.example.org/x.git", "git://told.example.org/x.git"
    mirrors = [RememberedMirror(named, None), RememberedMirror(told, PUBLIC)]
    database.remember_mirrors(ID, mirrors, 100)
    # Being told of what the user named changes nothing.
    database.remember_mirrors(ID, [RememberedMirror(named, PUBLIC)], 101)
    for _ in range(MAX_FAILURES):
        database.mirror_failed(ID, named)
        database.mirror_failed(ID, told)
    (left,) = database.remembered_mirrors(ID)
    assert (left.url, left.trusted) == (named, None)
    assert database.forget_url(named) is False, "nothing was seen there at first contact"
    assert database.remembered_mirrors(ID) == []


def test_no_more_are_remembered_than_are_asked(database: Database) -> None:
    many = [RememberedMirror(f"git://m{n}.example.org/x.git", PUBLIC) for n in range(100)]
    database.remember_mirrors(ID, many[:1], 100)
    database.mirror_served(ID, many[0].url, 100)
    database.remember_mirrors(ID, many[1:], 200)
    found = database.remembered_mirrors(ID)
    assert len(found) == MAX_REMEMBERED
    assert found[0].url == many[0].url, "who served is kept"


def test_one_list_takes_no_place_of_what_was_found_otherwise(database: Database) -> None:
    """A mirror that lists hundreds of others, again and again, has its share of the table."""
    others = [
        RememberedMirror("git://policy.example.org/x.git", PUBLIC, "policy"),
        RememberedMirror("git://dht.example.org/x.git", PUBLIC, "dht"),
        RememberedMirror("git://listed.example.org/x.git", PUBLIC, "listed", "honest.example.org"),
    ]
    database.remember_mirrors(ID, others, 100)
    teller = "liar.example.org"
    flood = [
        RememberedMirror(f"git://m{n}.example.org/x.git", PUBLIC, "listed", teller)
        for n in range(200)
    ]
    for now in range(200, 205):
        # It tells of the honest one too, which does not become one of its own by that.
        told = RememberedMirror(others[2].url, PUBLIC, "listed", teller)
        database.remember_mirrors(ID, [told, *flood], now)
    found = database.remembered_mirrors(ID)
    assert len(found) == MAX_REMEMBERED
    assert {each.url for each in others} <= {each.url for each in found}
    assert {each.found for each in found} == {"policy", "dht", "listed"}


# --- who answers first ---------------------------------------------------------------------------


def race(
    answers: dict[str, Callable[[], Awaitable[str]]],
) -> tuple[str | None, list[str], dict[str, GitTorrentError]]:
    """Return who won, if anybody, whose answers were let go, and what went wrong with whom."""
    let_go: list[str] = []
    failures: dict[str, GitTorrentError] = {}
    sources = [source(name) for name in answers]

    async def ask(asked: Source) -> str:
        assert asked.endpoint is not None
        return await answers[asked.endpoint.host.partition(".")[0]]()

    async def drop(answer: str) -> None:
        let_go.append(answer)

    async def work() -> tuple[Source, str] | None:
        return await first_to_answer(sources, ask, failures, drop, hedge=0.01)

    won = asyncio.run(work())
    if won is None:
        return None, let_go, failures
    winner, answer = won
    assert answer in winner.url
    return answer, let_go, failures


async def fails() -> str:
    raise UnreachableError("gone")


async def hangs() -> str:
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await never


def says(name: str) -> Callable[[], Awaitable[str]]:
    async def answer() -> str:
        return name

    return answer


def test_the_first_one_is_enough() -> None:
    assert race({"a": says("a"), "b": fails}) == ("a", [], {})


def test_one_that_fails_gives_way() -> None:
    winner, _, failures = race({"a": fails, "b": fails, "c": says("c")})
    assert winner == "c"
    assert list(failures) == [source("a").url, source("b").url]


def test_one_that_is_silent_gives_way() -> None:
    winner, _, failures = race({"a": hangs, "b": hangs, "c": says("c")})
    assert (winner, failures) == ("c", {})


def test_who_answers_too_late_is_let_go() -> None:
    """Somebody whose answer came at the last moment is hung up on, not forgotten."""
    ended = asyncio.Event()

    async def stubborn() -> str:
        try:
            await ended.wait()
        except asyncio.CancelledError:
            return "a"
        return "never"

    winner, let_go, _ = race({"a": stubborn, "b": says("b")})
    assert (winner, let_go) == ("b", ["a"])


def test_when_nobody_answers_all_failures_are_known() -> None:
    winner, _, failures = race({"a": fails, "b": fails})
    assert winner is None
    assert list(failures) == [source("a").url, source("b").url]
