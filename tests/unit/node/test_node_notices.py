"""mirror-notify: who is called back, who is listed, and for how long."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from gittorrent.errors import UnreachableError
from gittorrent.node.catalogue import Catalogue, Served
from gittorrent.node.mirror_announcer import MirrorAnnouncer
from gittorrent.node.mirror_table import MAX_MIRRORS, MAX_PARTIAL, MirrorTable
from gittorrent.node.notices import (
    FIRST_TTL,
    LONGEST_TTL,
    MAX_CALLBACKS,
    MAX_NOTICES,
    MAX_PARTIAL_PER_SOURCE,
    MAX_PER_SOURCE,
    MAX_SOURCES,
    PARTIAL_TTL,
    TOO_MANY_CALLS,
    WINDOW_SECONDS,
    NoticeReply,
    Notices,
    granted_at_most,
)
from gittorrent.node.services import Reachable
from gittorrent.repository.carried import Carried
from gittorrent.store.database import Database, MirrorRow
from gittorrent.transfer.content_source import EmptyContentSource
from gittorrent.transfer.git_mirror import ConversationContext
from gittorrent.transfer.limiter import Limits
from gittorrent.transfer.opening import send_notice
from gittorrent.transfer.peer_admission import PeerAdmission
from gittorrent.transfer.peer_listener import PeerListener
from gittorrent.wire import notify, pktline
from gittorrent.wire.fields import RemoteRefusal
from gittorrent.wire.mirrorlist import MirrorState, parse_text
from gittorrent.wire.notify import Notify
from gittorrent.wire.urls import Endpoint, parse_learned_url
from support import nodes
from support.nodes import call, fetch, request
from support.ports import free_port
from support.programs import PATIENCE, wait_until

T = TypeVar("T")

NOWHERE = Endpoint("git", "127.0.0.1", 1, "/")
"""Where nothing listens."""

NOTICE_HEADERS = {"Content_Type": notify.CONTENT_TYPE}


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def send(endpoint: Endpoint, said: Notify, from_address: str | None) -> int:
    return asyncio.run(send_notice(endpoint, lambda _seen: said, None, from_address))


def run(work: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(PATIENCE):
            return await work

    return asyncio.run(bounded())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "db")
    yield opened
    opened.close()


@contextmanager
def mirror_of(carried: Carried, tmp_path: Path) -> Iterator[nodes.Served]:
    """A node that serves a copy of a repository."""
    copy = nodes.copy_as_mirror(carried, tmp_path / "copy.git", "git://192.0.2.1/project.git")
    with nodes.serving(copy, home=nodes.make_home(tmp_path / "mirror")) as served:
        yield served


def entry(carried: Carried) -> Served:
    (served,) = Catalogue([carried])
    return served


def notice(carried: Carried, url: str, ttl: int = 3600) -> Notify:
    return Notify(url, carried.log_store.ids()[-1], ttl)


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_a_mirror_that_answers_is_listed(
    carried: Carried, database: Database, tmp_path: Path, scheme: str
) -> None:
    clock = Clock()
    notices = Notices(MirrorTable(database, clock=clock), lambda: True)
    with mirror_of(carried, tmp_path) as mirror:
        url = f"{getattr(mirror, scheme)}/project.git"
        said = notice(carried, url)
        assert run(notices.receive(entry(carried), said, "127.0.0.1")) == NoticeReply(FIRST_TTL)
        (row,) = database.mirrors(carried.info.repository_id, int(clock.now))
        assert (row.url, row.state, row.source) == (url, MirrorState.CURRENT, "127.0.0.1")
        granted = [
            run(notices.receive(entry(carried), said, "127.0.0.1")).granted for _ in range(3)
        ]
        assert granted == [1200, 2400, 3600]
        clock.now += 4000
        again = run(notices.receive(entry(carried), said, "127.0.0.1"))
        assert again.granted == FIRST_TTL


def test_of_what_is_private_nobody_is_listed_and_nobody_called(
    carried: Carried, database: Database, tmp_path: Path
) -> None:
    """Whoever may read may say so; a call would name it to whoever listens on the way."""
    notices = Notices(MirrorTable(database), lambda: True)
    served = replace(entry(carried), readers=frozenset())
    with mirror_of(carried, tmp_path) as mirror:
        said = notice(carried, f"{mirror.git}/project.git")
        assert run(notices.receive(served, said, "127.0.0.1")).refusal
        assert database.mirrors(carried.info.repository_id, 0) == []
        assert mirror.ended_conversations() == []


def test_times_grow_to_a_day() -> None:
    times = [granted_at_most(renewals) for renewals in range(20)]
    assert times[0] == FIRST_TTL
    assert times == sorted(times)
    assert times[-1] == LONGEST_TTL


def test_a_mirror_that_is_behind_is_listed_as_stale(
    carried: Carried, database: Database, tmp_path: Path, key: Any
) -> None:
    repository = nodes.make_repository(tmp_path / "r.git")
    own = nodes.publish(repository, key, "project")
    with mirror_of(own, tmp_path) as mirror:
        nodes.add_commit(repository, "refs/heads/main", "more", b"more\n")
        nodes.publish(repository, key, None)
        said = notice(own, f"{mirror.git}/project.git")
        run(Notices(MirrorTable(database), lambda: True).receive(entry(own), said, "127.0.0.1"))
        (row,) = database.mirrors(own.info.repository_id, 0)
        assert row.state is MirrorState.STALE


@contextmanager
def peer_of(carried: Carried) -> Iterator[int]:
    """A peer that listens as downloaders and seeds do; yields its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> PeerListener:
        exchange = ConversationContext("peer", EmptyContentSource(), Limits())
        peer_listener = PeerListener(
            carried.info.repository_id, exchange, lambda _: None, PeerAdmission(), lambda _: None
        )
        assert peer_listener.start()
        return peer_listener

    peer_listener = asyncio.run_coroutine_threadsafe(begin(), loop).result(PATIENCE)
    try:
        yield peer_listener.port
    finally:
        asyncio.run_coroutine_threadsafe(peer_listener.close(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


def test_a_peer_is_listed_as_partial_and_for_minutes_only(
    carried: Carried, database: Database
) -> None:
    clock = Clock()
    notices = Notices(MirrorTable(database, clock=clock), lambda: True)
    repository = carried.info.repository_id
    with peer_of(carried) as port:
        said = notice(carried, f"git://127.0.0.1:{port}/{repository}", ttl=86400)
        for _ in range(4):  # renewing does not make it last longer
            granted = run(notices.receive(entry(carried), said, "127.0.0.1")).granted
            assert granted == PARTIAL_TTL
        other = notice(carried, f"git://127.0.0.1:{port}/{'a' * 52}")
        assert run(notices.receive(entry(carried), other, "127.0.0.1")).refusal
    (row,) = database.mirrors(repository, int(clock.now))
    assert row.state is MirrorState.PARTIAL
    (told,) = run(MirrorTable(database, clock=clock).entries(repository))
    assert (told.state, told.valid) == (MirrorState.PARTIAL, PARTIAL_TTL)
    clock.now += PARTIAL_TTL
    assert run(MirrorTable(database, clock=clock).entries(repository)) == []


def test_partial_peers_do_not_crowd_out_mirrors(
    carried: Carried, database: Database, tmp_path: Path
) -> None:
    clock = Clock()
    now, repository = int(clock.now), carried.info.repository_id

    def add(number: int, state: MirrorState, source: str) -> None:
        url = f"git://{source}:{number}/x"
        database.list_mirror(repository, MirrorRow(url, state, source, now, now + 500, 0))

    for number in range(1, 200):
        add(number, MirrorState.PARTIAL, f"198.51.100.{number}")
    for number in range(1, 60):
        add(number, MirrorState.CURRENT, f"203.0.113.{number}")
    told = run(MirrorTable(database, clock=clock).entries(repository))
    states = [entry.state for entry in told]
    assert len(told) == MAX_MIRRORS
    assert states.count(MirrorState.PARTIAL) == MAX_PARTIAL
    assert set(states[-MAX_PARTIAL:]) == {MirrorState.PARTIAL}
    notices = Notices(MirrorTable(database, clock=clock), lambda: True)
    with peer_of(carried) as port:
        said = notice(carried, f"git://127.0.0.1:{port}/{repository}")
        assert "is full" in run(notices.receive(entry(carried), said, "127.0.0.1")).refusal
    with mirror_of(carried, tmp_path) as mirror:
        said = notice(carried, f"{mirror.git}/project.git")
        assert run(notices.receive(entry(carried), said, "127.0.0.1")).granted == FIRST_TTL


def test_peers_that_were_killed_make_room_for_those_that_follow(
    carried: Carried, database: Database
) -> None:
    """They have other ports each time; those that answer keep their places."""
    repository = carried.info.repository_id
    notices = Notices(MirrorTable(database), lambda: True)

    def announce(port: int) -> NoticeReply:
        said = notice(carried, f"git://127.0.0.1:{port}/{repository}")
        return run(notices.receive(entry(carried), said, "127.0.0.1"))

    with ExitStack() as living:
        ports = [living.enter_context(peer_of(carried)) for _ in range(MAX_PARTIAL_PER_SOURCE - 1)]
        with peer_of(carried) as killed:
            assert all(announce(port).granted for port in (*ports, killed))
            newcomer = living.enter_context(peer_of(carried))
            assert "listed already" in announce(newcomer).refusal
        assert announce(newcomer).granted
        listed = {row.url for row in database.mirrors(repository, 0)}
        assert listed == {f"git://127.0.0.1:{port}/{repository}" for port in (*ports, newcomer)}


def test_nobody_but_the_announcing_address_is_contacted(
    carried: Carried, database: Database
) -> None:
    with socket.create_server(("127.0.0.2", 0)) as third_party:
        third_party.setblocking(False)
        port = third_party.getsockname()[1]
        for scheme in ("git", "http"):
            said = notice(carried, f"{scheme}://127.0.0.2:{port}/project.git")
            notices = Notices(MirrorTable(database), lambda: True)
            answer = run(notices.receive(entry(carried), said, "127.0.0.1"))
            assert "not the address" in answer.refusal
        with pytest.raises(BlockingIOError):
            third_party.accept()
    assert database.mirrors(carried.info.repository_id, 0) == []


def test_a_name_is_fine_when_it_resolves_to_the_caller(
    carried: Carried, database: Database, tmp_path: Path
) -> None:
    with mirror_of(carried, tmp_path) as mirror:
        port = mirror.git_address[1]
        said = notice(carried, f"git://localhost:{port}/project.git")
        answer = run(
            Notices(MirrorTable(database), lambda: True).receive(entry(carried), said, "127.0.0.1")
        )
        assert answer.granted == FIRST_TTL
        answer = run(
            Notices(MirrorTable(database), lambda: True).receive(entry(carried), said, "127.0.0.9")
        )
        assert "not the address" in answer.refusal


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "fe80::1", "169.254.169.254"])
def test_local_addresses_are_not_called_back_from_public_nodes(
    carried: Carried, database: Database, address: str
) -> None:
    host = f"[{address}]" if ":" in address else address
    said = notice(carried, f"git://{host}/project.git")
    answer = run(
        Notices(MirrorTable(database), lambda: False).receive(entry(carried), said, address)
    )
    assert "not called back from here" in answer.refusal


def test_reserved_addresses_are_never_called_back(carried: Carried, database: Database) -> None:
    said = notice(carried, "git://192.0.2.7/project.git")
    answer = run(
        Notices(MirrorTable(database), lambda: True).receive(entry(carried), said, "192.0.2.7")
    )
    assert "never called back" in answer.refusal


def test_another_repository_is_refused(
    carried: Carried, other: Carried, database: Database, tmp_path: Path
) -> None:
    with mirror_of(other, tmp_path) as mirror:
        said = notice(carried, f"{mirror.git}/other.git")
        answer = run(
            Notices(MirrorTable(database), lambda: True).receive(entry(carried), said, "127.0.0.1")
        )
        assert "another repository" in answer.refusal
        said = notice(carried, f"{mirror.http}/absent.git")
        answer = run(
            Notices(MirrorTable(database), lambda: True).receive(entry(carried), said, "127.0.0.1")
        )
        assert "cannot be reached" in answer.refusal


def test_who_cannot_be_reached_is_refused(carried: Carried, database: Database) -> None:
    port = free_port()
    for scheme in ("git", "http"):
        said = notice(carried, f"{scheme}://127.0.0.1:{port}/project.git")
        answer = run(
            Notices(MirrorTable(database), lambda: True).receive(entry(carried), said, "127.0.0.1")
        )
        assert "cannot be reached" in answer.refusal


@pytest.mark.parametrize(
    "url", ["ssh://127.0.0.1/x", "git://u@127.0.0.1/x", "git://127.0.0.1/../x"]
)
def test_odd_urls_are_refused(carried: Carried, database: Database, url: str) -> None:
    said = notice(carried, url)
    assert run(
        Notices(MirrorTable(database), lambda: True).receive(entry(carried), said, "127.0.0.1")
    ).refusal


def test_one_source_has_a_share_of_the_list(
    carried: Carried, database: Database, tmp_path: Path
) -> None:
    repository = carried.info.repository_id
    clock = Clock()
    now = int(clock.now)
    for number in range(MAX_PER_SOURCE):
        made = MirrorRow(
            f"git://127.0.0.1:{number + 1}/x", MirrorState.CURRENT, "127.0.0.1", now, now + 50, 0
        )
        database.list_mirror(repository, made)
    notices = Notices(MirrorTable(database, clock=clock), lambda: True)
    with mirror_of(carried, tmp_path) as mirror:
        said = notice(carried, f"{mirror.git}/project.git")
        assert "listed already" in run(notices.receive(entry(carried), said, "127.0.0.1")).refusal
        clock.now += 60
        assert run(notices.receive(entry(carried), said, "127.0.0.1")).granted == FIRST_TTL
    assert len(database.mirrors(repository, -1)) == 1


def test_floods_are_refused_until_the_window_has_passed(
    carried: Carried, database: Database
) -> None:
    clock = Clock()
    notices = Notices(MirrorTable(database, clock=clock), lambda: False)
    said = notice(carried, "git://10.0.0.1/x")

    def refusal(address: str) -> str:
        return run(notices.receive(entry(carried), said, address)).refusal

    assert not any("too many" in refusal("10.0.0.1") for _ in range(MAX_NOTICES))
    assert "too many" in refusal("10.0.0.1")
    assert "too many" not in refusal("10.0.0.2")
    clock.now += WINDOW_SECONDS
    assert "too many" not in refusal("10.0.0.1")


def test_so_many_addresses_are_counted_and_then_newcomers_wait(
    carried: Carried, database: Database
) -> None:
    clock = Clock()
    notices = Notices(MirrorTable(database, clock=clock), lambda: False)
    said, served = notice(carried, "git://10.0.0.1/x"), entry(carried)

    async def refusals(numbers: range) -> list[str]:
        addresses = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in numbers]
        return [(await notices.receive(served, said, each)).refusal for each in addresses]

    assert not any("too many" in each for each in run(refusals(range(MAX_SOURCES))))
    (last,) = run(refusals(range(MAX_SOURCES, MAX_SOURCES + 1)))
    assert "too many notices; try again later" in last
    (known,) = run(refusals(range(1)))
    assert "too many" not in known
    clock.now += WINDOW_SECONDS
    (later,) = run(refusals(range(MAX_SOURCES, MAX_SOURCES + 1)))
    assert "too many" not in later


def test_no_name_leads_to_this_machine(carried: Carried, database: Database) -> None:
    """Anybody can make a name resolve here; the word of who calls from here says no more."""
    said = notice(carried, "git://mirror.example.org/project.git")
    answer = run(
        Notices(MirrorTable(database), lambda: True).receive(entry(carried), said, "127.0.0.1")
    )
    assert "only its addresses and localhost" in answer.refusal


def test_a_clock_that_is_set_back_turns_nobody_away(carried: Carried, database: Database) -> None:
    clock = Clock()
    notices = Notices(MirrorTable(database, clock=clock), lambda: False)
    said = notice(carried, "git://10.0.0.1/x")
    for _ in range(MAX_NOTICES):
        run(notices.receive(entry(carried), said, "10.0.0.1"))
        clock.now += WINDOW_SECONDS
    clock.now -= 40 * 86400
    assert "too many" not in run(notices.receive(entry(carried), said, "10.0.0.1")).refusal


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_many_who_name_one_victim_send_nobody_there(
    carried: Carried, database: Database, host: str
) -> None:
    """Neither by its address nor by a name that leads there."""
    notices = Notices(MirrorTable(database), lambda: True)

    async def announce(url: str) -> None:
        callers = [f"127.0.1.{number}" for number in range(1, 61)]
        answers = await asyncio.gather(
            *(notices.receive(entry(carried), notice(carried, url), each) for each in callers)
        )
        assert all(answer.refusal for answer in answers)

    with socket.create_server(("127.0.0.1", 0)) as victim:
        victim.setblocking(False)
        for scheme in ("git", "http"):
            run(announce(f"{scheme}://{host}:{victim.getsockname()[1]}/project.git"))
        with pytest.raises(BlockingIOError):
            victim.accept()
    assert database.mirrors(carried.info.repository_id, 0) == []


@pytest.mark.parametrize("scheme", ["git", "http"])
@pytest.mark.parametrize("ttl", [0, 3600])
def test_a_notice_is_answered_by_one_call(
    carried: Carried, database: Database, scheme: str, ttl: int
) -> None:
    """Whoever shares an address with others cannot have them called much more than it calls.

    Who hangs up is asked over HTTP once more, as clients do that may have had an old connection.
    """
    called = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(1)
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        async with server:
            url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/project.git"
            repository, now = carried.info.repository_id, int(time.time())
            row = MirrorRow(url, MirrorState.CURRENT, "127.0.0.1", now, now + 600, 1)
            database.list_mirror(repository, row)
            notices = Notices(MirrorTable(database), lambda: True)
            await notices.receive(entry(carried), notice(carried, url, ttl), "127.0.0.1")

    run(work())
    assert len(called) == (1 if scheme == "git" else 2)


def test_who_does_not_answer_keeps_out_nobody_else(carried: Carried, database: Database) -> None:
    """All call-backs are under way for one address when another one has a mirror to tell of."""
    full, waiting = asyncio.Event(), [0]
    gone = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting[0] += 1
        if waiting[0] == MAX_CALLBACKS:
            full.set()
        await gone.wait()
        writer.close()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def work() -> None:
        notices = Notices(MirrorTable(database), lambda: True)

        def announce(server: asyncio.Server, address: str) -> asyncio.Task[NoticeReply]:
            url = f"git://{address}:{server.sockets[0].getsockname()[1]}/project.git"
            said = notice(carried, url)
            return asyncio.create_task(notices.receive(entry(carried), said, address))

        silent = await asyncio.start_server(hang, "127.0.0.1", 0)
        other = await asyncio.start_server(hang_up, "127.0.0.2", 0)
        async with silent, other:
            hostile = [announce(silent, "127.0.0.1") for _ in range(MAX_CALLBACKS)]
            await full.wait()
            assert (await announce(silent, "127.0.0.1")).refusal == TOO_MANY_CALLS
            assert "cannot be reached" in (await announce(other, "127.0.0.2")).refusal
            assert (await hostile[-1]).refusal == TOO_MANY_CALLS
            gone.set()
            rest = await asyncio.gather(*hostile[:-1])
            assert not [each for each in rest if each.refusal == TOO_MANY_CALLS]

    run(work())


# --- through the listeners -----------------------------------------------------------------------


def test_notices_over_both_transports(carried: Carried, tmp_path: Path) -> None:
    with (
        nodes.serving(carried, home=nodes.make_home(tmp_path / "origin")) as origin,
        mirror_of(carried, tmp_path) as mirror,
    ):
        for base, url in ((origin.git, mirror.http), (origin.http, mirror.git)):
            endpoint = parse_learned_url(f"{base}/project.git")
            said = notice(carried, f"{url}/project.git")
            assert send(endpoint, said, "127.0.0.1") == FIRST_TTL
            bad = replace(said, url="git://127.0.0.2:1/project.git")
            with pytest.raises(RemoteRefusal, match="not the address"):
                send(endpoint, bad, None)
            with pytest.raises(RemoteRefusal, match="not the address"):
                send(endpoint, said, "127.0.0.5")
            with pytest.raises(UnreachableError):
                send(endpoint, said, "192.0.2.1")  # not an address of ours
        _, text = fetch(origin.http_address, "GET", "/project.git/mirror-list")
        listed = {found.url for found in parse_text(text).mirrors}
        assert {f"{mirror.git}/project.git", f"{mirror.http}/project.git"} < listed


def test_malformed_notices_are_refused_over_both_transports(
    carried: Carried, tmp_path: Path
) -> None:
    with nodes.serving(carried, home=nodes.make_home(tmp_path)) as origin:
        lines = pktline.encode_lines([b"at nowhere\n"])
        answer = call(origin.git_address, request("mirror-notify", b"/project.git") + lines)
        assert answer[4:8] == b"ERR "
        endless = pktline.encode(b"x" * 60000) * 3
        answer = call(origin.git_address, request("mirror-notify", b"/project.git") + endless)
        assert b"the notice is too long" in answer
        path = "/project.git/mirror-notify"
        for body in (b"at nowhere\n", b"x" * 100_000):
            response, text = fetch(origin.http_address, "POST", path, body, **NOTICE_HEADERS)
            assert response.status == 400
            with pytest.raises(RemoteRefusal):
                notify.parse_answer(text)


def test_a_node_behind_a_proxy_does_not_call_back_itself(carried: Carried, tmp_path: Path) -> None:
    options = replace(nodes.LOOPBACK, url=parse_learned_url("https://mirror.example.org"))
    with nodes.serving(carried, home=nodes.make_home(tmp_path), options=options) as origin:
        said = notice(carried, f"{origin.http}/project.git").encode_text()
        path = "/project.git/mirror-notify"
        response, text = fetch(origin.http_address, "POST", path, said, **NOTICE_HEADERS)
        assert response.status == 403
        assert b"not called back" in text
        _, listed = fetch(origin.http_address, "GET", "/project.git/mirror-list")
        assert b"try https://mirror.example.org/project.git 86400 current\n" in listed


# --- announcing ----------------------------------------------------------------------------------


def test_mirrors_announce_themselves_where_they_came_from(carried: Carried, tmp_path: Path) -> None:
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "origin")) as origin:
        pinned = f"{carried.info.repository_id}@{origin.git.removeprefix('git://')}"
        source = f"gittorrent://{pinned}/project.git"
        copy = nodes.copy_as_mirror(carried, tmp_path / "copy.git", source)
        with nodes.serving(copy, home=nodes.make_home(tmp_path / "mirror")) as mirror:
            reachable = Reachable(listening=[*map(parse_learned_url, (mirror.git, mirror.http))])
            announcer = MirrorAnnouncer(Catalogue([copy]), reachable)
            run(announcer.announce_due())
            _, text = fetch(origin.http_address, "GET", "/project.git/mirror-list")
            assert f"{mirror.git}/project.git" in {m.url for m in parse_text(text).mirrors}


def test_a_mirror_node_announces_itself_when_it_starts(carried: Carried, tmp_path: Path) -> None:
    options = replace(nodes.LOOPBACK, announce=True)
    with nodes.serving(carried, home=nodes.make_home(tmp_path / "origin")) as origin:
        copy = nodes.copy_as_mirror(carried, tmp_path / "c.git", f"{origin.git}/project.git")
        home = nodes.make_home(tmp_path / "mirror")
        with nodes.serving(copy, home=home, options=options) as mirror:
            url = f"{mirror.git}/project.git"

            def is_listed() -> bool:
                # Its time runs already, so it does not say how much that was at first.
                _, text = fetch(origin.http_address, "GET", "/project.git/mirror-list")
                return (url, MirrorState.CURRENT) in {
                    (each.url, each.state) for each in parse_text(text).mirrors
                }

            wait_until(is_listed, "the origin lists the mirror")


def test_origins_and_nodes_without_address_announce_nothing(
    carried: Carried, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as source:
        source.setblocking(False)
        url = f"git://127.0.0.1:{source.getsockname()[1]}/project.git"
        copy = nodes.copy_as_mirror(carried, tmp_path / "copy.git", url)
        reachable = Reachable(listening=[NOWHERE])
        run(MirrorAnnouncer(Catalogue([carried]), reachable).announce_due())
        run(MirrorAnnouncer(Catalogue([copy]), Reachable()).announce_due())
        with pytest.raises(BlockingIOError):
            source.accept()


def test_failed_announcements_wait_ever_longer(carried: Carried, tmp_path: Path) -> None:
    port = free_port()
    copy = nodes.copy_as_mirror(carried, tmp_path / "c.git", f"git://127.0.0.1:{port}/project.git")
    announcer = MirrorAnnouncer(Catalogue([copy]), Reachable(listening=[NOWHERE]))

    async def work() -> tuple[float, float]:
        await announcer.announce_due()
        state = announcer._state["project"]
        first = state.retry
        await announcer.announce_due()
        unchanged = state.retry
        assert unchanged == first
        state.due = 0.0
        await announcer.announce_due()
        return first, state.retry

    first, second = run(work())
    assert second == 2 * first
